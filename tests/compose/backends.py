"""Clients of the HTTP interfaces of Jaeger and Prometheus."""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from planmesh.local.trace_receiver import ReceivedSpan
from tests.deploy.queries import Query

HTTP_S_MAX: Final = 10.0
POLL_S: Final = 0.5

FORMAT_TAGS: Final = ("span.kind", "internal.", "otel.")
"""Tags in which Jaeger stores the fields of a span."""


T = TypeVar("T")


def poll(condition: Callable[[], T], timeout_s: float, missing: Callable[[], str] = lambda: "the condition") -> T:
    """Return the first true result of `condition`. After `timeout_s`, fail with the text of `missing`."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"{missing()}: not within {timeout_s:g} s"
        time.sleep(POLL_S)
    return found


class Jaeger:
    """Jaeger's traces by id."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/traces/"

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of a trace that Jaeger has so far."""
        try:
            answer = _json(self._url + trace_id)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return [_span(span, trace["processes"]) for trace in answer["data"] for span in trace["spans"]]

    def wait_for(
        self, trace_id: str, enough: Callable[[list[ReceivedSpan]], bool], timeout_s: float
    ) -> list[ReceivedSpan]:
        """Return a trace as soon as `enough` of it has arrived."""
        spans: list[ReceivedSpan] = []

        def condition() -> bool:
            spans[:] = self.trace(trace_id)
            return enough(spans)

        def missing() -> str:
            return f"of trace {trace_id} Jaeger has only {sorted({(span.service, span.name) for span in spans})}"

        poll(condition, timeout_s, missing)
        return spans


class Prometheus:
    """Prometheus' answers to queries, and the state of its rules."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def values(self, expression: str) -> list[float]:
        """Return the current values of a query, without NaN."""
        answer = _json(self._url + "query", query=expression)
        values = [float(sample["value"][1]) for sample in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    def wait_for_data(self, queries: Iterable[Query], timeout_s: float) -> dict[Query, list[float]]:
        """Return the values of all queries, as soon as each has some."""
        wanted, found = list(queries), dict[Query, list[float]]()

        def condition() -> bool:
            for query in wanted:
                if query not in found and (values := self.values(query.expression)):
                    found[query] = values
            return len(found) == len(set(wanted))

        def missing() -> str:
            asked = (f"  {query.place}: {query.expression}" for query in wanted if query not in found)
            return "Prometheus has no data for\n" + "\n".join(asked)

        poll(condition, timeout_s, missing)
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return recording rules and alerts, with health and state."""
        groups = _json(self._url + "rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def _json(url: str, **parameters: str) -> Any:
    encoded = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    with urllib.request.urlopen(url + encoded, timeout=HTTP_S_MAX) as response:
        return json.load(response)


def _span(span: dict[str, Any], processes: dict[str, Any]) -> ReceivedSpan:
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    references = [(one["refType"], (one["traceID"], one["spanID"])) for one in span["references"]]
    parents = [there for kind, there in references if kind == "CHILD_OF"]
    start_ns = span["startTime"] * 1_000
    return ReceivedSpan(
        service=processes[span["processID"]]["serviceName"],
        name=span["operationName"],
        trace_id=span["traceID"],
        span_id=span["spanID"],
        parent_id=parents[0][1] if parents else "",
        start_ns=start_ns,
        end_ns=start_ns + span["duration"] * 1_000,
        attributes={key: value for key, value in tags.items() if not key.startswith(FORMAT_TAGS)},
        links=tuple(there for kind, there in references if kind == "FOLLOWS_FROM"),
        kind=str(tags.get("span.kind", "internal")),
        error=str(tags.get("otel.status_description", "error")) if tags.get("error") else "",
    )
