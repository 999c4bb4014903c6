"""The limit on the files that a process maps at once."""

from __future__ import annotations

import resource
from typing import Final

MAPPED_FILES_MAX: Final = 16_384
"""Most partition files that one reader keeps mapped: a quarter of Linux's usual 65,530 mappings of a process."""

FILES_RESERVED: Final = 256
"""Descriptors reserved for sockets, logs and libraries."""


def raise_open_files_limit() -> int:
    """Raise the soft limit on open files as far as needed and permitted; return how many files a reader may map.

    Each mapped file holds a descriptor. The administrator sets the hard limit. If it is low, fewer files stay mapped.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAPPED_FILES_MAX * 2 + FILES_RESERVED
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    if soft == resource.RLIM_INFINITY:
        return MAPPED_FILES_MAX
    # Half for each reader: a process reads two versions while it adopts a new one.
    return max(16, min(MAPPED_FILES_MAX, (soft - FILES_RESERVED) // 2))
