"""Errors of drivers and servers as planmesh's, without a server and without the password."""

from __future__ import annotations

import ssl
from types import ModuleType, SimpleNamespace
from typing import Any

import aiohttp
import pytest
from neo4j import exceptions as driver_errors

from planmesh.errors import (
    DeadlineExceeded,
    InvalidRequest,
    PlanmeshError,
    StoreCredentials,
    StoreRefused,
    StoreUnavailable,
)
from planmesh.store.gremlin import failures as gremlin
from planmesh.store.neo4j import failures as neo4j
from planmesh.store.urls import parse_store_url

SECRET = "hunter2-secret"


def answered(code: str, message: str = f"said {SECRET}") -> Exception:
    return driver_errors.Neo4jError._hydrate_neo4j(code=code, message=message)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def handshake(status: int) -> Exception:
    request: Any = SimpleNamespace(real_url="ws://host", headers={"Authorization": SECRET})
    return aiohttp.WSServerHandshakeError(request, (), status=status, message="no")


def check_translation(
    failures: ModuleType, scheme: str, error: Exception, expected: type[PlanmeshError], says: str
) -> None:
    """Check the class and the message of a translated error, and that it hides the password and the cause."""
    location = parse_store_url(f"{scheme}://me:{SECRET}@host")
    with pytest.raises(expected, match=says) as raised, failures.translated(location, 3.0):
        raise error
    assert type(raised.value) is expected
    assert SECRET not in raised.value.message
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (answered("Neo.ClientError.Security.Unauthorized"), StoreCredentials, "refuses our credentials"),
        (answered("Neo.ClientError.Security.Forbidden"), StoreCredentials, "lacks the right"),
        (answered("Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration"), DeadlineExceeded, "after 3 s"),
        (answered("Neo.TransientError.Transaction.DeadlockDetected"), StoreUnavailable, "gave up after retries"),
        (answered("Neo.ClientError.Statement.SyntaxError"), StoreRefused, "Statement.SyntaxError"),
        (driver_errors.ServiceUnavailable(SECRET), StoreUnavailable, "cannot be reached"),
        (ConnectionResetError(SECRET), StoreUnavailable, "cannot be reached"),
        (caused(driver_errors.ServiceUnavailable("x"), ssl.SSLError("bad certificate")), StoreCredentials, "TLS"),
        (TimeoutError(), DeadlineExceeded, "no answer within 3 s"),
        (driver_errors.ConfigurationError(f"option {SECRET}"), InvalidRequest, "option"),
    ],
)
def test_errors_of_neo4j(error: Exception, expected: type[PlanmeshError], says: str) -> None:
    check_translation(neo4j, "neo4j", error, expected, says)


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (gremlin.ServerAnswer(401, SECRET), StoreCredentials, "refuses our credentials"),
        (gremlin.ServerAnswer(500, SECRET, 403), StoreCredentials, "refuses our credentials"),
        (gremlin.ServerAnswer(598, SECRET), DeadlineExceeded, "after 3 s"),
        (gremlin.ServerAnswer(597, f"no such step {SECRET}"), StoreRefused, r"no such step .*\(597\)"),
        (handshake(403), StoreCredentials, "HTTP 403 Forbidden"),
        (handshake(502), StoreUnavailable, "HTTP 502 Bad Gateway"),
        (handshake(599), StoreUnavailable, "HTTP 599 "),
        (gremlin.ConnectionBroken(SECRET), StoreUnavailable, "connection broke"),
        (ssl.SSLError("bad certificate"), StoreCredentials, "TLS could not be agreed on"),
        (TimeoutError(), DeadlineExceeded, "no answer within 3 s"),
    ],
)
def test_errors_of_gremlin(error: Exception, expected: type[PlanmeshError], says: str) -> None:
    check_translation(gremlin, "gremlin", error, expected, says)


def test_pages_of_stack_trace_are_cut() -> None:
    error = gremlin.translate(gremlin.ServerAnswer(597, "at line\n" * 10_000), parse_store_url("gremlin://host"), 3.0)
    assert len(error.message) < gremlin.REASON_CHARACTERS_MAX + 100
    assert "\n" not in error.message
