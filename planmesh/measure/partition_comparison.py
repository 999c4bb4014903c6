"""Compares all partitioning strategies on one graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from planmesh.errors import InvalidRequest
from planmesh.graph.adjacency import renumber
from planmesh.graph.model import Int32Array
from planmesh.measure.graph_file import FileGraph
from planmesh.measure.pipeline_sample import PipelineFigures, draw_pairs, measure_pipeline
from planmesh.partition.edge_cuts import EdgeCut, EdgeStrategy, edge_cut
from planmesh.partition.report import report
from planmesh.partition.strategies import Strategy, default_partitions, number_by_partition, partition

SAMPLE_NODES_DEFAULT: Final = 300_000
"""Nodes that are really indexed: all 264,346 of New York's, in some seconds per strategy."""

PAIRS_DEFAULT: Final = 200
"""Enough for a mean within some percent. A search takes tens of milliseconds on a large, poorly partitioned graph."""

Advance = Callable[[str, int, int], None]
"""Receives the current activity, how much of it is done, and the total."""


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """`partitions` is as for a load, 0 for each strategy's own number. `seed` draws the pairs and the sample."""

    partitions: int = 0
    sample_nodes: int = SAMPLE_NODES_DEFAULT
    pairs: int = PAIRS_DEFAULT
    seed: int = 1


@dataclass(frozen=True, slots=True)
class StrategyFigures:
    """One strategy's figures. `balance` is the size of the largest partition over the mean; times are in seconds."""

    strategy: Strategy
    partitions: int
    cross_edges: int
    cross_edge_share: float
    boundary_nodes: int
    boundary_share: float
    balance: float
    pipeline: PipelineFigures
    partition_s: float
    warnings: list[str]

    @property
    def overlay_nodes(self) -> int:
        """Boundary nodes (counted) plus core nodes (estimated from the sample)."""
        return self.boundary_nodes + self.pipeline.core_nodes

    @property
    def overlay_edges(self) -> int:
        """Cross edges (counted) plus the edges that partitions add to the overlay (estimated from the sample)."""
        return self.cross_edges + self.pipeline.shortcut_edges

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
        sample = self.pipeline
        settled = sample.settled
        return {
            "strategy": self.strategy.value,
            "partitions": self.partitions,
            "cross_edges": self.cross_edges,
            "cross_edge_share": self.cross_edge_share,
            "boundary_nodes": self.boundary_nodes,
            "boundary_share": self.boundary_share,
            "balance": self.balance,
            "index_bytes": sample.index_bytes,
            "overlay_nodes": self.overlay_nodes,
            "overlay_edges": self.overlay_edges,
            "settled_nodes": None if settled is None else asdict(settled),
            "pairs": sample.pairs,
            "connected_pairs": sample.connected_pairs,
            "sampled_partitions": sample.sampled_partitions,
            "sampled_nodes": sample.sampled_nodes,
            "whole": sample.whole,
            "seconds": {"partition": self.partition_s, "index": sample.index_s, "overlay": sample.overlay_s},
            "warnings": self.warnings,
        }


@dataclass(frozen=True, slots=True)
class EdgeStrategyFigures:
    """Figures of a partition of the edges, which cannot be served. `cut_share`: nodes in more than one partition."""

    cut: EdgeCut
    cut_share: float
    partition_s: float

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of docs/reference/cli-json.md."""
        return {
            "strategy": self.cut.strategy.value,
            "partitions": self.cut.partitions,
            "replication_factor": self.cut.replication_factor,
            "cut_nodes": self.cut.cut_nodes,
            "cut_share": self.cut_share,
            "balance": self.cut.balance,
            "seconds": {"partition": self.partition_s},
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of every strategy. `skipped` has the strategies that do not fit the graph, and the reasons."""

    nodes: int
    edges: int
    strategies: list[StrategyFigures]
    edge_strategies: list[EdgeStrategyFigures]
    skipped: dict[str, str]


