"""A rogue client on the workers' queues: it takes tasks, has a worker answer them, and sends a wrong reply instead."""

from __future__ import annotations

import asyncio
import base64
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgpack
import numpy as np
import orjson
import redis.asyncio
from redis.exceptions import RedisError

from planmesh.chaos.scenario import Fault, Stage
from planmesh.dispatch.checksum import seal
from planmesh.dispatch.queues import query_queue, reply_list
from planmesh.internal.v1 import task_pb2

ANSWER_S_MAX: Final = 2
"""How long to wait for a worker."""

BLOCK_S: Final = 1

SAMPLES_MIN: Final = 20
"""A run with fewer wrong replies proves nothing."""

Spoil = Callable[[bytes, random.Random], bytes]
"""Makes a wrong reply out of the right one; both are serialised."""


def noise(right: bytes, draw: random.Random) -> bytes:
    """Return random bytes of the same length."""
    return draw.randbytes(len(right))


def nothing(_right: bytes, _draw: random.Random) -> bytes:
    """Return an empty reply."""
    return b""


def cut_short(right: bytes, draw: random.Random) -> bytes:
    """Return a proper prefix of the reply."""
    return right[: draw.randrange(len(right))]


def flipped(right: bytes, draw: random.Random) -> bytes:
    """Return the reply with one to eight bits flipped."""
    spoilt = bytearray(right)
    for _ in range(draw.randint(1, 8)):
        bit = draw.randrange(len(spoilt) * 8)
        spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


def resealed(change: Callable[[task_pb2.QueryReply, random.Random], None]) -> Spoil:
    """Return a spoil that changes the decoded reply and gives it a valid checksum."""

    def spoil(right: bytes, draw: random.Random) -> bytes:
        reply = task_pb2.QueryReply.FromString(right)
        reply.ClearField("checksum")
        change(reply, draw)
        return seal(reply)

    return spoil


def strange_keys(reply: task_pb2.QueryReply, draw: random.Random) -> None:
    """Answer items that were not in the task."""
    for item in reply.items:
        item.key = draw.randrange(2**62, 2**63)


def too_few(reply: task_pb2.QueryReply, _draw: random.Random) -> None:
    """Leave out one result of every item."""
    for item in reply.items:
        del item.results[-1:]


def other_kind(reply: task_pb2.QueryReply, _draw: random.Random) -> None:
    """Give results of a kind other than requested."""
    for item in reply.items:
        for result in item.results:
            result.expand.SetInParent()


def out_of_range(reply: task_pb2.QueryReply, draw: random.Random) -> None:
    """Give node numbers outside every partition, too low and too high."""
    for item in reply.items:
        for result in item.results:
            for name in ("nodes", "overlay_nodes"):
                kind = result.WhichOneof("result")
                found = getattr(result, kind) if kind else None
                if found is not None and name in found.DESCRIPTOR.fields_by_name:
                    count = len(getattr(found, name)) // 4
                    numbers = [draw.choice((-1, 2**31 - 1, 2**30, -(2**31))) for _ in range(count)]
                    setattr(found, name, np.array(numbers, np.int32).tobytes())


