"""Ends a mesh's processes when its supervisor dies without doing so, by SIGKILL for instance.

The supervisor starts one of these with a pipe as its standard input and writes a JSON line for every process that
starts or ends: `{"add": [pid, created_unix_s]}`, `{"remove": pid}`. The kernel closes the pipe when the supervisor
dies, however it dies; unless `{"done": true}` came before, whatever is still on the list is killed, with its process
group. A pipe does this on every POSIX system, which a parent-death signal (Linux only, direct children only) does not.
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
    """SIGKILL the process group that `pid` leads; nothing when it has gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def watch(lines: Iterable[str]) -> list[ProcessRecord]:
    """Read the supervisor's lines to their end; what is then still to be ended."""
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
    """Watch `stream`, then kill what is left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # it ends when the supervisor does
    for record in watch(stream):
        if record.process() is not None:
            kill_group(record.pid)


if __name__ == "__main__":
    main(sys.stdin)
