"""Packed strings have the bytes of each string, with or without separators between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planmesh.graph.packed_strings import PackedStrings, pack, unpack

TEXTS = st.lists(st.text(st.characters(codec=None), max_size=8))


def slices(packed: PackedStrings) -> list[bytes]:
    bounds = zip(packed.start.tolist(), packed.end.tolist(), strict=True)
    return [packed.blob[start:end].tobytes() for start, end in bounds]


@given(TEXTS)
def test_each_slice_is_the_utf_8_of_its_string(texts: list[str]) -> None:
    packed = pack(texts)
    assert len(packed) == len(texts)
    assert slices(packed) == [text.encode("utf-8", "surrogatepass") for text in texts]
    assert unpack(packed) == texts
    assert [str(array.dtype) for array in (packed.blob, packed.start, packed.end)] == ["uint8", "int64", "int64"]


def test_strings_with_line_breaks_are_packed_without_separators() -> None:
    assert slices(pack(["a\nb", "", "c"])) == [b"a\nb", b"", b"c"]
    assert len(pack(["a\nb", "c"]).blob) == 4
    assert len(pack(["ab", "c"]).blob) == 4  # with a separator


def test_a_lone_surrogate_is_never_valid_utf_8() -> None:
    [raw] = slices(pack(["\ud800"]))
    assert raw == b"\xed\xa0\x80"
    assert b"\xed\xa0\x80" not in "".join(map(chr, [*range(0x20, 0xD7FF, 97), *range(0xE000, 0xFFFF, 89)])).encode()
