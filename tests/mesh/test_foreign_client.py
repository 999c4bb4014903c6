"""A caller without a line of our code: bare grpcio over server reflection, and grpcurl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from planmesh.client import Client
from tests.conftest import COMMAND_S_MAX, RunningMesh
from tests.mesh.small_graph import SmallGraph

pytestmark = pytest.mark.mesh

GRAPH = SmallGraph(
    {"oslo": "north", "malmö": "north", "rome": "south", "bari": "south"},
    [("oslo", "malmö", 2.0), ("malmö", "rome", 5.0), ("rome", "bari", 1.0), ("oslo", "bari", 99.0)],
)
SERVICES = {"planmesh.v1.PlanService", "planmesh.v1.GraphService", "planmesh.v1.MeshService", "grpc.health.v1.Health"}

BARE_SCRIPT = """
import json, sys
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

address, graph, start, goal = sys.argv[1:]
with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    services = list(database.get_services())
    method = pool.FindServiceByName("planmesh.v1.PlanService").FindMethodByName("Plan")
    request = GetMessageClass(method.input_type)(graph=graph, start=start, goal=goal)
    call = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    answer = MessageToDict(call(request, timeout=30), preserving_proto_field_name=True)
    assert not [name for name in sys.modules if name.split(".")[0] in ("planmesh", "services", "workers")]
print(json.dumps({"services": services, **answer}))
"""


@pytest.fixture(scope="module")
def graph(client: Client) -> str:
    GRAPH.load(client, "foreign")
    return "foreign"


def assert_is_the_plan(plan: dict[str, object]) -> None:
    assert plan["cost"] == 8.0
    steps = plan["steps"]
    assert isinstance(steps, list)
    assert [step["target"] for step in steps] == ["malmö", "rome", "bari"]
    assert plan["partitions"] == ["north", "south"]


def test_a_bare_grpcio_script(mesh: RunningMesh, graph: str, tmp_path: Path) -> None:
    script = tmp_path / "bare.py"
    script.write_text(BARE_SCRIPT)
    result = subprocess.run(
        [sys.executable, str(script), mesh.address, graph, "oslo", "bari"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert set(answer["services"]) >= SERVICES
    assert_is_the_plan(answer["plan"])


@pytest.fixture(scope="module")
def grpcurl() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "planmesh" / "observability"
    places = [os.environ.get("PATH", ""), str(Path.home() / "go" / "bin"), str(cache)]
    found = shutil.which("grpcurl", path=os.pathsep.join(places))
    if found is None:
        pytest.skip("needs grpcurl on PATH, in ~/go/bin, or by `.ci/observability/programs grpcurl`")
    return found


def run_grpcurl(grpcurl: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    result = subprocess.run(
        [grpcurl, "-plaintext", *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
        env=environment,
    )
    assert result.returncode == code, result.stderr
    return result


@pytest.mark.tools
def test_grpcurl_lists_describes_and_plans(mesh: RunningMesh, graph: str, grpcurl: str) -> None:
    assert set(run_grpcurl(grpcurl, mesh.address, "list").stdout.split()) >= SERVICES
    assert "rpc Plan " in run_grpcurl(grpcurl, mesh.address, "describe", "planmesh.v1.PlanService").stdout
    request = json.dumps({"graph": graph, "start": "oslo", "goal": "bari"})
    answer = json.loads(run_grpcurl(grpcurl, "-d", request, mesh.address, "planmesh.v1.PlanService/Plan").stdout)
    assert_is_the_plan(answer["plan"])
    health = run_grpcurl(grpcurl, mesh.address, "grpc.health.v1.Health/Check")
    assert json.loads(health.stdout) == {"status": "SERVING"}


@pytest.mark.tools
def test_grpcurl_reads_our_errors(mesh: RunningMesh, graph: str, grpcurl: str) -> None:
    """The details are standard google.rpc messages, which any client can read."""
    request = json.dumps({"graph": graph, "start": "osl", "goal": "bari"})
    refused = run_grpcurl(grpcurl, "-d", request, mesh.address, "planmesh.v1.PlanService/Plan", code=64 + 5)
    assert "Code: NotFound" in refused.stderr
    assert "NODE_UNKNOWN" in refused.stderr
