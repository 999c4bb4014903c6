"""The partition phase of a large graph, in a process of its own.

METIS holds the interpreter's lock for its whole run, minutes at ten million nodes, and cannot be stopped; numpy holds
it for seconds. So a large graph is prepared by a child: it maps the spooled arrays, writes the build's input and leaves
a small JSON file. It is killed when nobody waits for it any more, its memory is the system's again when it ends, and
it does not outlive this process.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from planmesh.errors import PlanmeshError, SnapshotError
from planmesh.rpc.status import reason_of, restore_error
from planmesh.snapshot.build_folder import BuildFolder
from services.partition.blocking import BlockingWork, uninterrupted
from services.partition.load_options import LoadOptions
from services.partition.prepare import prepare
from services.partition.prepared import PREPARED_NAME, PreparedGraph
from services.partition.spool import SpooledGraph

APART_EDGES_MIN: Final = 100_000
"""Edges and nodes from which on a graph is prepared apart: below, METIS takes less than the start of a process."""

REFUSED_NAME: Final = "refused.json"
"""Where the child leaves an error that is the caller's."""

REFUSED_STATUS: Final = 3

PR_SET_PDEATHSIG: Final = 1
"""Of Linux' prctl(2): the signal that a process gets when its parent dies."""


async def prepare_graph(
    spooled: SpooledGraph,
    options: LoadOptions,
    folder: BuildFolder,
    work: BlockingWork,
    *,
    apart_edges_min: int = APART_EDGES_MIN,
) -> PreparedGraph:
    """Do the partition phase, apart when the graph is large. Raises what `prepare` does, SnapshotError for a crash."""
    if len(spooled.tails) + spooled.node_count < apart_edges_min:
        return await work.run(partial(prepare, spooled, options, folder, work.checkpoint))
    await work.run(partial(spooled.save, folder.path))
    del spooled  # the callers have let go of it, so its memory is the child's to use
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.partition.prepare_apart", str(folder.path), options.model_dump_json()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = await child.wait()
    except BaseException:
        child.kill()
        await uninterrupted(asyncio.ensure_future(child.wait()))
        raise
    if status == REFUSED_STATUS:
        refused = orjson.loads((folder.path / REFUSED_NAME).read_bytes())
        raise restore_error(refused["reason"], refused["message"], refused["metadata"])
    if status != 0:
        how = f"was killed by signal {-status} (out of memory?)" if status < 0 else f"ended with status {status}"
        raise SnapshotError(f"the graph could not be partitioned: the process that did it {how}; its log tells more")
    return PreparedGraph.model_validate_json((folder.path / PREPARED_NAME).read_bytes())


def main(folder: BuildFolder, options: LoadOptions) -> int:
    """Do the partition phase of the graph spooled in a build's folder; returns the exit status."""
    try:
        prepared = prepare(SpooledGraph.open(folder.path), options, folder, lambda: None)
    except PlanmeshError as error:
        refused: dict[str, Any] = {
            "reason": reason_of(error),
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
    sys.exit(main(BuildFolder(Path(sys.argv[1])), LoadOptions.model_validate_json(sys.argv[2])))
