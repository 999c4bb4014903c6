"""A second gateway with its own coordinator, beside those of a mesh that `planmesh up` has started.

A client of both gateways sees two coordinators that learn of updates at different times.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from planmesh.client import Client
from planmesh.errors import PlanmeshError
from planmesh.local.ports import free_port
from tests.conftest import ROOT
from tests.mesh.own_mesh import OwnMesh
from tests.mesh.polling import eventually

MODULES: Final = {"second-coordinator": "services.coordinator", "second-gateway": "services.gateway"}
"""By the name of a process."""

STOP_S_MAX: Final = 20.0


class SecondPair:
    """The two processes. Killed ones are started again at once."""

    def __init__(self, mesh: OwnMesh, logs: Path) -> None:
        coordinator, self.address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self._environment = {
            **psutil.Process(mesh.record("coordinator").pid).environ(),
            "PLANMESH_COORDINATOR_LISTEN": coordinator,
            "PLANMESH_COORDINATOR_ADDRESS": coordinator,
            "PLANMESH_GATEWAY_LISTEN": self.address,
        }
        self._logs = logs
        self._processes = {name: self._start(name) for name in MODULES}

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", MODULES[name]]
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        """SIGKILL a process, and start another in its place."""
        self._processes[name].kill()
        self._processes[name].wait()
        self._processes[name] = self._start(name)

    def signal(self, number: signal.Signals, name: str) -> None:
        """Send a signal to a process."""
        self._processes[name].send_signal(number)

    def wait_until_ready(self) -> None:
        """Return when the gateway reports that plans are answered."""

        def is_ready() -> bool:
            with Client(self.address) as client:
                try:
                    return client.status(timeout_s=5).ready
                except PlanmeshError:
                    return False

        eventually(is_ready, "a ready second gateway", within_s=90)

    def close(self) -> None:
        """End both."""
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            process.wait(STOP_S_MAX)


@contextmanager
def second_pair(mesh: OwnMesh, logs: Path) -> Iterator[SecondPair]:
    """Run the two processes for the duration of the block."""
    pair = SecondPair(mesh, logs)
    try:
        pair.wait_until_ready()
        yield pair
    finally:
        pair.close()
