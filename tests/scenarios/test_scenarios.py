"""Every scenario of this folder, through the real mesh; `--rewrite-scenarios` writes its answers into the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.client import Client
from tests.conftest import RunningMesh
from tests.scenarios.scenario import Conversation, read_blocks

pytestmark = pytest.mark.mesh

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_scenario(mesh: RunningMesh, pytestconfig: pytest.Config, file: Path) -> None:
    blocks = read_blocks(file)
    assert blocks, f"{file.name} asks nothing"
    written: list[str] = []
    expected: list[str] = []
    with Client(mesh.address, timeout_s=30) as client:
        conversation = Conversation(client, f"scenario-{file.stem.replace(' ', '-')}")
        for block in blocks:
            written += block.text(conversation.answer(block))
            expected += block.text(block.answer)
    if pytestconfig.getoption("--rewrite-scenarios"):
        file.write_text("\n".join(written) + "\n")
    else:
        assert written == expected


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 12
