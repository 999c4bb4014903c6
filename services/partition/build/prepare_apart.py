"""The partition phase of a large graph, in a process of its own.

METIS holds the interpreter's lock for its whole run, minutes at ten million nodes, and cannot be stopped; numpy holds
it for seconds. So a large graph is prepared by a child: it maps the spooled arrays, writes the build's input and leaves
a small JSON file. It is killed when nobody waits for it any more, its memory is the system's again when it ends, and
it does not outlive this process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from typing import Final

import orjson

from planmesh import errors
from planmesh.errors import SnapshotError
from planmesh.rpc.status import CODE_AND_REASON, restore_error
from planmesh.snapshot.build_folder import BuildFolder
from services.partition.blocking import BlockingWork, finish
from services.partition.build.prepare import prepare
from services.partition.build.prepare_child import REFUSED_NAME, REFUSED_STATUS
from services.partition.build.prepared import PREPARED_NAME, PreparedGraph
from services.partition.ingest.options import LoadOptions
from services.partition.ingest.spool import SpooledGraph

APART_EDGES_MIN: Final = 100_000
"""Edges and nodes from which on a graph is prepared apart: below, METIS takes less than the start of a process."""


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
    arguments = options.model_dump_json(exclude={"region_stores", "domain_stores"})  # an argument's length is bounded
    status = await _run(["-m", "services.partition.build.prepare_child", str(folder.path), arguments], work)
    if status == REFUSED_STATUS:
        refused = orjson.loads((folder.path / REFUSED_NAME).read_bytes())
        reason = CODE_AND_REASON[getattr(errors, refused["error"])][1]
        raise restore_error(reason, refused["message"], refused["metadata"])
    if status != 0:
        how = f"was killed by signal {-status} (out of memory?)" if status < 0 else f"ended with status {status}"
        raise SnapshotError(f"the graph could not be partitioned: the process that did it {how}; its log tells more")
    return PreparedGraph.model_validate_json((folder.path / PREPARED_NAME).read_bytes())


async def _run(arguments: list[str], work: BlockingWork) -> int:
    """Run Python in a child process and return its status; the child is killed when the caller is cancelled.

    Not by the event loop's own means: uvloop forks, and gRPC's threads then come alive in the child, where they crash.
    The standard library uses vfork(2), which they do not notice. It is called here, in the thread of the event loop,
    because the child asks the kernel for a signal when the thread ends that has started it.
    """
    with subprocess.Popen(  # noqa: ASYNC220  # it returns when the child has begun
        [sys.executable, "-X", "faulthandler", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        waiting = asyncio.ensure_future(work.run(child.wait))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            child.kill()
            await finish(waiting)
            raise
