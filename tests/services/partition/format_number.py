"""Turns a data folder into one of a planmesh with another snapshot format, by changing the format numbers."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from planmesh.snapshot.manifest import FORMAT, MANIFEST_NAME


def rewrite_format(data: Path, number: int) -> None:
    """Write another format number for every version, in the store's descriptions and in the snapshots."""
    written, other = f'{{"format":{FORMAT},', f'{{"format":{number},'
    with closing(sqlite3.connect(data / "store" / "catalog.sqlite")) as catalog, catalog:
        for graph, version, text in catalog.execute("SELECT graph, version, description FROM version").fetchall():
            description = json.loads(text)
            assert description["manifest"].startswith(written)
            description["manifest"] = description["manifest"].replace(written, other, 1)
            catalog.execute(
                "UPDATE version SET description = ? WHERE graph = ? AND version = ?",
                (json.dumps(description), graph, version),
            )
    for manifest in data.glob(f"snapshots/*/*/{MANIFEST_NAME}"):
        text = manifest.read_text()
        assert text.startswith(written)
        manifest.write_text(text.replace(written, other, 1))
