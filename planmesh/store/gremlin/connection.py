"""WebSockets to a Gremlin server, on the caller's event loop.

gremlinpython provides the language and its encodings. We do not use its connections: they create event loops and
threads of their own, do not stream, never recover, and log whole requests.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import uuid
from asyncio.trsock import TransportSocket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Protocol

import aiohttp
from gremlin_python.driver.request import RequestMessage
from gremlin_python.process.traversal import Bytecode, Traverser

from planmesh.errors import StoreUnavailable
from planmesh.store.gremlin.dialects import Dialect
from planmesh.store.gremlin.failures import ConnectionBroken, ServerAnswer, translated
from planmesh.store.gremlin.options import GremlinOptions
from planmesh.store.gremlin.scripts import Script, to_script
from planmesh.store.urls import StoreUrl

PORT: Final = 8182
RESPONSE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one message. A batch of rows takes some hundred kilobytes; servers send at most ten megabytes by default."""

ANSWERED: Final = 200
NO_CONTENT: Final = 204
PARTIAL: Final = 206
ASKS_FOR_PASSWORD: Final = 407

ATTEMPTS_MAX: Final = 6
"""Attempts for one request that fails for a transient reason: a conflicting transaction, or too many requests."""

CLOSING: Final = aiohttp.ClientWSTimeout(ws_close=1.0)
"""Longest wait, in seconds, for a connection to close."""

LEAVING_CHECK_S: Final = 0.005
LEAVING_CHECKS_MAX: Final = 200
"""Interval, in seconds, between checks whether the TLS layer below has closed."""

BACKOFF_FIRST_S: Final = 0.02
BACKOFF_S_MAX: Final = 1.0
INLINE_BYTES_MAX: Final = 16_384
"""Larger messages are decoded in a thread: decoding takes 20 us a row in Python and would block the event loop."""


class Signer(Protocol):
    """Signs the opening of a connection."""

    async def headers(self, url: str) -> dict[str, str]:
        """Return the headers that sign a GET of `url`."""
        ...


