"""Translates errors of the connection and the server into planmesh's, with their reason and without our password."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import aiohttp

from planmesh.errors import DeadlineExceeded, PlanmeshError, StoreCredentials, StoreRefused, StoreUnavailable
from planmesh.store.urls import StoreUrl

UNAUTHORIZED: Final = (401, 403)
"""Response statuses: credentials refused, request forbidden."""

TIMED_OUT: Final = 598
REASON_CHARACTERS_MAX: Final = 500
"""Longest part of a server's message that we repeat: it may hold pages of stack trace."""


class ServerAnswer(Exception):  # noqa: N818 - what the server answered
    """An error in a response of a Gremlin server."""

    def __init__(self, status: int, message: str, detail: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail
        """A second code, which only Cosmos DB sends."""


class ConnectionBroken(Exception):  # noqa: N818 - what happened
    """A connection ended before the whole answer had arrived."""


@contextmanager
def translated(location: StoreUrl, timeout_s: float) -> Iterator[None]:
    """Raise what the block raises, translated into an error of planmesh."""
    try:
        yield
    except (ServerAnswer, ConnectionBroken, aiohttp.ClientError, OSError) as error:
        # Errors of aiohttp hold the request's headers, and so its signature.
        raise translate(error, location, timeout_s) from None


def translate(error: Exception, location: StoreUrl, timeout_s: float) -> PlanmeshError:
    """Return planmesh's error for an error of the connection."""
    store = location.text
    if isinstance(error, ServerAnswer):
        return _translate_answer(error, location, timeout_s)
    if isinstance(error, aiohttp.WSServerHandshakeError):
        reason = f"the server answered HTTP {error.status} {_phrase(error.status)} instead of opening a WebSocket"
        if error.status in UNAUTHORIZED:
            return StoreCredentials(
                f"the server refuses our credentials: {reason}", store=store, code=str(error.status)
            )
        return StoreUnavailable(reason, store=store, code=str(error.status))
    reason = location.hide(str(error) or type(error).__name__)
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return StoreCredentials(f"TLS could not be agreed on: {reason}", store=store)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(
            f"{store}: no answer within {timeout_s:g} s; a larger timeout_s allows more", store=store
        )
    return StoreUnavailable(f"the server cannot be reached, or the connection broke: {reason}", store=store)


def _translate_answer(error: ServerAnswer, location: StoreUrl, timeout_s: float) -> PlanmeshError:
    reason = location.hide(" ".join(error.message.split()))[:REASON_CHARACTERS_MAX]
    store, code = location.text, str(error.status)
    if error.status in UNAUTHORIZED or error.detail in UNAUTHORIZED:
        return StoreCredentials(f"the server refuses our credentials: {reason} ({code})", store=store, code=code)
    if error.status == TIMED_OUT:
        return DeadlineExceeded(
            f"{store}: the server stopped the request after {timeout_s:g} s: {reason}; a larger timeout_s allows more",
            store=store,
        )
    return StoreRefused(f"{reason} ({code})", store=store, code=code)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else ""
