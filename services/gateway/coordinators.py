"""The coordinators that this gateway knows, with a stream to each, and the way of a plan to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Final

import grpc
import grpc.aio
from opentelemetry.trace import Span, Tracer, get_current_span

from planmesh.internal.v1 import coordinator_pb2
from planmesh.rpc.channel import SEVERAL, make_channel
from planmesh.rpc.client_spans import end_client_span, start_client_span
from planmesh.rpc.deadline import Deadline
from planmesh.supervision import SupervisedTask, backoff_s
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.trace_context import traceparent_of
from planmesh.telemetry.tracing import Telemetry
from services.gateway.conversation import BrokenError, Conversation, UnsentError
from services.gateway.downstream import Downstream

DNS: Final = "dns:///"
"""Begin of an address that is a name of all coordinators."""

COMPUTE_PLAN: Final = "/planmesh.internal.v1.CoordinatorService/ComputePlan"
ECHO: Final = "/planmesh.internal.v1.CoordinatorService/Echo"
"""Spans of questions have the names that calls of their own would have."""

RESOLVE_S: Final = 5.0
"""How often the name of the coordinators is looked up again. A replica that was added gets plans after that time."""
RESOLVE_WITHOUT_S: Final = 0.5
"""The same while a coordinator is missing: one that restarts may have another address then."""

QUESTION_BYTES_MAX: Final = 32 * 2**10
"""Bytes of a plan's request on a stream: with QUESTIONS_TOGETHER_MAX of them, a message has half of what a coordinator
accepts. A request that avoids more is a call of its own; on the stream it could end the plans of all callers."""

REOPEN_S_FIRST: Final = 0.05
REOPEN_S_MAX: Final = 1.0
"""Wait before a stream that ended is opened again. It doubles with every failure in a row."""

log = get_logger(__name__)


class Coordinators:
    """Opens a stream to each coordinator of an address, and asks the one with the fewest questions.

    While no stream is open, a question is a call of its own through `fallback`, whose errors say what is wrong.
    """

    def __init__(self, address: str, fallback: Downstream, telemetry: Telemetry) -> None:
        self._address = address
        self._fallback = fallback
        self._tracer: Tracer | None = telemetry.tracer if telemetry.recording else None
        self._links: dict[str, asyncio.Task[None]] = {}
        self._open: dict[str, Conversation] = {}
        self._gone: set[str] = set()
        self._room = asyncio.Event()

    @contextlib.asynccontextmanager
    async def conversing(self) -> AsyncIterator[Coordinators]:
        """Keep the streams open until the block is left."""
        resolving = SupervisedTask("resolve-coordinators", self._resolve_forever)
        self._follow(fixed_targets(self._address))
        if self._address.startswith(DNS):
            resolving.start()
        try:
            yield self
        finally:
            if self._address.startswith(DNS):
                await resolving.close()
            links = list(self._links.values())
            for link in links:
                link.cancel()
            await asyncio.gather(*links, return_exceptions=True)

    async def plan(self, request: bytes, deadline: Deadline) -> bytes:
        """Have a serialised PlanRequest answered; return the serialised PlanResponse.

        Raises AioRpcError if the coordinator sent a rich status; otherwise an error that names the service.
        """
        if len(request) > QUESTION_BYTES_MAX:
            return await self._fallback.unary("ComputePlan", request, deadline)
        question = coordinator_pb2.Question()
        question.plan.MergeFromString(request)
        plan = await self._ask(COMPUTE_PLAN, question, deadline)
        if plan is None:
            return await self._fallback.unary("ComputePlan", request, deadline)
        return coordinator_pb2.ComputePlanResponse(plan=plan).SerializeToString()

    async def echo(self, deadline: Deadline) -> bytes:
        """Make an empty request, and return the empty response. Raises as `plan` does."""
        question = coordinator_pb2.Question(echo=coordinator_pb2.EchoRequest())
        response = await self._ask(ECHO, question, deadline)
        return await self._fallback.unary("Echo", b"", deadline) if response is None else response

    async def _ask(self, path: str, question: coordinator_pb2.Question, deadline: Deadline) -> bytes | None:
        """Return the answer of a coordinator, or None when the question has to be a call of its own."""
        while True:
            conversation = self._freest()
            if conversation is None:
                return None
            try:
                if conversation.window and conversation.free <= 0:
                    await self._wait_for_room(deadline)
                else:
                    return await self._ask_once(path, conversation, question, deadline)
            except UnsentError:
                continue
            except BrokenError:
                raise self._fallback.away() from None
            except TimeoutError:
                raise self._fallback.late() from None

    async def _ask_once(
        self, path: str, conversation: Conversation, question: coordinator_pb2.Question, deadline: Deadline
    ) -> bytes:
        try:
            return await self._ask_traced(path, conversation, question, deadline)
        finally:
            self._room.set()

    async def _ask_traced(
        self, path: str, conversation: Conversation, question: coordinator_pb2.Question, deadline: Deadline
    ) -> bytes:
        if self._tracer is None:
            _set_trace(question, get_current_span())
            return await conversation.ask(question, deadline)
        span = start_client_span(self._tracer, path)
        _set_trace(question, span)
        code, details = grpc.StatusCode.OK, ""
        try:
            return await conversation.ask(question, deadline)
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
            raise
        except TimeoutError:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        except (UnsentError, BrokenError):
            code = grpc.StatusCode.UNAVAILABLE
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            end_client_span(span, code, details)

    def _freest(self) -> Conversation | None:
        """Return the coordinator with the fewest questions; None when no stream is open.

        Those with room come before those without. Those without a window, which cannot answer or are leaving, and those
        whose addresses are gone come last.
        """
        are_open = [(target in self._gone, one) for target, one in self._open.items() if one.is_open]
        order = [(is_gone or not one.window, one.free <= 0, one.waiting) for is_gone, one in are_open]
        return are_open[order.index(min(order))][1] if order else None

    async def _wait_for_room(self, deadline: Deadline) -> None:
        self._room.clear()
        async with asyncio.timeout(deadline.remaining_s()):
            await self._room.wait()

    async def _resolve_forever(self) -> None:
        while True:
            try:
                self._follow(await resolve(self._address))
            except OSError as error:
                log.warning("the coordinators' name cannot be resolved", address=self._address, error=str(error))
            all_work = self._open and all(one.window for one in self._open.values())
            await asyncio.sleep(RESOLVE_S if all_work else RESOLVE_WITHOUT_S)

    def _follow(self, targets: Iterable[str]) -> None:
        """Open streams to new targets. Those to targets that are gone end when their questions are answered."""
        wanted = set(targets)
        for target in wanted - self._links.keys():
            self._links[target] = asyncio.create_task(self._keep_open(target), name=f"converse-{target}")
        self._gone = self._links.keys() - wanted
        for target in self._gone:
            conversation = self._open.get(target)
            if conversation is None or not conversation.waiting:
                self._links[target].cancel()

    async def _keep_open(self, target: str) -> None:
        failures = 0
        try:
            async with make_channel(target) as channel:
                while True:
                    conversation = self._open[target] = Conversation(channel)
                    try:
                        await conversation.run()
                    except grpc.aio.AioRpcError as error:
                        if conversation.worked or not failures:
                            facts = {"target": target, "code": error.code().name, "message": error.details()}
                            log.warning("stream to a coordinator ended", **facts)
                    except Exception:
                        log.exception("stream to a coordinator failed unexpectedly", target=target)
                    failures = 1 if conversation.worked else failures + 1
                    del self._open[target]
                    self._room.set()
                    await asyncio.sleep(backoff_s(failures, REOPEN_S_FIRST, REOPEN_S_MAX))
        finally:
            self._open.pop(target, None)
            del self._links[target]


def fixed_targets(address: str) -> list[str]:
    """Return the addresses of single processes that an address in gRPC's notation lists; none for a name."""
    if address.startswith(DNS):
        return []
    for family in SEVERAL:
        if address.startswith(family):
            return [f"{family}{one}" for one in address.removeprefix(family).split(",")]
    return [address]


async def resolve(address: str) -> list[str]:
    """Return the addresses of all processes behind `dns:///host:port`. Raises OSError when there is none."""
    host, _, port = address.removeprefix(DNS).rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    addresses = ((family is socket.AF_INET6, str(at[0]), int(at[1])) for family, *_, at in found)
    return [f"ipv6:[{host}]:{port}" if is_new else f"ipv4:{host}:{port}" for is_new, host, port in addresses]


def _set_trace(question: coordinator_pb2.Question, span: Span) -> None:
    context = span.get_span_context()
    if context.is_valid:
        question.traceparent = traceparent_of(context)
        question.tracestate = context.trace_state.to_header()
