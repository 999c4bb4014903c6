from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable

import pytest

from planmesh import errors


def test_the_tree_in_the_docstring_is_correct() -> None:
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        stripped = line.strip(" │├└─")
        name = stripped.split(" ")[0]
        if not line.startswith("    ") or not hasattr(errors, name):
            continue
        depth = len(line) - len(stripped) if not line.endswith(stripped) else line.index(name)
        while stack and stack[-1][0] >= depth:
            stack.pop()
        drawn[name] = stack[-1][1] if stack else "Exception"
        stack.append((depth, name))
    real = {
        name: found.__bases__[0].__name__
        for name, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, errors.PlanmeshError)
    }
    assert drawn == real


def test_every_error_has_a_message_and_text_metadata() -> None:
    error = errors.InvalidGraph("not a number", source="edges.tsv", record="line 17", field="cost")
    assert str(error) == error.message == "edges.tsv, line 17, field cost: not a number"
    assert error.metadata == {"source": "edges.tsv", "record": "line 17", "field": "cost"}
    unknown = errors.NodeUnknown("web.fronted", ["web.frontend"])
    assert "web.frontend" in unknown.message
    assert unknown.near == ["web.frontend"]
    assert errors.NodeUnknown("x").near == []
    assert errors.Overloaded("full").retry_after_s > 0


BUILT: dict[type[errors.PlanmeshError], Callable[[], errors.PlanmeshError]] = {
    errors.InvalidGraph: lambda: errors.InvalidGraph("no number", source="a.tsv", record="line 2", field="cost"),
    errors.InvalidChange: lambda: errors.InvalidChange("no number", change=2, field="upsert_edge.cost"),
    errors.ChangeTargetUnknown: lambda: errors.ChangeTargetUnknown("no node 'x'", change=0, field="delete_node.id"),
    errors.GraphUnknown: lambda: errors.GraphUnknown("prod", other="fact"),
    errors.NodeUnknown: lambda: errors.NodeUnknown("a", ["b", "c"], graph="prod"),
    errors.NoPath: lambda: errors.NoPath("a", "b", version="3"),
    errors.LimitExceeded: lambda: errors.LimitExceeded("too many", bound="pairs", field="pairs"),
    errors.Overloaded: lambda: errors.Overloaded("full", bound="queue", retry_after_s=0.25, shard="1"),
    errors.SnapshotDamaged: lambda: errors.SnapshotDamaged("p7.npy", "its checksum differs", graph="prod"),
    **{
        found: lambda found=found: found("down", store="sqlite:a")  # type: ignore[misc]
        for found in (errors.StoreUnavailable, errors.StoreError)
    },
}
"""How to build the classes with their own constructors. All other classes take a message and metadata."""


def whole_tree(base: type[errors.PlanmeshError] = errors.PlanmeshError) -> list[type[errors.PlanmeshError]]:
    """Return `base` and all its subclasses, wherever planmesh defines them."""
    below = [found for found in base.__subclasses__() if found.__module__.startswith("planmesh")]
    return [base, *(found for each in below for found in whole_tree(each))]


def build(found: type[errors.PlanmeshError]) -> errors.PlanmeshError:
    """An error of the class with all that it can carry; a class that has a new constructor must be added to BUILT."""
    if found in BUILT:
        return BUILT[found]()
    if "__init__" in vars(found) and found is not errors.PlanmeshError:
        raise AssertionError(f"{found.__name__} has its own constructor: add it to BUILT")
    return found("it is so", fact="value", other="1")


def everything_of(error: BaseException) -> dict[str, object]:
    return {"type": type(error), "args": error.args, "text": str(error), **vars(error)}


@pytest.mark.parametrize("found", whole_tree(), ids=lambda found: found.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickling(found: type[errors.PlanmeshError], protocol: int) -> None:
    error = build(found)
    error.__cause__ = LookupError("the cause")
    error.add_note("a note")
    once = pickle.loads(pickle.dumps(error, protocol))  # safe: these are our own bytes
    twice = pickle.loads(pickle.dumps(once, protocol))
    assert everything_of(once) == everything_of(twice) == everything_of(error)
    assert once.message == error.message
    assert once.metadata == error.metadata


@pytest.mark.parametrize("found", whole_tree(), ids=lambda found: found.__name__)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_every_error_survives_copying(
    found: type[errors.PlanmeshError], duplicate: Callable[[errors.PlanmeshError], errors.PlanmeshError]
) -> None:
    error = build(found)
    before = everything_of(error)
    other = duplicate(error)
    assert everything_of(other) == before
    other.metadata["added"] = "later"
    assert "added" not in error.metadata


def test_every_class_with_its_own_constructor_is_in_built() -> None:
    own = [found for found in whole_tree() if "__init__" in vars(found) and found is not errors.PlanmeshError]
    assert set(own) == set(BUILT)
