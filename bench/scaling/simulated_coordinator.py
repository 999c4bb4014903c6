"""A simulated coordinator, driven by the same state machine as services/coordinator/dispatcher.py.

planmesh.dispatch.batching decides what is sent when, what it is batched with, and how often it is repeated.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import Final

import simpy

from bench.scaling.mesh_model import Process, Task, World
from bench.scaling.processors import Steps
from planmesh.dispatch import batching_commands
from planmesh.dispatch.batching import Batching
from planmesh.dispatch.batching_commands import Command, Policy
from planmesh.dispatch.reply_channel import AT_ONCE_S, DRAIN_REPLIES_MAX
from planmesh.settings import CoordinatorSettings

SETTINGS: Final = CoordinatorSettings()
"""The defaults of a mesh: items per task, tasks in flight, the floor of the hedge time."""


class Coordinator(Process):
    """Batches, sends, repeats, and merges."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "coordinator")
        self._world = world
        mesh = world.mesh
        policy = Policy(
            shards=mesh.shards,
            batch_items_max=SETTINGS.coordinator_batch_items_max,
            tasks_in_flight_max=SETTINGS.coordinator_tasks_in_flight_max,
            hedge_floor_s=SETTINGS.coordinator_hedge_floor_ms / 1e3,
            worker_grace_s=SETTINGS.coordinator_worker_grace_s,
        )
        self._batching = Batching(policy, 0.0)
        self._batching.workers(0.0, dict.fromkeys(range(mesh.shards), mesh.workers))
        self._keys = itertools.count(1)
        self._asked: dict[int, simpy.Event] = {}
        self._tasks: dict[int, Task] = {}
        self._wakes_at_s = math.inf
        self._replies: deque[Task] = deque()
        self._reading = False

    def plan(self) -> Steps:
        """Compute one plan: the local searches, sometimes a second round of expansions, and the merge."""
        world = self._world
        yield from self.spend(self.cost.plan_ms / 2, new_call=True)
        yield simpy.AllOf(world.environment, [self._ask(shard) for shard in world.shards_of_a_plan()])
        for shard in world.shards_of_the_second_round():
            yield self._ask(shard)
        yield from self.spend(self.cost.plan_ms / 2)

    def _ask(self, shard: int) -> simpy.Event:
        key = next(self._keys)
        asked = self._asked[key] = self._world.environment.event()
        self._run(self._batching.ask(self._world.environment.now, key, shard))
        return asked

    def _run(self, commands: list[Command]) -> None:
        """Carry out commands, and schedule the state machine's next wake-up."""
        environment = self._world.environment
        for command in commands:
            match command:
                case batching_commands.Send():
                    task = Task(self, command.copy, command.shard, command.keys, environment.event())
                    self._tasks[command.copy] = task
                    environment.process(self._send(task))
                case batching_commands.Complete():
                    for key in command.keys:
                        self._asked.pop(key).succeed()
                case batching_commands.Look() | batching_commands.Withdraw():
                    environment.process(self._look(self._tasks[command.copy], command))
                case batching_commands.Repeated():
                    self._world.hedged += len(command.keys)
                case batching_commands.Forget():
                    del self._tasks[command.copy]
        wake_at_s = self._batching.wake_at_s()
        if wake_at_s is not None and wake_at_s < self._wakes_at_s:
            self._wakes_at_s = wake_at_s
            environment.process(self._wake(wake_at_s))

    def _wake(self, at_s: float) -> Steps:
        environment = self._world.environment
        yield environment.timeout(max(0.0, at_s - environment.now))
        if at_s == self._wakes_at_s:
            self._wakes_at_s = math.inf
        self._run(self._batching.wake(max(at_s, environment.now)))

    def _send(self, task: Task) -> Steps:
        world = self._world
        redis = world.redis_of(task.shard)
        world.note_task(task)
        yield from self.spend(self.cost.task_ms / 2)
        if world.mesh.hop_s:
            yield world.environment.timeout(2 * world.mesh.hop_s)
        yield from redis.spend(redis.cost.task_ms / 2)
        world.enqueue(task)
        task.sending.succeed()

    def _look(self, task: Task, command: batching_commands.Look | batching_commands.Withdraw) -> Steps:
        """Check in Redis whether a task waits, or withdraw it. Either costs half of what sending the task costs."""
        world = self._world
        redis = world.redis_of(task.shard)
        yield task.sending
        yield world.environment.timeout(2 * world.mesh.hop_s)
        yield from redis.spend(redis.cost.task_ms / 2)
        now_s = world.environment.now
        if isinstance(command, batching_commands.Look):
            self._run(self._batching.looked(now_s, task.number, waits=world.waits(task)))
        else:
            self._run(self._batching.withdrawn(now_s, task.number, unread=world.withdraw(task)))

    def push_reply(self, task: Task) -> None:
        """Put a reply into this coordinator's list, which it reads one by one or in batches, as `ReplyChannel` does."""
        self._replies.append(task)
        if not self._reading:
            self._reading = True
            self._world.environment.process(self._read())

    def _read(self) -> Steps:
        environment = self._world.environment
        at_once = False
        while self._replies:
            yield from self._receive([self._replies.popleft()])
            if at_once:
                yield from self._ask_redis()
                together = min(len(self._replies), DRAIN_REPLIES_MAX)
                yield from self._receive([self._replies.popleft() for _ in range(together)])
            asked_at_s = environment.now
            yield from self._ask_redis()
            at_once = environment.now - asked_at_s <= AT_ONCE_S
        self._reading = False

    def _ask_redis(self) -> Steps:
        """Wait for a round trip to Redis, and for the turn of the loop in which its answer is seen."""
        yield self._world.environment.timeout(2 * self._world.mesh.hop_s)
        yield self.loop.do(0.0)

    def _receive(self, tasks: list[Task]) -> Steps:
        """Receive replies in one turn of the loop."""
        yield from self.spend(len(tasks) * self.cost.task_ms / 2)
        for task in tasks:
            self._run(self._batching.reply(self._world.environment.now, task.number, task.keys))
