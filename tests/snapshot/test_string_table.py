from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planmesh.snapshot.string_table import decode_string, decode_strings, encode_strings


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_decoded_strings_are_those_that_were_encoded(strings: list[str]) -> None:
    table = encode_strings(strings)
    assert decode_strings(table) == strings
    assert [decode_string(table, number) for number in range(len(strings))] == strings
