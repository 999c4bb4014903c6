"""Translates errors of the driver and the server into planmesh's, with their reason and without our password."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import neo4j.exceptions as driver_errors

from planmesh.errors import (
    DeadlineExceeded,
    InvalidRequest,
    PlanmeshError,
    StoreCredentials,
    StoreRefused,
    StoreUnavailable,
)
from planmesh.store.urls import StoreUrl

SECURITY_CODES: Final = ("Neo.ClientError.Security.", "Neo.TransientError.Security.")
TIMED_OUT: Final = "TransactionTimedOut"
FORBIDDEN: Final = "Neo.ClientError.Security.Forbidden"
AWAY: Final = (
    driver_errors.ServiceUnavailable,
    driver_errors.SessionExpired,
    driver_errors.ConnectionPoolError,
    OSError,
)
CAUSES_MAX: Final = 16
"""Most causes of an error that are followed."""


@contextmanager
def translated(location: StoreUrl, timeout_s: float) -> Iterator[None]:
    """Raise what the block raises, translated into an error of planmesh."""
    try:
        yield
    except (driver_errors.Neo4jError, driver_errors.DriverError, OSError) as error:
        # The driver's errors hold its configuration, so ours are not chained to them.
        raise translate(error, location, timeout_s) from None


def translate(error: Exception, location: StoreUrl, timeout_s: float) -> PlanmeshError:
    """Return planmesh's error for an error of the driver."""
    store, reason = location.text, location.hide(_reason(error))
    if isinstance(error, driver_errors.Neo4jError):
        return _translate_answer(error, reason, store, timeout_s)
    if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return StoreCredentials(f"TLS could not be agreed on: {reason}", store=store)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(
            f"{store}: no answer within {timeout_s:g} s; a larger timeout_s allows more", store=store
        )
    if isinstance(error, driver_errors.ConfigurationError):
        return InvalidRequest(f"{store}: {reason}", field="store")
    if isinstance(error, AWAY):
        return StoreUnavailable(f"the server cannot be reached, or the connection broke: {reason}", store=store)
    return StoreRefused(reason, store=store)


def _translate_answer(error: driver_errors.Neo4jError, reason: str, store: str, timeout_s: float) -> PlanmeshError:
    """Return planmesh's error for an error that the server answered."""
    code = error.code or ""
    if code == FORBIDDEN:
        return StoreCredentials(f"the user lacks the right to do that: {reason}", store=store, code=code)
    if isinstance(error, driver_errors.AuthError) or code.startswith(SECURITY_CODES):
        return StoreCredentials(f"the server refuses our credentials: {reason}", store=store, code=code)
    if TIMED_OUT in code:
        return DeadlineExceeded(
            f"{store}: the server stopped the request after {timeout_s:g} s: {reason}; a larger timeout_s allows more",
            store=store,
            code=code,
        )
    if error.is_retryable():
        return StoreUnavailable(f"gave up after retries: {reason}", store=store, code=code)
    return StoreRefused(reason, store=store, code=code)


def _reason(error: Exception) -> str:
    """Return the first line of the server's or the driver's message, with the server's code."""
    if isinstance(error, driver_errors.Neo4jError):
        return f"{error.message} ({error.code})"
    deepest = _causes(error)[-1]
    said = str(error) or type(error).__name__
    below = str(deepest)
    return (said if not below or below in said else f"{said} ({below})").replace("\n", " ")


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, the deepest last."""
    found = [error]
    while len(found) < CAUSES_MAX:
        below = found[-1].__cause__ or found[-1].__context__
        if below is None or below in found:
            break
        found.append(below)
    return found
