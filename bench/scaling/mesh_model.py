"""The shared state of a simulated mesh: its configuration, processors, shard queues, workers and Redis.

Service times are drawn around the measured ones.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import simpy

from bench.scaling.costs import Costs, ProcessCost
from bench.scaling.processors import QUOTA_PERIOD_S, Loop, Machine, Quota, Steps

SHAPE: Final = 4.0
"""Shape of the gamma distribution of service times: their standard deviation is half their mean."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """The simulated mesh. `workers` counts those of each shard; `cores` None gives every process a core of its own.

    `limits` has the most cores that a container of a kind of process may use. `slow_workers` of each shard need
    `slowness` times as long.
    """

    gateways: int = 1
    coordinators: int = 1
    workers: int = 1
    shards: int = 2
    cores: int | None = 2
    callers: int = 64
    caller_processes: int = 1
    """0: the callers have machines of their own and cost nothing here."""
    limits: Mapping[str, float] = field(default_factory=dict)
    limit_period_s: float = QUOTA_PERIOD_S
    rate_per_s: float = 0.0
    """Above 0, calls come at random at this rate, instead of from `callers` that each wait for their answer."""
    hop_s: float = 0.0
    """One-way network delay between two machines."""
    slow_workers: int = 0
    slowness: float = 1.0
    redis_servers: int = 1
    """Servers that share the shards' queues and the replies to their tasks."""


class ReplyReceiver(Protocol):
    """The coordinator that owns a task."""

    def push_reply(self, task: Task) -> None:
        """Put the reply to a task into this coordinator's list."""


@dataclass(slots=True, eq=False)
class Task:
    """One message in a shard's queue. `sending` succeeds when the message is in the queue.

    `plans` is the work of how many plans it has; the search from one end of a plan is half of it.
    """

    owner: ReplyReceiver
    number: int
    shard: int
    keys: tuple[int, ...]
    plans: float
    sending: simpy.Event


class World:
    """The state that all processes of a simulated mesh share."""

    def __init__(self, mesh: Mesh, costs: Costs, seed: int) -> None:
        self.mesh, self.costs = mesh, costs
        self.environment = simpy.Environment()
        self.machine = Machine(self.environment, mesh.cores, costs.background_cores)
        self.draw = random.Random(seed)
        self.redis = [Process(self, "redis") for _ in range(mesh.redis_servers)]
        self.tasks = self.items = self.hedged = 0
        self.shards = [Shard() for _ in range(mesh.shards)]
        for shard in self.shards:
            slow = [mesh.slowness] * mesh.slow_workers + [1.0] * (mesh.workers - mesh.slow_workers)
            shard.workers = [Worker(self, shard, slowness) for slowness in slow]
            shard.idle.extend(shard.workers)
        items_of_first_round = 2 - 1 / mesh.shards
        self._items_of_second_round = max(0.0, costs.items_per_plan - items_of_first_round)

    def quota(self, process: str) -> Quota | None:
        """Return a new limit for one container of a kind of process, if the kind has one."""
        cores = self.mesh.limits.get(process)
        return None if cores is None else Quota(self.environment, cores, self.mesh.limit_period_s)

    def searches_by_shard(self, plans: int) -> Counter[int]:
        """Draw the shards of starts and goals, and count the searches of each."""
        return Counter(self.draw.randrange(self.mesh.shards) for _ in range(2 * plans))

    def shards_of_the_second_round(self, plans: int) -> set[int]:
        """Draw the shards of the expansions, so that a plan alone has the measured number of items on average."""
        at_least, remainder = divmod(self._items_of_second_round, 1.0)
        count = sum(int(at_least) + (self.draw.random() < remainder) for _ in range(plans))
        return {self.draw.randrange(self.mesh.shards) for _ in range(count)}

    def redis_of(self, shard: int) -> Process:
        """Return the Redis that holds the queue of a shard."""
        return self.redis[shard % len(self.redis)]

    def note_task(self, task: Task) -> None:
        """Count a task that is sent."""
        self.tasks += 1
        self.items += len(task.keys)

    def enqueue(self, task: Task) -> int:
        """Give a task to an idle worker of its shard, or else put it into the queue. Return how many wait, with it."""
        shard = self.shards[task.shard]
        if shard.idle:
            self.environment.process(shard.idle.popleft().work(task))
        else:
            shard.waiting.append(task)
        return max(1, len(shard.waiting))

    def waits(self, task: Task) -> bool:
        """Whether a task is in its shard's queue, where no worker has taken it."""
        return task in self.shards[task.shard].waiting

    def withdraw(self, task: Task) -> bool:
        """Take a task out of its queue; return whether it was there."""
        waits = self.waits(task)
        if waits:
            self.shards[task.shard].waiting.remove(task)
        return waits

    def items_answered(self, *, slow_only: bool) -> int:
        """Return the number of items that all workers, or the slow ones, have answered."""
        last = self.mesh.slow_workers if slow_only else self.mesh.workers
        return sum(worker.items for shard in self.shards for worker in shard.workers[:last])


class Process:
    """A process: a single-threaded loop, and other threads that use processor time as well."""

    def __init__(self, world: World, name: str) -> None:
        self.cost = world.costs.processes.get(name, ProcessCost())
        self.loop = Loop(world.machine, self.cost.wake_ms / 1e3, quota := world.quota(name))
        self._machine, self._quota, self._draw = world.machine, quota, world.draw

    def spend(self, milliseconds: float, *, new_call: bool = False) -> Steps:
        """Use processor time, a share on the loop and the rest beside it. The mean is `milliseconds`."""
        seconds = self._draw.gammavariate(SHAPE, milliseconds / 1e3 / SHAPE) if milliseconds > 0 else 0.0
        beside_s = seconds * (1 - self.cost.loop_share)
        if beside_s > 0:
            yield from self._machine.run(beside_s, self._quota)
        if self.cost.loop_share > 0:
            yield self.loop.do(seconds - beside_s, new_call=new_call)


class Worker(Process):
    """Takes tasks of its shard, one at a time."""

    def __init__(self, world: World, shard: Shard, slowness: float) -> None:
        super().__init__(world, "worker")
        self._world, self._shard, self._slowness = world, shard, slowness
        self.items = 0

    def work(self, task: Task) -> Steps:
        """Answer a task, and then the ones that wait in the queue."""
        world, cost = self._world, self.cost
        redis = world.redis_of(task.shard)
        while True:
            yield from self.spend(self._slowness * (cost.task_ms + task.plans * cost.plan_ms))
            self.items += len(task.keys)
            if world.mesh.hop_s:
                yield world.environment.timeout(2 * world.mesh.hop_s)
            yield from redis.spend(redis.cost.task_ms / 2)
            task.owner.push_reply(task)
            if not self._shard.waiting:
                self._shard.idle.append(self)
                return
            task = self._shard.waiting.popleft()


@dataclass(slots=True)
class Shard:
    """A queue, and the workers that take tasks from it."""

    workers: list[Worker] = field(default_factory=list)
    idle: deque[Worker] = field(default_factory=deque)
    waiting: deque[Task] = field(default_factory=deque)
