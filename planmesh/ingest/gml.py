"""Reads GML (Himsolt, 1997) as the Internet Topology Zoo and networkx write it.

The `id` identifies a node. `--id-column label` selects another attribute, whose values must then be distinct (the
labels of many networks of the Zoo are not). Parallel edges are read whether or not the file says `multigraph`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, Final

from planmesh.errors import InvalidGraph
from planmesh.graph.rules import shown
from planmesh.ingest.graph_source import Columns
from planmesh.ingest.graphml import name_ends
from planmesh.ingest.input_file import InputFile
from planmesh.ingest.records import NODES, RecordReader, RecordSource

GML_BYTES_MAX: Final = 1 << 28
"""Most bytes of unpacked GML, which is read as a whole."""

DEPTH_MAX: Final = 32
"""Greatest depth of nested lists."""

_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r]+)|(?P<line>\n)|(?P<comment>#[^\n]*)|(?P<key>[A-Za-z_][0-9A-Za-z_]*)"
    r"|(?P<real>[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+|[+-](?:INF|NAN|inf|nan)\b)"
    r"|(?P<integer>[+-]?\d{1,300}(?!\d))|(?P<text>\"[^\"]*\")|(?P<open>\[)|(?P<close>\])"
)
_LINE: Final = "__line__"


class GmlSource(RecordSource):
    """A GML file, parsed when the source is created; undirected unless it says `directed 1`."""

    def __init__(self, file: InputFile, columns: Columns) -> None:
        self._file = file
        packed = file.read_whole(GML_BYTES_MAX)
        try:
            text = packed.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = packed.count(b"\n", 0, error.start) + 1
            raise InvalidGraph("expected UTF-8 (or ASCII)", source=file.name, record=f"line {line}") from error
        graph = _graph_of(_parse(text, file.name), file.name)
        self._undirected = not graph.get("directed", 0)
        self._nodes = _records(graph, "node", file.name)
        self._edges = _records(graph, "edge", file.name)
        self._lines = {NODES: [node.pop(_LINE) for node in self._nodes], "edges": [e.pop(_LINE) for e in self._edges]}
        self._reader = RecordReader(file.name, columns, lambda kind, index: f"line {self._lines[kind][index]}")
        name_ends(self._nodes, self._edges, columns)


def _tokens(text: str, source: str) -> Iterator[tuple[str, str, int]]:
    """Yield the kind, text and line of each token; a quoted text may span lines."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            bad = text[position : text.find("\n", position) if "\n" in text[position:] else None]
            raise InvalidGraph(
                f"expected a key, a number, a text or a bracket, got {shown(bad)}", source=source, record=f"line {line}"
            )
        kind = match.lastgroup or ""
        if kind not in ("space", "line", "comment"):
            yield kind, match.group(), line
        line += match.group().count("\n")
        position = match.end()


def _parse(text: str, source: str) -> dict[str, list[Any]]:
    """Return the document as lists of values by key; a nested list becomes a dict that also holds its line."""
    root: dict[str, Any] = {}
    stack = [root]
    key, line = "", 1
    for kind, token, line in _tokens(text, source):
        if kind == "key" and not key:
            key = token
            continue
        if kind == "close" and not key:
            if len(stack) == 1:
                raise InvalidGraph("unexpected closing bracket", source=source, record=f"line {line}")
            stack.pop()
            continue
        if not key or kind in ("key", "close"):
            raise InvalidGraph(
                f"expected {'a value' if key else 'a key'}, got {shown(token)}",
                source=source,
                record=f"line {line}",
                field=key,
            )
        if kind == "open":
            if len(stack) > DEPTH_MAX:
                raise InvalidGraph(
                    f"expected lists nested at most {DEPTH_MAX} deep", source=source, record=f"line {line}"
                )
            inner: dict[str, Any] = {_LINE: line}
            stack[-1].setdefault(key, []).append(inner)
            stack.append(inner)
        else:
            stack[-1].setdefault(key, []).append(_value(kind, token))
        key = ""
    if len(stack) > 1 or key:
        raise InvalidGraph(
            "the file ends inside a list; is it truncated?", source=source, record=f"line {line}", field=key
        )
    return root


def _value(kind: str, token: str) -> Any:
    if kind == "integer":
        return int(token)
    if kind == "real":
        return float(token)
    return html.unescape(token[1:-1])


def _graph_of(document: dict[str, list[Any]], source: str) -> dict[str, Any]:
    graphs = document.get("graph", [])
    if len(graphs) != 1 or not isinstance(graphs[0], dict):
        raise InvalidGraph(
            f"expected one `graph [ ... ]`, got {len(graphs)}", source=source, record="line 1", field="graph"
        )
    graph = dict(graphs[0])
    directed = graph.get("directed", [0])
    if directed not in ([0], [1]):
        raise InvalidGraph(
            f"expected `directed` 0 or 1, got {shown(directed)}",
            source=source,
            record=f"line {graph[_LINE]}",
            field="directed",
        )
    graph["directed"] = directed[0]
    return graph


def _records(graph: dict[str, Any], key: str, source: str) -> list[dict[str, Any]]:
    """Return the nodes or edges; of a repeated attribute the last value counts."""
    records = []
    for record in graph.get(key, []):
        if not isinstance(record, dict):
            raise InvalidGraph(
                f"expected `{key} [ ... ]`, got {shown(record)}",
                source=source,
                record=f"line {graph[_LINE]}",
                field=key,
            )
        records.append({name: value if name == _LINE else value[-1] for name, value in record.items()})
    return records
