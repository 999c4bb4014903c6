"""A request for a plan, as the coordinator works with it."""

from __future__ import annotations

from dataclasses import dataclass

from planmesh.defaults import GRAPH_DEFAULT
from planmesh.internal.v1 import coordinator_pb2
from planmesh.v1 import plan_pb2
from services.coordinator.answer_cache import AnswerKey
from services.coordinator.change_feed import NEWEST, Wanted, wanted_by
from services.coordinator.path_options import PLAIN, PathOptions

Terms = tuple[str, bool, int, Wanted, PathOptions]
"""Graph, whether caches are bypassed, detail, versions and options."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request for a plan. `start` and `goal` are node ids."""

    graph: str
    start: str
    goal: str
    explain: bool
    bypass_cache: bool
    detail: plan_pb2.Detail.ValueType = plan_pb2.DETAIL_STEPS
    wanted: Wanted = NEWEST
    options: PathOptions = PLAIN

    @classmethod
    def of(cls, request: coordinator_pb2.ComputePlanRequest) -> Question:
        """Return the question of a request for one plan."""
        return cls(
            request.graph or GRAPH_DEFAULT,
            request.start,
            request.goal,
            request.explain,
            request.bypass_cache,
            known_detail(request.detail),
            wanted_by(request),
            PathOptions.of(request),
        )

    @property
    def terms(self) -> Terms:
        """What questions that are answered together have in common."""
        return self.graph, self.bypass_cache, self.detail, self.wanted, self.options

    @property
    def uses_cache(self) -> bool:
        """Whether the answer may come from a cache, and go into one."""
        return not self.bypass_cache and self.options is PLAIN

    def key(self, identity: str) -> AnswerKey:
        """Return the key of the answer on the snapshot with this identity."""
        return (identity, self.start, self.goal, plan_pb2.Detail.Name(self.detail))


def known_detail(detail: plan_pb2.Detail.ValueType) -> plan_pb2.Detail.ValueType:
    """Return the detail of a request: STEPS, the whole answer, if it has none or one of a later release."""
    return detail if detail in (plan_pb2.DETAIL_COST, plan_pb2.DETAIL_NODES) else plan_pb2.DETAIL_STEPS
