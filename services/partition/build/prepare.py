"""The partition phase: rows become a graph ordered by partition, the input of the index builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from planmesh.graph.adjacency import build_graph, renumber, reverse
from planmesh.graph.model import Graph, Int32Array
from planmesh.partition.groups import Labels
from planmesh.partition.report import report, warnings_of
from planmesh.partition.strategies import number_by_partition, partition
from planmesh.partition.trials import try_others
from planmesh.snapshot.build_folder import BuildFolder
from planmesh.snapshot.directory import write_directory
from planmesh.snapshot.manifest import DIRECTORY_NAME, REPORT_NAME
from planmesh.snapshot.report_file import write_report
from services.partition.build.prepared import PreparedGraph, prepared_partitions
from services.partition.ingest.options import LoadOptions
from services.partition.ingest.spool import SpooledGraph

NODES_WITHOUT_EDGES_SHARE: Final = 0.05
"""From this share on it is worth a warning: usually the edges name other ids than the nodes do."""


def prepare(
    spooled: SpooledGraph, options: LoadOptions, folder: BuildFolder, checkpoint: Callable[[], None]
) -> PreparedGraph:
    """Partition a graph, order it by partition, and write the build's input, the directory and the report.

    `checkpoint` is called between the steps and may raise to stop. Raises InvalidRequest when the strategy does not
    fit the graph.
    """
    graph, parallel_edges, self_loops = build_graph(spooled.node_count, spooled.tails, spooled.heads, spooled.costs)
    checkpoint()
    parted = partition(
        graph,
        options.strategy,
        partitions=options.partitions,
        domains=_labels(spooled.domains),
        regions=_labels(spooled.regions),
        ids=spooled.ids,
    )
    checkpoint()
    trials = try_others(graph, parted)
    checkpoint()
    numbering = number_by_partition(parted.partition_of, parted.partition_count)
    ordered = renumber(graph, numbering.new_number)
    del graph
    outcome = report(ordered, numbering.partition_first)
    checkpoint()
    input_file = folder.write_input(numbering.partition_first, ordered, reverse(ordered))
    checkpoint()
    directory = write_directory(
        folder.snapshot_path / DIRECTORY_NAME,
        ids=spooled.ids.permuted(numbering.new_order),
        partition_first=numbering.partition_first,
        partition_names=parted.names,
        domains=(spooled.domains[0][numbering.new_order], spooled.domains[1]),
        regions=(spooled.regions[0][numbering.new_order], spooled.regions[1]),
    )
    return PreparedGraph(
        node_count=ordered.node_count,
        edge_count=ordered.edge_count,
        parallel_edges=parallel_edges,
        self_loops=self_loops,
        cross_edges=outcome.cross_edges,
        boundary_nodes=outcome.boundary_nodes,
        strategy=str(parted.strategy),
        partitions=prepared_partitions(parted.names, outcome),
        warnings=[*parted.warnings, *warnings_of(ordered, outcome, trials), *_loose_nodes(ordered)],
        input=input_file,
        directory=directory,
        report=write_report(folder.snapshot_path / REPORT_NAME, outcome),
    )


def _labels(labels: tuple[Int32Array, list[str]]) -> Labels | None:
    codes, label_names = labels
    return Labels(codes, label_names) if label_names else None


def _loose_nodes(graph: Graph) -> list[str]:
    connected = np.diff(graph.first_out) > 0
    connected[graph.head] = True
    loose = graph.node_count - int(np.count_nonzero(connected))
    if loose < max(1, NODES_WITHOUT_EDGES_SHARE * graph.node_count):
        return []
    return [f"{loose:,} of {graph.node_count:,} nodes have no edge, so no plan leads from or to them"]
