"""The state of the files that compiled kernels are made of; imports nothing of what compiles them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent

SOURCES: Final = ("graph", "ingest", "partition", "rpc", "search")
"""Packages of planmesh that hold kernels, or constants that kernels are compiled with."""


FOLDER_PREFIX: Final = "kernels-"
"""Begins the names of folders of compiled code; the checksum of the sources follows."""


def kernel_folder() -> str:
    """Return the name of the folder, inside a cache folder, of the code compiled from the present sources."""
    return f"{FOLDER_PREFIX}{sources_checksum()[:16]}"


@cache
def sources_checksum() -> str:
    """A checksum of all files that kernels are made of."""
    digest = hashlib.sha256((PACKAGE / "kernels.py").read_bytes())
    for package in SOURCES:
        for path in sorted((PACKAGE / package).rglob("*.py")):
            digest.update(f"\0{path.relative_to(PACKAGE)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
