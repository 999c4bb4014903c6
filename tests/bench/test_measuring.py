"""What the benchmarks count: processes by kind, their processor time, slow replicas, and shares of traffic."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from bench.caller import zipf_shares
from bench.processor_time import ProcessTime, Sample, sample
from bench.scaling.costs import Costs, ProcessCost
from bench.scaling.growth import CALLERS_PER_REDIS, mesh_of
from bench.scaling.measuring import pids_by_process
from bench.slowing import slowed
from tests.mesh.polling import eventually


def test_workers_of_all_shards_are_one_kind_and_other_processes_are_left_out() -> None:
    pids = {"worker-0": [1, 2], "worker-1": [3], "gateway": [4], "builder": [5], "redis": [6]}
    assert pids_by_process(pids) == {"worker": [1, 2, 3], "gateway": [4], "redis": [6]}


def test_processor_time_is_the_difference_of_two_samples() -> None:
    earlier = Sample({"gateway": ProcessTime(1.0, 2.0)}, 10.0)
    later = Sample({"gateway": ProcessTime(1.5, 3.5)}, 14.0)
    used = later.since(earlier)
    assert used.processes["gateway"] == ProcessTime(0.5, 1.5)
    assert used.rest_s == 2.5


def test_a_busy_process_uses_processor_time_on_its_loop() -> None:
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        before = sample({"gateway": [busy.pid]})
        used = eventually(
            lambda: (one := sample({"gateway": [busy.pid]}).since(before).processes["gateway"]).all_s >= 0.1 and one,
            "a tenth of a second of processor time",
        )
        busy.kill()
    assert isinstance(used, ProcessTime)
    assert used.loop_s == pytest.approx(used.all_s, abs=0.05)
    with pytest.raises(psutil.NoSuchProcess):
        sample({"gateway": [busy.pid]})


def test_a_slow_process_is_stopped_and_continues_afterwards() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as replica:
        process = psutil.Process(replica.pid)
        with slowed([replica.pid]):
            eventually(lambda: process.status() == psutil.STATUS_STOPPED, "a stopped replica")
        assert process.status() != psutil.STATUS_STOPPED
        replica.communicate(b"\n", timeout=30)
        assert replica.returncode == 0
    with pytest.raises(RuntimeError, match="expected to slow down"), slowed([replica.pid]):
        pass


def test_shares_of_traffic_follow_zipfs_law() -> None:
    shares = zipf_shares(3, 1.0)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] == pytest.approx(2 * shares[1]) == pytest.approx(3 * shares[2])


def test_gateways_and_coordinators_are_enough_for_the_workers() -> None:
    cost = {
        "worker": ProcessCost(task_ms=1.0),
        "gateway": ProcessCost(plan_ms=2.0),
        "coordinator": ProcessCost(plan_ms=0.1),
    }
    mesh = mesh_of(64, Costs(cost, 1.5))
    assert mesh.workers * mesh.shards == 64
    plans_per_s = 64 / (1.5 * 1e-3)
    assert mesh.gateways >= plans_per_s * 2e-3 > mesh.gateways - 1
    assert mesh.coordinators >= plans_per_s * 1e-4 > mesh.coordinators - 1
    assert mesh.redis_servers == mesh.shards == 8
    assert mesh_of(400, Costs(cost, 1.5), 1).callers <= CALLERS_PER_REDIS
