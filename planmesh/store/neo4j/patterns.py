"""Pattern queries: the user's Cypher, run in a session in which the database refuses every write."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import neo4j
import neo4j.exceptions as driver_errors
import orjson
from neo4j.graph import Node, Path, Relationship
from neo4j.spatial import Point
from neo4j.time import Date, DateTime, Duration, Time

from planmesh.errors import DeadlineExceeded, LimitExceeded, PatternRefused
from planmesh.store.neo4j.connection import Connection
from planmesh.store.protocol import PatternAnswer, PatternLimits

REFUSED_CODES: Final = ("Neo.ClientError.Statement.", "Neo.ClientError.Procedure.", "Neo.ClientError.Schema.")
ANSWER_SHARE: Final = 1.5
"""Multiple of the time limit after which we stop waiting for a server that does not enforce the limit."""

FETCH_ROWS: Final = 1_000


async def match_pattern(
    connection: Connection, query: str, parameters: Mapping[str, Any], limits: PatternLimits
) -> PatternAnswer:
    """Run a query. Raises LimitExceeded as soon as its answer exceeds the limits; the rest is not fetched.

    We neither parse nor change the query: the database decides what a read transaction may do.
    """
    try:
        async with asyncio.timeout(limits.timeout_s * ANSWER_SHARE), connection.session_for_reading() as session:
            try:
                result = await session.run(neo4j.Query(query, timeout=limits.timeout_s), dict(parameters))
                return await _gather(result, limits)
            except driver_errors.ClientError as error:
                if (error.code or "").startswith(REFUSED_CODES):
                    reason = connection.location.hide(f"{error.message} ({error.code})")
                    raise PatternRefused(f"the database refused the pattern: {reason}", code=error.code or "") from None
                raise
    except TimeoutError:
        raise DeadlineExceeded(f"the pattern query did not end within {limits.timeout_s:g} s") from None


async def _gather(result: neo4j.AsyncResult, limits: PatternLimits) -> PatternAnswer:
    answer = PatternAnswer(list(result.keys()))
    size_bytes = 0
    while records := await result.fetch(min(FETCH_ROWS, limits.rows_max + 1)):
        for record in records:
            row = [json_value(value) for value in record.values()]
            size_bytes += len(orjson.dumps(row))
            if size_bytes > limits.bytes_max:
                raise LimitExceeded(
                    f"the pattern's answer is larger than {limits.bytes_max:,} bytes; return less data",
                    bound="bytes_max",
                )
            if len(answer.rows) == limits.rows_max:
                raise LimitExceeded(
                    f"the pattern has more than {limits.rows_max:,} rows; narrow it, or add LIMIT", bound="rows_max"
                )
            answer.rows.append(row)
    return answer


def json_value(value: object) -> Any:
    """Return a Cypher value in JSON's types: nodes and relationships as objects, times in ISO 8601."""
    shown: Any = value
    match value:
        case None | bool() | str() | int() | float():
            pass
        # A Duration and a Point are tuples too, so they come before these.
        case Date() | Time() | DateTime() | Duration():
            shown = value.iso_format()
        case Point():
            shown = {"srid": value.srid, "coordinates": list(value)}
        case list() | tuple():
            shown = [json_value(item) for item in value]
        case dict():
            shown = {str(name): json_value(item) for name, item in value.items()}
        case Node():
            shown = {"labels": sorted(value.labels), "properties": json_value(dict(value))}
        case Relationship():
            shown = {"type": value.type, "properties": json_value(dict(value))}
        case Path():
            shown = {"nodes": json_value(list(value.nodes)), "relationships": json_value(list(value.relationships))}
        case bytes() | bytearray():
            shown = value.hex()
        case _:
            shown = str(value)
    return shown
