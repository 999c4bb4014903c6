"""The unmodified compose file, run under a private project name."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from planmesh.local.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
UP_S_MAX: Final = 600
"""The first start builds the image with packages and kernels."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running project."""

    project: str
    port: int
    environment: dict[str, str]

    @property
    def address(self) -> str:
        """The load balancer's address."""
        return f"127.0.0.1:{self.port}"

    def compose(self, *arguments: str, timeout_s: float = 120) -> str:
        """Run `docker compose` on the project, and return its standard output. Raises its error output on failure."""
        command = ["docker", "compose", "--project-name", self.project, *arguments]
        return _run(command, self.environment, timeout_s)

    def planmesh(self, *arguments: str, timeout_s: float = 300) -> str:
        """Run this machine's command line on the cluster, and return its standard output."""
        command = [sys.executable, "-m", "planmesh.cli", *arguments]
        # The containers' endpoint for spans is unknown on this machine.
        environment = {name: value for name, value in self.environment.items() if not name.startswith("OTEL_")}
        environment["PLANMESH_ADDRESS"] = self.address
        return _run(command, environment, timeout_s)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        return self.compose("ps", "--quiet", "--status", "running", service).split()

    def pids(self, service: str) -> list[int]:
        """Return the pids, on this machine, of all processes of a service's containers."""
        first = [psutil.Process(_state(container)["Pid"]) for container in self.containers(service)]
        return [process.pid for one in first for process in (one, *one.children(recursive=True))]

    def kill_one(self, service: str) -> str:
        """SIGKILL the first process of one container, as in a crash, and return the container's id.

        Not with `docker kill`, after which Docker does not restart the container.
        """
        container = self.containers(service)[0]
        os.kill(_state(container)["Pid"], signal.SIGKILL)
        return container

    def wait_until_back(self, service: str, container: str, *, timeout_s: float = 60) -> float:
        """Wait until a killed container runs again, and is healthy if it has a health check. Return the seconds."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < timeout_s:
            state = _state(container)
            health = state.get("Health", {}).get("Status", "healthy")
            if state["Running"] and not state["Restarting"] and health == "healthy" and state["Pid"]:
                return time.monotonic() - began_s
            time.sleep(0.2)
        raise AssertionError(f"expected {service} to restart within {timeout_s:g} s:\n{self.logs(service)}")

    def logs(self, *services: str) -> str:
        """Return the last lines of each container's log."""
        return self.compose("logs", "--no-color", "--tail", "40", *services)


def _run(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _state(container: str) -> dict[str, Any]:
    done = subprocess.run(
        ["docker", "inspect", "--format", "{{json .State}}", container], capture_output=True, text=True, check=True
    )
    state: dict[str, Any] = json.loads(done.stdout)
    return state


@contextmanager
def cluster(*options: str, variables: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Run `docker compose up -d --wait` for the duration of the block. Removes containers and volumes, keeps the image.

    `variables` are for the compose file.
    """
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PLANMESH_")},
        "REDIS_PASSWORD": secrets.token_hex(24),
        "PLANMESH_PORT": str(port),
        "PLANMESH_BUILD_NETWORK": os.environ.get("PLANMESH_BUILD_NETWORK", "default"),
        **(variables or {}),
    }
    running = Cluster(f"planmesh-test-{secrets.token_hex(3)}", port, environment)
    try:
        _up(running, options)
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout", "5")


def _up(running: Cluster, options: Sequence[str]) -> None:
    try:
        running.compose("up", "--build", "--detach", "--wait", *options, timeout_s=UP_S_MAX)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{running.logs()}") from None
