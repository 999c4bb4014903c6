"""A simulated coordinator, driven by the rules of services/coordinator/plan_queue.py and dispatcher.py.

`plan_queue.begins` decides which plans are computed together. `planmesh.dispatch.batching`, a state machine, decides
what is sent when, what travels with it, and how often it is repeated.
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
from services.coordinator.plan_batches import PAIRS_TOGETHER_MAX
from services.coordinator.plan_queue import begins

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
        self._searches: dict[int, int] = {}
        self._waiting: deque[simpy.Event] = deque()
        self._under_way = 0
        self._tasks: dict[int, Task] = {}
        self._wakes_at_s = math.inf
        self._replies: deque[Task] = deque()
        self._reading = False

    def plan(self) -> Steps:
        """Compute one plan, with others that wait at the same time."""
        yield from self.spend(self.cost.plan_ms / 2, new_call=True)
        done = self._world.environment.event()
        self._waiting.append(done)
        self._begin()
        yield done
        yield from self.spend(self.cost.plan_ms / 2)

    def _begin(self) -> None:
        """Begin what has gathered."""
        while begins(len(self._waiting), self._under_way):
            plans = [self._waiting.popleft() for _ in range(min(len(self._waiting), PAIRS_TOGETHER_MAX))]
            self._under_way += len(plans)
            self._world.environment.process(self._compute(plans))

    def _compute(self, plans: list[simpy.Event]) -> Steps:
        """Compute plans together: the local searches, sometimes a second round of expansions."""
        world = self._world
        searches = world.searches_by_shard(len(plans))
        yield simpy.AllOf(world.environment, [self._ask(shard, count) for shard, count in searches.items()])
        expanding = [self._ask(shard, 0) for shard in sorted(world.shards_of_the_second_round(len(plans)))]
        if expanding:
            yield simpy.AllOf(world.environment, expanding)
        self._under_way -= len(plans)
        self._begin()
        for done in plans:
            done.succeed()

    def _ask(self, shard: int, searches: int) -> simpy.Event:
        key = next(self._keys)
        self._searches[key] = searches
        asked = self._asked[key] = self._world.environment.event()
        self._run(self._batching.ask(self._world.environment.now, key, shard))
        return asked

    def _run(self, commands: list[Command]) -> None:
        """Carry out commands, and schedule the state machine's next wake-up."""
        environment = self._world.environment
        for command in commands:
            match command:
                case batching_commands.Send():
                    plans = sum(self._searches[key] for key in command.keys) / 2
                    task = Task(self, command.copy, command.shard, command.keys, plans, environment.event())
                    self._tasks[command.copy] = task
                    environment.process(self._send(task))
                case batching_commands.Complete():
                    for key in command.keys:
                        self._asked.pop(key).succeed()
                        del self._searches[key]
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
        waiting = world.enqueue(task)
        task.sending.succeed()
        self._run(self._batching.queued(world.environment.now, task.number, waiting))

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
