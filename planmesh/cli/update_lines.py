"""Reads changes from JSON lines, for `planmesh update`. Needs nothing but the client, so that it runs without numpy."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, cast

from planmesh.errors import ChangeTargetUnknown, InvalidChange, PlanmeshError, restore

if TYPE_CHECKING:
    from planmesh.client import Change

LINE_BYTES_MAX: Final = 65_536
"""Bytes of a line. A change with the longest ids and 32 of the longest attributes fits three times over."""

STDIN: Final = "-"
SHOWN_CHARACTERS_MAX: Final = 60
"""Characters of an invalid value that a message repeats."""


@dataclass(frozen=True, slots=True)
class LineBatch:
    """Changes that are applied together, and the line of each."""

    changes: Sequence[Change]
    lines: Sequence[int]


class ChangeFile:
    """A file of changes, decompressed if it is named .gz, or standard input; to be read inside a `with` block.

    Entering the block raises InvalidChange when the file cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == STDIN else Path(path).name
        self._path = path
        self._raw: BinaryIO = sys.stdin.buffer
        self.bytes_total = 0
        """0: unknown."""

    def __enter__(self) -> ChangeFile:
        self._stream = self._raw
        if self._path != STDIN:
            try:
                self._raw = Path(self._path).open("rb")
                self.bytes_total = Path(self._path).stat().st_size
            except OSError as error:
                raise InvalidChange(
                    f"{self._path}: the file cannot be read: {error.strerror or error}", source=self._path
                ) from error
            packed = self.name.lower().endswith(".gz")
            self._stream = cast("BinaryIO", gzip.GzipFile(fileobj=self._raw)) if packed else self._raw
        return self

    def __exit__(self, *_: object) -> None:
        if self._path != STDIN:
            self._stream.close()
            self._raw.close()

    @property
    def bytes_read(self) -> int:
        """Bytes of the file that were read, compressed if it is."""
        return self._raw.tell() if self.bytes_total else 0

    def batches(self, changes_max: int, *, several: bool) -> Iterator[LineBatch]:
        """Yield batches of `changes_max` changes. Empty lines do not count.

        Raises InvalidChange for a line that is no change, before the batch with it is yielded; for a file without
        changes; and unless there may be `several` batches, for more changes than one batch has, before any is yielded.
        """
        batch: list[Change] = []
        lines: list[int] = []
        any_sent = False
        for number, line in self._lines():
            if len(batch) == changes_max:
                if not several:
                    self._refuse_size(number, changes_max)
                yield LineBatch(batch, lines)
                batch, lines, any_sent = [], [], True
            batch.append(parse_change(self.name, number, line))
            lines.append(number)
        if batch:
            yield LineBatch(batch, lines)
        elif not any_sent:
            raise InvalidChange(
                f'{self.name}: expected at least one change, such as {{"op": "delete_node", "id": "a"}}, got none',
                source=self.name,
            )

    def _refuse_size(self, number: int, changes_max: int) -> NoReturn:
        raise InvalidChange(
            f"{self.name}, line {number}: expected at most {changes_max:,} changes, the most of one batch, got more; "
            f"pass --batch {changes_max} to send several batches, each of which is applied by itself",
            source=self.name,
            record=f"line {number}",
        )

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not empty, each with its number."""
        number = 0
        while True:
            number += 1
            try:
                line = self._stream.readline(LINE_BYTES_MAX + 2)
            except EOFError as error:
                raise line_fault(self.name, number, "the compressed file ends too early; is it truncated?") from error
            except (OSError, zlib.error) as error:
                raise line_fault(self.name, number, f"the file cannot be read: {error}") from error
            if not line:
                return
            text = line.rstrip(b"\r\n")
            if len(text) > LINE_BYTES_MAX:
                raise line_fault(self.name, number, f"expected at most {LINE_BYTES_MAX:,} bytes, got more")
            if text.strip():
                yield number, text


def line_fault(source: str, number: int, message: str, field: str = "") -> InvalidChange:
    """Return the error for a line, which names file, line and field."""
    place = f"{source}, line {number}{f', field {field}' if field else ''}"
    error = InvalidChange(f"{place}: {message}", source=source, record=f"line {number}")
    if field:
        error.metadata["field"] = field
    return error


@contextlib.contextmanager
def named_lines(source: str, batch: LineBatch) -> Iterator[None]:
    """Turn errors about a change of the batch into errors about its line."""
    try:
        yield
    except (InvalidChange, ChangeTargetUnknown) as error:
        found = _with_line(error, source, batch)
        if found is error:
            raise
        raise found from error


def _with_line(error: PlanmeshError, source: str, batch: LineBatch) -> PlanmeshError:
    position = error.metadata.get("change", "")
    if not position.isdecimal() or int(position) >= len(batch.lines):
        return error
    number = batch.lines[int(position)]
    path = error.metadata.get("field", "")
    _, _, field = path.partition(".")
    said = error.message.removeprefix(f"changes[{position}]{f'.{path}' if path else ''}: ")
    named = restore(type(error), f"{source}, line {number}{f', field {field}' if field else ''}: {said}")
    named.metadata = {**error.metadata, "source": source, "record": f"line {number}"}
    return named


def parse_change(source: str, number: int, line: bytes) -> Change:
    """Return the change of a line, which is a JSON object with the op's name and its fields. Raises InvalidChange."""
    from planmesh.client import DeleteEdge, DeleteNode, UpsertEdge, UpsertNode

    def refuse(message: str, field: str = "") -> NoReturn:
        raise line_fault(source, number, message, field)

    fields = _object_of(line, refuse)
    op = fields.pop("op", None)
    if not isinstance(op, str) or op not in FIELDS_OF:
        refuse(f"expected one of {', '.join(FIELDS_OF)}, got {_shown(op) if op is not None else 'no op'}", "op")
    required, optional = FIELDS_OF[op]
    known = (*required, *optional)
    for name, value in fields.items():
        if name not in known:
            refuse(f"expected one of {', '.join(known)}, got another field", name)
        expected = _complaint(name, value)
        if expected:
            refuse(f"expected {expected}, got {_shown(value)}", name)
    for name in required:
        if name not in fields:
            refuse(f"expected a text, got none; {op} needs {' and '.join(required)}", name)
    if "cost" in fields and "cost_factor" in fields:
        refuse("expected either cost or cost_factor, got both", "cost_factor")
    made: dict[str, Callable[..., Change]] = {
        "upsert_node": UpsertNode,
        "delete_node": DeleteNode,
        "upsert_edge": UpsertEdge,
        "delete_edge": DeleteEdge,
    }
    return made[op](**fields)


