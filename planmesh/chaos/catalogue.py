"""The scenarios for a local mesh with four query workers on two shards and one of every other process."""

from __future__ import annotations

from typing import Final

from planmesh.chaos.clock_fault import ClockStep
from planmesh.chaos.disk_fault import DiskFull
from planmesh.chaos.network_faults import Line, cut, silence, slow
from planmesh.chaos.process_faults import ForgetAll, Kill, KillDuringLoad, Stop, all_of_shard, one_of
from planmesh.chaos.scenario import Bounds, Scenario
from planmesh.chaos.version_fault import EarlierVersion
from planmesh.chaos.wrong_bytes import WrongBytes

UNFELT: Final = Bounds(failed_share_max=0.0, recovery_s_max=6.0)
"""Callers see slower answers, but no failures."""

SINGLE: Final = Bounds(failed_share_max=0.9, recovery_s_max=10.0)
"""Plans need this process and there is only one: they are refused until it has restarted."""

WAITED_FOR: Final = Bounds(failed_share_max=0.25, recovery_s_max=10.0)
"""Requests wait some seconds for the process (coordinator_worker_grace_s), which usually restarts in that time."""

HOUR_S: Final = 3_600

SCENARIOS: Final = (
    Scenario("kill-gateway", "kill -9 of the gateway", lambda: Kill(one_of("gateway")), SINGLE),
    Scenario("kill-coordinator", "kill -9 of the coordinator", lambda: Kill(one_of("coordinator")), SINGLE),
    Scenario("kill-worker", "kill -9 of one of a shard's two workers", lambda: Kill(one_of("worker")), UNFELT),
    Scenario("kill-shard", "kill -9 of both workers of a shard", lambda: Kill(all_of_shard(0)), WAITED_FOR),
    Scenario(
        "kill-partition",
        "kill -9 of the partition service while a load builds indexes",
        lambda: KillDuringLoad(one_of("partition"), load_survives=False),
        UNFELT,
    ),
    Scenario(
        "kill-builder",
        "kill -9 of the build worker while a load builds indexes",
        lambda: KillDuringLoad(one_of("build"), load_survives=True),
        UNFELT,
    ),
    Scenario("kill-redis", "kill -9 of Redis, which comes back empty", lambda: Kill(one_of("redis")), WAITED_FOR),
    Scenario(
        "kill-one-redis",
        "kill -9 of one of two Redis servers, which comes back empty",
        lambda: Kill(lambda mesh: mesh.names("redis")[1:]),
        WAITED_FOR,
        redis_servers=2,
    ),
    Scenario("forget-redis", "FLUSHALL: Redis loses its data and keeps running", ForgetAll, UNFELT),
    Scenario("stop-worker", "one of a shard's two workers stops for 4 s", lambda: Stop(one_of("worker")), UNFELT, 4.0),
    Scenario(
        "stop-coordinator",
        "the coordinator stops for 4 s",
        lambda: Stop(one_of("coordinator")),
        Bounds(failed_share_max=0.1, recovery_s_max=10.0),
        4.0,
    ),
    Scenario("stop-redis", "Redis stops for 4 s", lambda: Stop(one_of("redis")), SINGLE, 4.0),
    Scenario(
        "disk-full",
        "the partition service and the builder cannot write files while a graph is loaded",
        DiskFull,
        UNFELT,
        3.0,
    ),
    Scenario(
        "wrong-bytes",
        "a rogue client takes tasks and sends garbage and impossible answers for 5 s",
        WrongBytes,
        UNFELT,
        5.0,
    ),
    Scenario(
        "clock-workers",
        "the clock of both workers of a shard jumps an hour ahead for 5 s",
        lambda: ClockStep(all_of_shard(0), HOUR_S),
        UNFELT,
        5.0,
    ),
    Scenario(
        "clock-coordinator",
        "the clock of the coordinator jumps an hour back for 5 s",
        lambda: ClockStep(one_of("coordinator"), -HOUR_S),
        UNFELT,
        5.0,
    ),
    Scenario(
        "clock-redis",
        "the clock of Redis jumps an hour ahead for 5 s",
        lambda: ClockStep(one_of("redis"), HOUR_S),
        Bounds(failed_share_max=0.01, recovery_s_max=10.0),
        5.0,
    ),
    Scenario(
        "skew-workers",
        "all workers run an earlier version for 5 s, replaced one by one",
        lambda: EarlierVersion(lambda mesh: mesh.names("worker")),
        Bounds(failed_share_max=0.0, recovery_s_max=60.0),
        5.0,
    ),
    Scenario(
        "skew-coordinator",
        "the coordinator runs an earlier version for 5 s",
        lambda: EarlierVersion(one_of("coordinator")),
        Bounds(failed_share_max=0.9, recovery_s_max=40.0),
        5.0,
    ),
    Scenario(
        "update-worker",
        "kill -9 of one of a shard's two workers while the graph is updated",
        lambda: Kill(one_of("worker")),
        UNFELT,
        updated=True,
    ),
    Scenario(
        "update-partition",
        "kill -9 of the partition service while the graph is updated",
        lambda: Kill(one_of("partition")),
        WAITED_FOR,
        updated=True,
    ),
    Scenario(
        "update-stop-partition",
        "the partition service stops for 4 s while the graph is updated",
        lambda: Stop(one_of("partition")),
        SINGLE,
        4.0,
        updated=True,
    ),
    Scenario(
        "update-coordinator",
        "kill -9 of the coordinator while the graph is updated",
        lambda: Kill(one_of("coordinator")),
        SINGLE,
        updated=True,
    ),
    Scenario(
        "update-gateway",
        "kill -9 of the gateway while the graph is updated",
        lambda: Kill(one_of("gateway")),
        SINGLE,
        updated=True,
    ),
    Scenario(
        "update-redis",
        "kill -9 of Redis, which comes back empty, while the graph is updated",
        lambda: Kill(one_of("redis")),
        WAITED_FOR,
        updated=True,
    ),
    Scenario(
        "slow-redis",
        "the coordinator's connections to Redis take 50 ms longer, each direction, for 5 s",
        lambda: Line("coordinator-redis", slow(0.05)),
        UNFELT,
        5.0,
        proxied=True,
    ),
    Scenario(
        "cut-redis",
        "the coordinator has no connection to Redis for 2 s",
        lambda: Line("coordinator-redis", cut),
        UNFELT,
        2.0,
        proxied=True,
    ),
    Scenario(
        "silent-redis",
        "the coordinator's connections to Redis swallow everything for 4 s",
        lambda: Line("coordinator-redis", silence),
        SINGLE,
        4.0,
        proxied=True,
    ),
    Scenario(
        "cut-worker",
        "one of a shard's two workers has no connection to Redis for 4 s",
        lambda: Line("worker-0-redis", cut),
        UNFELT,
        4.0,
        proxied=True,
    ),
    Scenario(
        "silent-worker",
        "one of a shard's two workers has connections to Redis that swallow everything for 4 s",
        lambda: Line("worker-0-redis", silence),
        UNFELT,
        4.0,
        proxied=True,
    ),
    Scenario(
        "slow-coordinator",
        "the gateway's connection to the coordinator takes 50 ms longer, each direction, for 5 s",
        lambda: Line("gateway-coordinator", slow(0.05)),
        UNFELT,
        5.0,
        proxied=True,
    ),
    Scenario(
        "cut-coordinator",
        "the gateway has no connection to the coordinator for 3 s",
        lambda: Line("gateway-coordinator", cut),
        SINGLE,
        3.0,
        proxied=True,
    ),
    Scenario(
        "silent-coordinator",
        "the gateway's connection to the coordinator swallows everything for 4 s",
        lambda: Line("gateway-coordinator", silence),
        Bounds(failed_share_max=0.1, recovery_s_max=10.0),
        4.0,
        proxied=True,
    ),
    Scenario(
        "cut-partition",
        "the coordinator has no connection to the partition service for 4 s",
        lambda: Line("coordinator-partition", cut),
        UNFELT,
        4.0,
        proxied=True,
    ),
)
"""Scenarios on meshes of the same kind run together, in this order: proxied ones need a mesh of their own, and so do
those with several Redis servers."""
