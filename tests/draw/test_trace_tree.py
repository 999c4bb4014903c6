from __future__ import annotations

from dataclasses import dataclass, field

from planmesh.draw.trace_tree import LAST_SPANS_OF_PLAN, is_whole_plan, render_tree, spans_of_trace


@dataclass(frozen=True)
class FakeSpan:
    service: str
    name: str
    span_id: str
    parent_id: str = ""
    trace_id: str = "t1"
    start_ns: int = 0
    duration_ms: float = 1.0
    attributes: dict[str, str | int | float | bool] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()
    error: str = ""


ROOT = FakeSpan("gateway", "Plan", "1", duration_ms=9)
COORDINATOR = FakeSpan("coordinator", "ComputePlan", "2", "1", start_ns=1, attributes={"planmesh.graph": "default"})
LOCATE = FakeSpan("coordinator", "locate", "3", "2", start_ns=2, attributes={"rpc.system": "grpc"})
DISPATCH = FakeSpan("coordinator", "dispatch", "4", "2", start_ns=3)
SHARED = FakeSpan("worker", "work", "5", "", "t2", start_ns=4, links=(("t1", "4"), ("t3", "9")), error="lost")
FOREIGN = FakeSpan("gateway", "Ping", "6", "", "t4")
EVERYTHING = [SHARED, FOREIGN, DISPATCH, LOCATE, COORDINATOR, ROOT]


def test_children_are_indented_in_the_order_of_their_start() -> None:
    lines = render_tree([ROOT, DISPATCH, LOCATE, COORDINATOR], "t1")
    assert lines == [
        "gateway  Plan  9.00 ms",
        "└─ coordinator  ComputePlan  1.00 ms  [graph=default]",
        "   ├─ coordinator  locate  1.00 ms",
        "   └─ coordinator  dispatch  1.00 ms",
    ]


def test_a_task_of_several_plans_is_shown_below_the_span_it_links_to() -> None:
    spans = spans_of_trace(EVERYTHING, "t1")
    assert FOREIGN not in spans
    assert render_tree(spans, "t1")[-1] == (
        "      └─ worker  work  1.00 ms  [links=1 (and 1 other traces), ERROR: lost]"
    )


def test_a_span_whose_parent_is_missing_is_a_root() -> None:
    assert render_tree([LOCATE], "t1") == ["coordinator  locate  1.00 ms"]


def test_a_plan_is_whole_when_each_process_has_sent_its_last_span() -> None:
    spans = [FakeSpan(service, name, str(number)) for number, (service, name) in enumerate(LAST_SPANS_OF_PLAN)]
    assert is_whole_plan([*spans, FOREIGN], "t1")
    assert not any(is_whole_plan(spans[:left_out] + spans[left_out + 1 :], "t1") for left_out in range(len(spans)))
    assert not is_whole_plan(spans, "t4")