def impossible_costs(reply: task_pb2.QueryReply, draw: random.Random) -> None:
    """Give distances and costs that are negative, infinite or not numbers."""
    for item in reply.items:
        for result in item.results:
            value = draw.choice((-1.0, float("nan"), float("-inf")))
            if result.HasField("search"):
                count = len(result.search.distances) // 8
                result.search.distances = np.full(count, value).tobytes()
            if result.HasField("meet"):
                result.meet.cost = value
            if result.HasField("search_batch"):
                count = len(result.search_batch.distances) // 8
                result.search_batch.distances = np.full(count, value).tobytes()
            for segments in _expanded(result):
                segments.costs = np.full(len(segments.costs) // 8, value).tobytes()


def other_lengths(reply: task_pb2.QueryReply, draw: random.Random) -> None:
    """Give arrays whose lengths do not match."""
    for item in reply.items:
        for result in item.results:
            if result.HasField("search"):
                result.search.distances += draw.randbytes(draw.choice((3, 8)))
            if result.HasField("search_batch"):
                result.search_batch.counts += draw.randbytes(draw.choice((3, 4)))
            for segments in _expanded(result):
                segments.lengths = np.array([2**31 - 1], np.int32).tobytes()


def _expanded(result: task_pb2.OperationResult) -> list[task_pb2.UnpackResult]:
    """Return the segments of a result that expands segments."""
    return [getattr(result, name) for name in ("unpack", "unpack_batch") if result.HasField(name)]


SPOILS: Final[tuple[tuple[str, Spoil], ...]] = (
    ("noise", noise),
    ("nothing", nothing),
    ("cut short", cut_short),
    ("bits flipped", flipped),
    ("strange keys", resealed(strange_keys)),
    ("too few results", resealed(too_few)),
    ("other kind", resealed(other_kind)),
    ("out of range", resealed(out_of_range)),
    ("impossible costs", resealed(impossible_costs)),
    ("other lengths", resealed(other_lengths)),
)
"""The kinds of wrong reply, used in turn."""


class WrongBytes(Fault):
    """Takes tasks from the workers' queues and answers each with the next of `spoils`."""

    def __init__(self, spoils: tuple[tuple[str, Spoil], ...] = SPOILS) -> None:
        self._spoils = spoils
        self._clients: list[asyncio.Task[None]] = []
        self._ended = False
        self.sent: Counter[str] = Counter()

    async def inject(self, stage: Stage) -> None:
        self._ended = False
        self._clients = [
            asyncio.create_task(self._take(stage, shard), name=f"rogue-{shard}") for shard in range(stage.mesh.shards)
        ]

    async def heal(self, stage: Stage) -> None:
        await self.restore(stage)
        total = sum(self.sent.values())
        stage.notes.append(f"{total} wrong replies: " + ", ".join(f"{n} {name}" for name, n in self.sent.items()))
        stage.expect(total >= SAMPLES_MIN, f"expected at least {SAMPLES_MIN} wrong replies, {total} were sent")

    async def restore(self, stage: Stage) -> None:
        self._ended = True  # a cancellation that coincides with a connection's time-out is lost
        for client in self._clients:
            client.cancel()
        ended = await asyncio.gather(*self._clients, return_exceptions=True)
        self._clients = []
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _take(self, stage: Stage, shard: int) -> None:
        queue, own = query_queue(shard), reply_list(f"rogue-{shard}")
        connection = stage.mesh.connect_redis()
        number = shard
        try:
            while not self._ended:
                popped = await connection.brpop([queue], timeout=BLOCK_S)
                if popped is None:
                    continue
                envelope = orjson.loads(popped[1])
                task = task_pb2.QueryTask.FromString(_payload(envelope))
                if task.reply_channel == own:  # our own copy, meant for a worker
                    await connection.lpush(queue, popped[1])
                    await asyncio.sleep(0.001)
                    continue
                right = await _answer(connection, queue, envelope, task, own)
                if right is None:
                    continue
                name, spoil = self._spoils[number % len(self._spoils)]
                number += 1
                wrong = spoil(right, stage.random)
                await connection.rpush(task.reply_channel, wrong)
                self.sent[name] += 1
        except (RedisError, OSError) as error:
            stage.problems.append(f"the rogue client lost its connection to Redis: {error}")
        finally:
            await connection.delete(own)
            await connection.aclose()


async def _answer(
    connection: redis.asyncio.Redis, queue: str, envelope: dict[str, object], task: task_pb2.QueryTask, own: str
) -> bytes | None:
    """Have a worker send its reply to us. Return None when no reply arrives in time."""
    asked = task_pb2.QueryTask()
    asked.CopyFrom(task)
    asked.ClearField("checksum")
    asked.reply_channel = own
    await connection.lpush(queue, orjson.dumps({**envelope, "body": _body(envelope, seal(asked))}))
    answered = await connection.blpop([own], timeout=ANSWER_S_MAX)
    if answered is None:
        return None
    assert isinstance(answered[1], bytes), "the connection does not decode replies"
    return answered[1]


def _payload(envelope: dict[str, object]) -> bytes:
    arguments, _, _ = msgpack.unpackb(base64.b64decode(str(envelope["body"])))
    return bytes(arguments[0])


def _body(envelope: dict[str, object], payload: bytes) -> str:
    _, keywords, embedded = msgpack.unpackb(base64.b64decode(str(envelope["body"])))
    return base64.b64encode(msgpack.packb(((payload,), keywords, embedded), use_bin_type=True)).decode("ascii")
