"""What commands print for people and, when piped, for other programs."""

from __future__ import annotations

import pytest

from planmesh.cli.output import cost_text, error_object, escape_markup, print_json, print_table
from planmesh.errors import NodeUnknown


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (0.0, "0"),
        (1234.0, "1,234"),
        (0.5, "0.5"),
        (1234.25, "1,234.25"),
        (1 / 3, "0.333333"),
        (1e15, "1,000,000,000,000,000"),
    ],
)
def test_costs_are_whole_or_have_up_to_six_decimals(cost: float, text: str) -> None:
    assert cost_text(cost) == text


def test_a_piped_table_is_tab_separated_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("node", False), ("cost", True)], [("[a]", "1")], title="unseen")
    assert capsys.readouterr().out == "node\tcost\n[a]\t1\n"


def test_ids_that_look_like_markup_are_escaped() -> None:
    assert escape_markup("[bold]x") == "\\[bold]x"


def test_json_is_one_line_and_has_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"id": "Reykjavík"})
    assert capsys.readouterr().out == '{"id": "Reykjavík"}\n'
    with pytest.raises(ValueError, match="JSON"):
        print_json(float("inf"))


def test_an_error_is_the_object_of_the_wire() -> None:
    value = error_object(NodeUnknown("nowhere"))
    assert (value["code"], value["reason"]) == ("NOT_FOUND", "NODE_UNKNOWN")
    assert value["metadata"]["node"] == "nowhere"
