"""The decorator of compiled functions, and where their machine code is cached.

Numba caches machine code on disk, and decides by a function's own source file whether the cached code is valid. But
the code of a function also contains functions and constants of other files. After an upgrade, stale code could
therefore run on new data, with a wrong path or a crash as the result (numba/numba#9563, open for years). Here a
checksum of all source files of kernels decides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast, overload

from numba import config, njit
from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator

from planmesh.kernel_sources import kernel_folder, sources_checksum

F = TypeVar("F", bound=Callable[..., Any])

_configuring = threading.Lock()


class _OfAllSources:
    """Compiled code is valid as long as no source changes, so each state of the sources has its own cache folder.

    The stamp alone is not enough. Numba reads it from an index that also contains pickled argument types, and it cannot
    read an index with a class that an upgrade has renamed.
    """

    def get_source_stamp(self) -> str:
        return sources_checksum()

    def get_cache_path(self) -> str:
        return str(Path(super().get_cache_path()) / kernel_folder())  # type: ignore[misc]


class ProvidedFolder(_OfAllSources, UserProvidedCacheLocator):
    """Caches code in NUMBA_CACHE_DIR, if that is set."""


class BesideTheSource(_OfAllSources, InTreeCacheLocator):
    """Caches code in the `__pycache__` beside the source."""


class UserFolder(_OfAllSources, UserWideCacheLocator):
    """Caches code in the user's cache folder, if the package's folder is not writable."""


LOCATORS: Final = tuple(f"{__name__}.{locator.__name__}" for locator in (ProvidedFolder, BesideTheSource, UserFolder))


@contextmanager
def _locators() -> Iterator[None]:
    """Configure Numba to use our locators for the functions compiled in this context; others keep Numba's own."""
    with _configuring:
        before = config.CACHE_LOCATOR_CLASSES  # type: ignore[attr-defined]
        config.CACHE_LOCATOR_CLASSES = ",".join(LOCATORS)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            config.CACHE_LOCATOR_CLASSES = before  # type: ignore[attr-defined]


@overload
def kernel(function: F) -> F: ...


@overload
def kernel(*, inline: bool) -> Callable[[F], F]: ...


def kernel(function: F | None = None, *, inline: bool = False) -> F | Callable[[F], F]:
    """Compile a function at its first call. It runs without the interpreter lock.

    `inline` copies its code into its callers. Use it for the small steps of a loop: otherwise each call passes every
    array as seven words.
    """

    def compiled(function: F) -> F:
        with _locators():
            return cast(F, njit(nogil=True, cache=True, forceinline=inline)(function))

    return compiled if function is None else compiled(function)
