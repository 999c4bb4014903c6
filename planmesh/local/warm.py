"""Compiles the kernels into numba's cache before the mesh starts: `python -m planmesh.local.warm search|graph`.

The first run after an installation takes most of a minute of processor time. Without it, each of several processes that
need the same kernels would spend that time. Later runs find the cache.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import numpy as np


def warm_search() -> None:
    """Compile the kernels of workers and coordinators."""
    from planmesh.rpc.detail_encoding import warm as warm_details  # noqa: PLC0415 - the other half need not be imported
    from planmesh.rpc.plan_encoding import warm as warm_steps  # noqa: PLC0415 - as above
    from planmesh.search.warm import warm  # noqa: PLC0415 - as above

    warm()
    warm_steps()
    warm_details()


def warm_graph() -> None:
    """Compile the kernels of a load (ids, adjacency, every strategy, the report) by running them on a small graph."""
    from planmesh.graph.adjacency import build_graph, renumber, reverse  # noqa: PLC0415 - as above
    from planmesh.graph.generate import service  # noqa: PLC0415 - as above
    from planmesh.graph.node_ids import NodeIdsBuilder  # noqa: PLC0415 - as above
    from planmesh.partition.groups import Labels  # noqa: PLC0415 - as above
    from planmesh.partition.report import report  # noqa: PLC0415 - as above
    from planmesh.partition.strategies import Strategy, number_by_partition, partition  # noqa: PLC0415 - as above
    from planmesh.partition.trials import try_others  # noqa: PLC0415 - as above

    nodes = 3_000
    builder = NodeIdsBuilder()
    builder.add([f"node-{number}" for number in range(nodes)])
    builder.lookup(["node-0", "unknown"])
    ids = builder.finish()
    ids.find_many(["node-1", "unknown"])
    ids.near("node-1x")
    edges = service(nodes).edges()
    graph, _, _ = build_graph(nodes, edges.tails, edges.heads, edges.costs)
    codes = (np.arange(nodes, dtype=np.int32) // 200).astype(np.int32)
    labels = Labels(codes, [f"label-{number}" for number in range(int(codes[-1]) + 1)])
    for strategy in Strategy:
        parted = partition(graph, strategy, partitions=4, domains=labels, regions=labels, ids=ids)
        numbering = number_by_partition(parted.partition_of, parted.partition_count)
        ordered = renumber(graph, numbering.new_number)
        reverse(ordered)
        report(ordered, numbering.partition_first)
        try_others(graph, parted)
    permuted = ids.permuted(numbering.new_order)
    permuted.names(np.arange(10, dtype=np.int32))


HALVES: Final[dict[str, Callable[[], None]]] = {"search": warm_search, "graph": warm_graph}


if __name__ == "__main__":
    HALVES[sys.argv[1]]()
