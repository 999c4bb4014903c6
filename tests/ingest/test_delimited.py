"""CSV and TSV: files that are read, and the file, line and field in every refusal."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planmesh.graph.model import COST_MAX
from planmesh.ingest import Columns, delimited
from planmesh.ingest.input_file import InputFile

Read = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]
Refusal = Callable[..., dict[str, str]]

EDGES = "source,target,cost\na,b,1\nb,c,2.5\nc,a,0\n"
ROWS = [("a", "b", 1.0), ("b", "c", 2.5), ("c", "a", 0.0)]


@pytest.mark.parametrize(
    "text",
    [
        EDGES,
        EDGES.removesuffix("\n"),
        EDGES.replace("\n", "\r\n"),
        EDGES + "\n\n\r\n",
        "\ufeff" + EDGES,
        "\n\n" + EDGES,
        EDGES.replace("a", '"a"').replace('t"a"rget', "target"),
        'cost,note,target,source\n1,"x, ""y""\nz",b,a\n2.5,,c,b\n"0",q,a,c\n',
    ],
)
def test_spellings_of_one_graph(read: Read, write: Write, text: str) -> None:
    for name, content in (("e.csv", text), ("e.csv.gz", text)):
        graph = read(write(name, content))
        assert graph.edges == ROWS
        assert (graph.undirected, graph.implicit_nodes, graph.ids) == (False, True, [])
    if '"x,' not in text:
        assert read(write("e.tsv", text.replace(",", "\t"))).edges == ROWS


def test_lines_are_exact_around_gaps_and_long_rows(read: Read, write: Write) -> None:
    path = write("e.csv", 'source,target,note\na,b,1\n\n\nb,c,"two\nlines"\nc,d,x\n\nd,e,y\n')
    graph = read(path)
    assert graph.edge_places == ["line 2", "line 5", "line 7", "line 9"]
    assert [cost for _, _, cost in graph.edges] == [1.0] * 4


def test_nodes_beside_edges(read: Read, write: Write) -> None:
    nodes = write("n.tsv", "name\tsection\tregion\na\tgames\t\nb\t\teurope\n")
    graph = read(write("e.csv", "source,target\na,b\n"), nodes, id="name", domain="section")
    assert (graph.ids, graph.domains, graph.regions) == (["a", "b"], ["games", ""], ["", "europe"])
    assert graph.implicit_nodes is False
    assert graph.edges == [("a", "b", 1.0)]


def test_default_columns_may_be_missing(read: Read, write: Write) -> None:
    graph = read(write("e.csv", "source,target,weight\na,b,7\n"), write("n.csv", "id\na\nb\n"))
    assert graph.edges == [("a", "b", 1.0)]
    assert graph.domains == ["", ""]


@pytest.mark.parametrize(
    ("text", "record", "field", "says"),
    [
        ("", "line 1", "", "empty file"),
        ("\n\n", "line 1", "", "empty file"),
        ("a,b,1\n", "line 1", "source", "'a', 'b', '1'"),
        ("source,target,source\n", "line 1", "source", "got 2"),
        ("source,target,cost\na,b\n", "line 2", "cost", "expected 3 columns, as the first line has, got 2"),
        ("source,target,cost\na,b,1\na,b,1,x\n", "line 3", "", "got 4"),
        ("source,target,cost\na,b,1\na,b,x\n", "line 3", "cost", "expected a number, got 'x'"),
        ("source,target,cost\na,b,\n", "line 2", "cost", "expected a number, got ''"),
        ("source,target,cost\na,b,0x10\n", "line 2", "cost", "'0x10'"),
        ("source,target,cost\na,b,1_000\n", "line 2", "cost", "'1_000'"),
        ("source,target,cost\na,b,true\n", "line 2", "cost", "'true'"),
        ("source,target,cost\na,b,-1\n", "line 2", "cost", "-1.0"),
        ("source,target,cost\na,b,nan\n", "line 2", "cost", "nan"),
        ("source,target,cost\na,b,1\n\na,b,inf\n", "line 4", "cost", "inf"),
        ("source,target,cost\na,b,1e400\n", "line 2", "cost", "inf"),
        ("source,target,cost\na,,1\n", "line 2", "target", "not empty"),
        ("source,target,cost\n" + "x" * 513 + ",b,1\n", "line 2", "source", "512 bytes"),
        ("source,target,cost\na\x00,b,1\n", "line 2", "source", "U+0000"),
        ('source,target,cost\na,b,1\n"a\nb",b,1\n', "line 3", "source", "no line break"),
        ('source,target,cost\na,"b"c,1\n', "line 2", "", "after a closing quote"),
        ('source,target,cost\na,b,1\na,"b,1\nc,d,1\n', "line 3", "target", "is its quote closed?"),
        ('source,target,note\na,b,1\na,b,"x\nc,d,1\n', "line 3", "", "never closed"),
        ('"source,target\na,b\n', "line 1", "", "header"),
    ],
)
def test_bad_text_is_refused_with_its_place(
    refusal: Refusal, write: Write, text: str, record: str, field: str, says: str
) -> None:
    for name in ("e.csv", "e.csv.gz"):
        got = refusal(write(name, text))
        assert (got["source"], got["record"], got["field"]) == (name, record, field)
        assert says in got["message"]


def test_invalid_utf_8_is_refused(refusal: Refusal, write: Write) -> None:
    got = refusal(write("e.csv", b"source,target\na,b\na,c\xe4\xe4\n"))
    assert (got["record"], got["field"]) == ("line 3", "target")
    assert "UTF-8" in got["message"]
    got = refusal(write("e.csv", EDGES.encode("utf-16")))
    assert got["record"] == "line 1"
    assert "UTF-8" in got["message"]


def test_a_named_column_that_is_missing(refusal: Refusal, write: Write) -> None:
    edges = write("e.csv", EDGES)
    got = refusal(edges, cost="latency")
    assert (got["record"], got["field"]) == ("line 1", "latency")
    assert "'source', 'target', 'cost'" in got["message"]
    got = refusal(edges, write("n.csv", "id\na\n"), domain="section")
    assert (got["source"], got["field"]) == ("n.csv", "section")


def test_a_bad_node_is_refused(refusal: Refusal, write: Write) -> None:
    nodes = write("n.csv", "id,domain\na,x\nb,y\x1f\n")
    got = refusal(write("e.csv", EDGES), nodes)
    assert (got["source"], got["record"], got["field"]) == ("n.csv", "line 3", "domain")


def test_a_line_far_down_is_exact(refusal: Refusal, write: Write) -> None:
    rows = [f"node-{number},node-{number + 1},{number % 99}\n" for number in range(100_000)]
    rows[77_776] = "node-1,node-2,-5\n"
    got = refusal(write("e.csv.gz", "source,target,cost\n" + "".join(rows)))
    assert got["record"] == "line 77778"


def test_an_endless_row_is_refused(refusal: Refusal, write: Write) -> None:
    got = refusal(write("e.csv", "source,target\na,b\n" + "x" * (delimited.ROW_BYTES_MAX + (2 << 20))))
    assert got["record"] == "line 3"
    assert "row of at most" in got["message"]
    got = refusal(write("e.csv", "x" * (delimited.ROW_BYTES_MAX + (2 << 20))))
    assert got["record"] == "line 1"


FIELD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8) | st.sampled_from(
    ['"', "a,b", '""']
)
COST = st.floats(0, COST_MAX) | st.integers(0, 2**53).map(float)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(FIELD, FIELD, COST), max_size=40), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_output_of_the_csv_module_is_read(
    read: Read, write: Write, rows: list[tuple[str, str, float]], line_end: str, quoted: bool
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(("source", "target", "cost"))
    writer.writerows(rows)
    graph = read(write("e.csv", text.getvalue()))
    assert graph.edges == rows
    assert graph.edge_places == [f"line {2 + row}" for row in range(len(rows))]


@pytest.mark.parametrize("size_bytes", [1, 2, 3, 7, 64])
def test_blocks_may_end_anywhere(write: Write, size_bytes: int) -> None:
    text = 'source,target,cost\r\na,"b ""x""",1\r\n\r\n"c","dé",2\r\ne,f,3'

    class SmallBlocks(InputFile):
        def read(self, size_bytes: int = size_bytes, record: str = "") -> bytes:
            return super().read(size_bytes, record)

    with SmallBlocks(write("e.csv", text)) as file:
        batches = list(delimited.read_edges(file, ",", Columns()))
    rows = [
        (rows.origin.record(row), rows.sources[row], rows.targets[row]) for rows in batches for row in range(len(rows))
    ]
    assert rows == [("line 2", "a", 'b "x"'), ("line 4", "c", "dé"), ("line 5", "e", "f")]
    costs = [rows.costs for rows in batches]
    assert np.concatenate(costs).tolist() == [1.0, 2.0, 3.0]
