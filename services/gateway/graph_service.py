"""The servicer of GraphService: it checks and admits calls, and forwards them to the partition service and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from planmesh.errors import InvalidRequest, LimitExceeded
from planmesh.rpc.decoding import decode
from planmesh.rpc.interceptors import Context
from planmesh.rpc.server import Service
from planmesh.v1 import graph_pb2, graph_pb2_grpc
from services.gateway import validation
from services.gateway.admission import Admission
from services.gateway.downstream import Downstream, deadline_of
from services.gateway.update_stream import UpdateStream

DESCRIBE_DEADLINE_S_DEFAULT: Final = 10.0
DESCRIBE_DEADLINE_S_MAX: Final = 60.0
UNLOAD_DEADLINE_S_MAX: Final = 600.0
"""Deleting the files of ten thousand partitions takes a while."""
LOAD_DEADLINE_S_MAX: Final = 6 * 3_600.0
"""Indexing ten million nodes takes minutes. This is also the default, because a caller without a deadline waits for the
report."""

SERVICE: Final = graph_pb2.DESCRIPTOR.services_by_name["GraphService"].full_name

RAW_RESPONSES: Final = (
    "LoadGraph",
    "UpdateGraph",
    "UpdateGraphStream",
    "UnloadGraph",
    "GetGraph",
    "ListGraphs",
    "GetNode",
    "ListPartitions",
    "SampleNodes",
    "ExportGraph",
)

AnyRequest = TypeVar("AnyRequest", bound=Message)


class GraphServicer(graph_pb2_grpc.GraphServiceServicer):
    """Forwards calls to the partition service.

    Responses stay serialised, and so do the messages of a load except its header. Updates are checked.
    """

    def __init__(
        self, partition: Downstream, admission: Admission, *, first_message_s: float, message_s: float
    ) -> None:
        self._partition = partition
        self._admission = admission
        self._first_message_s = first_message_s
        self._message_s = message_s

    def service(self) -> Service:
        """Return the handlers for the server, with raw requests and responses where nothing here reads them."""
        service = Service.of(graph_pb2_grpc.add_GraphServiceServicer_to_server, self)
        return service.with_raw_responses(RAW_RESPONSES).with_raw_requests(("LoadGraph",))

    async def _describe(
        self,
        context: Context,
        rpc: str,
        method: str,
        request: AnyRequest,
        check: Callable[[AnyRequest], None] | None,
        max_s: float = DESCRIBE_DEADLINE_S_MAX,
    ) -> Any:
        with self._admission.admit(context, f"{SERVICE}/{rpc}"):
            if check is not None:
                check(request)
            deadline = deadline_of(context, default_s=DESCRIBE_DEADLINE_S_DEFAULT, max_s=max_s)
            return await self._partition.unary(method, request.SerializeToString(), deadline)

    async def LoadGraph(self, request_iterator: AsyncIterator[Any], context: Context) -> Any:
        """Load a new version of a graph: a header, then its rows. Bounds the wait for each message."""
        with self._admission.admit(context, f"{SERVICE}/LoadGraph"):
            deadline = deadline_of(context, default_s=LOAD_DEADLINE_S_MAX, max_s=LOAD_DEADLINE_S_MAX)
            header = await _next(request_iterator, self._first_message_s, "gateway_load_first_message_s")
            if header is None:
                raise InvalidRequest("header: expected a header in the first message, got no message", field="header")
            first = decode(graph_pb2.LoadGraphRequest.FromString, header, field="header")
            validation.check_load_header(first)

            async def messages() -> AsyncIterator[bytes]:
                yield first.SerializeToString()
                while (message := await _next(request_iterator, self._message_s, "gateway_load_message_s")) is not None:
                    yield message

            return await self._partition.client_stream("IngestGraph", messages(), deadline)

    async def UpdateGraph(self, request: graph_pb2.UpdateGraphRequest, context: Context) -> Any:
        """Apply a batch of changes to a graph."""
        return await self._describe(context, "UpdateGraph", "ChangeGraph", request, validation.check_update)

    async def UpdateGraphStream(self, request_iterator: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Apply batches of changes as they arrive. Bounds the wait for each, unless earlier ones have no answer yet."""
        with self._admission.admit(context, f"{SERVICE}/UpdateGraphStream") as admitted:
            deadline = deadline_of(context, default_s=LOAD_DEADLINE_S_MAX, max_s=LOAD_DEADLINE_S_MAX)
            stream = UpdateStream(
                request_iterator, admitted, first_message_s=self._first_message_s, message_s=self._message_s
            )
            async with contextlib.aclosing(stream.answers(self._partition, deadline)) as answers:
                async for answer in answers:
                    yield answer

    async def UnloadGraph(self, request: graph_pb2.UnloadGraphRequest, context: Context) -> Any:
        """Stop serving a graph."""
        return await self._describe(
            context, "UnloadGraph", "RemoveGraph", request, validation.check_graph, UNLOAD_DEADLINE_S_MAX
        )

    async def GetGraph(self, request: graph_pb2.GetGraphRequest, context: Context) -> Any:
        """Describe one graph: counts, version and state."""
        return await self._describe(context, "GetGraph", "DescribeGraph", request, validation.check_graph)

    async def ListGraphs(self, request: graph_pb2.ListGraphsRequest, context: Context) -> Any:
        """Describe all graphs."""
        return await self._describe(context, "ListGraphs", "DescribeGraphs", request, None)

    async def GetNode(self, request: graph_pb2.GetNodeRequest, context: Context) -> Any:
        """Describe one node."""
        return await self._describe(context, "GetNode", "DescribeNode", request, validation.check_get_node)

    async def ListPartitions(self, request: graph_pb2.ListPartitionsRequest, context: Context) -> Any:
        """Return one page of a graph's partitions."""
        return await self._describe(
            context, "ListPartitions", "DescribePartitions", request, validation.check_list_partitions
        )

    async def SampleNodes(self, request: graph_pb2.SampleNodesRequest, context: Context) -> Any:
        """Draw node ids at random."""
        return await self._describe(context, "SampleNodes", "DrawNodes", request, validation.check_sample)

    async def ExportGraph(self, request: graph_pb2.ExportGraphRequest, context: Context) -> AsyncIterator[Any]:
        """Stream the rows of a version from the store of versions."""
        with self._admission.admit(context, f"{SERVICE}/ExportGraph"):
            validation.check_graph(request)
            deadline = deadline_of(context, default_s=LOAD_DEADLINE_S_MAX, max_s=LOAD_DEADLINE_S_MAX)
            async for message in self._partition.server_stream("ReadGraph", request.SerializeToString(), deadline):
                yield message


async def _next(messages: AsyncIterator[bytes], wait_s: float, bound: str) -> bytes | None:
    """Return the next message of a load, None at its end. Raises LimitExceeded when none comes in `wait_s` seconds."""
    try:
        async with asyncio.timeout(wait_s):
            return await anext(messages, None)
    except TimeoutError as error:
        raise LimitExceeded(
            f"expected the next message of the load within {wait_s:g} s, got none; an idle load blocks others, so send "
            "it again",
            bound=bound,
        ) from error