class Connections:
    """A pool of connections to one server. It repeats requests whose connection broke or that failed transiently.

    Repeating is safe because all our requests are idempotent: queries, upserts and deletions.
    """

    def __init__(self, location: StoreUrl, options: GremlinOptions, dialect: Dialect, signer: Signer | None) -> None:
        self.location = location
        self.options = options
        self.dialect = dialect
        self._signer = signer
        self._source = location.path.strip("/") or "g"
        self._serializer: Any = dialect.make_serializer()
        host = f"[{location.host}]" if ":" in location.host else location.host
        secure = location.scheme.endswith("+wss")
        self._url = (
            f"{'https' if secure else 'http'}://{host}:{location.port or PORT}{options.endpoint or dialect.path}"
        )
        self._ssl: ssl.SSLContext | bool = True
        if secure and options.ca_file is not None:
            self._ssl = ssl.create_default_context(cafile=str(options.ca_file))
        self._session: aiohttp.ClientSession | None = None
        self._idle: list[aiohttp.ClientWebSocketResponse] = []
        self._leaving: list[TransportSocket] = []
        self._places = asyncio.Semaphore(options.pool_max)

    async def ask(self, request: Bytecode | Script) -> list[Any]:
        """Return all results of a traversal or of a constant script."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                with translated(self.location, self.options.timeout_s):
                    async with asyncio.timeout(self.options.timeout_s):
                        return await self._ask_once(request)
            except _PassingFailure as failure:
                if attempt == ATTEMPTS_MAX:
                    reason = self.location.hide(str(failure))[:500]
                    raise StoreUnavailable(
                        f"gave up after {ATTEMPTS_MAX} attempts: {reason}", store=self.location.text
                    ) from None
                await asyncio.sleep(min(BACKOFF_S_MAX, BACKOFF_FIRST_S * 2**attempt) * (0.5 + random.random()))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")

    async def stream(self, request: Bytecode, rows: int) -> AsyncGenerator[list[Any], None]:
        """Stream the results of a traversal, at most `rows` at a time; each batch must arrive within `timeout_s`.

        A broken stream is not repeated, because the caller already has some of its rows.
        """
        with translated(self.location, self.options.timeout_s):
            responses = self._responses(request, rows, self.options.stream_s_max)
            async with aclosing(responses):
                while True:
                    async with asyncio.timeout(self.options.timeout_s):
                        batch = await anext(responses, None)
                    if batch is None:
                        return
                    for first in range(0, len(batch), rows):
                        yield batch[first : first + rows]

    async def close(self) -> None:
        """Close all connections. aiohttp does not wait for TLS to close; we do, for a second at most."""
        while self._idle:
            await self._hang_up(self._idle.pop())
        if self._session is not None:
            await self._session.close()
        for _ in range(LEAVING_CHECKS_MAX):
            if all(left.fileno() < 0 for left in self._leaving):
                return
            await asyncio.sleep(LEAVING_CHECK_S)

    async def _hang_up(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._leaving = [left for left in self._leaving if left.fileno() >= 0]
        transport_socket = socket.get_extra_info("socket")
        if transport_socket is not None:
            self._leaving.append(transport_socket)
        await socket.close()

    async def _ask_once(self, request: Bytecode | Script) -> list[Any]:
        try:
            return await self._gather(request)
        except ConnectionBroken:
            # An idle connection may be dead without our knowing. Drop all of them and open a new one.
            while self._idle:
                await self._hang_up(self._idle.pop())
            return await self._gather(request)
        except ServerAnswer as answer:
            if self.dialect.is_passing(answer):
                raise _PassingFailure(answer.message) from None
            raise

    async def _gather(self, request: Bytecode | Script) -> list[Any]:
        results: list[Any] = []
        async with aclosing(self._responses(request, self.options.batch_rows, self.options.timeout_s)) as responses:
            async for batch in responses:
                results += batch
        return results

    async def _responses(
        self, request: Bytecode | Script, rows: int, server_s: float
    ) -> AsyncGenerator[list[Any], None]:
        """Send a request and yield its results as they arrive; close a connection whose answer was left unfinished."""
        identity = str(uuid.uuid4())
        message = self._serializer.serialize_message(identity, self._message(request, rows, server_s))
        async with self._connection() as socket:
            await self._send(socket, message)
            while True:
                answer = await self._receive(socket)
                status = answer["status"]
                code = int(status["code"])
                if code == ASKS_FOR_PASSWORD:
                    await self._send(socket, self._serializer.serialize_message(identity, self._sasl()))
                    continue
                if code not in {ANSWERED, NO_CONTENT, PARTIAL}:
                    attributes = status.get("attributes") or {}
                    detail = str(attributes.get("x-ms-status-code", "0"))
                    raise ServerAnswer(code, str(status["message"]), int(detail) if detail.isdigit() else 0)
                yield _unrolled(answer["result"]["data"])
                if code != PARTIAL:
                    return

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Lend a connection. It returns to the pool unless an error came or its answer was not read to the end."""
        async with self._places:
            socket: aiohttp.ClientWebSocketResponse | None = None
            while self._idle and (socket is None or socket.closed):
                socket = self._idle.pop()
            if socket is None or socket.closed:
                socket = await self._connect()
            whole = False
            try:
                yield socket
                whole = True
            except ServerAnswer as answer:
                whole = answer.status not in {401, 403}
                raise
            finally:
                if whole:
                    self._idle.append(socket)
                else:
                    await self._hang_up(socket)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = {} if self._signer is None else await self._signer.headers(self._url)
        async with asyncio.timeout(self.options.connect_timeout_s):
            return await self._session.ws_connect(
                self._url, headers=headers, ssl=self._ssl, max_msg_size=RESPONSE_BYTES_MAX, timeout=CLOSING
            )

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, message: bytes) -> None:
        try:
            await socket.send_bytes(message)
        except (aiohttp.ClientConnectionResetError, ConnectionError) as error:
            raise ConnectionBroken(f"the connection was lost: {error}") from None

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> Any:
        message = await socket.receive()
        if message.type in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}:
            if len(message.data) <= INLINE_BYTES_MAX:
                return self._serializer.deserialize_message(message.data)
            return await asyncio.to_thread(self._serializer.deserialize_message, message.data)
        reason = f"{socket.close_code or ''} {message.extra or message.data or ''}".strip()
        raise ConnectionBroken(f"the server ended the connection {reason}".strip())

    def _message(self, request: Bytecode | Script, rows: int, server_s: float) -> RequestMessage:
        arguments: dict[str, Any] = {
            "aliases": {"g": self._source},
            "batchSize": rows,
            "evaluationTimeout": int(server_s * 1_000),
        }
        if isinstance(request, Bytecode) and self.dialect.bytecode:
            return RequestMessage("traversal", "bytecode", {"gremlin": request, **arguments})
        script = request if isinstance(request, Script) else to_script(request)
        return RequestMessage("", "eval", {"gremlin": script.text, "bindings": script.bindings, **arguments})

    def _sasl(self) -> RequestMessage:
        if not self.location.user:
            raise ServerAnswer(401, "the server requires a user and a password, but the URL has none")
        plain = f"\0{self.location.user}\0{self.location.password.get_secret_value()}"
        encoded = base64.b64encode(plain.encode()).decode("ascii")
        return RequestMessage(
            "traversal" if self.dialect.bytecode else "", "authentication", {"sasl": encoded, "saslMechanism": "PLAIN"}
        )


class _PassingFailure(Exception):  # noqa: N818 - internal, never shown
    """The server could not answer for a transient reason; the same request may succeed later."""


def _unrolled(data: Any) -> list[Any]:
    """Return the results in a response, each repeated as often as its bulk says."""
    results: list[Any] = []
    for item in data or []:
        if isinstance(item, Traverser):
            results += [item.object] * int(item.bulk)
        else:
            results.append(item)
    return results
