"""How many files a process may have mapped at once."""

from __future__ import annotations

import resource
from typing import Final

MAPPED_FILES_MAX: Final = 16_384
"""Partition files that one reader keeps mapped: a quarter of Linux's usual bound of 65,530 mappings a process."""

FILES_RESERVED: Final = 256
"""Descriptors left for sockets, logs and libraries."""


def raise_open_files_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return how many may be mapped (each holds a descriptor).

    The hard limit is the administrator's; where it is low, fewer files are kept mapped.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAPPED_FILES_MAX * 2 + FILES_RESERVED
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    if soft == resource.RLIM_INFINITY:
        return MAPPED_FILES_MAX
    # Half for one reader: a process reads two versions while a new one is taken up.
    return max(16, min(MAPPED_FILES_MAX, (soft - FILES_RESERVED) // 2))
