from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.errors import SnapshotDamaged, SnapshotError
from planmesh.snapshot.manifest import (
    FORMAT,
    MANIFEST_NAME,
    Manifest,
    decode_manifest,
    encode_manifest,
    manifest_format,
    read_manifest,
    write_manifest,
)
from tests.snapshot.damage import DAMAGES
from tests.snapshot.small_snapshot import make_snapshot


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_snapshot(tmp_path_factory.mktemp("build")).manifest


def test_a_written_manifest_is_read_and_equal_manifests_give_equal_bytes(manifest: Manifest, tmp_path: Path) -> None:
    facts = write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path / MANIFEST_NAME) == manifest
    assert facts.bytes == len(encode_manifest(manifest))
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_files_are_found_by_name(manifest: Manifest) -> None:
    assert [manifest.find_file(entry.file) for entry in manifest.files()] == manifest.files()
    for name in ("", MANIFEST_NAME, "partitions", "partitions/99999", "partitions/0", "partitions/../overlay", "../x"):
        assert manifest.find_file(name) is None


def test_a_newer_format_is_refused_by_number(manifest: Manifest) -> None:
    document = orjson.loads(encode_manifest(manifest))
    document["format"] = FORMAT + 1
    with pytest.raises(SnapshotError, match=f"at most format {FORMAT}, found {FORMAT + 1}.*newer planmesh") as caught:
        decode_manifest(orjson.dumps(document))
    assert not isinstance(caught.value, SnapshotDamaged)


def test_an_older_format_is_refused_by_number(manifest: Manifest) -> None:
    document = orjson.loads(encode_manifest(manifest))
    document["format"] = FORMAT - 1
    raw = orjson.dumps(document)
    with pytest.raises(SnapshotError, match=f"expected format {FORMAT}, found {FORMAT - 1}.*rebuilds it") as caught:
        decode_manifest(raw)
    assert not isinstance(caught.value, SnapshotDamaged)
    assert (manifest_format(raw), manifest_format(encode_manifest(manifest))) == (FORMAT - 1, FORMAT)
    assert [manifest_format(no_manifest) for no_manifest in (b"", b"[]", b"{}", b'{"format":"1"}')] == [0] * 4


def test_the_identity_depends_on_contents_version_and_repair(manifest: Manifest) -> None:
    others: list[dict[str, Any]] = [
        {"version": 2},
        {"created_at": manifest.created_at + timedelta(microseconds=1)},
        {"overlay": manifest.overlay.model_copy(update={"checksum": "0" * 32})},
        {"repair": "a"},
        {"repair": "b"},
    ]
    identities = [manifest.model_copy(update=update).identity for update in others]
    assert len({manifest.identity, *identities}) == 1 + len(others)
    assert decode_manifest(encode_manifest(manifest)).identity == manifest.identity


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found(manifest: Manifest, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write_manifest(tmp_path, manifest)
    damage(tmp_path / MANIFEST_NAME)
    if damage.__name__ == "truncate":  # the document ends before the final line break
        damage(tmp_path / MANIFEST_NAME)
    with pytest.raises(SnapshotDamaged, match=f"^{MANIFEST_NAME}: "):
        read_manifest(tmp_path / MANIFEST_NAME)


@given(st.data())
def test_no_flipped_byte_of_the_content_goes_unnoticed(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(encode_manifest(manifest))
    place = data.draw(st.integers(raw.index(b'"checksum"'), len(raw) - 3))
    raw[place] ^= data.draw(st.integers(1, 127))
    with pytest.raises(SnapshotDamaged):
        decode_manifest(bytes(raw))


@pytest.mark.parametrize(
    "raw", [b"", b"5", b"[]", b"{}", b'{"format":"2"}', b'{"format":2}', b'{"format":2,"content":{}}']
)
def test_bytes_that_are_not_a_manifest_are_refused(raw: bytes) -> None:
    with pytest.raises(SnapshotDamaged):
        decode_manifest(raw)
