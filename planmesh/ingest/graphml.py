"""Reads GraphML (http://graphml.graphdrawing.org) without external entities, document types or nested graphs."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from lxml import etree

from planmesh.errors import InvalidGraph
from planmesh.graph.rules import shown
from planmesh.ingest.graph_source import Columns
from planmesh.ingest.input_file import InputFile
from planmesh.ingest.records import NODES, RecordReader, RecordSource

GRAPHML_BYTES_MAX: Final = 1 << 30
"""Most bytes of unpacked GraphML, which is read as a whole."""

NUMBER_TYPES: Final = {"int": int, "long": int, "float": float, "double": float}


@dataclass(frozen=True, slots=True)
class _Key:
    """A declared attribute of nodes, of edges, or of all elements."""

    name: str
    domain: str
    kind: str
    default: str | None


@dataclass(slots=True)
class _Document:
    """The attributes and lines of nodes and edges; "id" holds a node's XML id."""

    undirected: bool = False
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    node_lines: list[int] = field(default_factory=list)
    edge_lines: list[int] = field(default_factory=list)


class GraphmlSource(RecordSource):
    """A GraphML file, parsed when the source is created; undirected when its `edgedefault` says so."""

    def __init__(self, file: InputFile, columns: Columns) -> None:
        self._file = file
        self._document = _Parser(file.name).parse(file.read_whole(GRAPHML_BYTES_MAX))
        self._undirected = self._document.undirected
        self._nodes, self._edges = self._document.nodes, self._document.edges
        self._reader = RecordReader(file.name, columns, self._place)
        name_ends(self._nodes, self._edges, columns)

    def _place(self, kind: str, index: int) -> str:
        lines = self._document.node_lines if kind == NODES else self._document.edge_lines
        return f"line {lines[index]}"


def name_ends(nodes: list[dict[str, Any]], edges: list[dict[str, Any]], columns: Columns) -> None:
    """Replace the XML ids at the ends of edges by the nodes' attribute `columns.id`.

    An unknown end stays as it is.
    """
    if columns.id == "id":
        return
    name_of = {node["id"]: node[columns.id] for node in nodes if "id" in node and columns.id in node}
    for edge in edges:
        for side in ("source", "target"):
            end = edge.get(side)
            if isinstance(end, str | int):
                edge[side] = name_of.get(end, end)


class _Parser:
    """Parses a document element by element."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str, _Key] = {}
        self._document = _Document()
        self._graphs = 0

    def parse(self, text: bytes) -> _Document:
        events = etree.iterparse(
            BytesIO(text),
            events=("start", "end"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        )
        try:
            for event, element in events:
                self._take(event, element)
        except etree.XMLSyntaxError as error:
            raise self._error(error.lineno or 1, "", f"invalid XML: {error.msg}") from error
        if self._graphs == 0:
            raise self._error(1, "graph", "expected a <graph> element, got none")
        return self._document

    def _error(self, line: int, name: str, message: str) -> InvalidGraph:
        return InvalidGraph(message, source=self._source, record=f"line {line}", field=name)

    def _take(self, event: str, element: Any) -> None:
        # The name without its namespace. lxml's QName raises ValueError for names such as ":graphml".
        tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
        line = element.sourceline or 1
        if event == "start":
            if element.getparent() is None:
                self._check_root(element, tag, line)
            elif tag == "graph":
                self._start_graph(element, line)
            elif tag in ("hyperedge", "port"):
                raise self._error(line, tag, f"<{tag}> is not supported: paths consist of edges between two nodes")
            return
        if tag == "key":
            default = element.findtext("{*}default")
            self._keys[element.get("id", "")] = _Key(
                element.get("attr.name") or element.get("id", ""),
                element.get("for", "all"),
                element.get("attr.type", "string"),
                default,
            )
        elif tag == "node":
            self._document.nodes.append(self._attributes(element, ("id",), "node", line))
            self._document.node_lines.append(line)
            _forget(element)
        elif tag == "edge":
            self._check_direction(element, line)
            self._document.edges.append(self._attributes(element, ("source", "target"), "edge", line))
            self._document.edge_lines.append(line)
            _forget(element)

    def _check_root(self, element: Any, tag: str, line: int) -> None:
        if element.getroottree().docinfo.doctype:
            raise self._error(line, "", "expected no document type, which could define entities; remove <!DOCTYPE ...>")
        if tag != "graphml":
            raise self._error(line, tag, f"expected the root element <graphml>, got <{tag}>")

    def _start_graph(self, element: Any, line: int) -> None:
        self._graphs += 1
        if self._graphs > 1:
            raise self._error(line, "graph", "expected one graph, got another (nested graphs are not supported)")
        direction = element.get("edgedefault", "directed")
        if direction not in ("directed", "undirected"):
            raise self._error(line, "edgedefault", f"expected directed or undirected, got {shown(direction)}")
        self._document.undirected = direction == "undirected"

    def _check_direction(self, element: Any, line: int) -> None:
        directed = element.get("directed")
        if directed is not None and (directed == "false") != self._document.undirected:
            raise self._error(line, "directed", "expected every edge to follow the graph's edgedefault")

    def _attributes(self, element: Any, names: tuple[str, ...], kind: str, line: int) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            key.name: self._value(key, key.default, line)
            for key in self._keys.values()
            if key.default is not None and key.domain in (kind, "all")
        }
        for data in element.iterchildren("{*}data"):
            key = self._keys.get(data.get("key", ""))
            if key is None:
                raise self._error(data.sourceline or line, data.get("key", ""), "expected a <key> that declares it")
            attributes[key.name] = self._value(key, "".join(data.itertext()), data.sourceline or line)
        for name in names:
            value = element.get(name)
            if value is None:
                raise self._error(line, name, f"expected an attribute {name!r}")
            attributes[name] = value
        return attributes

    def _value(self, key: _Key, text: str, line: int) -> Any:
        if key.kind not in NUMBER_TYPES:
            return text if key.kind != "boolean" else text.strip() in ("true", "1")
        try:
            return NUMBER_TYPES[key.kind](text.strip())
        except ValueError:
            raise self._error(line, key.name, f"expected a number ({key.kind}), got {shown(text)}") from None


def _forget(element: Any) -> None:
    """Free the memory of an element that was read, and of those before it."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]
