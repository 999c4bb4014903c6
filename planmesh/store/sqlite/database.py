"""A connection to a SQLite file in a thread of its own, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from planmesh.errors import Conflict, DeadlineExceeded, PlanmeshError, StoreRefused, StoreUnavailable

T = TypeVar("T")

PAGES_CACHED_KIB: Final = 65_536
"""Page cache of one connection, in KiB: the inner pages of the indexes of some ten million rows."""

_AWAY: Final = ("unable to open database file", "disk I/O error", "readonly database")


class Database:
    """One connection, opened at the first call. Calls run one after another, in order."""

    def __init__(self, path: Path, shown: str, timeout_s: float) -> None:
        self._path = path
        self._shown = shown
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._lock = threading.Lock()
        self._running: object = None
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T], timeout_s: float | None = None) -> T:
        """Run `work` with the connection, in its thread; after `timeout_s`, interrupt it and raise DeadlineExceeded.

        Cancelling the caller interrupts it too; a write that was about to commit may still take effect.
        """
        token = object()
        submitted = self._thread.submit(self._work, work, token)
        waiting = asyncio.wrap_future(submitted)
        try:
            return await asyncio.wait_for(asyncio.shield(waiting), timeout_s)
        except TimeoutError:
            if not submitted.cancel():
                self._interrupt(token)
                await asyncio.wait([waiting])
            if not waiting.cancelled():
                waiting.exception()  # the interrupted work's error, which nothing else retrieves
            raise DeadlineExceeded(f"{self._shown}: no answer within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            if not submitted.cancel():
                self._interrupt(token)
            raise

    async def close(self) -> None:
        """Close the connection, after the calls in progress."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _work(self, work: Callable[[sqlite3.Connection], T], token: object) -> T:
        with self._lock:
            self._running = token
        try:
            with self._named():
                if self._connection is None:
                    self._connection = self._connect()
                return work(self._connection)
        finally:
            with self._lock:
                self._running = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{PAGES_CACHED_KIB}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _interrupt(self, token: object) -> None:
        with self._lock:
            if self._running is token and self._connection is not None:
                self._connection.interrupt()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Translate SQLite's errors into planmesh's."""
        try:
            yield
        except PlanmeshError:
            raise
        except sqlite3.OperationalError as error:
            reason = str(error)
            if "locked" in reason:
                raise Conflict(f"{self._shown}: another process writes to this store: {reason}") from error
            if "interrupted" in reason:
                raise DeadlineExceeded(f"{self._shown}: the request was interrupted") from error
            if any(away in reason for away in _AWAY):
                raise StoreUnavailable(reason, store=self._shown) from error
            raise StoreRefused(reason, store=self._shown) from error
        except sqlite3.DatabaseError as error:
            raise StoreRefused(str(error), store=self._shown) from error
