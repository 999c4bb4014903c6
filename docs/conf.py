"""The site: `make docs` builds it into build/site; see docs/adr/0009-sphinx-builds-the-site.md.

Pages are Markdown that also reads well in the repository. Two things differ on the site, and this file provides them:

- ARCHITECTURE.md, CONTRIBUTING.md and CHANGELOG.md lie beside the source code. Each has a short page in docs/ that
  points there; on the site that page has their text.
- The site has no source code. A link to a file outside docs/ becomes its text and its path.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import planmesh
import planmesh.client

DOCS: Final = Path(__file__).resolve().parent
ROOT: Final = DOCS.parent

ROOT_PAGES: Final = {
    "concepts/architecture": "ARCHITECTURE.md",
    "contributing/index": "CONTRIBUTING.md",
    "contributing/changelog": "CHANGELOG.md",
}
"""Pages of the site whose text is a file at the root."""

project = "planmesh"
author = "the planmesh developers"
version = release = planmesh.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "index"

# Nothing is fetched while the site is built, and a link that leads nowhere is an error (`sphinx-build -W`).
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!planmesh\b).*"),  # the documentation of other packages is not here
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # generated pages may begin a list of messages at any level

smartquotes = False  # options begin with two dashes
default_role = "literal"  # docstrings have Markdown's code spans
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
add_module_names = False

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"planmesh {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

LINK: Final = re.compile(r"(?<!!)\[((?:[^\]\[]|\[[^\]]*\])*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCE: Final = re.compile(r"(^(?:`{3,}|~{3,}).*?^(?:`{3,}|~{3,})[ \t]*$)", re.MULTILINE | re.DOTALL)


def read_source(app: Sphinx, docname: str, content: list[str]) -> None:
    """Insert the text of a file at the root, and rewrite the links of every page; an event of Sphinx."""
    page = DOCS / f"{docname}.md"
    if not page.exists():
        return
    folder = page.parent
    if docname in ROOT_PAGES:
        source = ROOT / ROOT_PAGES[docname]
        app.env.note_dependency(source)
        content[0] = source.read_text()
        folder = ROOT
    parts = FENCE.split(content[0])
    content[0] = "".join(
        part if FENCE.fullmatch(part) else LINK.sub(lambda link: rewrite_link(link, folder, page.parent), part)
        for part in parts
    )


def rewrite_link(link: re.Match[str], folder: Path, page_folder: Path) -> str:
    """Turn a link of a page whose links are relative to `folder` into one of the site's page in `page_folder`."""
    text, target, anchor = link.group(1), link.group(2), link.group(3) or ""
    path = (folder / target).resolve()
    if not path.exists():
        return link.group(0)  # Sphinx reports it
    if path.is_dir():
        path = next((path / name for name in ("index.md", "README.md") if (path / name).exists()), path)
    for docname, name in ROOT_PAGES.items():
        if path == ROOT / name:
            path = DOCS / f"{docname}.md"
    if path.is_relative_to(DOCS) and path.is_file():
        return f"[{text}]({os.path.relpath(path, page_folder)}{anchor})"
    shown = path.relative_to(ROOT).as_posix()
    return text if shown in text else f"{text} (`{shown}`)"


def find_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.Node | None:
    """Resolve the name of a class where it is defined (`planmesh.client.results.Plan`) to the public one."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py":
        return None
    name = target.rpartition(".")[2]
    domain = env.domains.python_domain
    for module in ("planmesh", "planmesh.client", "planmesh.errors", "planmesh.testing"):
        found = domain.objects.get(f"{module}.{name}")
        if found is not None and not found.aliased:
            return domain.resolve_xref(
                env, str(node["refdoc"]), app.builder, str(node["reftype"]), f"{module}.{name}", node, contnode
            )
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the events."""
    app.connect("source-read", read_source)
    app.connect("missing-reference", find_public_name)
    return {"parallel_read_safe": True}
