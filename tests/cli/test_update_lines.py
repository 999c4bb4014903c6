"""Changes are read from JSON lines, and what is wrong with a line is named."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from planmesh.cli.update_lines import LINE_BYTES_MAX, ChangeFile, LineBatch, named_lines, parse_change
from planmesh.client import DeleteEdge, DeleteNode, UpsertEdge, UpsertNode
from planmesh.errors import ChangeTargetUnknown, InvalidChange, InvalidRequest

DELETE = b'{"op": "delete_node", "id": "x"}'


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ('{"op": "upsert_edge", "source": "a", "target": "b", "cost": 2.5}', UpsertEdge("a", "b", cost=2.5)),
        ('{"op": "upsert_edge", "source": "a", "target": "b", "cost": 0}', UpsertEdge("a", "b", cost=0)),
        (
            '{"op": "upsert_edge", "source": "a", "target": "b", "cost_factor": 2, "attributes": {"k": ""}}',
            UpsertEdge("a", "b", cost_factor=2, attributes={"k": ""}),
        ),
        ('{"op": "upsert_edge", "source": "a", "target": "ü"}', UpsertEdge("a", "ü")),
        ('{"op": "upsert_node", "id": "a", "state": "down"}', UpsertNode("a", state="down")),
        ('{"id": "a", "op": "upsert_node", "domain": "", "region": "r"}', UpsertNode("a", domain="", region="r")),
        ('{"op": "delete_node", "id": "x"}', DeleteNode("x")),
        ('{"op": "delete_edge", "source": "a", "target": "b"}', DeleteEdge("a", "b")),
    ],
)
def test_a_line_is_a_change(line: str, change: Any) -> None:
    assert parse_change("f", 1, line.encode()) == change


EDGE = '{"op": "upsert_edge", "source": "a", "target": "b", '


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ("{}", "op", "expected one of upsert_node, delete_node, upsert_edge, delete_edge, got no op"),
        ('{"op": "drop_node", "id": "a"}', "op", "got 'drop_node'"),
        ('{"op": 7}', "op", "got 7"),
        ('{"op": ["upsert_node"]}', "op", "got ['upsert_node']"),
        ('{"op": "delete_node"}', "id", "delete_node needs id"),
        ('{"op": "delete_edge", "source": "a"}', "target", "delete_edge needs source and target"),
        ('{"op": "delete_node", "id": 7}', "id", "expected a text, got 7"),
        ('{"op": "delete_node", "id": null}', "id", "expected a text, got None"),
        ('{"op": "delete_node", "id": "a", "cost": 1}', "cost", "expected one of id, got another field"),
        ('{"op": "upsert_node", "id": "a", "labels": []}', "labels", "got another field"),
        ('{"op": "upsert_node", "id": "a", "state": true}', "state", "expected a text, got True"),
        ('{"op": "upsert_node", "id": "a", "attributes": {"k": 1}}', "attributes", "an object whose values are texts"),
        ('{"op": "upsert_node", "id": "a", "attributes": ["k"]}', "attributes", "an object whose values are texts"),
        ('{"op": "upsert_node", "id": "a", "id": "b"}', "id", "expected each field once, got it twice"),
        (EDGE + '"cost": "2.5"}', "cost", "expected a finite number, got '2.5'"),
        (EDGE + '"cost": "NaN"}', "cost", "expected a finite number, got 'NaN'"),
        (EDGE + '"cost": NaN}', "", "expected JSON, which has no NaN"),
        (EDGE + '"cost": -Infinity}', "", "expected JSON, which has no -Infinity"),
        (EDGE + '"cost": 1e999}', "cost", "expected a finite number, got inf"),
        (EDGE + '"cost": 1' + "0" * 400 + "}", "cost", "expected a finite number"),
        (EDGE + '"cost": 1' + "0" * 5_000 + "}", "", "expected a JSON object"),
        (EDGE + '"cost": true}', "cost", "expected a finite number, got True"),
        (EDGE + '"cost": null}', "cost", "expected a finite number, got None"),
        (EDGE + '"cost": 1, "cost_factor": 2}', "cost_factor", "expected either cost or cost_factor, got both"),
        ("[]", "", "expected a JSON object such as"),
        ("op: delete_node", "", "expected a JSON object, got 'op: delete_node'"),
        ('{"op": "delete_node", "id": "a"} {}', "", "Extra data"),
        ("[" * 50_000, "", "expected a JSON object, got"),
        ('\ufeff{"op": "delete_node", "id": "a"}', "", "BOM"),
    ],
)
def test_a_bad_line_is_refused_with_its_place_and_what_was_expected(line: str, field: str, said: str) -> None:
    with pytest.raises(InvalidChange) as refused:
        parse_change("changes.jsonl", 17, line.encode())
    error = refused.value
    assert error.message.startswith(f"changes.jsonl, line 17{f', field {field}' if field else ''}: expected")
    assert said in error.message
    assert error.metadata == {"source": "changes.jsonl", "record": "line 17", **({"field": field} if field else {})}
    assert len(error.message) < 400


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(InvalidChange, match=r"f, line 3: expected UTF-8, got the byte 0xff at position 29"):
        parse_change("f", 3, b'{"op": "delete_node", "id": "\xff"}')


def read(path: Path, changes_max: int = 10_000, *, several: bool = False) -> list[LineBatch]:
    with ChangeFile(str(path)) as opened:
        return list(opened.batches(changes_max, several=several))


def lines_of(count: int) -> bytes:
    return b"".join(json.dumps({"op": "delete_node", "id": str(number)}).encode() + b"\n" for number in range(count))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
def test_batches_are_bounded_and_lose_nothing(tmp_path: Path, count: int) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_bytes(lines_of(count))
    found = read(file, 4, several=True)
    assert [number for batch in found for number in batch.lines] == list(range(1, count + 1))
    assert [change for batch in found for change in batch.changes] == [DeleteNode(str(n)) for n in range(count)]
    assert [len(batch.lines) for batch in found] == [4] * (count // 4) + ([count % 4] if count % 4 else [])


def test_empty_lines_count_as_lines_only(tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_bytes(b"\n" + DELETE + b"\r\n\n  \n" + DELETE)
    assert [batch.lines for batch in read(file)] == [[2, 5]]


def test_more_changes_than_one_batch_has_are_refused_before_any_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_bytes(lines_of(10_000))
    assert len(read(file)[0].changes) == 10_000
    file.write_bytes(lines_of(10_001))
    with ChangeFile(str(file)) as opened, pytest.raises(InvalidChange, match=r"line 10001: .* pass --batch 10000"):
        next(opened.batches(10_000, several=False))


def test_a_bad_line_lets_the_batches_before_its_own_pass(tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_bytes(lines_of(3) + b"{}\n" + lines_of(3))
    with ChangeFile(str(file)) as opened:
        batches = opened.batches(2, several=True)
        assert next(batches).lines == [1, 2]
        with pytest.raises(InvalidChange, match="line 4, field op"):
            next(batches)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_file_without_changes_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_bytes(content)
    with pytest.raises(InvalidChange, match=r"changes\.jsonl: expected at least one change"):
        read(file)


def test_a_line_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl"
    padding = b" " * (LINE_BYTES_MAX - len(DELETE))
    file.write_bytes(DELETE + padding + b"\r\n" + DELETE)
    assert read(file)[0].lines == [1, 2]
    for ending in (b"", b"\n", b"x" * 200_000):
        file.write_bytes(DELETE + b"\n" + DELETE + padding + b" " + ending)
        with pytest.raises(InvalidChange, match=r"line 2: expected at most 65,536 bytes, got more"):
            read(file)


def test_a_compressed_file(tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl.gz"
    file.write_bytes(gzip.compress(lines_of(5)))
    assert read(file)[0].lines == [1, 2, 3, 4, 5]
    with ChangeFile(str(file)) as opened:
        list(opened.batches(10, several=False))
        assert opened.bytes_read == opened.bytes_total == file.stat().st_size


@pytest.mark.parametrize("content", [lines_of(3), gzip.compress(lines_of(5_000))[:-30]])
def test_a_damaged_compressed_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "changes.jsonl.gz"
    file.write_bytes(content)
    with pytest.raises(InvalidChange, match=r"changes\.jsonl\.gz, line \d+: the"):
        read(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.jsonl", tmp_path):
        with pytest.raises(InvalidChange, match=f"{path}: the file cannot be read"):
            read(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines_of(2) + b"{")))
    with ChangeFile("-") as opened:
        batches = opened.batches(2, several=True)
        assert next(batches).lines == [1, 2]
        assert (opened.bytes_read, opened.bytes_total) == (0, 0)
        with pytest.raises(InvalidChange, match="standard input, line 3: expected a JSON object"):
            next(batches)


@pytest.mark.parametrize(
    ("raised", "message", "field"),
    [
        (
            InvalidChange("expected at most 1e+298", change=1, field="upsert_edge.cost"),
            "f, line 9, field cost: expected at most 1e+298",
            "upsert_edge.cost",
        ),
        (
            ChangeTargetUnknown("no node 'x'; pass ignore_missing", change=0, field="delete_node.id"),
            "f, line 4, field id: no node 'x'; pass ignore_missing",
            "delete_node.id",
        ),
        (InvalidChange("an empty change", change=1), "f, line 9: an empty change", ""),
    ],
)
def test_an_error_about_a_change_becomes_one_about_its_line(
    raised: InvalidChange | ChangeTargetUnknown, message: str, field: str
) -> None:
    with pytest.raises(type(raised)) as caught, named_lines("f", LineBatch([DeleteNode("a")] * 2, [4, 9])):
        raise raised
    assert caught.value.message == message
    assert caught.value.metadata == {
        **raised.metadata,
        "source": "f",
        "record": message.split(",")[1].split(":", maxsplit=1)[0][1:],
    }
    assert caught.value.metadata["field"] == field


@pytest.mark.parametrize("raised", [InvalidChange("no place"), InvalidChange("beyond", change=2), InvalidRequest("x")])
def test_other_errors_stay_as_they_are(raised: InvalidRequest) -> None:
    with pytest.raises(InvalidRequest) as caught, named_lines("f", LineBatch([DeleteNode("a")] * 2, [4, 9])):
        raise raised
    assert caught.value is raised
