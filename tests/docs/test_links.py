"""Links between documents lead somewhere in the repository, anchors included; Sphinx checks those of the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
FENCE = re.compile(r"^(`{3,}).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("examples/**/*.md")]
)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for target, anchor in LINK.findall(FENCE.sub("", document.read_text())):
        page = (document.parent / target).resolve() if target else document
        assert page.exists(), target
        if anchor and page.suffix == ".md":
            assert anchor in anchors(page), f"{target}#{anchor}"


def test_every_page_is_part_of_the_site() -> None:
    """Every page of docs/ is in a table of contents, so that a reader of the site finds it."""
    docs = ROOT / "docs"
    listed = set()
    for page in docs.rglob("*.md"):
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            for name in tree.split("\n"):
                if name and not name.startswith(":"):
                    listed |= set(page.parent.glob(f"{name}.md")) if "*" in name else {page.parent / f"{name}.md"}
    assert listed | {docs / "index.md"} == set(docs.rglob("*.md"))


def test_every_file_of_the_map_is_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text().split("## Where things are")[1].split("\n## ")[0]
    named = re.findall(r"`([\w.-]+(?:/[\w.*-]+)+/?)`", page)
    assert len(named) > 40
    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []


def test_every_file_of_the_bounds_is_there() -> None:
    """Its table names modules relative to planmesh/ or planmesh/store/, and tests relative to tests/."""
    named = re.findall(r"`((?:\w+/)+\w+\.py)(?:::\w+)?`", (ROOT / "ARCHITECTURE.md").read_text())
    assert len(named) > 40
    folders = [ROOT, ROOT / "planmesh", ROOT / "planmesh" / "store", ROOT / "tests"]
    assert [path for path in named if not any((folder / path).exists() for folder in folders)] == []
