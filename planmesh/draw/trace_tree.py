"""Renders a trace as an indented tree of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from planmesh.telemetry import names

SKIPPED_PREFIXES: Final = ("rpc.", "server.", "client.", "net.", "network.", "thread.", "code.", "messaging.", "db.")
"""Attributes that repeat what the tree already shows."""

ATTRIBUTES_MAX: Final = 8
"""Most attributes shown for a span."""


LAST_SPANS_OF_PLAN: Final = {
    ("planmesh-cli", "planmesh.v1.PlanService/Plan"),
    ("planmesh-gateway", "planmesh.v1.PlanService/Plan"),
    ("planmesh-coordinator", "planmesh.internal.v1.CoordinatorService/ComputePlan"),
    ("planmesh-query-worker", names.SPAN_QUERY_PROCESS),
}
"""Service and name of the span that ends last in each process, for a plan that the command line asked for."""


class Span(Protocol):
    """The fields of a span that are read here; `planmesh.local.trace_receiver.ReceivedSpan` has them."""

    @property
    def service(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def trace_id(self) -> str: ...  # noqa: D102
    @property
    def span_id(self) -> str: ...  # noqa: D102
    @property
    def parent_id(self) -> str: ...  # noqa: D102
    @property
    def start_ns(self) -> int: ...  # noqa: D102
    @property
    def duration_ms(self) -> float: ...  # noqa: D102
    @property
    def attributes(self) -> dict[str, str | int | float | bool]: ...  # noqa: D102
    @property
    def links(self) -> tuple[tuple[str, str], ...]: ...  # noqa: D102
    @property
    def error(self) -> str: ...  # noqa: D102


def spans_of_trace(spans: Iterable[Span], trace_id: str) -> list[Span]:
    """Return the spans of a trace, and spans of other traces that link to it: tasks shared by several plans."""
    everything = list(spans)
    inside = [span for span in everything if span.trace_id == trace_id]
    linked = [
        span
        for span in everything
        if span.trace_id != trace_id and any(link_trace == trace_id for link_trace, _ in span.links)
    ]
    return [*inside, *linked]


def is_whole_plan(spans: Iterable[Span], trace_id: str) -> bool:
    """Return whether every process has exported its last span of a plan. Processes export spans as they end."""
    seen = {(span.service, span.name) for span in spans_of_trace(spans, trace_id)}
    return seen.issuperset(LAST_SPANS_OF_PLAN)


def render_tree(spans: Sequence[Span], trace_id: str) -> list[str]:
    """Return the lines of the tree: branch, service, name, milliseconds, links and attributes of each span.

    A span without a parent in the list hangs below the span that it links to; without a link it is a root.
    """
    by_id = {span.span_id: span for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_ns):
        children.setdefault(_parent(span, by_id, trace_id), []).append(span)
    lines: list[str] = []
    for root in children.get("", []):
        _render(root, children, "", "", trace_id, lines)
    return lines


def _parent(span: Span, by_id: dict[str, Span], trace_id: str) -> str:
    if span.parent_id in by_id:
        return span.parent_id
    for link_trace, link_span in span.links:
        if link_trace == trace_id and link_span in by_id and link_span != span.span_id:
            return link_span
    return ""


def _render(
    span: Span, children: dict[str, list[Span]], branch: str, indent: str, trace_id: str, lines: list[str]
) -> None:
    lines.append(f"{branch}{span.service}  {span.name}  {span.duration_ms:.2f} ms{_details(span, trace_id)}")
    below = children.get(span.span_id, [])
    for position, child in enumerate(below):
        last = position == len(below) - 1
        _render(
            child, children, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  "), trace_id, lines
        )


def _details(span: Span, trace_id: str) -> str:
    facts = [
        f"{name.removeprefix('planmesh.')}={_shown(value)}"
        for name, value in sorted(span.attributes.items())
        if not name.startswith(SKIPPED_PREFIXES)
    ][:ATTRIBUTES_MAX]
    if span.links:
        own = sum(1 for link_trace, _ in span.links if link_trace == trace_id)
        others = len({link_trace for link_trace, _ in span.links} - {trace_id})
        facts.append(f"links={own}" + (f" (and {others} other traces)" if others else ""))
    if span.error:
        facts.append(f"ERROR: {span.error}")
    return f"  [{', '.join(facts)}]" if facts else ""


def _shown(value: str | float | bool) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
