from __future__ import annotations

import json
import subprocess
import sys

import psutil

from planmesh.local.sentinel import watch
from planmesh.local.state import ProcessRecord

PARENT_AND_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""


def line(**message: object) -> str:
    return json.dumps(message) + "\n"


def test_added_groups_that_were_not_removed_remain() -> None:
    left = watch([line(add=[10, 1.5]), line(add=[11, 2.5]), line(remove=10)])
    assert left == [ProcessRecord("", 11, 2.5)]


def test_nothing_is_left_of_a_mesh_that_stopped_by_itself() -> None:
    assert watch([line(add=[10, 1.5]), line(done=True)]) == []


def test_when_the_pipe_closes_whole_process_groups_are_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT_AND_CHILD], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    record = ProcessRecord.of("", parent.pid)
    sentinel = subprocess.Popen([sys.executable, "-m", "planmesh.local.sentinel"], stdin=subprocess.PIPE, text=True)
    sentinel.communicate(line(add=[record.pid, record.created_unix_s]), timeout=30)
    assert parent.wait(10) < 0
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE], gone
    parent.stdout.close()
