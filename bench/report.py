"""The report: Markdown, ratios first, with plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bench.graphs import KINDS, kind_of
from bench.plots import draw_growth, draw_subjects
from bench.results import Results, Row, write_aside
from bench.statistics import fit_power_law, shown
from bench.subject import SUBJECTS, subject_kind
from bench.targets import CACHED, MESH, SEARCH, findings

REPORT_NAME: Final = "README.md"
OURS: Final = (SEARCH, MESH, CACHED)
METHOD: Final = """\
Each subject is a process of its own, with everything it starts, bounded in time and memory. It loads its graph before
any subject is queried. The queries then alternate: a tenth of each subject's, ten times, so that a busy moment of the
machine affects all. All get the same pairs, drawn uniformly among those with a path; a slow subject gets the first of
them, as many as the table says. Before each turn a subject answers up to 20 other pairs, for a second at most, which
do not count: the turns of the others have evicted its memory from the processor's caches.

Load is the time from the arrays in memory to the first answer (for the mesh: `planmesh load` of a file with string
ids); servers are started and kernels compiled before. Peak memory is that of all processes of a subject, with shared
memory counted once; each Python process includes the input's arrays. It excludes a server that the benchmark did not
start (FalkorDB, and Neo4j if its address is given). Exact means: every answer's cost is that of plain
bidirectional Dijkstra (to 1e-9 where costs are fractions).
"""
REACHED: Final = {True: "yes", False: "**no**", None: "not run"}


def write_report(results: Results, folder: Path) -> Path:
    """Write README.md and the plots to a folder, and return the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = [*draw_subjects(results, folder), *draw_growth(results, folder)]
    path = folder / REPORT_NAME
    write_aside(path, render(results, plots))
    return path


