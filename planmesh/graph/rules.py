"""The rules for rows of nodes and edges, for file readers, stores and the partition service alike.

A batch is checked as a whole, over arrays. Only a batch with a fault is examined row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from planmesh.errors import InvalidGraph
from planmesh.graph.model import COST_MAX, ID_BYTES_MAX, Float64Array
from planmesh.graph.packed_strings import PackedStrings, pack

LABEL_BYTES_MAX: Final = ID_BYTES_MAX
"""Most bytes of the name of a domain or region in UTF-8."""

SHOWN_CHARACTERS_MAX: Final = 60
"""Characters of an invalid value that an error message repeats."""

_SPACE: Final = 0x20
_DELETE: Final = 0x7F
_C1_LEAD: Final = 0xC2
_C1_LAST: Final = 0x9F
_SURROGATE_LEAD: Final = 0xED
_SURROGATE_FIRST: Final = 0xA0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a batch come from: row i is `unit` number `first + i` of `source`."""

    source: str = ""
    unit: str = "record"
    first: int = 1

    def record(self, row: int) -> str:
        """Return the place of a row for an error message, such as "line 17"."""
        return f"{self.unit} {self.first + row}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row of a batch that breaks a rule."""

    row: int
    field: str
    message: str

    def error(self, origin: Origin) -> InvalidGraph:
        """Return the error for a batch from `origin`, with source, record and field."""
        return InvalidGraph(self.message, source=origin.source, record=origin.record(self.row), field=self.field)


