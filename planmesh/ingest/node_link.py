"""Reads node-link JSON as `networkx.node_link_data` writes it, with edges under "edges" or (before 3.6) "links"."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from planmesh.errors import InvalidGraph
from planmesh.graph.rules import shown
from planmesh.ingest.graph_source import Columns
from planmesh.ingest.input_file import InputFile
from planmesh.ingest.records import EDGES, NODES, RecordReader, RecordSource

JSON_BYTES_MAX: Final = 1 << 30
"""Most bytes of unpacked JSON, read as a whole: some ten million edges. Parsing takes several times as much memory."""

EDGE_KEYS: Final = ("edges", "links")

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_LAST_KEY: Final = re.compile(rb'"((?:[^"\\\n]|\\.)*)"\s*:[^:"]*$')
_CONTEXT_BYTES: Final = 4_096


class NodeLinkSource(RecordSource):
    """A node-link JSON file, parsed when the source is created; undirected unless "directed" is true (as networkx)."""

    def __init__(self, file: InputFile, columns: Columns) -> None:
        self._file = file
        text = file.read_whole(JSON_BYTES_MAX).removeprefix(b"\xef\xbb\xbf")
        document = _parse(text, file.name)
        self._text = text
        self._edges_key = _edges_key(document, file.name)
        self._nodes = _records(document, NODES, file.name, text)
        self._edges = _records(document, self._edges_key, file.name, text)
        self._undirected = not _flag(document, "directed", file.name)
        _flag(document, "multigraph", file.name)
        self._reader = RecordReader(file.name, columns, self._place)

    def _place(self, kind: str, index: int) -> str:
        key = NODES if kind == NODES else self._edges_key
        return f"line {line_of_record(self._text, key, index)}, {key}[{index}]"


def _parse(text: bytes, source: str) -> dict[str, Any]:
    if not text.strip():
        raise InvalidGraph("expected node-link JSON, got an empty file", source=source, record="line 1")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # orjson counts characters; for invalid UTF-8 it reports position 0
        before = text.decode("utf-8", "replace")[: error.pos].encode("utf-8", "replace")
        line = before.count(b"\n") + 1
        key = _LAST_KEY.search(before[-_CONTEXT_BYTES:])
        raise InvalidGraph(
            f"invalid JSON: {error.msg}",
            source=source,
            record=f"line {line}",
            field=key.group(1).decode("utf-8", "replace") if key else "",
        ) from error
    if not isinstance(document, dict):
        raise InvalidGraph(
            'expected a JSON object with "nodes" and "edges"', source=source, record="line 1", field=NODES
        )
    return document


def _edges_key(document: dict[str, Any], source: str) -> str:
    keys = [key for key in EDGE_KEYS if key in document]
    if len(keys) != 1:
        got = " and ".join(keys) if keys else ", ".join(map(repr, sorted(document))) or "none"
        raise InvalidGraph(f'expected one of the keys "edges" and "links", got {got}', source=source, field=EDGES)
    return keys[0]


def _records(document: dict[str, Any], key: str, source: str, text: bytes) -> list[dict[str, Any]]:
    records = document.get(key)
    if not isinstance(records, list):
        got = f"got {shown(records)}" if key in document else "got none"
        raise InvalidGraph(f"expected a list of objects under {key!r}, {got}", source=source, field=key)
    if not set(map(type, records)) <= {dict}:
        index = next(index for index, record in enumerate(records) if not isinstance(record, dict))
        raise InvalidGraph(
            f"expected an object, got {shown(records[index])}",
            source=source,
            record=f"line {line_of_record(text, key, index)}, {key}[{index}]",
            field=key,
        )
    return records


def _flag(document: dict[str, Any], key: str, source: str) -> bool:
    value = document.get(key, False)
    if not isinstance(value, bool):
        raise InvalidGraph(f"expected true or false, got {shown(value)}", source=source, field=key)
    return value


def line_of_record(text: bytes, key: str, index: int) -> int:
    """Return the line on which record `index` of the list under a top-level `key` begins.

    It scans the tokens of valid JSON at some 20 MB/s, and is called only for error messages.
    """
    wanted = orjson.dumps(key)
    depth, found, inside, last_text = 0, -1, False, b""
    for match in _TOKEN.finditer(text):
        token = match.group()
        if inside and depth == 2 and token not in (b",", b"]"):
            found += 1
            if found == index:
                return text.count(b"\n", 0, match.start()) + 1
        if token in (b"{", b"["):
            depth += 1
            inside = inside or (depth == 2 and token == b"[" and last_text == wanted)
        elif token in (b"}", b"]"):
            depth -= 1
            inside = inside and depth >= 2
        elif depth == 1 and token[:1] == b'"':
            last_text = token
    return 1