def render(results: Results, plots: Sequence[str] = ()) -> str:
    """Render the report as Markdown; `plots` are the file names of pictures in the same folder."""
    sections = [
        _head(results),
        _ratios(results),
        _targets(results),
        _growth(results),
        *(f"![{name.removesuffix('.svg').replace('-', ' ')}]({name})\n" for name in plots),
        _whole_mesh(results),
        _figures(results),
        _not_run(results),
        _method(results),
        _machine(results),
    ]
    return "\n".join(section for section in sections if section).rstrip() + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Render a Markdown table. The first `left` columns are text, the others figures."""
    marks = ["---" if column < left else "--:" for column in range(len(header))]
    lines = [header, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _head(results: Results) -> str:
    wrong = sum(row.wrong for row in results.rows if row.subject in OURS)
    checked = sum(row.checked for row in results.rows if row.subject in OURS)
    of_size = {"small": "`make bench`", "full": "`make bench-full`"}.get(results.size, "a smoke run")
    largest = max((row.nodes for row in results.rows), default=0)
    return (
        f"# Benchmark: planmesh and its peers\n\n"
        f"A run of {of_size}, {results.began}: {len(results.graphs())} graphs of up to {largest:,} nodes, every "
        "subject on the same graphs and pairs, with alternating queries. "
        f"{checked:,} answers of planmesh were compared "
        f"with plain bidirectional Dijkstra: {wrong} were wrong.\n" + "".join(f"\n{note}\n" for note in results.notes)
    )


def _ratios(results: Results) -> str:
    graphs = results.graphs()
    peers = [kind.name for kind in SUBJECTS if kind.name not in OURS]
    peers = [peer for peer in peers if any(results.row(graph, peer) for graph in graphs)]
    sections = ["## How many times as long a peer takes (median query)\n"]
    for ours, title in (
        (SEARCH, "Compared with our search in one process, with the path"),
        (MESH, "Compared with the whole mesh, uncached"),
    ):
        rows = []
        for peer in peers:
            cells = []
            for graph in graphs:
                mine, theirs = results.row(graph, ours), results.row(graph, peer)
                cells.append(shown(theirs.p50_ms / mine.p50_ms) if mine and theirs else "-")
            rows.append((peer, *cells))
        sections.append(f"{title}; below 1 the peer is quicker.\n\n" + table(("peer", *graphs), rows))
    return "\n".join(sections)


def _targets(results: Results) -> str:
    rows = [(one.what, one.wanted, one.found, REACHED[one.reached]) for one in findings(results)]
    return "## Figures to reach\n\n" + table(("what", "reach", "found", "reached"), rows, left=4)


def _growth(results: Results) -> str:
    rows = []
    for kind in ("service", "grid"):
        for subject in dict.fromkeys(row.subject for row in results.rows):
            own = [row for row in results.rows if row.subject == subject and kind_of(row.graph) == kind]
            fits = [
                fit_power_law([(row.nodes, value(row)) for row in own if value(row) > 0])
                for value in (_p50, _load_s, _memory_mb)
            ]
            if fits[0] is not None:
                exponents = [f"{fit.exponent:.2f}" if fit is not None else "-" for fit in fits]
                sizes = ", ".join(row.graph.rpartition("-")[2] for row in sorted(own, key=lambda row: row.nodes))
                rows.append((kind, subject, sizes, *exponents))
    if not rows:
        return ""
    return (
        "## Growth with the number of nodes\n\n"
        "Exponents e of figure = factor * nodes^e, fitted by least squares: 0 is constant, 1 grows in proportion to "
        "the graph. Memory includes that of every process before it loads.\n\n"
        + table(("graph", "subject", "sizes", "p50", "load", "memory"), rows, left=3)
    )


def _p50(row: Row) -> float:
    return row.p50_ms


def _load_s(row: Row) -> float:
    return row.load_s


def _memory_mb(row: Row) -> float:
    return row.memory_mb


def _whole_mesh(results: Results) -> str:
    rows = []
    for graph, measures in results.measures.items():
        if "plans_per_second" in (found := measures.get("throughput", {})):
            share = found["plans_per_second"] / found["floor_per_second"]
            latency = found["latency_ms"]
            rows.append(
                (
                    graph,
                    f"{found['concurrency']} clients, uncached",
                    f"{found['plans_per_second']:,.0f} plans/s, {share:.0%} of {found['floor_per_second']:,.0f} "
                    f"empty calls/s; p50 {shown(latency['p50'])}, p99 {shown(latency['p99'])} ms; "
                    f"{found['tasks']:,} tasks for "
                    f"{found['queries']:,} plans; errors {found['errors'] or 'none'}",
                )
            )
        if "answered" in (found := measures.get("agents", {})):
            rows.append(
                (
                    graph,
                    f"{found['agents']:,} agents at once",
                    f"{found['answered']:,} of {found['calls']:,} answered in {found['seconds']:.1f} s, "
                    f"{found['wrong']} wrong, errors {found['errors'] or 'none'}; "
                    f"p50 {shown(found['latency_ms']['p50'])}, p99 {shown(found['latency_ms']['p99'])} ms, "
                    "refusals included",
                )
            )
        if "ready_s" in (found := measures.get("restart", {})):
            text = f"{found['ready_s']:.1f} s from `planmesh up` to the first plan, {found['up_s']:.1f} s to `ready`"
            rows.append((graph, "restart", text))
        rows += [(graph, what, f"failed: {one['failed']}") for what, one in measures.items() if "failed" in one]
    return "## The mesh as a whole\n\n" + table(("graph", "measure", "found"), rows, left=3) if rows else ""


def _figures(results: Results) -> str:
    sections = ["## Every figure\n"]
    for graph in results.graphs():
        own = results.of_graph(graph)
        sections.append(f"### {graph}: {own[0].nodes:,} nodes, {own[0].edges:,} edges\n\n{KINDS[kind_of(graph)]}.\n")
        passed = results.unreachable.get(graph, 0)
        if passed:
            sections.append(f"{passed:,} drawn pairs had no path and were left out.\n")
        if graph in results.others_share:
            sections.append(f"Other work took {results.others_share[graph]:.0%} of the processors while queries ran.\n")
        rows = [
            (
                row.subject,
                shown(row.p50_ms),
                shown(row.p95_ms),
                f"{row.checked:,}",
                "yes" if row.exact else f"**{row.wrong} wrong**",
                "" if row.subject == CACHED else shown(row.load_s),
                "" if row.subject == CACHED else f"{row.memory_mb:,.0f}",
                ", ".join(f"{name} {shown(took_s)}" for name, took_s in row.stages_s.items()),
            )
            for row in own
        ]
        header = ("subject", "p50 ms", "p95 ms", "pairs", "exact", "load s", "peak MiB", "stages of the load, s")
        sections.append(table(header, rows))
    return "\n".join(sections)


def _not_run(results: Results) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in results.not_run:
        reasons.setdefault((one.subject, one.reason), []).append(one.graph)
    if not reasons:
        return ""
    rows = [(subject, ", ".join(graphs), reason) for (subject, reason), graphs in reasons.items()]
    return "## Not run, and why\n\n" + table(("subject", "graphs", "why"), rows, left=3)


def _method(results: Results) -> str:
    ran = {row.subject for row in results.rows}
    subjects = "".join(f"- `{kind.name}`: {kind.what}\n" for kind in SUBJECTS if kind.name in ran)
    cached = subject_kind(MESH).cached_name
    return (
        "## How it was measured\n\n"
        f"{subjects}- `{cached}`: the same mesh, queried again for the pairs it has just answered\n\n{METHOD}"
    )


def _machine(results: Results) -> str:
    return "## The machine\n\n" + table(("what", "which"), results.machine.items(), left=2)