def shown(value: object) -> str:
    """Return the repr of a value for an error message, cut to SHOWN_CHARACTERS_MAX."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}… ({len(text)} characters)"


def find_text_fault(
    texts: Sequence[str], field: str, *, bytes_min: int, bytes_max: int, packed: PackedStrings | None = None
) -> Fault | None:
    """Return the first text that is too short, too long or not valid Unicode, or that contains control characters.

    `packed` are the same texts in packed form, if the caller has them.
    """
    if _texts_are_sound(pack(texts) if packed is None else packed, bytes_min, bytes_max):
        return None
    for row, text in enumerate(texts):
        complaint = _complaint(text, bytes_min, bytes_max)
        if complaint:
            return Fault(row, field, complaint)
    raise AssertionError("a batch of texts failed its check, but none of the texts does")


def find_id_fault(ids: Sequence[str], field: str = "id", packed: PackedStrings | None = None) -> Fault | None:
    """Return the first id that is not 1 to 512 bytes of UTF-8 without control characters."""
    return find_text_fault(ids, field, bytes_min=1, bytes_max=ID_BYTES_MAX, packed=packed)


def find_label_fault(labels: Sequence[str], field: str) -> Fault | None:
    """Return the first domain or region that is longer than 512 bytes or has control characters. "" is valid: none."""
    return find_text_fault(labels, field, bytes_min=0, bytes_max=LABEL_BYTES_MAX)


def find_cost_fault(costs: Float64Array, field: str = "cost") -> Fault | None:
    """Return the first cost, of float64[m], that is negative, NaN, infinite or over COST_MAX."""
    sound = (costs >= 0.0) & (costs <= COST_MAX)
    if sound.all():
        return None
    row = int(np.argmin(sound))
    return Fault(row, field, f"expected a finite cost from 0 to {COST_MAX:g}, got {float(costs[row])!r}")


def find_node_fault(
    ids: Sequence[str],
    domains: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    *,
    id_field: str = "id",
    domain_field: str = "domain",
    region_field: str = "region",
    packed: PackedStrings | None = None,
) -> Fault | None:
    """Return the first row of nodes that breaks a rule, or for which a column has no value or one too many."""
    faults = [find_id_fault(ids, id_field, packed)]
    for labels, field in ((domains, domain_field), (regions, region_field)):
        if labels is not None:
            faults += [_find_length_fault(len(ids), len(labels), field), find_label_fault(labels, field)]
    return _first(faults)


def find_edge_fault(
    sources: Sequence[str],
    targets: Sequence[str],
    costs: Float64Array | None = None,
    *,
    source_field: str = "source",
    target_field: str = "target",
    cost_field: str = "cost",
    packed: tuple[PackedStrings, PackedStrings] | None = None,
) -> Fault | None:
    """Return the first row of edges that breaks a rule, or for which a column has no value or one too many."""
    packed_sources, packed_targets = packed or (None, None)
    faults = [
        find_id_fault(sources, source_field, packed_sources),
        _find_length_fault(len(sources), len(targets), target_field),
        find_id_fault(targets, target_field, packed_targets),
    ]
    if costs is not None:
        faults += [_find_length_fault(len(sources), len(costs), cost_field), find_cost_fault(costs, cost_field)]
    return _first(faults)


def check_node_rows(
    origin: Origin,
    ids: Sequence[str],
    domains: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    *,
    id_field: str = "id",
    domain_field: str = "domain",
    region_field: str = "region",
    packed: PackedStrings | None = None,
) -> None:
    """Raise InvalidGraph for the first row of nodes that breaks a rule. NodeIdsBuilder finds duplicates.

    `packed` are the ids in packed form, if the caller has them.
    """
    fault = find_node_fault(
        ids,
        domains,
        regions,
        id_field=id_field,
        domain_field=domain_field,
        region_field=region_field,
        packed=packed,
    )
    if fault:
        raise fault.error(origin)


def check_edge_rows(
    origin: Origin,
    sources: Sequence[str],
    targets: Sequence[str],
    costs: Float64Array | None = None,
    *,
    source_field: str = "source",
    target_field: str = "target",
    cost_field: str = "cost",
    packed: tuple[PackedStrings, PackedStrings] | None = None,
) -> Float64Array | None:
    """Raise InvalidGraph for the first row of edges that breaks a rule; return the costs, with 0.0 for -0.0.

    NodeIdsBuilder.lookup finds ends that are unknown nodes. `packed` are sources and targets in packed form, if the
    caller has them.
    """
    fault = find_edge_fault(
        sources,
        targets,
        costs,
        source_field=source_field,
        target_field=target_field,
        cost_field=cost_field,
        packed=packed,
    )
    if fault:
        raise fault.error(origin)
    return None if costs is None else costs + 0.0


def _first(faults: Sequence[Fault | None]) -> Fault | None:
    return min((fault for fault in faults if fault is not None), key=lambda fault: fault.row, default=None)


def _find_length_fault(expected: int, got: int, field: str) -> Fault | None:
    if expected == got:
        return None
    return Fault(min(expected, got), field, f"expected one value for each of {expected} rows, got {got} values")


def _texts_are_sound(packed: PackedStrings, bytes_min: int, bytes_max: int) -> bool:
    if len(packed) == 0:
        return True
    length = packed.end - packed.start
    if length.min() < bytes_min or length.max() > bytes_max:
        return False
    blob = packed.blob
    separators = len(blob) - int(length.sum())
    if np.count_nonzero(blob < _SPACE) != separators or (blob == _DELETE).any():
        return False
    lead, following = blob[:-1], blob[1:]
    c1_control = (lead == _C1_LEAD) & (following <= _C1_LAST)
    surrogate = (lead == _SURROGATE_LEAD) & (following >= _SURROGATE_FIRST)
    return not (c1_control.any() or surrogate.any())


def _complaint(text: str, bytes_min: int, bytes_max: int) -> str:
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes < bytes_min:
        return "expected a text that is not empty"
    if size_bytes > bytes_max:
        return f"expected at most {bytes_max} bytes of UTF-8, got {size_bytes}: {shown(text)}"
    for character in text:
        code = ord(character)
        if code < _SPACE or _DELETE <= code <= _C1_LAST:
            return f"expected no control characters, got U+{code:04X} in {shown(text)}"
        if 0xD800 <= code <= 0xDFFF:
            return f"expected valid Unicode, got the lone surrogate U+{code:04X} in {shown(text)}"
    return ""
