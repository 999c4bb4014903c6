"""Streams of messages through the calls of sync gRPC, whose threads read them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import grpc


class _Messages:
    """Messages for gRPC's thread; an error of theirs cancels the call and is kept.

    Ending the messages alone would end the stream in order, and half of them would count as all.
    """

    def __init__(self, messages: Iterable[Any]) -> None:
        self._messages = messages
        self._made = threading.Event()
        self._call: Any = None
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._messages
        except Exception as error:
            self.failure = error
            self._made.wait()
            self._call.cancel()

    def of(self, call: Any) -> Any:
        """Say which call the messages belong to, and return it."""
        self._call = call
        self._made.set()
        return call


def send(call_it: Callable[..., Any], messages: Iterable[Any], **options: Any) -> Any:
    """Send `messages` through a client-streaming method, and return its response.

    Raises grpc.RpcError. An error of `messages` cancels the call and is raised unchanged.
    """
    sent = _Messages(messages)
    call = sent.of(call_it(iter(sent), **options))
    try:
        return call.result()
    except (grpc.RpcError, grpc.FutureCancelledError):
        if sent.failure is not None:
            raise sent.failure from None
        raise
    except BaseException:
        call.cancel()
        raise


def exchange(call_it: Callable[..., Any], messages: Iterable[Any], **options: Any) -> Generator[Any, None, None]:
    """Send `messages` through a bidirectional method, and yield its responses as they arrive. Raises as `send` does."""
    sent = _Messages(messages)
    call = sent.of(call_it(iter(sent), **options))
    try:
        yield from call
    except grpc.RpcError:
        if sent.failure is not None:
            raise sent.failure from None
        raise
    finally:
        call.cancel()
