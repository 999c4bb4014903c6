"""A mesh as discrete events: callers, the balancer, gateways, coordinators, shard queues, workers, and the way back.

It does what services/coordinator/dispatcher.py does: work for a shard goes at once while few of its tasks are under
way, else it gathers and travels together; a task without a reply after the hedge time is sent again, and whichever
reply comes second is dropped. Service times are drawn around those that were measured.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import simpy

from bench.scaling.costs import REST, Costs, PartCost
from bench.scaling.processors import QUOTA_PERIOD_S, Loop, Machine, Quota, Steps
from planmesh.dispatch.reply_channel import AT_ONCE_S, DRAIN_REPLIES_MAX
from planmesh.settings import CoordinatorSettings
from services.coordinator.dispatcher import HEDGE_FACTOR, HEDGE_S_MAX, HEDGE_UPDATE_TASKS, LATENCIES_KEPT

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
class _Item:
    done: simpy.Event
    sent: int = 0


@dataclass(slots=True, eq=False)
class _Task:
    owner: _Coordinator
    shard: int
    items: list[_Item]
    attempt: int
    sent_at_s: float
    ended: bool = False


class _Part:
    """A process: its loop, and threads beside it that use processor time as well."""

    def __init__(self, simulation: _Simulation, name: str) -> None:
        self.cost = simulation.costs.parts.get(name, PartCost())
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
            yield from self.spend(self._slowness * (cost.task_ms + len(task.items) * cost.item_ms))
            self.items += len(task.items)
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
        shards = simulation.mesh.shards
        self._waiting: list[deque[_Item]] = [deque() for _ in range(shards)]
        self._under_way = [0] * shards
        self._under_way_max = SETTINGS.coordinator_tasks_in_flight_max * simulation.mesh.workers
        self._hedge_s = HEDGE_S_MAX
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._latencies_noted = 0
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
        item = _Item(self._simulation.environment.event())
        self._waiting[shard].append(item)
        self._flush(shard)
        return item.done

    def _flush(self, shard: int) -> None:
        waiting = self._waiting[shard]
        while waiting and self._under_way[shard] < self._under_way_max:
            items: list[_Item] = []
            while waiting and len(items) < SETTINGS.coordinator_batch_items_max:
                item = waiting.popleft()
                if not item.done.triggered:
                    items.append(item)
            if items:
                self._under_way[shard] += 1
                self._simulation.environment.process(self._send(shard, items))

    def _send(self, shard: int, items: list[_Item]) -> Steps:
        simulation = self._simulation
        environment, redis = simulation.environment, simulation.redis_of(shard)
        for item in items:
            item.sent += 1
        task = _Task(self, shard, items, max(item.sent for item in items), environment.now)
        simulation.note_task(task)
        environment.process(self._hedge(task, min(HEDGE_S_MAX, self._hedge_s * 2 ** (task.attempt - 1))))
        yield from self.spend(self.cost.task_ms / 2)
        if simulation.mesh.hop_s:
            yield environment.timeout(2 * simulation.mesh.hop_s)
        yield from redis.spend(redis.cost.task_ms / 2)
        simulation.enqueue(task)

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
            for item in task.items:
                if not item.done.triggered:
                    item.done.succeed()
            if not task.ended:
                if task.attempt == 1:
                    self._note_latency(self._simulation.environment.now - task.sent_at_s)
                self._end(task)

    def _hedge(self, task: _Task, after_s: float) -> Steps:
        yield self._simulation.environment.timeout(after_s)
        if not task.ended:
            unanswered = [item for item in task.items if not item.done.triggered]
            self._waiting[task.shard].extendleft(reversed(unanswered))
            self._simulation.hedged += len(unanswered)
            self._end(task)

    def _end(self, task: _Task) -> None:
        task.ended = True
        self._under_way[task.shard] -= 1
        self._flush(task.shard)

    def _note_latency(self, latency_s: float) -> None:
        self._latencies_s.append(latency_s)
        self._latencies_noted += 1
        if self._latencies_noted % HEDGE_UPDATE_TASKS == 0:
            slow_s = float(np.percentile(np.fromiter(self._latencies_s, np.float64), 95))
            floor_s = SETTINGS.coordinator_hedge_floor_ms / 1e3
            self._hedge_s = min(HEDGE_S_MAX, max(floor_s, HEDGE_FACTOR * slow_s))


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
        self._items += len(task.items)

    def enqueue(self, task: _Task) -> None:
        """A task is in its shard's queue: an idle worker takes it."""
        shard = self._shards[task.shard]
        if shard.idle:
            self.environment.process(shard.idle.popleft().work(task))
        else:
            shard.waiting.append(task)

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
