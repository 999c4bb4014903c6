"""Applies a batch of changes and kills itself in the middle: `python -m tests.store.contract.killed_writer URL POINT`.

A point is a statement that SQLite is about to run, or one of two moments of a message to a server: half of it is sent,
or all of it. With the point 0 it finishes, and prints the number of points that it passed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Iterable
from typing import Any, Final

from planmesh.store.hybrid import HybridStore
from planmesh.store.protocol import GraphStore, StoreChanges
from planmesh.store.sqlite import SqliteStore
from planmesh.store.urls import open_store
from tests.store.contract.changed import changes
from tests.store.contract.rows import Nodes

PLAIN: Final = ("", "")

OLD_NODES: Final[Nodes] = {f"n{number}": PLAIN for number in range(120)}
OLD_EDGES: Final = [(f"n{number}", f"n{(number + step) % 120}", 1.0) for number in range(120) for step in (1, 2)]


def batch() -> StoreChanges:
    """Return a batch with rows in every field. The cheapest path from n118 to n0 costs 1 before it, 7 after it."""
    ids = list(OLD_NODES)
    return changes(
        1,
        deleted=ids[1:30],
        recreated=dict.fromkeys(ids[30:60], ("recreated", "")),
        upserted=dict.fromkeys([*ids[60:80], "new"], ("", "upserted")),
        cut=[(source, target) for source, target, _ in OLD_EDGES[160:200]],
        joined={
            ("n118", "n0"): 7.0,
            ("n119", "n0"): 7.0,
            **dict.fromkeys(zip(ids[30:60], ids[59:29:-1], strict=True), 5.0),
        },
    )


class Points:
    """Counts the points, and ends this process at one of them."""

    def __init__(self, last: int) -> None:
        self.passed = 0
        self._last = last

    def statement(self, _text: str) -> None:
        """Pass a point."""
        self.passed += 1
        if self.passed == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def message(self, descriptor: int, data: bytes) -> None:
        """Pass the two points of a message; send as much of it as its receiver shall still have."""
        for share in (data[: len(data) // 2], data):
            if self.passed + 1 == self._last:
                os.set_blocking(descriptor, True)
                sent = 0
                while sent < len(share):
                    sent += os.write(descriptor, share[sent:])
            self.statement("")

    def watch_messages(self) -> None:
        """Count all messages of asyncio's streams, which the clients of Redis and Neo4j use."""
        write = asyncio.StreamWriter.write

        def counted(writer: asyncio.StreamWriter, data: Any) -> None:
            self.message(writer.get_extra_info("socket").fileno(), bytes(data))
            write(writer, data)

        def counted_lines(writer: asyncio.StreamWriter, data: Iterable[Any]) -> None:
            counted(writer, b"".join(data))

        setattr(asyncio.StreamWriter, "write", counted)  # noqa: B010 - mypy refuses the assignment of a method
        setattr(asyncio.StreamWriter, "writelines", counted_lines)  # noqa: B010


async def watch(store: GraphStore, points: Points) -> None:
    """Count statements of an embedded store, and messages of the others."""
    points.watch_messages()
    back = store._back if isinstance(store, HybridStore) else store
    if isinstance(back, SqliteStore):

        def trace(connection: sqlite3.Connection) -> None:
            connection.set_trace_callback(points.statement)

        await back._writer.run(trace)


async def main(url: str, last: int) -> None:
    """Apply the batch to the store at `url`."""
    store = await open_store(url)
    points = Points(last)
    await watch(store, points)
    await store.apply_changes(batch())
    print(points.passed)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
