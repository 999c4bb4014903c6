"""Versions in the store that are not served: an earlier planmesh built their snapshots, or a newer one wrote them."""

from __future__ import annotations

from planmesh.errors import SnapshotError
from planmesh.snapshot.manifest import FORMAT, decode_manifest, manifest_format
from planmesh.versions.protocol import StoredVersion
from services.partition.catalog.folders import Folders
from services.partition.catalog.served import KnownVersion, UnservedVersion
from services.partition.ingest.options import read_description


def read_version(folders: Folders, stored: StoredVersion) -> KnownVersion | UnservedVersion:
    """Return what the store has of a version, or why it is not served and whether its rows can be built again."""
    url = str(folders.snapshot(stored.graph, stored.version))
    shown = f"version {stored.version} of graph {stored.graph!r}"
    try:
        description = read_description(stored)
    except SnapshotError as error:
        return UnservedVersion(stored, url, f"{shown} is not served: {error.message}")
    raw = description.manifest.encode()
    found = manifest_format(raw)
    if 0 < found < FORMAT:
        reason = (
            f"{shown} was built by an earlier planmesh (format {found}, expected {FORMAT}), and is being rebuilt from "
            "the store"
        )
        return UnservedVersion(stored, url, reason, description.options, found)
    try:
        return KnownVersion(stored, description, decode_manifest(raw), url)
    except SnapshotError as error:
        return UnservedVersion(stored, url, f"{shown} is not served: {error.message}")
