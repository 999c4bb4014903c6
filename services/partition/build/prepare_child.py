"""The process that does the partition phase of a large graph; see `prepare_apart`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

import orjson

from planmesh.errors import PlanmeshError
from planmesh.snapshot.build_folder import BuildFolder
from services.partition.build.prepare import prepare
from services.partition.build.prepared import PREPARED_NAME
from services.partition.ingest.options import LoadOptions
from services.partition.ingest.spool import SpooledGraph

REFUSED_NAME: Final = "refused.json"
"""Where an error is left that is the caller's."""

REFUSED_STATUS: Final = 3

PR_SET_PDEATHSIG: Final = 1
"""Of Linux' prctl(2): the signal that a process gets when its parent dies."""


def main(folder: BuildFolder, options: LoadOptions) -> int:
    """Do the partition phase of the graph spooled in a build's folder; returns the exit status."""
    try:
        prepared = prepare(SpooledGraph.open(folder.path), options, folder, lambda: None)
    except PlanmeshError as error:
        refused: dict[str, Any] = {
            "error": type(error).__name__,
            "message": error.message,
            "metadata": error.metadata,
        }
        (folder.path / REFUSED_NAME).write_bytes(orjson.dumps(refused))
        return REFUSED_STATUS
    (folder.path / PREPARED_NAME).write_text(prepared.model_dump_json())
    return 0


def die_with_parent() -> None:
    """End this process when its parent does: by the parent's end of the pipe, and on Linux by the kernel.

    The thread that watches the pipe cannot run while METIS does; the kernel's signal needs no thread.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    die_with_parent()
    ended = main(BuildFolder(Path(sys.argv[1])), LoadOptions.model_validate_json(sys.argv[2]))
    sys.stderr.flush()
    os._exit(ended)  # all is on disk; libraries' native threads need no taking down
