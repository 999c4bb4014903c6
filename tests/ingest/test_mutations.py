"""A reader reads or refuses a file of any bytes; it never fails in another way."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planmesh.errors import InvalidGraph

Read = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"source": ["a", "b"], "target": ["b", "c"], "cost": [1.0, 2.0]}), buffer)
    return buffer.getvalue()


FILES = {
    "e.csv": b'source,target,cost\na,b,1\n"b",c,2.5\nc,a,0\n',
    "e.tsv": b"source\ttarget\tcost\na\tb\t1\nb\tc\t2.5\n",
    "x.gr": b"c x\np sp 4 3\na 1 2 803\na 2 1 803\na 3 4 0\n",
    "g.json": b'{"directed": false, "nodes": [{"id": "a"}, {"id": 2}], '
    b'"links": [{"source": "a", "target": 2, "cost": 1.5}]}',
    "g.gml": b'graph [ node [ id 0 label "x" ] node [ id 1 ] edge [ source 0 target 1 cost 2.5 ] ]',
    "g.graphml": b'<graphml><key id="c" for="edge" attr.name="cost" attr.type="double"/><graph edgedefault="directed">'
    b'<node id="a"/><node id="b"/><edge source="a" target="b"><data key="c">1</data></edge></graph></graphml>',
    "e.parquet": parquet(),
}
FRAGMENTS = [
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\n",
    b"\r",
    b'"',
    b",",
    b"\t",
    b"{",
    b"]",
    b"<",
    b"&x;",
    b"-1",
    b"nan",
    b"1e999",
    b" ",
    b"\xef\xbb\xbf",
]


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    data = original
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(data)))
        last = min(len(data), first + draw(st.sampled_from([0, 0, 1, 2, 8, 64])))
        fragment = draw(st.sampled_from([b"", *FRAGMENTS]) | st.binary(max_size=3) | st.just(data[first:last] * 2))
        data = data[:first] + fragment + data[last:]
    return data


@pytest.mark.parametrize("name", list(FILES))
def test_mutated_files_are_read_or_refused(read: Read, write: Write, name: str) -> None:
    read(write(name, FILES[name]))

    @settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(mutated(FILES[name]))
    def check(data: bytes) -> None:
        try:
            read(write(name, data))
        except InvalidGraph as refused:
            assert refused.metadata["source"] == name  # noqa: PT017 - reading it is allowed too

    check()
