"""A mesh as discrete events: callers, the balancer, gateways, coordinators, shard queues, workers, and the way back.

What coordinators send when, with what else, and how often, is decided by planmesh.dispatch.batching, as in
services/coordinator/dispatcher.py. Service times are drawn around those that were measured.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import simpy

from bench.scaling.costs import REST, Costs, ProcessCost
from bench.scaling.processors import QUOTA_PERIOD_S, Loop, Machine, Quota, Steps
from planmesh.dispatch import batching_commands
from planmesh.dispatch.batching import Batching
from planmesh.dispatch.batching_commands import Command, Policy
from planmesh.dispatch.reply_channel import AT_ONCE_S, DRAIN_REPLIES_MAX
from planmesh.settings import CoordinatorSettings

SHAPE: Final = 4.0
"""Of the gamma distribution of service times: their standard deviation is half their mean."""

SETTINGS: Final = CoordinatorSettings()
"""What is not set is as in a mesh that nobody configured: items in a task, tasks under way, the hedge's floor."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """What is simulated. `workers` are those of each shard; `cores` None gives every process a core of its own.

    `limits` are cores that each container of a part may use at most. `slow_workers` of each shard take `slowness` times
    as long.
    """

    gateways: int = 1
    coordinators: int = 1
    workers: int = 1
    shards: int = 2
    cores: int | None = 2
    callers: int = 64
    caller_processes: int = 1
    """0: whoever asks has machines of its own and costs nothing here."""
    limits: Mapping[str, float] = field(default_factory=dict)
    limit_period_s: float = QUOTA_PERIOD_S
    rate_per_s: float = 0.0
    """Above 0 calls come at random at this rate, instead of from `callers` that each wait for their answer."""
    hop_s: float = 0.0
    """One way over the network between two machines."""
    slow_workers: int = 0
    slowness: float = 1.0
    redis_servers: int = 1
    """More than one is what a mesh does not have: queues and replies of a shard with the Redis of its own number."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came out of the time after the warm-up. `busy` are shares of a core that a process of each part used."""

    plans_per_second: float
    p50_ms: float
    p95_ms: float
    tasks_per_plan: float
    items_per_task: float
    hedged_share: float
    busy: dict[str, float]
    answered_by_slow: float
    """Share of the items that slow workers answered."""


def simulate(mesh: Mesh, costs: Costs, *, seconds: float = 4.0, warm_up_s: float = 1.0, seed: int = 1) -> Simulated:
    """Run a mesh for a time."""
    return _Simulation(mesh, costs, seed).run(warm_up_s, seconds)


@dataclass(slots=True, eq=False)
class _Task:
    owner: _Coordinator
    number: int
    shard: int
    keys: tuple[int, ...]
    sending: simpy.Event


class _Part:
    """A process: its loop, and threads beside it that use processor time as well."""

    def __init__(self, simulation: _Simulation, name: str) -> None:
        self.cost = simulation.costs.parts.get(name, ProcessCost())
        self.machine = simulation.machine
        self.quota = simulation.quota(name)
        self.loop = Loop(self.machine, self.cost.wake_ms / 1e3, self.quota)
        self._draw = simulation.draw

    def spend(self, milliseconds: float, *, new_call: bool = False) -> Steps:
        """Use so much processor time, on the loop and beside it."""
        seconds = self._draw.gammavariate(SHAPE, milliseconds / 1e3 / SHAPE) if milliseconds > 0 else 0.0
        beside_s = seconds * (1 - self.cost.loop_share)
        if beside_s > 0:
            yield from self.machine.run(beside_s, self.quota)
        if self.cost.loop_share > 0:
            yield self.loop.do(seconds - beside_s, new_call=new_call)


class _Worker(_Part):
    """Takes tasks of its shard, one at a time."""

    def __init__(self, simulation: _Simulation, shard: _Shard, slowness: float) -> None:
        super().__init__(simulation, "worker")
        self._simulation, self._shard, self._slowness = simulation, shard, slowness
        self.items = 0

    def work(self, task: _Task) -> Steps:
        """Answer a task, and the ones that wait behind it."""
        simulation, cost = self._simulation, self.cost
        mesh, redis = simulation.mesh, simulation.redis_of(task.shard)
        while True:
            yield from self.spend(self._slowness * (cost.task_ms + len(task.keys) * cost.item_ms))
            self.items += len(task.keys)
            if mesh.hop_s:
                yield simulation.environment.timeout(2 * mesh.hop_s)
            yield from redis.spend(redis.cost.task_ms / 2)
            task.owner.push_reply(task)
            if not self._shard.waiting:
                self._shard.idle.append(self)
                return
            task = self._shard.waiting.popleft()


