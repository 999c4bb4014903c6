"""A closed loop of callers in a process of its own: `python -m bench.caller --address HOST:PORT`.

So many calls are always under way, past every cache; what was answered in a stretch of time is printed as JSON. It is
a process of its own so that its processor time can be told from that of the mesh. It says `ready` when the pairs are
drawn and the warm-up is over, begins when a line comes by standard input, and ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
import numpy as np
import orjson

from bench.graphs import ROOT
from planmesh.measure.pair_lines import Pair
from planmesh.measure.pairs import random_pairs
from planmesh.measure.statistics import Percentiles, per_second
from planmesh.rpc.channel import make_channel
from planmesh.v1 import graph_pb2, plan_pb2

PLAN: Final = "/planmesh.v1.PlanService/Plan"
SAMPLE: Final = "/planmesh.v1.GraphService/SampleNodes"
GRAPH_HEADER: Final = "x-planmesh-graph"
"""Names the graph of a call, so that a load balancer that reads no messages can hash by it."""

PAIRS: Final = 4_000
WARM_UP_CALLS: Final = 60
TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask for: `in_flight` calls at a time for `seconds`, of `graphs` by Zipf's law with `skew`."""

    in_flight: int
    seconds: float
    graphs: tuple[str, ...] = ("default",)
    skew: float = 0.0
    distinct_pairs: int = PAIRS
    cached: bool = False
    channels: int = 1
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Called:
    """What came back within the stretch."""

    plans: int
    seconds: float
    errors: dict[str, int]
    latency_ms: dict[str, float]
    cached: int
    loop_s: float
    """Processor time of the thread that calls, of `processor_s` of the process."""

    processor_s: float

    @property
    def plans_per_second(self) -> float:
        """Rate."""
        return per_second(self.plans, self.seconds)

    @property
    def call_ms(self) -> float:
        """Processor time of the caller for one call: the same work on any mesh, so it tells how fast cores are."""
        return 1e3 * self.processor_s / self.plans


class Caller:
    """The process, started and ready."""

    def __init__(self, address: str, load: Load) -> None:
        arguments = ["--address", address, "--load", orjson.dumps(load).decode()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.caller", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line != b"ready\n":
            self._process.wait()
            raise RuntimeError(f"the caller of {address} ended with {self._process.returncode}; its errors are above")

    @property
    def pid(self) -> int:
        """The process's."""
        return self._process.pid

    def run(self) -> Called:
        """Ask, for as long as the load says."""
        output, _ = self._process.communicate(b"go\n", timeout=600)
        if self._process.returncode:
            raise RuntimeError(f"the caller ended with {self._process.returncode}; its errors are above")
        return Called(**orjson.loads(output))

    def close(self) -> None:
        """End it unasked."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def zipf_shares(count: int, skew: float) -> list[float]:
    """Shares of `count` things, the k-th in proportion to k ** -skew; they add up to 1."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -skew
    shares: list[float] = (weights / weights.sum()).tolist()
    return shares


class _Calls:
    """The loop's state: what was asked, and what came back while the stretch lasted."""

    def __init__(self, load: Load, channels: Sequence[Any], pairs: dict[str, list[Pair]]) -> None:
        self._load = load
        self._calls = [channel.unary_unary(PLAN) for channel in channels]
        self._pairs = pairs
        self._draw = random.Random(load.seed)
        self._shares = zipf_shares(len(load.graphs), load.skew)
        self.latencies_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        self.cached = 0

    async def one(self, number: int) -> None:
        """One call; an answer that there is no path is an answer."""
        load = self._load
        (graph,) = self._draw.choices(load.graphs, self._shares) if len(load.graphs) > 1 else load.graphs
        start, goal = self._draw.choice(self._pairs[graph])
        request = plan_pb2.PlanRequest(graph=graph, start=start, goal=goal, bypass_cache=not load.cached)
        began_s = time.perf_counter()
        try:
            answer = await self._calls[number % len(self._calls)](
                request.SerializeToString(), timeout=TIMEOUT_S, metadata=((GRAPH_HEADER, graph),)
            )
            self.cached += load.cached and plan_pb2.PlanResponse.FromString(answer).plan.cached
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                self.errors[error.code().name] += 1
                return
        self.latencies_ms.append((time.perf_counter() - began_s) * 1e3)

    def forget(self) -> None:
        """Begin to count."""
        self.latencies_ms.clear()
        self.errors.clear()
        self.cached = 0


async def _run(address: str, load: Load) -> Called:
    channels = [
        make_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(load.channels)
    ]  # fmt: skip
    try:
        pairs = {graph: await _pairs(channels[0], graph, load) for graph in load.graphs}
        calls = _Calls(load, channels, pairs)
        for first in range(0, WARM_UP_CALLS, 8):
            await asyncio.gather(*(calls.one(first + number) for number in range(8)))
        calls.forget()
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        began_s, loop_before_s, before_s = time.perf_counter(), time.thread_time(), _processor_s()
        until_s = began_s + load.seconds

        async def loop(number: int) -> None:
            while time.perf_counter() < until_s:
                await calls.one(number)

        await asyncio.gather(*(loop(number) for number in range(load.in_flight)))
        return Called(
            plans=len(calls.latencies_ms),
            seconds=time.perf_counter() - began_s,
            errors=dict(calls.errors),
            latency_ms=Percentiles.of(calls.latencies_ms).to_json(),
            cached=calls.cached,
            loop_s=time.thread_time() - loop_before_s,
            processor_s=_processor_s() - before_s,
        )
    finally:
        for channel in channels:
            await channel.close()


async def _pairs(channel: Any, graph: str, load: Load) -> list[Pair]:
    request = graph_pb2.SampleNodesRequest(graph=graph, count=2 * load.distinct_pairs, seed=load.seed)
    answer = await channel.unary_unary(SAMPLE)(request.SerializeToString(), timeout=TIMEOUT_S)
    ids = graph_pb2.SampleNodesResponse.FromString(answer).ids
    return random_pairs(ids, load.distinct_pairs, load.seed)


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Be the process."""
    parser = argparse.ArgumentParser(prog="python -m bench.caller", description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--load", required=True, help="a Load as JSON")
    options = parser.parse_args()
    values = orjson.loads(options.load)
    load = Load(**{**values, "graphs": tuple(values["graphs"])})
    called = asyncio.run(_run(options.address, load))
    sys.stdout.write(orjson.dumps(called).decode() + "\n")


if __name__ == "__main__":
    main()
