"""Remembers, beside the compiled kernels, that all of them are there: then a start need not look through them."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Final

from planmesh.kernel_sources import FOLDER_PREFIX, PACKAGE, kernel_folder, sources_checksum

STAMP: Final = "planmesh-kernels"


def kernels_are_compiled() -> bool:
    """Whether a run of `planmesh.local.warm` has compiled these very kernels for this interpreter and machine.

    Where that is not so any more (part of the cache was removed), a process compiles what it needs itself.
    """
    try:
        return _stamp_file().read_text() == _stamp()
    except OSError:
        return False


def note_kernels_compiled() -> None:
    """Remember it; where the folder may not be written to, every start looks again."""
    with suppress(OSError):
        _stamp_file().parent.mkdir(parents=True, exist_ok=True)
        _stamp_file().write_text(_stamp())


def remove_old_kernels(package: Path = PACKAGE) -> None:
    """Remove compiled code of earlier sources, except the newest, which a process that still runs may be reading."""
    for cache in package.rglob("__pycache__"):
        old = [folder for folder in cache.glob(f"{FOLDER_PREFIX}*") if folder.name != kernel_folder()]
        for folder in sorted(old, key=lambda one: one.stat().st_mtime_ns)[:-1]:
            shutil.rmtree(folder, ignore_errors=True)


def _stamp_file() -> Path:
    provided = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(provided) if provided else PACKAGE / "__pycache__") / STAMP


def _stamp() -> str:
    return "\n".join((sources_checksum(), sys.version, version("numba"), platform.machine(), platform.node()))