@dataclass(slots=True)
class _Shard:
    """A queue, and the workers that pull from it."""

    workers: list[_Worker] = field(default_factory=list)
    idle: deque[_Worker] = field(default_factory=deque)
    waiting: deque[_Task] = field(default_factory=deque)


class _Coordinator(_Part):
    """Gathers, sends, sends again, and merges."""

    def __init__(self, simulation: _Simulation) -> None:
        super().__init__(simulation, "coordinator")
        self._simulation = simulation
        mesh = simulation.mesh
        policy = Policy(
            shards=mesh.shards,
            batch_items_max=SETTINGS.coordinator_batch_items_max,
            tasks_in_flight_max=SETTINGS.coordinator_tasks_in_flight_max,
            hedge_floor_s=SETTINGS.coordinator_hedge_floor_ms / 1e3,
            worker_grace_s=SETTINGS.coordinator_worker_grace_s,
        )
        self._machine = Batching(policy, 0.0)
        self._machine.workers(0.0, dict.fromkeys(range(mesh.shards), mesh.workers))
        self._keys = itertools.count(1)
        self._asked: dict[int, simpy.Event] = {}
        self._tasks: dict[int, _Task] = {}
        self._wakes_at_s = math.inf
        self._replies: deque[_Task] = deque()
        self._reading = False

    def plan(self) -> Steps:
        """One plan: the local searches, at times a second question, and the merge."""
        simulation = self._simulation
        environment = simulation.environment
        yield from self.spend(self.cost.plan_ms / 2, new_call=True)
        yield simpy.AllOf(environment, [self._ask(shard) for shard in simulation.shards_of_a_plan()])
        for shard in simulation.shards_asked_again():
            yield self._ask(shard)
        yield from self.spend(self.cost.plan_ms / 2)

    def _ask(self, shard: int) -> simpy.Event:
        key = next(self._keys)
        asked = self._asked[key] = self._simulation.environment.event()
        self._run(self._machine.ask(self._simulation.environment.now, key, shard))
        return asked

    def _run(self, commands: list[Command]) -> None:
        """Carry out what an event led to, and be there when the machine wants to be woken."""
        environment = self._simulation.environment
        for command in commands:
            match command:
                case batching_commands.Send():
                    task = _Task(self, command.copy, command.shard, command.keys, environment.event())
                    self._tasks[command.copy] = task
                    environment.process(self._send(task))
                case batching_commands.Complete():
                    for key in command.keys:
                        self._asked.pop(key).succeed()
                case batching_commands.Look() | batching_commands.Withdraw():
                    environment.process(self._look(self._tasks[command.copy], command))
                case batching_commands.Repeated():
                    self._simulation.hedged += len(command.keys)
                case batching_commands.Forget():
                    del self._tasks[command.copy]
        wake_at_s = self._machine.wake_at_s()
        if wake_at_s is not None and wake_at_s < self._wakes_at_s:
            self._wakes_at_s = wake_at_s
            environment.process(self._wake(wake_at_s))

    def _wake(self, at_s: float) -> Steps:
        environment = self._simulation.environment
        yield environment.timeout(max(0.0, at_s - environment.now))
        if at_s == self._wakes_at_s:
            self._wakes_at_s = math.inf
        self._run(self._machine.wake(max(at_s, environment.now)))

    def _send(self, task: _Task) -> Steps:
        simulation = self._simulation
        redis = simulation.redis_of(task.shard)
        simulation.note_task(task)
        yield from self.spend(self.cost.task_ms / 2)
        if simulation.mesh.hop_s:
            yield simulation.environment.timeout(2 * simulation.mesh.hop_s)
        yield from redis.spend(redis.cost.task_ms / 2)
        simulation.enqueue(task)
        task.sending.succeed()

    def _look(self, task: _Task, command: batching_commands.Look | batching_commands.Withdraw) -> Steps:
        """Ask Redis whether a task waits in its queue, or take it out: half of what sending it costs."""
        simulation = self._simulation
        redis = simulation.redis_of(task.shard)
        yield task.sending
        yield simulation.environment.timeout(2 * simulation.mesh.hop_s)
        yield from redis.spend(redis.cost.task_ms / 2)
        now_s = simulation.environment.now
        if isinstance(command, batching_commands.Look):
            self._run(self._machine.looked(now_s, task.number, waits=simulation.waits(task)))
        else:
            self._run(self._machine.withdrawn(now_s, task.number, unread=simulation.withdraw(task)))

    def push_reply(self, task: _Task) -> None:
        """A reply is in this coordinator's list; it is read one by one, or many together (`ReplyChannel`)."""
        self._replies.append(task)
        if not self._reading:
            self._reading = True
            self._simulation.environment.process(self._read())

    def _read(self) -> Steps:
        environment = self._simulation.environment
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
        """A round trip, and the turn of the loop in which its answer is seen."""
        yield self._simulation.environment.timeout(2 * self._simulation.mesh.hop_s)
        yield self.loop.do(0.0)

    def _receive(self, tasks: list[_Task]) -> Steps:
        """Take replies in one turn of the loop."""
        yield from self.spend(len(tasks) * self.cost.task_ms / 2)
        for task in tasks:
            self._run(self._machine.reply(self._simulation.environment.now, task.number, task.keys))


