"""Ends a mesh's processes if its supervisor dies without doing so, for instance by SIGKILL.

The supervisor starts a sentinel with a pipe as its standard input. It writes a JSON line for every process that starts
or ends: `{"add": [pid, created_unix_s]}`, `{"remove": pid}`. The kernel closes the pipe when the supervisor dies for
any reason. The sentinel then kills the listed processes with their process groups, unless `{"done": true}` came first.
A pipe works on every POSIX system; a parent-death signal works only on Linux, and only for direct children.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import TextIO

from planmesh.local.state import ProcessRecord


def kill_group(pid: int) -> None:
    """SIGKILL the process group that `pid` leads, if it still exists."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def watch(lines: Iterable[str]) -> list[ProcessRecord]:
    """Read the supervisor's lines to their end, and return the processes that must then be killed."""
    records: dict[int, ProcessRecord] = {}
    for line in lines:
        message = json.loads(line)
        if "add" in message:
            pid, created_unix_s = message["add"]
            records[pid] = ProcessRecord("", pid, created_unix_s)
        elif "remove" in message:
            records.pop(message["remove"], None)
        elif "done" in message:
            return []
    return list(records.values())


def main(stream: TextIO) -> None:
    """Watch `stream`, then kill the processes that remain."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the sentinel ends with its supervisor
    for record in watch(stream):
        if record.process() is not None:
            kill_group(record.pid)


if __name__ == "__main__":
    main(sys.stdin)
