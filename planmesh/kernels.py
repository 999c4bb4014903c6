"""The decorator of compiled functions.

Numba keeps what it compiled on disk, and judges by a function's own file whether that is still right. But the machine
code of a function holds the functions and constants of other files too, so after an upgrade a stale one could meet new
data: a wrong path, or a crash (numba/numba#9563 has been open for years). Here the state of all files that kernels are
made of decides.
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
    """Compiled code is valid as long as no source has changed, so each state of the sources has a folder of its own.

    The stamp alone is not enough: Numba reads it from an index that also holds pickled argument types, and an index
    that names a class which an upgrade has renamed cannot be read at all.
    """

    def get_source_stamp(self) -> str:
        return sources_checksum()

    def get_cache_path(self) -> str:
        return str(Path(super().get_cache_path()) / kernel_folder())  # type: ignore[misc]


class ProvidedFolder(_OfAllSources, UserProvidedCacheLocator):
    """In NUMBA_CACHE_DIR, where that is set."""


class BesideTheSource(_OfAllSources, InTreeCacheLocator):
    """In __pycache__."""


class UserFolder(_OfAllSources, UserWideCacheLocator):
    """In the user's cache, where the package may not be written to."""


LOCATORS: Final = tuple(f"{__name__}.{locator.__name__}" for locator in (ProvidedFolder, BesideTheSource, UserFolder))


@contextmanager
def _locators() -> Iterator[None]:
    """Numba takes the classes from its configuration; functions of others keep theirs."""
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
    """Compile a function when it is first called, to run without the interpreter's lock.

    `inline` puts it into its callers' code: right for the small steps of a loop, whose arrays would else be handed over
    one by one, seven words each, every time.
    """

    def compiled(function: F) -> F:
        with _locators():
            return cast(F, njit(nogil=True, cache=True, forceinline=inline)(function))

    return compiled if function is None else compiled(function)