FIELDS_OF: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "upsert_node": (("id",), ("domain", "region", "state", "attributes")),
    "delete_node": (("id",), ()),
    "upsert_edge": (("source", "target"), ("cost", "cost_factor", "attributes")),
    "delete_edge": (("source", "target"), ()),
}
"""The required and the optional fields of each op."""


def _object_of(line: bytes, refuse: Callable[..., NoReturn]) -> dict[str, Any]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in items:
            if name in found:
                refuse("expected each field once, got it twice", name)
            found[name] = value
        return found

    def constant(name: str) -> NoReturn:
        refuse(f"expected JSON, which has no {name}")

    try:
        value = json.loads(line.decode(), object_pairs_hook=pairs, parse_constant=constant)
    except UnicodeDecodeError as error:
        refuse(f"expected UTF-8, got the byte 0x{line[error.start]:02x} at position {error.start}")
    except (ValueError, RecursionError) as error:
        refuse(f"expected a JSON object, got {_shown(line.decode())} ({error})")
    if not isinstance(value, dict):
        refuse(f'expected a JSON object such as {{"op": "delete_node", "id": "a"}}, got {_shown(value)}')
    return value


def _complaint(name: str, value: object) -> str:
    """Return what was expected of a field, or "" if the value is of its type."""
    if name in {"cost", "cost_factor"}:
        return "" if _is_number(value) else "a finite number"
    if name == "attributes":
        sound = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
        return "" if sound else "an object whose values are texts"
    return "" if isinstance(value, str) else "a text"


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:  # an integer beyond every float
        return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"
