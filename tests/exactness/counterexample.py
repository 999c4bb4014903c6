"""Reduces a failing case, and stores it as text."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from planmesh.search.contraction import DEFAULT_LIMITS, ContractionLimits
from planmesh.search.overlay_build import OVERLAY_LIMITS
from tests.exactness.answers import WrongAnswerError
from tests.exactness.cases import Case, SearchBounds, check

DEFAULTS: Final[dict[str, ContractionLimits | SearchBounds]] = {
    "limits": DEFAULT_LIMITS,
    "overlay_limits": OVERLAY_LIMITS,
    "search": SearchBounds(),
}
"""The mesh's bounds, by the fields of a case."""


def shrink(case: Case) -> Case:
    """Remove from a failing case whatever it fails without: nodes, edges, small bounds, odd costs."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _simpler(case):
            if fails(candidate):
                case, smaller = candidate, True
                break
    return case


def fails(case: Case) -> bool:
    """Return whether the mesh gives a wrong answer or an error on a case."""
    try:
        check(case)
    except (WrongAnswerError, AssertionError, ValueError):
        return True
    return False


def _simpler(case: Case) -> list[Case]:
    simpler = [_without_node(case, node) for node in range(case.node_count)] if case.node_count > 1 else []
    simpler += [
        replace(case, edges=case.edges[:position] + case.edges[position + 1 :]) for position in range(len(case.edges))
    ]
    if case.group_sizes:
        simpler.append(replace(case, group_sizes=()))
    simpler += [replace(case, batch_pairs=pairs) for pairs in (0, case.batch_pairs // 2) if pairs < case.batch_pairs]
    simpler += [
        replace(case, **{name: replace(getattr(case, name), **{one.name: getattr(default, one.name)})})
        for name, default in DEFAULTS.items()
        for one in fields(default)
        if getattr(getattr(case, name), one.name) != getattr(default, one.name)
    ]
    for position, (tail, head, cost) in enumerate(case.edges):
        if cost not in (0.0, 1.0):
            edge = (tail, head, 1.0)
            simpler.append(replace(case, edges=(*case.edges[:position], edge, *case.edges[position + 1 :])))
    return simpler


def _without_node(case: Case, node: int) -> Case:
    edges = tuple(
        (tail - (tail > node), head - (head > node), cost)
        for tail, head, cost in case.edges
        if node not in (tail, head)
    )
    left = case.partition_of[:node] + case.partition_of[node + 1 :]
    return replace(case, node_count=case.node_count - 1, edges=edges, partition_of=left)


def to_text(case: Case, comment: str) -> str:
    """Return the case as the text of a file in tests/exactness/counterexamples. Omits bounds that are the mesh's."""
    lines = [f"# {line}" for line in comment.splitlines()] + [f"origin {case.origin}"]
    for name, default in DEFAULTS.items():
        bounds = getattr(case, name)
        lines += [
            f"{name} {one.name} {getattr(bounds, one.name)!r}"
            for one in fields(default)
            if getattr(bounds, one.name) != getattr(default, one.name)
        ]
    lines += ["group_sizes " + " ".join(map(str, case.group_sizes))] if case.group_sizes else []
    lines += [f"batch_pairs {case.batch_pairs}"] if case.batch_pairs else []
    lines += [f"node {partition}" for partition in case.partition_of]
    lines += [f"edge {tail} {head} {cost!r}" for tail, head, cost in case.edges]
    return "\n".join(lines) + "\n"


def from_text(text: str) -> Case:
    """Return the case that `to_text` wrote."""
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    bounds = dict(DEFAULTS)
    for name, rest in rows:
        if name in bounds:
            bound, value = rest.split()
            kind = type(getattr(DEFAULTS[name], bound))
            bounds[name] = replace(bounds[name], **{bound: kind(float(value))})
    partitions = tuple(int(rest) for name, rest in rows if name == "node")
    edges = [rest.split() for name, rest in rows if name == "edge"]
    return Case(
        origin=next(rest for name, rest in rows if name == "origin"),
        node_count=len(partitions),
        edges=tuple((int(tail), int(head), float(cost)) for tail, head, cost in edges),
        partition_of=partitions,
        group_sizes=next((tuple(map(int, rest.split())) for name, rest in rows if name == "group_sizes"), ()),
        batch_pairs=next((int(rest) for name, rest in rows if name == "batch_pairs"), 0),
        **bounds,  # type: ignore[arg-type]
    )
