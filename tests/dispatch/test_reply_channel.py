from __future__ import annotations

import asyncio
from typing import Any

import redis

from planmesh.dispatch.reply_channel import DRAIN_REPLIES_MAX, ReplyChannel


class Received:
    """Collects replies, and lets a test wait for a number of them."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self._arrived = asyncio.Event()

    def handle(self, reply: bytes) -> None:
        if reply == b"broken":
            raise ValueError("not a reply")
        self.replies.append(reply)
        self._arrived.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.replies) < count:
                self._arrived.clear()
                await self._arrived.wait()


async def test_replies_arrive_in_order_and_a_bad_one_does_not_end_the_channel(redis_server: Any) -> None:
    client = redis.Redis.from_url(redis_server.url)
    received = Received()
    channel = ReplyChannel(redis_server.url, "here")
    expected = [str(number).encode() for number in range(3 * DRAIN_REPLIES_MAX)]
    client.rpush(channel.key, *expected[:10], b"broken", *expected[10:])
    await channel.start(received.handle)
    await received.until(len(expected))
    assert received.replies == expected
    await channel.close()
    assert not client.exists(channel.key)
    client.close()


async def test_the_channel_reconnects_when_redis_returns(redis_server: Any) -> None:
    received = Received()
    channel = ReplyChannel(redis_server.url, "here")
    await channel.start(received.handle)
    client = redis.Redis.from_url(redis_server.url)
    client.rpush(channel.key, b"before")
    await received.until(1)
    client.close()
    redis_server.kill()
    redis_server.start()
    client = redis.Redis.from_url(redis_server.url)
    client.rpush(channel.key, b"after")
    await received.until(2)
    assert received.replies == [b"before", b"after"]
    client.close()
    await channel.close()
