"""A mesh whose data folder an earlier planmesh left: rebuilt by itself, and nothing served from the old files."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from planmesh.client import Client
from planmesh.errors import PlanmeshError, Unavailable
from planmesh.snapshot.manifest import FORMAT
from tests.mesh.own_mesh import own_mesh
from tests.mesh.polling import eventually
from tests.mesh.small_graph import cheapest_costs, random_pairs, service_graph
from tests.services.partition.format_number import rewrite_format

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=71, domains=4, nodes_per_domain=30)
PAIRS = [pair for pair in random_pairs(GRAPH, 40, seed=72, starts=8) if pair[1] in GRAPH.costs_from(pair[0])]


def test_plans_are_refused_until_the_graph_is_rebuilt_and_exact_then(tmp_path: Path) -> None:
    with own_mesh(tmp_path / "data", "--workers", "2", "--shards", "2") as own:
        with Client(own.address) as client:
            version = GRAPH.load(client, "default").version
        own.signal(signal.SIGSTOP, "partition")
        rewrite_format(own.folder.store, FORMAT - 1)
        own.signal(signal.SIGSTOP, "build")  # so that the rebuild cannot end before it was looked at
        own.kill("partition", "coordinator", *own.names("worker"))

        with Client(own.address, timeout_s=20) as client:

            def refused() -> bool:
                try:
                    client.plan(*PAIRS[0])
                except Unavailable as error:
                    return f"expected format {FORMAT}, found {FORMAT - 1}" in error.message
                except PlanmeshError:
                    return False
                raise AssertionError("a plan was answered from the files of an earlier planmesh")

            eventually(refused, "a status that names the formats")
            own.signal(signal.SIGCONT, "build")

            def rebuilt() -> bool:
                try:
                    return client.plan(*PAIRS[0]).version > version
                except PlanmeshError:
                    return False

            eventually(rebuilt, "a plan on the rebuilt graph")
            costs = cheapest_costs(GRAPH, PAIRS)
            for answer in client.plan_many(PAIRS, bypass_cache=True):
                GRAPH.check_plan(answer.result(), costs[answer.index])
        assert "rebuilt from the store" in own.log("partition")
