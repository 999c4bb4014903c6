"""Damaged files, and death of any process: never a wrong path, and all acknowledged data is served again."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from planmesh.client import Client, EdgeRows, GraphRows, Plan, Strategy
from planmesh.errors import PlanmeshError, Unavailable
from tests.conftest import run_planmesh, start_mesh
from tests.mesh.own_mesh import OwnMesh, own_mesh
from tests.mesh.polling import eventually
from tests.mesh.small_graph import cheapest_costs, random_pairs, service_graph

pytestmark = [pytest.mark.mesh, pytest.mark.slow]

GRAPH = service_graph(seed=51, domains=6, nodes_per_domain=40)
PAIRS = [
    (start, goal)
    for start, goal in random_pairs(GRAPH, 120, seed=52, starts=12)
    if goal in GRAPH.costs_from(start) and start != goal
][:60]
COSTS = cheapest_costs(GRAPH, PAIRS)
NO_RETRY_TIMEOUT_S = 20.0


@dataclass
class Served:
    """A mesh, and the files of the one version that it serves."""

    mesh: OwnMesh
    version: int

    @property
    def snapshot(self) -> Path:
        return self.mesh.folder.store / "snapshots" / "default" / str(self.version)

    def file(self, name: str) -> Path:
        """Return a file of the snapshot; "partition" is the one of the first pair's start."""
        if name != "partition":
            return self.snapshot / name
        with Client(self.mesh.address) as client:
            wanted = client.node(PAIRS[0][0]).partition
            number = next(one.number for one in client.partitions() if one.name == wanted)
        return self.snapshot / "partitions" / f"{number:05d}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # The partition service is stopped for a while, and plans are asked for meanwhile.
    unbounded = {"PLANMESH_STALENESS_MS_MAX": "0"}
    with own_mesh(
        tmp_path_factory.mktemp("mesh") / "data", "--workers", "2", "--shards", "2", environment=unbounded
    ) as mesh:
        with Client(mesh.address) as client:
            version = GRAPH.load(client, "default", Strategy.DOMAIN).version
        yield Served(mesh, version)


def flip_a_byte(file: Path) -> None:
    """Flip a byte in the middle, in the arrays and not in the header, so that only the checksum detects it."""
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 0x10]))


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGES: list[Callable[[Path], None]] = [flip_a_byte, truncate, Path.unlink]


def ask(client: Client, pair: tuple[str, str]) -> Plan | PlanmeshError:
    """Make one attempt: return a plan, or the error."""
    try:
        return client.plan(*pair, bypass_cache=True)
    except PlanmeshError as error:
        return error


def plans_until_exact(mesh: OwnMesh, version: int) -> list[PlanmeshError]:
    """Request every pair until each has its plan, and return the errors meanwhile. Fails on a wrong answer."""
    errors: list[PlanmeshError] = []
    with Client(mesh.address, timeout_s=NO_RETRY_TIMEOUT_S) as client:

        def answered(pair: tuple[str, str], cost: float) -> bool:
            answer = ask(client, pair)
            if isinstance(answer, PlanmeshError):
                errors.append(answer)
                return False
            GRAPH.check_plan(answer, cost)
            assert answer.version >= version
            return True

        for pair, cost in zip(PAIRS, COSTS, strict=True):
            eventually(lambda pair=pair, cost=cost: answered(pair, cost), f"a plan for {pair}")  # type: ignore[misc]
    return errors


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    ("names", "readers"),
    [(("partition",), "worker"), (("directory", "overlay"), "coordinator")],
    ids=["worker", "coordinator"],
)
def test_damaged_files_are_rebuilt_and_no_answer_is_wrong_meanwhile(
    served: Served, damage: Callable[[Path], None], names: tuple[str, ...], readers: str
) -> None:
    assert_repaired(served, damage, [served.file(name) for name in names], served.mesh.names(readers))


def assert_repaired(served: Served, damage: Callable[[Path], None], files: list[Path], readers: list[str]) -> None:
    whole = [file.read_bytes() for file in files]
    for file in files:
        damage(file)
    # Processes that have a file open continue with the mapped one; processes that open it now find the damage.
    served.mesh.kill(*readers)
    errors = plans_until_exact(served.mesh, served.version)
    assert all(isinstance(error, Unavailable) for error in errors), errors
    assert [file.read_bytes() for file in files] == whole, "rebuilt from the store to the last byte"
    log = served.mesh.log("partition")
    assert all(str(file.relative_to(served.snapshot)) in log for file in files)
    served.mesh.wait_until_whole()


@pytest.fixture
def repaired(served: Served) -> Iterator[Served]:
    """The partition service's check at its start finds the damage that a test leaves."""
    yield served
    served.mesh.kill("partition", "coordinator", *served.mesh.names("worker"))
    plans_until_exact(served.mesh, served.version)


