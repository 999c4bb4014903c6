"""The report's plots, as SVG. Equal figures give equal files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.graphs import kind_of
from bench.results import Results
from bench.statistics import fit_power_law
from bench.subject import OURS, SUBJECTS

OUR_COLOR: Final = "#1f6f8b"
PEER_COLOR: Final = "#b5b5b5"

STYLE: Final = {
    "svg.hashsalt": "planmesh",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
"""Settings of matplotlib. The fixed salt makes equal figures give equal files."""


@contextmanager
def styled() -> Iterator[Any]:
    """Yield pyplot in the report's style, which applies only inside the block."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        yield import_module("matplotlib.pyplot")


def _is_ours(subject: str) -> bool:
    return any(subject in (kind.name, kind.cached_name) for kind in SUBJECTS if kind.group == OURS)


def draw_subjects(results: Results, folder: Path) -> list[str]:
    """Draw one bar chart per graph: median and 95th percentile of each subject, logarithmic."""
    with styled() as pyplot:
        return _draw_subjects(pyplot, results, folder)


def _draw_subjects(pyplot: Any, results: Results, folder: Path) -> list[str]:
    graphs = results.graphs()
    if not graphs:
        return []
    height = 1.2 + 0.22 * max(len(results.of_graph(graph)) for graph in graphs)
    figure, axes = pyplot.subplots(len(graphs), 1, figsize=(8, height * len(graphs)), squeeze=False)
    for axis, graph in zip(axes[:, 0], graphs, strict=True):
        rows = results.of_graph(graph)[::-1]
        names = [row.subject for row in rows]
        colors = [OUR_COLOR if _is_ours(name) else PEER_COLOR for name in names]
        axis.barh(names, [row.p50_ms for row in rows], color=colors)
        axis.plot([row.p95_ms for row in rows], names, "|", color="black", markersize=9)
        axis.set_xscale("log")
        axis.set_title(f"{graph}: ms per query, median (bar) and 95th percentile (tick)", loc="left")
    return [save(pyplot, figure, folder, "queries.svg")]


def draw_growth(results: Results, folder: Path) -> list[str]:
    """Draw the median query over the number of nodes, with the fitted power law, for each kind with several sizes."""
    with styled() as pyplot:
        return _draw_growth(pyplot, results, folder)


def _draw_growth(pyplot: Any, results: Results, folder: Path) -> list[str]:
    drawn = []
    for kind in ("service", "grid"):
        rows = [row for row in results.rows if kind_of(row.graph) == kind]
        if len({row.nodes for row in rows}) < 2:
            continue
        figure, axis = pyplot.subplots(figsize=(8, 5))
        for subject in dict.fromkeys(row.subject for row in rows):
            points = sorted((row.nodes, row.p50_ms) for row in rows if row.subject == subject)
            law = fit_power_law(points)
            ours = _is_ours(subject)
            label = subject if law is None else f"{subject}  n^{law.exponent:.2f}"
            style = {"linewidth": 2.5} if ours else {"linewidth": 1, "linestyle": "--"}
            axis.plot([x for x, _ in points], [y for _, y in points], marker="o", label=label, **style)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("nodes")
        axis.set_ylabel("ms a query, median")
        axis.set_title(f"growth on {kind} graphs", loc="left")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        drawn.append(save(pyplot, figure, folder, f"growth-{kind}.svg"))
    return drawn


def save(pyplot: Any, figure: Any, folder: Path, name: str) -> str:
    """Write a figure reproducibly, and return its file name."""
    figure.savefig(folder / name, metadata={"Date": None})
    pyplot.close(figure)
    return name
