"""Counts the answers to plans by their status, and logs those that are errors."""

from __future__ import annotations

import grpc

from planmesh.errors import NoPath, PlanmeshError
from planmesh.rpc.status import code_of, reason_of
from planmesh.telemetry import names
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.tracing import Telemetry
from services.coordinator.questions import Question

log = get_logger(__name__)


class AnswerLog:
    """The answers of this process."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def note(self, question: Question, answer: bytes | PlanmeshError) -> None:
        """Count an answer by its status, and log an error."""
        if isinstance(answer, bytes):
            self.count(grpc.StatusCode.OK)
            return
        code = code_of(answer)
        self.count(code)
        facts = {"graph": question.graph, "start": question.start, "goal": question.goal}
        write_log = log.debug if isinstance(answer, NoPath) else log.info  # NoPath is a regular answer
        write_log("plan failed", code=code.name, reason=reason_of(answer), message=answer.message, **facts)

    def count(self, code: grpc.StatusCode) -> None:
        """Count a plan that ended with `code`."""
        self._telemetry.instruments.plans.add(1, {names.STATUS: code.name})
