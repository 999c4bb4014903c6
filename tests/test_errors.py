from __future__ import annotations

import inspect

from planmesh import errors


def test_the_tree_in_the_docstring_is_the_tree() -> None:
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
