"""Finds a version in a data folder, whether or not a mesh is using it. Writes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from planmesh.errors import GraphUnknown, SnapshotError
from planmesh.snapshot.manifest import Manifest, decode_manifest
from planmesh.versions.catalog import read_versions
from planmesh.versions.embedded import CATALOG_NAME, ROWS_FOLDER
from planmesh.versions.protocol import StoredVersion
from planmesh.versions.row_files import RowFacts

SNAPSHOTS_FOLDER: Final = "snapshots"
STORE_FOLDER: Final = "store"


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A version: `snapshot` and `rows` are its folders, `facts` the sizes and checksums of its rows.

    `manifest` is the catalog's copy, which the one in the snapshot's folder must equal.
    """

    stored: StoredVersion
    facts: RowFacts
    manifest: Manifest
    snapshot: Path
    rows: Path


def find_snapshot(data: Path, graph: str) -> StoredSnapshot:
    """Return the newest version of a graph, which is the one that is served.

    `data` is the folder of a local mesh, or that of a partition service (`PLANMESH_DATA` in a cluster). Raises
    SnapshotError when it is neither or is unreadable, and GraphUnknown when it does not contain the graph.
    """
    root = _service_folder(data)
    found = read_versions(root / STORE_FOLDER / CATALOG_NAME)
    versions = [(stored, facts) for stored, facts in found if stored.graph == graph]
    if not versions:
        held = ", ".join(sorted({stored.graph for stored, _ in found})) or "none"
        raise GraphUnknown(graph, f"graph {graph!r} is not in {data}; graphs there: {held}")
    stored, facts = max(versions, key=lambda one: one[0].version)
    version = str(stored.version)
    return StoredSnapshot(
        stored,
        facts,
        _catalog_manifest(stored),
        root / SNAPSHOTS_FOLDER / graph / version,
        root / STORE_FOLDER / ROWS_FOLDER / graph / version,
    )


def _service_folder(data: Path) -> Path:
    for folder in (data / STORE_FOLDER, data):
        if (folder / STORE_FOLDER / CATALOG_NAME).is_file():
            return folder
    raise SnapshotError(
        f"expected the data folder of a mesh, found no catalog in {data}: "
        "name the folder of `planmesh up` (or PLANMESH_DATA of the partition service) with --data"
    )


def _catalog_manifest(stored: StoredVersion) -> Manifest:
    try:
        raw: bytes = json.loads(stored.description)["manifest"].encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(
            f"{CATALOG_NAME}: expected the manifest of version {stored.version} of graph {stored.graph!r}, found none; "
            "load the graph again"
        ) from error
    return decode_manifest(raw)
