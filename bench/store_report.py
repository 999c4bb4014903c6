"""The report on stores as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bench.report import table
from bench.statistics import shown

NAMES: Final = {
    "sqlite": "SQLite, Dijkstra's search in the querying process",
    "redis": "Redis, Dijkstra's search in a script on the server",
    "neo4j-gds": "Neo4j, Graph Data Science on a projection",
    "neo4j-apoc": "Neo4j, `apoc.algo.dijkstra`",
    "hybrid": "Redis in front of Neo4j with Graph Data Science",
    "gremlin": "Gremlin Server (TinkerGraph), the edges of many nodes per round",
}
HOT_P95_MS_MAX: Final = 15.0
RATIO_MIN: Final = 3.0


def render(results: dict[str, Any]) -> str:
    """Render the report from the content of stores.json."""
    sections = [
        _head(results),
        _targets(results),
        _figures(results),
        _uses(results),
        _not_run(results),
        _machine(results),
    ]
    return "\n".join(section for section in sections if section)


def _head(results: dict[str, Any]) -> str:
    return (
        "# Stores and the mesh\n\n"
        f"A run of `make bench-stores`, {results['began']}: every store holds the same graph ({results['graph']}: "
        f"{results['nodes']:,} nodes, {results['edges']:,} edges), and so does the mesh. The same random pairs are "
        "queried in the store's own shortest path and in the mesh (`planmesh measure --store`, one at a time, ten in "
        "one side and then the same in the other, without the mesh's caches), and every answer of both is checked "
        "with plain bidirectional Dijkstra.\n\n"
        f"Before each store was measured the machine's load average was {_list(results['load_average'])} on "
        f"{results['machine']['cores']} cores: compare the two sides of a row, which saw the same machine.\n"
    )


def _figures(results: dict[str, Any]) -> str:
    rows = []
    for row in results["rows"]:
        measured = row["measured"]
        store, mesh = measured["sides"]["store"], measured["sides"]["mesh"]
        wrong = store["mismatches"] + mesh["mismatches"] + measured["disagreements"]
        others = ", ".join(f"{count} {reason}" for reason, count in store["errors"].items()) or "0"
        ratio = measured["ratio"]["p50"]
        rows.append(
            (
                row["store"],
                *(shown(store["latency_ms"][point]) for point in ("p50", "p95", "p99")),
                *(shown(mesh["latency_ms"][point]) for point in ("p50", "p95", "p99")),
                shown(ratio) if ratio else "-",
                f"{measured['asked']:,}",
                f"{store['time_outs']:,}",
                others,
                f"{wrong:,}",
            )
        )
    header = (
        "store",
        "p50 ms",
        "p95",
        "p99",
        "mesh p50 ms",
        "p95",
        "p99",
        "times as long",
        "asked",
        "time-outs",
        "errors",
    )
    return (
        "## The same pairs, store and mesh\n\n"
        + table((*header, "wrong"), rows)
        + "\nA query that timed out counts with the time until then, so such percentiles are lower bounds. Wrong "
        "are answers of either side that contradict the reference, and pairs on which the two sides disagree.\n\n"
        + "".join(f"- `{row['store']}`: {NAMES[row['store']]}\n" for row in results["rows"])
        + "".join(_hot(results))
    )


def _hot(results: dict[str, Any]) -> Iterator[str]:
    for row in results["rows"]:
        hot = row["measured"]["hot"]
        if hot is not None:
            front, mesh = hot["latency_ms"], hot["mesh_latency_ms"]
            yield (
                f"\nHot answers of `{row['store']}`: {hot['answers']:,} for {hot['pairs']:,} pairs, p50 "
                f"{shown(front['p50'])}, p95 {shown(front['p95'])}, p99 {shown(front['p99'])} ms, "
                f"{hot['mismatches']} wrong; the mesh for the same pairs, from its cache: "
                f"p50 {shown(mesh['p50'])}, p95 {shown(mesh['p95'])} ms.\n"
            )


def _targets(results: dict[str, Any]) -> str:
    rows = []
    timed = [row for row in results["rows"] if row["measured"]["ratio"]["p50"]]
    if timed:
        best = min(timed, key=lambda row: float(row["measured"]["ratio"]["p50"]))
        ratio = best["measured"]["ratio"]["p50"]
        found = f"the best is {best['store']}: {shown(ratio)} times"
        rows.append(("mesh versus the best store, median", "at least 3 times ahead", found, _yes(ratio >= RATIO_MIN)))
    for row in results["rows"]:
        hot = row["measured"]["hot"]
        if hot is not None and hot["answers"]:
            p95 = hot["latency_ms"]["p95"]
            rows.append(
                ("hot answers of the hybrid store", "p95 < 15 ms", f"{shown(p95)} ms", _yes(p95 < HOT_P95_MS_MAX))
            )
    return "## Figures to reach\n\n" + table(("what", "reach", "found", "reached"), rows, left=4) if rows else ""


def _uses(results: dict[str, Any]) -> str:
    rows = [
        (
            row["store"],
            shown(row["load_s"]),
            f"{row['memory_empty_mb']:,.0f}" if row["memory_mb"] else "-",
            f"{row['memory_mb']:,.0f}" if row["memory_mb"] else "-",
            f"{row['disk_mb']:,.1f}" if row["disk_mb"] else "-",
        )
        for row in results["rows"]
    ]
    mesh = results["mesh"]
    rows.append(("mesh", shown(mesh["load_s"]), "-", "-", f"{mesh['disk_mb']:,.1f}"))
    header = ("store", "load s", "memory before, MiB", "memory after, MiB", "disk, MiB")
    return (
        "## What they use\n\n"
        + table(header, rows)
        + "\nMemory is that of the store's servers, before the load and after the queries; disk is that of its files "
        "once it has ended. Rows of one server share its load. SQLite runs in the querying process.\n"
    )


def _not_run(results: dict[str, Any]) -> str:
    if not results["not_run"]:
        return ""
    return "## Not run, and why\n\n" + table(("store", "why"), list(results["not_run"].items()), left=2)


def _machine(results: dict[str, Any]) -> str:
    left_out = ("routingkit-cch", "networkit", "rustworkx", "igraph", "scipy", "networkx", "ladybug", "psycopg")
    rows = [(name, value) for name, value in results["machine"].items() if name not in left_out]
    return "## The machine\n\n" + table(("what", "which"), rows, left=2)


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "not taken"
