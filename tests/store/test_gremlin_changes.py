"""Batches of changes behind Gremlin: several requests, which a repeat completes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest

from planmesh.chaos.cutting_proxy import CuttingProxy, cutting_proxy
from planmesh.errors import Conflict, StoreUnavailable
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.dialects import APPLYING, META_LABEL, POSITION, REPLACING
from planmesh.store.protocol import StoreChanges
from tests.servers.gremlin_servers import GremlinServer
from tests.store.contract.changed import State, applied, changes, state_of
from tests.store.contract.rows import fill
from tests.store.opened import opened

pytestmark = pytest.mark.stores

PLAIN = ("", "")
OLD: State = (dict.fromkeys("abcde", PLAIN), {("a", "b"): 1.0, ("b", "c"): 1.0, ("c", "d"): 1.0, ("d", "a"): 1.0}, 0)


def batch(version: int = 1) -> StoreChanges:
    """Return a batch with every field; three rows a request make it some ten requests."""
    return changes(
        version,
        deleted=["e"],
        recreated={"a": ("new", ""), "b": PLAIN},
        upserted={"c": ("", "eu"), "x": PLAIN, "y": PLAIN, "z": PLAIN},
        cut=[("c", "d")],
        joined={(one, other): 2.0 for one in "axyz" for other in "cd"},
    )


@pytest.fixture
async def proxied(gremlin_server: GremlinServer) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy before the server, and the URL of an empty store through it, with small requests."""
    gremlin_server.empty()
    async with cutting_proxy("127.0.0.1", gremlin_server.port) as proxy:
        yield proxy, f"gremlin://127.0.0.1:{proxy.port}/g?timeout_s=4&connect_timeout_s=2&batch_rows=3"


@contextmanager
def cut_at(monkeypatch: pytest.MonkeyPatch, proxy: CuttingProxy, request: int) -> Iterator[list[int]]:
    """Cut all connections right after the message number `request`, for good; yield the number of messages so far."""
    sent = [0]
    send = Connections._send

    async def counted(self: Connections, socket: aiohttp.ClientWebSocketResponse, message: bytes) -> None:
        await send(self, socket, message)
        sent[0] += 1
        if sent[0] == request:
            proxy.refuses = True
            proxy.cut()

    with monkeypatch.context() as patch:
        patch.setattr(Connections, "_send", counted)
        yield sent
    proxy.restore()


async def test_a_repeat_completes_a_batch_whose_connection_was_cut(
    proxied: tuple[CuttingProxy, str], gremlin_server: GremlinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every message of the batch, in a store that stays open and in one that is opened again."""
    proxy, url = proxied
    new = applied(OLD, batch())
    edges: list[Any] = [(*pair, cost) for pair, cost in OLD[1].items()]
    async with opened(url) as store:
        await fill(store, OLD[0], edges)
        with cut_at(monkeypatch, proxy, 0) as sent:
            await store.apply_changes(batch())
        assert await state_of(store) == new
        messages = sent[0]
        assert messages > 8
        for request in range(1, messages + 1):
            await fill(store, OLD[0], edges)
            with cut_at(monkeypatch, proxy, request), pytest.raises(StoreUnavailable):
                await store.apply_changes(batch())
            if request % 2:
                await store.apply_changes(batch())
            else:
                async with opened(gremlin_server.url) as other:
                    await other.apply_changes(batch())
            assert await state_of(store) == new


async def test_an_incomplete_batch_comes_before_another_one(
    proxied: tuple[CuttingProxy, str], gremlin_server: GremlinServer
) -> None:
    """Another batch need not name what the incomplete one has written, so that would stay."""
    _, url = proxied
    async with opened(url) as store:
        await fill(store, OLD[0], [])
        gremlin_server.run(f"g.V().hasLabel('{META_LABEL}').property('{APPLYING}', '3').iterate(); 'begun'")
        for version in (2, 4):
            with pytest.raises(Conflict, match="expected the changes of version 3, which were begun"):
                await store.apply_changes(changes(version))
        assert await store.position() == 0
        await store.apply_changes(changes(3, upserted={"x": PLAIN}))
        await store.apply_changes(changes(4, deleted=["x"]))
        assert await state_of(store) == (OLD[0], {}, 4)
        gremlin_server.run(f"g.V().hasLabel('{META_LABEL}').property('{APPLYING}', '5').iterate(); 'begun'")
        async with store.replace(position=6) as replacement:
            await replacement.commit()
        await store.apply_changes(changes(7, upserted={"y": PLAIN}))
        assert await state_of(store) == ({"y": PLAIN}, {}, 7)


async def test_another_process_that_applies_changes_is_noticed(
    proxied: tuple[CuttingProxy, str], gremlin_server: GremlinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = proxied
    async with opened(url) as store:
        await fill(store, OLD[0], [])
        send = Connections._send

        async def overtaken(self: Connections, socket: aiohttp.ClientWebSocketResponse, message: bytes) -> None:
            if b"e-of-the-batch" in message:
                gremlin_server.run(
                    f"g.V().hasLabel('{META_LABEL}').property('{POSITION}', '9').properties('{APPLYING}').drop()"
                    ".iterate(); 'overtaken'"
                )
            await send(self, socket, message)

        monkeypatch.setattr(Connections, "_send", overtaken)
        with pytest.raises(Conflict, match="another process began other changes"):
            await store.apply_changes(changes(1, upserted={"e-of-the-batch": PLAIN}))
        assert await store.position() == 9
    assert not proxy.refuses


async def test_an_incomplete_replacement_has_no_position(
    proxied: tuple[CuttingProxy, str], gremlin_server: GremlinServer
) -> None:
    _, url = proxied
    async with opened(url) as store:
        await fill(store, OLD[0], [])
        gremlin_server.run(f"g.V().hasLabel('{META_LABEL}').property('{REPLACING}', 'yes').iterate(); 'begun'")
        for refused in (store.position(), store.apply_changes(changes(1))):
            with pytest.raises(Conflict, match="failed before it was complete"):
                await refused
        await fill(store, ["a"], [])
        assert await state_of(store) == ({"a": PLAIN}, {}, 0)
