"""The file size limit that simulates a full disk."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, cast

import psutil
import pytest

from planmesh.chaos.disk_fault import FULL_BYTES, _limit
from planmesh.chaos.scenario import Stage
from planmesh.local.state import ProcessRecord

PARENT_AND_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
"""


@dataclass
class OneWriter:
    """A mesh whose only writer is a process of the test."""

    pid: int

    def names(self, kind: str) -> list[str]:
        return [kind] if kind == "partition" else []

    def record(self, name: str) -> ProcessRecord:
        return ProcessRecord.of(name, self.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, to set the resource limits of other processes")
def test_writers_and_their_children_are_limited_and_released() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT_AND_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [parent.pid, int(parent.stdout.readline())]
        stage = cast(Stage, type("FakeStage", (), {"mesh": OneWriter(parent.pid)})())

        def soft_limits() -> list[Any]:
            return [psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE)[0] for pid in pids]

        before = soft_limits()
        _limit(stage, FULL_BYTES)
        limited = soft_limits()
        _limit(stage, resource.RLIM_INFINITY)
        released = soft_limits()
        parent.communicate("\n", timeout=30)
    assert limited == [FULL_BYTES, FULL_BYTES]
    assert released == [resource.RLIM_INFINITY, resource.RLIM_INFINITY]
    assert FULL_BYTES not in before
