"""Prints docs/reference/metrics.md from planmesh/telemetry. `make docs` writes the page; a test compares it."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planmesh.telemetry import names
from planmesh.telemetry.metrics import DURATION_BOUNDS_S, make_instruments
from planmesh.telemetry.process_metrics import observe_process

HEAD = """# Metrics and spans

planmesh exports them over OTLP when the standard `OTEL_*` variables name an endpoint;
[traces, metrics and logs](../operations/tracing.md) explains how, and shows a trace.

`make docs` generates this page from `planmesh/telemetry`.
"""

COLUMNS = 100

SHARD_OF_WORKERS = f"{names.SHARD} (query workers)"

WHERE: dict[str, tuple[str, Sequence[str]]] = {
    names.METRIC_CALL_DURATION: ("gateway, coordinator, partition service", [names.RPC_METHOD, names.RPC_STATUS_CODE]),
    names.METRIC_PLANS: ("coordinator", [names.STATUS]),
    names.METRIC_PLAN_DURATION: ("coordinator", []),
    names.METRIC_PHASE_DURATION: ("coordinator", [names.PHASE]),
    names.METRIC_PLAN_PARTITIONS: ("coordinator", []),
    names.METRIC_BATCH_SIZE: ("coordinator", []),
    names.METRIC_QUEUE_DEPTH: ("coordinator", [names.SHARD]),
    names.METRIC_QUEUE_AGE: ("coordinator", [names.SHARD]),
    names.METRIC_WORKERS: ("coordinator", [names.SHARD]),
    names.METRIC_PROCESS_UP: ("coordinator", [names.PROCESS]),
    names.METRIC_GRAPH_VERSION: ("coordinator, partition service", [names.GRAPH]),
    names.METRIC_TASKS: ("coordinator", []),
    names.METRIC_CACHE_HITS: ("coordinator", []),
    names.METRIC_CACHE_MISSES: ("coordinator", []),
    names.METRIC_JOINED: ("coordinator", []),
    names.METRIC_HEDGES: ("coordinator", []),
    names.METRIC_RETRIES: ("coordinator", []),
    names.METRIC_REFUSED: ("gateway", [names.KIND, names.REASON]),
    names.METRIC_UNDECODABLE: ("gateway, coordinator, partition service", [names.RPC_METHOD]),
    names.METRIC_IN_FLIGHT: ("gateway", [names.KIND]),
    names.METRIC_BUILD_DURATION: ("build workers", []),
    names.METRIC_ITEM_DURATION: ("query workers", [names.SHARD]),
    names.METRIC_SHADOW_CHECKS: ("build workers, coordinator", [names.RESULT]),
    names.METRIC_GRAPH_SUSPECT: ("partition service", [names.GRAPH]),
    names.METRIC_STORE_DURATION: ("partition service", [names.STORE, names.STORE_OPERATION]),
    names.METRIC_STORE_ERRORS: ("partition service", [names.STORE, names.STORE_OPERATION, names.ERROR_TYPE]),
    names.METRIC_STORE_HITS: ("partition service", [names.STORE]),
    names.METRIC_STORE_MISSES: ("partition service", [names.STORE]),
    names.METRIC_STORE_HOT_SHARE: ("partition service", [names.STORE]),
    names.METRIC_STORE_QUERY_COST: ("partition service, with a price of the store", [names.STORE]),
    names.METRIC_MEMORY: ("every process", [SHARD_OF_WORKERS]),
    names.METRIC_CPU_TIME: ("every process", [names.CPU_MODE, SHARD_OF_WORKERS]),
    names.METRIC_PROCESS_COST: ("every process with a price", [SHARD_OF_WORKERS]),
}
"""The processes that record each metric, and its attributes, as in the recording code. main() checks the names."""


@dataclass
class Recorder:
    """Replaces a Meter, and records the created instruments."""

    rows: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Kind, unit and description, by name."""

    def __getattr__(self, method: str) -> Any:
        """Return a substitute for one of Meter's methods, such as create_counter."""
        kind = (
            method.removeprefix("create_").removeprefix("observable_").replace("_", " ").replace("up down", "up-down")
        )

        def create(name: str, *_: Any, unit: str, description: str, **__: Any) -> None:
            self.rows[name] = (kind, unit, description)

        return create


def code(values: Sequence[str]) -> str:
    """Format names as code in one cell."""
    words = [value.partition(" ") for value in values]
    return ", ".join(f"`{name}`{space}{rest}" for name, space, rest in words) or "-"


def in_prometheus(name: str, kind: str, unit: str) -> str:
    """Return the name that Prometheus gives a metric, by OpenTelemetry's rules for names and units."""
    units = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}
    suffix = units.get(unit, "")
    if unit == "1" and kind != "gauge":
        suffix = ""
    return name.replace(".", "_") + suffix + ("_total" if kind == "counter" else "")


def documented_names() -> Iterator[tuple[str, str, str]]:
    """Return every constant of names.py with its value and its docstring, in the order of the file."""
    body = ast.parse(Path(str(names.__file__)).read_text()).body
    for index, statement in enumerate(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        value = getattr(names, statement.target.id)
        following = body[index + 1] if index + 1 < len(body) else None
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = str(following.value.value)
        if isinstance(value, str):
            yield statement.target.id, value, text


def main() -> None:
    """Print the page."""
    recorder = Recorder()
    make_instruments(recorder)  # type: ignore[arg-type]  # it has the methods that are called
    observe_process(recorder, usd_per_hour=1.0)  # type: ignore[arg-type]
    declared = {value for constant, value, _ in documented_names() if constant.startswith("METRIC_")}
    assert declared == set(recorder.rows), f"declared or created only: {declared ^ set(recorder.rows)}"
    assert declared == set(WHERE), f"in WHERE or declared only: {declared ^ set(WHERE)}"
    print(HEAD)
    print("## Metrics\n\n| metric | kind, unit | recorded by | attributes | meaning |\n|---|---|---|---|---|")
    for name, (kind, unit, description) in recorder.rows.items():
        processes, attributes = WHERE[name]
        print(f"| `{name}` | {kind}, {unit} | {processes} | {code(attributes)} | {description} |")
    bounds = ", ".join(f"{bound:g}" for bound in DURATION_BOUNDS_S)
    print("\n" + textwrap.fill(f"Bounds of the histograms of durations, in seconds: {bounds}.", COLUMNS))
    print("\n## Names in Prometheus\n\n| metric | in Prometheus |\n|---|---|")
    for name, (kind, unit, _) in recorder.rows.items():
        print(f"| `{name}` | `{in_prometheus(name, kind, unit)}` |")
    print("\nA histogram is exported as `_bucket`, `_sum` and `_count`.")
    print("\n## Spans\n")
    print("The span of a call has the name of the rpc: `planmesh.v1.PlanService/Plan`. A task of a plan has")
    print("the spans `planmesh.query send` and `planmesh.query process`. The others are:\n")
    print("| span | meaning |\n|---|---|")
    for constant, value, text in documented_names():
        if constant.startswith("SPAN_"):
            print(f"| `{value}` | {text} |")
    print("\n## Attributes\n\n| attribute | meaning |\n|---|---|")
    for constant, value, text in documented_names():
        if not constant.startswith(("SPAN_", "METRIC_", "SHADOW_")):
            print(f"| `{value}` | {text} |")


if __name__ == "__main__":
    main()
