"""Checks of single fields, for all modules that validate requests. Each raises InvalidRequest, naming the field."""

from __future__ import annotations

from collections.abc import Sequence

from planmesh.errors import InvalidRequest
from planmesh.graph.model import ID_BYTES_MAX
from planmesh.graph.rules import find_id_fault


def invalid(field: str, expected: str) -> InvalidRequest:
    """Return the error of a field that has something else than expected."""
    return InvalidRequest(f"{field}: expected {expected}", field=field)


def check_cost(field: str, cost: float) -> None:
    """Check a bound of costs."""
    if not cost >= 0:
        raise invalid(field, f"a cost of at least 0, got {cost!r}")


def check_at_most(field: str, value: int, bound: int) -> None:
    """Check a number, or the number of items of a field, against its bound."""
    if value > bound:
        raise InvalidRequest(f"{field}: expected at most {bound}, got {value}", field=field, bound=str(bound))


def check_ids(field: str, ids: Sequence[str], end: str = "") -> None:
    """Check ids. `end` follows the position of an id in errors."""
    fault = find_id_fault(list(ids))
    if fault is not None:
        place = f"{field}[{fault.row}]{end}"
        raise InvalidRequest(f"{place}: {fault.message}", field=place, bound=f"1..{ID_BYTES_MAX} bytes")