class _Simulation:
    """All of it."""

    def __init__(self, mesh: Mesh, costs: Costs, seed: int) -> None:
        self.mesh, self.costs = mesh, costs
        self.environment = simpy.Environment()
        self.machine = Machine(self.environment, mesh.cores, costs.background_cores)
        self.draw = random.Random(seed)
        self._redis = [_Part(self, "redis") for _ in range(mesh.redis_servers)]
        self.hedged = 0
        self._tasks = self._items = 0
        self._latencies_s: list[float] = []
        self._shards = [_Shard() for _ in range(mesh.shards)]
        for shard in self._shards:
            slow = [mesh.slowness] * mesh.slow_workers + [1.0] * (mesh.workers - mesh.slow_workers)
            shard.workers = [_Worker(self, shard, slowness) for slowness in slow]
            shard.idle.extend(shard.workers)
        self._coordinators = [_Coordinator(self) for _ in range(mesh.coordinators)]
        self._gateways = [_Part(self, "gateway") for _ in range(mesh.gateways)]
        self._calls_at = [0] * mesh.gateways
        self._next_coordinator = [self.draw.randrange(mesh.coordinators) for _ in range(mesh.gateways)]
        self._envoy = _Part(self, "envoy")
        self._clients = [_Part(self, "client") for _ in range(mesh.caller_processes)]
        once = 2 - 1 / mesh.shards
        self._asked_again = max(0.0, costs.items_per_plan - once)

    def quota(self, part: str) -> Quota | None:
        """The limit of one container of a part, if it has one."""
        cores = self.mesh.limits.get(part)
        return None if cores is None else Quota(self.environment, cores, self.mesh.limit_period_s)

    def run(self, warm_up_s: float, seconds: float) -> Simulated:
        """Warm up, and look at the time after it."""
        if self.mesh.rate_per_s > 0:
            self.environment.process(self._arrivals())
        else:
            for number in range(self.mesh.callers):
                self.environment.process(self._caller(number))
        self.environment.run(warm_up_s)
        before = self._counts()
        self._latencies_s.clear()
        self.environment.run(warm_up_s + seconds)
        after = self._counts()
        tasks, items, hedged = (after[name] - before[name] for name in ("tasks", "items", "hedged"))
        busy = {name: (after[name] - before[name]) / seconds for name in after if name not in ("tasks", "items")}
        busy.pop("hedged")
        slow, answered = (self._answered(slow_only=slow_only) for slow_only in (True, False))
        plans = len(self._latencies_s)
        if not plans:
            return Simulated(0.0, float("inf"), float("inf"), 0.0, 0.0, 0.0, busy, 0.0)
        p50_s, p95_s = np.percentile(np.array(self._latencies_s), (50, 95)).tolist()
        return Simulated(
            plans_per_second=plans / seconds,
            p50_ms=1e3 * p50_s,
            p95_ms=1e3 * p95_s,
            tasks_per_plan=tasks / plans,
            items_per_task=items / tasks if tasks else 0.0,
            hedged_share=hedged / items if items else 0.0,
            busy=busy,
            answered_by_slow=slow / answered if answered else 0.0,
        )

    def _counts(self) -> dict[str, float]:
        workers = [worker for shard in self._shards for worker in shard.workers]
        groups: dict[str, Iterable[_Part]] = {
            "gateway": self._gateways,
            "coordinator": self._coordinators,
            "worker": workers,
            "redis": self._redis,
            "client": self._clients,
        }
        busy = {name: [part.loop.busy_s for part in parts] for name, parts in groups.items()}
        means = {name: sum(all_s) / len(all_s) for name, all_s in busy.items() if all_s}
        counted = {"tasks": self._tasks, "items": self._items, "hedged": self.hedged}
        return {**means, "machine": self.machine.busy_s, **counted}

    def _answered(self, *, slow_only: bool) -> int:
        last = self.mesh.slow_workers if slow_only else self.mesh.workers
        return sum(worker.items for shard in self._shards for worker in shard.workers[:last])

    # What the parts ask for.

    def shards_of_a_plan(self) -> list[int]:
        """Start and goal lie anywhere, so in one shard as often as chance has it."""
        pair = {self.draw.randrange(self.mesh.shards), self.draw.randrange(self.mesh.shards)}
        return list(pair)

    def shards_asked_again(self) -> list[int]:
        """As many further questions as make the measured number of items, each to a shard at random."""
        whole, part = divmod(self._asked_again, 1.0)
        count = int(whole) + (self.draw.random() < part)
        return [self.draw.randrange(self.mesh.shards) for _ in range(count)]

    def redis_of(self, shard: int) -> _Part:
        """Where the queue of a shard is."""
        return self._redis[shard % len(self._redis)]

    def note_task(self, task: _Task) -> None:
        """Count a task that is sent."""
        self._tasks += 1
        self._items += len(task.keys)

    def enqueue(self, task: _Task) -> None:
        """A task is in its shard's queue: an idle worker takes it."""
        shard = self._shards[task.shard]
        if shard.idle:
            self.environment.process(shard.idle.popleft().work(task))
        else:
            shard.waiting.append(task)

    def waits(self, task: _Task) -> bool:
        """Whether a task is in its shard's queue, where no worker has taken it."""
        return task in self._shards[task.shard].waiting

    def withdraw(self, task: _Task) -> bool:
        """Take a task out of its queue, if it is there."""
        waits = self.waits(task)
        if waits:
            self._shards[task.shard].waiting.remove(task)
        return waits

    # Calls.

    def _caller(self, number: int) -> Steps:
        while True:
            yield from self._call(number)

    def _arrivals(self) -> Steps:
        number = 0
        while True:
            yield self.environment.timeout(self.draw.expovariate(self.mesh.rate_per_s))
            self.environment.process(self._call(number))
            number += 1

    def _call(self, number: int) -> Steps:
        """One call, from the caller through the balancer to a gateway and a coordinator, and back."""
        began_s = self.environment.now
        client = self._clients[number % len(self._clients)] if self._clients else None
        if client is not None:
            yield from client.spend(client.cost.plan_ms / 2)
        rest = self.costs.parts.get(REST)
        if rest is not None and rest.plan_ms > 0:
            self.environment.process(self.machine.run(rest.plan_ms / 1e3))
        yield from self._hop(self._envoy)
        gateway = self._least_request()
        self._calls_at[gateway] += 1
        part = self._gateways[gateway]
        yield from self._hop(part, new_call=True)
        yield from self._next(gateway).plan()
        yield from self._hop(part)
        self._calls_at[gateway] -= 1
        yield from self._hop(self._envoy)
        if client is not None:
            yield from client.spend(client.cost.plan_ms / 2)
        self._latencies_s.append(self.environment.now - began_s)

    def _hop(self, part: _Part, *, new_call: bool = False) -> Steps:
        """Half of what a call costs a part that hands it on, and the way there."""
        if self.mesh.hop_s:
            yield self.environment.timeout(self.mesh.hop_s)
        yield from part.spend(part.cost.plan_ms / 2, new_call=new_call)

    def _least_request(self) -> int:
        """Envoy's: the one with fewer calls of two that are drawn."""
        one, two = self.draw.randrange(self.mesh.gateways), self.draw.randrange(self.mesh.gateways)
        return one if self._calls_at[one] <= self._calls_at[two] else two

    def _next(self, gateway: int) -> _Coordinator:
        """GRPC's round robin, of each gateway by itself."""
        number = self._next_coordinator[gateway]
        self._next_coordinator[gateway] = (number + 1) % len(self._coordinators)
        return self._coordinators[number]
