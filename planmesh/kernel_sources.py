"""The checksum of the files from which kernels are compiled. Imports neither Numba nor a kernel."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent

SOURCES: Final = ("graph", "ingest", "partition", "rpc", "search")
"""Packages of planmesh that contain kernels, or constants that are compiled into kernels."""

FOLDER_PREFIX: Final = "kernels-"
"""Prefix of the names of folders with compiled code. The start of the sources' checksum follows it."""


def kernel_folder() -> str:
    """Return the name of the folder, inside a cache folder, for code compiled from the present sources."""
    return f"{FOLDER_PREFIX}{sources_checksum()[:16]}"


@cache
def sources_checksum() -> str:
    """Return the SHA-256 of all files from which kernels are compiled, in hexadecimal. Reads them once a process."""
    digest = hashlib.sha256((PACKAGE / "kernels.py").read_bytes())
    for package in SOURCES:
        for path in sorted((PACKAGE / package).rglob("*.py")):
            digest.update(f"\0{path.relative_to(PACKAGE)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