def compare(
    file_graph: FileGraph,
    strategies: Sequence[Strategy | EdgeStrategy],
    options: ComparisonOptions,
    advance: Advance,
) -> Comparison:
    """Measure the strategies in sequence, with the same pairs for all if the whole graph is indexed.

    Memory in addition to the graph: about 40 bytes per edge for the graph in a strategy's order and its reverse, and
    the
    index of the sample. Raises InvalidRequest when more partitions are requested than there are nodes.
    """
    nodes = file_graph.graph.node_count
    if options.partitions > nodes:
        raise InvalidRequest(f"expected at most {nodes:,} partitions, one per node; got {options.partitions:,}")
    pairs = draw_pairs(nodes, options.pairs, options.seed)
    rows: list[StrategyFigures] = []
    edge_rows: list[EdgeStrategyFigures] = []
    skipped: dict[str, str] = {}
    for strategy in strategies:
        if isinstance(strategy, EdgeStrategy):
            edge_rows.append(_measure_edge_strategy(file_graph, strategy, options, advance))
        elif reason := _why_not(file_graph, strategy):
            skipped[strategy.value] = reason
        else:
            rows.append(_measure_strategy(file_graph, strategy, options, pairs, advance))
    return Comparison(nodes, file_graph.graph.edge_count, rows, edge_rows, skipped)


def _why_not(file_graph: FileGraph, strategy: Strategy) -> str:
    lacks_domains = file_graph.domains is None and strategy in (Strategy.DOMAIN, Strategy.HYBRID)
    lacks_regions = file_graph.regions is None and strategy in (Strategy.REGION, Strategy.HYBRID)
    missing = [name for name, lacks in (("domain", lacks_domains), ("region", lacks_regions)) if lacks]
    return f"no node has a {' or a '.join(missing)}" if missing else ""


def _measure_strategy(
    file_graph: FileGraph, strategy: Strategy, options: ComparisonOptions, pairs: Int32Array, advance: Advance
) -> StrategyFigures:
    graph = file_graph.graph
    advance(f"{strategy.value}: partition", 0, 1)
    started_s = time.perf_counter()
    parted = partition(
        graph,
        strategy,
        partitions=options.partitions,
        domains=file_graph.domains,
        regions=file_graph.regions,
        ids=file_graph.ids,
    )
    partition_s = time.perf_counter() - started_s
    numbering = number_by_partition(parted.partition_of, parted.partition_count)
    ordered = renumber(graph, numbering.new_number)
    outcome = report(ordered, numbering.partition_first)
    size = np.diff(numbering.partition_first)
    figures = measure_pipeline(
        ordered,
        numbering.partition_first,
        numbering.new_number[pairs],
        nodes_max=options.sample_nodes,
        seed=options.seed,
        advance=lambda done, total: advance(f"{strategy.value}: index", done, total),
    )
    return StrategyFigures(
        strategy=strategy,
        partitions=parted.partition_count,
        cross_edges=outcome.cross_edges,
        cross_edge_share=outcome.cross_edge_share,
        boundary_nodes=outcome.boundary_nodes,
        boundary_share=outcome.boundary_nodes / graph.node_count,
        balance=float(size.max() / size.mean()),
        pipeline=figures,
        partition_s=partition_s,
        warnings=parted.warnings,
    )


def _measure_edge_strategy(
    file_graph: FileGraph, strategy: EdgeStrategy, options: ComparisonOptions, advance: Advance
) -> EdgeStrategyFigures:
    graph = file_graph.graph
    advance(f"{strategy.value}: count", 0, 1)
    started_s = time.perf_counter()
    count = options.partitions or default_partitions(graph.node_count)
    cut = edge_cut(graph, file_graph.ids, strategy, count)
    return EdgeStrategyFigures(cut, cut.cut_nodes / graph.node_count, time.perf_counter() - started_s)
