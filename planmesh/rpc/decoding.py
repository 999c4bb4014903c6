"""Reports bytes that cannot be decoded as the caller's error, not as a defect of the server.

What grpc.aio does when a deserializer raises depends on the arity. It decodes a single request before it calls the
handler, so it logs the stack and answers UNKNOWN. It decodes the messages of a stream where the handler reads them, so
the handler raises. Here a failed single request reaches the wrapper around the handler, which raises the error. A
failure in a stream is recorded, because a handler that reads in a task of its own may lose it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from planmesh.errors import MessageUndecodable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Passed to a handler's wrapper instead of a single request that cannot be decoded."""

    error: MessageUndecodable


def decode(parse: Callable[[bytes], T], raw: bytes, *, field: str = "") -> T:
    """Return the message that `parse`, a message class's FromString, makes of `raw`.

    Raises MessageUndecodable, whose text names the type and repeats none of the bytes.
    """
    try:
        return parse(raw)
    except DecodeError as error:
        metadata = {"field": field} if field else {}
        raise MessageUndecodable(
            f"{f'{field}: ' if field else ''}the {len(raw)} bytes of the message cannot be decoded: {error}; "
            "was it made from the same proto?",
            **metadata,
        ) from error


def streamed(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return the deserializer of a stream's messages; without `parse` the handler takes bytes."""
    return None if parse is None else lambda raw: decode(parse, raw)


def single(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return the deserializer of a single request, which never raises but returns Undecodable."""
    if parse is None:
        return None

    def deserialize(raw: bytes) -> Any:
        try:
            return decode(parse, raw)
        except MessageUndecodable as error:
            return Undecodable(error)

    return deserialize


class NotedStream(AsyncIterator[Any]):
    """The messages of a call; `failure` is the error that ended them when one could not be decoded."""

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self._messages = messages
        self.failure: MessageUndecodable | None = None

    async def __anext__(self) -> Any:
        try:
            return await anext(self._messages)
        except MessageUndecodable as error:
            self.failure = error
            raise


def take_single(request: Any) -> Any:
    """Return the request that `single` decoded. Raises MessageUndecodable if it could not."""
    if isinstance(request, Undecodable):
        raise request.error
    return request


def check_read(request: Any) -> None:
    """Raise the error that ended a call's messages, for a handler that returned without noticing it."""
    if isinstance(request, NotedStream) and request.failure is not None:
        raise request.failure
