"""Writes traversals as scripts, for a server without bytecode: constant texts in which every value is a binding.

The text contains the names of steps and of Gremlin's own constants. Every other argument becomes a variable (`b0`, `b1`
and so on), including labels and property names. So traversals of the same shape share one text, which the server
compiles once, and no value can be executed as code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from gremlin_python.process.traversal import Bytecode, Cardinality, P, T

from planmesh.errors import InternalError

VALUES: Final = (str, int, float, bool)


@dataclass(frozen=True, slots=True)
class Script:
    """A constant text and the values of its variables."""

    text: str
    bindings: dict[str, Any] = field(default_factory=dict)


def to_script(bytecode: Bytecode) -> Script:
    """Return a traversal of `g` as a script. Raises InternalError for an argument of a type that we do not send."""
    bindings: dict[str, Any] = {}
    return Script(f"g{_steps(bytecode, bindings)}", bindings)


def _steps(bytecode: Bytecode, bindings: dict[str, Any]) -> str:
    steps = []
    for name, *arguments in [*bytecode.source_instructions, *bytecode.step_instructions]:
        shown = ",".join(_argument(argument, bindings) for argument in arguments)
        steps.append(f".{name}({shown})")
    return "".join(steps)


def _argument(argument: Any, bindings: dict[str, Any]) -> str:
    if isinstance(argument, Bytecode):
        return f"__{_steps(argument, bindings)}"
    if isinstance(argument, P):
        values = argument.value if isinstance(argument.value, list) else [argument.value]
        return f"{argument.operator}({','.join(_argument(value, bindings) for value in values)})"
    if isinstance(argument, T):
        return f"T.{argument.name.rstrip('_')}"
    if isinstance(argument, Cardinality):
        return str(argument.name).rstrip("_")
    if isinstance(argument, VALUES):
        name = f"b{len(bindings)}"
        bindings[name] = argument
        return name
    raise InternalError(f"a traversal for a script has an argument of type {type(argument).__name__}")