def test_an_overlay_and_a_partition_damaged_together(repaired: Served) -> None:
    """The overlay is rebuilt from the partitions' files, one of which turns out to be damaged too."""
    files = [repaired.file("overlay"), repaired.file("partition")]
    assert_repaired(repaired, flip_a_byte, files, ["coordinator", *repaired.mesh.names("worker")])


def test_the_status_of_a_plan_names_the_damaged_file(served: Served) -> None:
    file = served.file("partition")
    name = str(file.relative_to(served.snapshot))
    flip_a_byte(file)
    # While the partition service is stopped nothing is rebuilt, so the status cannot be missed.
    served.mesh.signal(signal.SIGSTOP, "partition")
    try:
        served.mesh.kill(*served.mesh.names("worker"))
        with Client(served.mesh.address, timeout_s=NO_RETRY_TIMEOUT_S) as client:

            def named() -> bool:
                answer = ask(client, PAIRS[0])
                assert isinstance(answer, Unavailable), answer
                return answer.metadata.get("file") == name and name in answer.message

            eventually(named, f"a status that names {name}")
    finally:
        served.mesh.signal(signal.SIGCONT, "partition")
    plans_until_exact(served.mesh, served.version)
    served.mesh.wait_until_whole()


def test_the_status_of_a_graph_that_cannot_be_opened_names_the_file(repaired: Served) -> None:
    """The status is reported until the damage is repaired: here until the stopped builders continue."""
    files = [repaired.file("overlay"), repaired.file("partition")]
    for file in files:
        flip_a_byte(file)
    repaired.mesh.signal(signal.SIGSTOP, "build")
    try:
        repaired.mesh.kill("coordinator")
        with Client(repaired.mesh.address, timeout_s=NO_RETRY_TIMEOUT_S) as client:

            def named() -> bool:
                answer = ask(client, PAIRS[0])
                assert isinstance(answer, Unavailable), answer
                return answer.metadata.get("file") == "overlay" and "overlay" in answer.message

            eventually(named, "a status that names the overlay")
    finally:
        repaired.mesh.signal(signal.SIGCONT, "build")
    repaired.mesh.kill(*repaired.mesh.names("worker"))
    plans_until_exact(repaired.mesh, repaired.version)
    repaired.mesh.wait_until_whole()


def test_the_whole_snapshot_removed(served: Served) -> None:
    """Only the store remains: the service rebuilds the version at its start."""
    shutil.rmtree(served.snapshot)
    served.mesh.kill("partition")
    served.mesh.kill("coordinator", *served.mesh.names("worker"))
    errors = plans_until_exact(served.mesh, served.version)
    assert all(isinstance(error, Unavailable) for error in errors), errors
    with Client(served.mesh.address) as client:
        served.version = client.graph().version
    served.mesh.wait_until_whole()


@pytest.mark.parametrize("names", [("partition",), ("coordinator", "partition"), ("gateway", "redis")])
def test_killed_services_come_back_with_what_was_acknowledged(served: Served, names: tuple[str, ...]) -> None:
    with Client(served.mesh.address) as client:
        served.version = GRAPH.load(client, "default", Strategy.DOMAIN).version
    served.mesh.kill(*names)
    plans_until_exact(served.mesh, served.version)
    served.mesh.wait_until_whole()
    with Client(served.mesh.address) as client:
        assert client.graph().version == served.version


def test_a_load_whose_service_is_killed_is_refused_or_served_whole(served: Served) -> None:
    """SIGKILL in the middle of a load: the caller gets an error, and the previous version continues to be served."""
    other = GRAPH.with_costs(cost + 100 for _, _, cost in GRAPH.edges)

    def batches() -> Iterator[GraphRows]:
        for batch in other.batches():
            yield batch
            if isinstance(batch, EdgeRows):
                served.mesh.kill("partition")
                return

    with Client(served.mesh.address) as client, pytest.raises(PlanmeshError):
        client.load(batches(), timeout_s=60)
    plans_until_exact(served.mesh, served.version)
    served.mesh.wait_until_whole()
    with Client(served.mesh.address) as client:
        assert client.graph().version == served.version


def test_a_mesh_that_was_stopped_serves_the_same_version(served: Served) -> None:
    root = served.mesh.folder.root
    before = {file: file.stat().st_mtime_ns for file in served.snapshot.rglob("*") if file.is_file()}
    run_planmesh("down", "--data", str(root))
    served.mesh.running = start_mesh(root, "--workers", "2", "--shards", "2")
    assert plans_until_exact(served.mesh, served.version) == []
    with Client(served.mesh.address) as client:
        assert client.graph().version == served.version
    after = {file: file.stat().st_mtime_ns for file in served.snapshot.rglob("*") if file.is_file()}
    assert after == before, "nothing was rebuilt"
