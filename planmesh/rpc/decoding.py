"""Bytes that are no message: the caller's fault, not a defect.

What grpc.aio makes of a deserializer that raises depends on the arity. A single request is decoded before the handler
is called, so gRPC writes the stack to its log and answers UNKNOWN. A stream's messages are decoded where the handler
reads them, so the handler raises. Here the first kind is handed to the wrapper around the handler, which raises it, and
the second is noted, because a handler that reads in a task of its own may lose it.
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
    """Given to the wrapper of a handler in the place of a single request."""

    error: MessageUndecodable


def decode(parse: Callable[[bytes], T], raw: bytes, *, field: str = "") -> T:
    """The message that `parse`, a message class's FromString, makes of `raw`.

    Raises MessageUndecodable, whose text names the type and repeats nothing of the bytes.
    """
    try:
        return parse(raw)
    except DecodeError as error:
        metadata = {"field": field} if field else {}
        raise MessageUndecodable(
            f"{f'{field}: ' if field else ''}the {len(raw)} bytes of the message cannot be decoded: {error}; "
            "is it made from the same proto?",
            **metadata,
        ) from error


def streamed(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The deserializer of a stream's messages; without `parse` the handler takes bytes."""
    return None if parse is None else lambda raw: decode(parse, raw)


def single(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The deserializer of a single request, which never raises but returns Undecodable."""
    if parse is None:
        return None

    def deserialize(raw: bytes) -> Any:
        try:
            return decode(parse, raw)
        except MessageUndecodable as error:
            return Undecodable(error)

    return deserialize


class NotedStream(AsyncIterator[Any]):
    """The messages of a call; `failure` is what ended them if one could not be decoded."""

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
    """The request that `single` decoded. Raises MessageUndecodable if it could not."""
    if isinstance(request, Undecodable):
        raise request.error
    return request


def check_read(request: Any) -> None:
    """Raise what ended the messages of a call whose handler came to an end all the same."""
    if isinstance(request, NotedStream) and request.failure is not None:
        raise request.failure
