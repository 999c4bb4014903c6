from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import GraphUnknown, SnapshotError, VersionGone
from planmesh.partition.strategies import Strategy
from planmesh.search.index_proof import costs_differ
from planmesh.search.reference import dijkstra
from planmesh.snapshot.array_file import Array
from planmesh.snapshot.manifest import FORMAT, MANIFEST_NAME, write_manifest
from planmesh.snapshot.reader import SnapshotReader
from planmesh.verify import Finding, Verification, VerifyOptions, find_snapshot, verify
from planmesh.verify.plans import Planner
from tests.snapshot.damage import flip_a_bit
from tests.verify.stored_graph import Edge, StoredGraph, domains_of, random_edges, store_graph

Arrays = dict[str, Array]

STRATEGIES = [Strategy.DOMAIN, Strategy.HASH, Strategy.MINCUT, Strategy.STREAM]


def outcome_of(stored: StoredGraph, **options: int) -> Verification:
    return verify(find_snapshot(stored.data, stored.graph), VerifyOptions(**options), lambda *_: None)


def checks_of(outcome: Verification) -> set[tuple[str, str, str]]:
    return {(finding.check, finding.file, finding.partition) for finding in outcome.findings}


@pytest.fixture
async def stored(tmp_path: Path) -> StoredGraph:
    """A random graph of three domains."""
    edges = random_edges()
    return await store_graph(tmp_path / "data", edges, domains_of(edges), strategy=Strategy.DOMAIN)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
async def test_what_was_loaded_is_whole(tmp_path: Path, strategy: Strategy) -> None:
    edges = random_edges(seed=3)
    stored = await store_graph(tmp_path, edges, domains_of(edges), strategy=strategy, partitions=3)
    outcome = outcome_of(stored, pairs=100)
    assert outcome.findings == []
    assert (outcome.ok, outcome.skipped) == (True, [])
    checked = {name: tally.checked for name, tally in outcome.tallies.items()}
    assert list(checked) == [
        *("files", "directory", "overlay", "partitions", "level 1", "distances", "plain searches", "plans")
    ]
    assert checked["files"] == 6 + len(stored.manifest.partitions)
    assert checked["plans"] == 100
    assert all(checked.values())


@pytest.mark.parametrize("edges", [[], [("a", "b", 0.0)], [("a", "b", 1e-9), ("b", "a", 1e9)]])
async def test_the_smallest_graphs_are_whole(tmp_path: Path, edges: list[Edge]) -> None:
    domains = {"a": "left", "b": "right", "lonely": "left"}
    stored = await store_graph(tmp_path, edges, domains, strategy=Strategy.DOMAIN)
    assert outcome_of(stored, pairs=30).findings == []


async def test_a_snapshot_that_was_repaired_is_whole(stored: StoredGraph) -> None:
    write_manifest(stored.snapshot, stored.manifest.model_copy(update={"repair": "1" * 16}))
    assert outcome_of(stored).findings == []


async def test_a_manifest_of_another_format_is_a_finding(stored: StoredGraph) -> None:
    manifest = stored.snapshot / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace(f'{{"format":{FORMAT},', f'{{"format":{FORMAT - 1},', 1))
    assert checks_of(outcome_of(stored)) == {("checksum", MANIFEST_NAME, "")}


async def test_it_reads_while_another_process_owns_the_store_and_writes_nothing(stored: StoredGraph) -> None:
    before = {path: path.stat().st_mtime_ns for path in stored.data.rglob("*")}
    assert outcome_of(stored).ok
    assert {path: path.stat().st_mtime_ns for path in stored.data.rglob("*")} == before


def stars(seed: int) -> list[Edge]:
    """Hubs behind hubs with many neighbours each, costs with ties, some edges one way only."""
    draw = np.random.default_rng(seed)
    edges: list[Edge] = []
    hubs = 6
    for leaf in range(hubs, 90):
        for hub in draw.choice(hubs, draw.integers(1, 4), replace=False).tolist():
            cost = float(draw.choice([0.0, 0.001, 0.5, 1.0, 2.0, 1000.0]))
            edges.append((f"n{leaf:03}", f"n{hub:03}", cost))
            if draw.random() < 0.7:
                edges.append((f"n{hub:03}", f"n{leaf:03}", float(draw.choice([0.001, 1.0, 2.0]))))
    edges += [(f"n{one:03}", f"n{(one + 1) % hubs:03}", 1.0) for one in range(hubs)]
    return edges


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("partitions", [2, 5])
async def test_on_graphs_with_hubs_what_passes_gives_right_plans_for_every_pair(
    tmp_path: Path, seed: int, partitions: int
) -> None:
    stored = await store_graph(tmp_path, stars(seed), strategy=Strategy.HASH, partitions=partitions)
    assert outcome_of(stored, pairs=20).findings == []
    assert wrong_pairs(stored) == []


def wrong_pairs(stored: StoredGraph) -> list[tuple[int, int]]:
    """Pairs whose plan costs other than Dijkstra's path on the edges of all partition files."""
    reader = SnapshotReader.open(str(stored.snapshot))
    planner = Planner(reader)
    opened = [reader.partition(number) for number in range(len(stored.manifest.partitions))]
    counts = np.concatenate([np.diff(partition.out_first) for partition in opened])
    first = np.concatenate([[0], np.cumsum(counts)])
    head = np.concatenate([partition.out_head for partition in opened])
    costs = np.concatenate([partition.out_cost for partition in opened])
    wrong: list[tuple[int, int]] = []
    for start in range(len(counts)):
        plain, _, _ = dijkstra(first, head, costs, start)
        found = [planner.plan(start, goal).cost for goal in range(len(counts))]
        wrong += [(start, goal) for goal, cost in enumerate(found) if costs_differ(float(plain[goal]), cost)]
    return wrong


def nan_cost(arrays: Arrays) -> None:
    arrays["index.up_weight"][0] = np.nan


def negative_cost(arrays: Arrays) -> None:
    arrays["out_cost"][0] = -1.0


def dearer_shortcut(arrays: Arrays) -> None:
    arrays["index.up_weight"][shortcut(arrays)] += 1.0


def cheaper_shortcut(arrays: Arrays) -> None:
    arrays["index.up_weight"][shortcut(arrays)] *= 0.5


def cheaper_edge(arrays: Arrays) -> None:
    arrays["index.up_weight"][np.flatnonzero(arrays["index.up_middle"] < 0)[0]] *= 0.5


def wrong_middle(arrays: Arrays) -> None:
    edge = shortcut(arrays)
    right = arrays["index.up_middle"][edge]
    others = np.flatnonzero(arrays["index.rank"] >= 0)
    arrays["index.up_middle"][edge] = others[others != right][0]


def late_middle(arrays: Arrays) -> None:
    arrays["index.up_middle"][shortcut(arrays)] = np.argmax(arrays["index.rank"])


def middle_out_of_range(arrays: Arrays) -> None:
    arrays["index.up_middle"][shortcut(arrays)] = 1_000_000


def swapped_ranks(arrays: Arrays) -> None:
    rank = arrays["index.rank"]
    one, other = np.argmax(rank), np.flatnonzero(rank == 0)[0]
    rank[one], rank[other] = rank[other], rank[one]


def repeated_rank(arrays: Arrays) -> None:
    rank = arrays["index.rank"]
    rank[np.argmax(rank)] = 0


def rank_of_an_overlay_node(arrays: Arrays) -> None:
    arrays["index.rank"][arrays["index.overlay_node"][0]] = arrays["index.rank"].max() + 1


def head_out_of_range(arrays: Arrays) -> None:
    arrays["index.up_head"][0] = 2_000_000_000


def firsts_that_descend(arrays: Arrays) -> None:
    arrays["index.down_first"][1] = 1_000_000_000


def wrong_overlay_number(arrays: Arrays) -> None:
    arrays["index.overlay_number"][arrays["index.overlay_node"][0]] = 1


def other_dtype(arrays: Arrays) -> None:
    arrays["index.rank"] = arrays["index.rank"].astype(np.int64)


def no_array(arrays: Arrays) -> None:
    del arrays["in_cost"]


def one_direction_only(arrays: Arrays) -> None:
    inside = np.flatnonzero((arrays["in_tail"] >= 40) & (arrays["in_tail"] < 80))
    arrays["in_cost"][inside[0]] += 1.0


def shortcut(arrays: Arrays) -> int:
    return int(np.flatnonzero(arrays["index.up_middle"] >= 0)[0])


PLANTED: list[tuple[Callable[[Arrays], None], set[str]]] = [
    (nan_cost, {"costs"}),
    (negative_cost, {"costs"}),
    (dearer_shortcut, {"sum"}),
    (cheaper_shortcut, {"sum"}),
    (cheaper_edge, {"edge cost"}),
    (wrong_middle, {"halves", "sum", "middle"}),
    (late_middle, {"middle", "halves"}),
    (middle_out_of_range, {"range"}),
    (swapped_ranks, {"direction", "middle"}),
    (repeated_rank, {"rank"}),
    (rank_of_an_overlay_node, {"rank"}),
    (head_out_of_range, {"range"}),
    (firsts_that_descend, {"firsts"}),
    (wrong_overlay_number, {"numbers"}),
    (other_dtype, {"arrays"}),
    (no_array, {"arrays"}),
    (one_direction_only, {"reverse"}),
]


@pytest.mark.parametrize(("plant", "checks"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_planted_fault_of_a_partition_is_found_in_its_file(
    stored: StoredGraph, plant: Callable[[Arrays], None], checks: set[str]
) -> None:
    stored.change("partitions/00001", plant)
    outcome = outcome_of(stored)
    assert not outcome.ok
    of_file = [finding for finding in outcome.findings if finding.file == "partitions/00001"]
    assert {finding.check for finding in of_file} & checks
    assert {finding.partition for finding in outcome.findings} == {"d1"}
    assert all(finding.expected and finding.found and finding.advice for finding in outcome.findings)
    only = outcome_of(stored, partition=1)
    assert [finding for finding in only.findings if finding.file == "partitions/00001"]
    assert only.partition == "d1"
    assert outcome_of(stored, partition=0).ok


async def bridge(tmp_path: Path) -> StoredGraph:
    """From one domain to another the only way leads over a node that is contracted: a shortcut stands for it."""
    edges = [("a", "b1", 1.0), ("b1", "b2", 2.0), ("b2", "b3", 3.0), ("b3", "c", 4.0), ("c", "a", 5.0)]
    domains = {"a": "da", "b1": "db", "b2": "db", "b3": "db", "c": "dc"}
    domains |= {f"{domain}-{number}": domain for domain in ("da", "db", "dc") for number in range(40)}  # else merged
    return await store_graph(tmp_path / "data", edges, domains, strategy=Strategy.DOMAIN)


def without_shortcuts(arrays: Arrays) -> None:
    """Take out all edges between overlay nodes that are shortcuts."""
    kept = arrays["index.overlay_middle"] < 0
    degree = np.diff(arrays["index.overlay_first_out"])
    owner = np.repeat(np.arange(len(degree)), degree)[kept]
    first = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(degree)))])
    arrays["index.overlay_first_out"] = first.astype(np.int32)
    for name in ("head", "weight", "middle"):
        arrays[f"index.overlay_{name}"] = arrays[f"index.overlay_{name}"][kept]


async def test_a_shortcut_that_was_never_built_is_found_by_what_the_index_means(tmp_path: Path) -> None:
    """As a contraction builds it that gave up half-way: file, checksums and overlay agree, only a way is lost."""
    stored = await bridge(tmp_path)
    assert outcome_of(stored).ok
    number = next(entry.number for entry in stored.manifest.partitions if entry.name == "db")
    file = f"partitions/{number:05}"
    stored.change(file, without_shortcuts)
    stored.recount(number, overlay_edges=0)
    stored.rebuild_overlay()
    outcome = outcome_of(stored)
    assert ("distance", file, "db") in checks_of(outcome)
    found = next(finding for finding in outcome.findings if finding.check == "distance")
    assert (found.nodes, found.expected, found.found) == (("b1", "b3"), "a cost of at most 5.0", "no path")
    assert ("plain search", file, "db") in checks_of(outcome)
    assert {finding.check for finding in outcome.findings} == {"distance", "plain search"}
    assert outcome.skipped == ["whole plans: what they are made of is wrong already"]
    assert ("distance", file, "db") in checks_of(outcome_of(stored, pairs=0, partition=number))


async def test_a_lost_shortcut_of_the_overlay_s_levels_is_found(tmp_path: Path) -> None:
    """Ways that the upper levels lose, where level 1 still has them."""
    stored = await store_graph(tmp_path, random_edges(200, 5), strategy=Strategy.HASH, partitions=8)
    assert outcome_of(stored, pairs=20).ok

    def lose_an_edge(arrays: Arrays) -> None:
        rank, first = arrays["overlay.rank"], arrays["overlay.up_first"]
        node = int(np.argmax(rank))  # the last one contracted: no shortcut goes over it but between nodes of the core
        edges = slice(int(first[node]), int(first[node + 1]))
        assert edges.start < edges.stop
        first[node + 1 :] -= np.int32(edges.stop - edges.start)
        for name in ("head", "weight", "middle"):
            array = arrays[f"overlay.up_{name}"]
            arrays[f"overlay.up_{name}"] = np.delete(array, edges)

    stored.change("overlay", lose_an_edge)
    outcome = outcome_of(stored, pairs=20)
    assert {finding.file for finding in outcome.findings} == {"overlay"}
    assert {finding.check for finding in outcome.findings} & {"distance", "halves"}
    assert all(finding.partition for finding in outcome.findings)


def overlay_level_edge(arrays: Arrays) -> None:
    arrays["overlay.up_weight"][np.flatnonzero(arrays["overlay.up_middle"] < 0)[-1]] *= 0.25


def overlay_level_one(arrays: Arrays) -> None:
    arrays["overlay.weight"][np.flatnonzero(~arrays["is_original"])[0]] *= 0.25


def overlay_cross_edge(arrays: Arrays) -> None:
    partition = np.repeat(np.arange(3), np.diff(arrays["overlay_first"]))
    tail = np.repeat(np.arange(len(partition)), np.diff(arrays["overlay.first_out"]))
    crosses = np.flatnonzero(partition[tail] != partition[arrays["overlay.head"]])
    arrays["overlay.weight"][crosses[0]] += 7.0


def overlay_nan(arrays: Arrays) -> None:
    arrays["overlay.down_weight"][0] = np.nan


def overlay_segment(arrays: Arrays) -> None:
    arrays["ways.cost"][0] += 1.0


def overlay_numbers(arrays: Arrays) -> None:
    arrays["overlay_global"][:2] = arrays["overlay_global"][:2][::-1]


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (overlay_level_edge, "edge cost"),
        (overlay_level_one, "level 1"),
        (overlay_cross_edge, "cross edge"),
        (overlay_nan, "costs"),
        (overlay_segment, "way"),
        (overlay_numbers, "numbers"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_planted_fault_of_the_overlay_is_found(
    stored: StoredGraph, plant: Callable[[Arrays], None], check: str
) -> None:
    stored.change("overlay", plant)
    outcome = outcome_of(stored)
    assert check in {finding.check for finding in outcome.findings}
    assert {finding.file for finding in outcome.findings} == {"overlay"}
    if check in {"edge cost", "level 1", "cross edge", "way"}:
        assert {finding.partition for finding in outcome.findings} <= {"d0", "d1", "d2"}
        assert all(finding.nodes for finding in outcome.findings)


async def test_a_cross_edge_of_another_cost_is_found_on_both_sides(stored: StoredGraph) -> None:
    def dearer(arrays: Arrays) -> None:
        crosses = np.flatnonzero((arrays["out_head"] < 40) | (arrays["out_head"] >= 80))
        arrays["out_cost"][crosses[0]] += 5.0

    stored.change("partitions/00001", dearer)
    outcome = outcome_of(stored)
    found = [finding for finding in outcome.findings if finding.check == "cross edge"]
    assert {finding.partition for finding in found} == {"d1"}
    assert all(len(finding.nodes) == 2 for finding in found)


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(("damage", "check"), [(flip_a_bit, "checksum"), (delete, "missing")])
@pytest.mark.parametrize("file", ["directory", "overlay", "report", "partitions/00002", "manifest.json"])
async def test_a_damaged_file_is_named(
    stored: StoredGraph, file: str, damage: Callable[[Path], None], check: str
) -> None:
    damage(stored.snapshot / file)
    outcome = outcome_of(stored)
    found = outcome.findings
    assert [(one.check, one.file) for one in found] == [(check, file)]
    assert found[0].partition == ("d2" if file.startswith("partitions") else "")
    assert "planmesh up" in found[0].advice
    assert outcome.skipped


@pytest.mark.parametrize("name", ["nodes.parquet", "edges.parquet"])
async def test_damaged_rows_are_named(stored: StoredGraph, name: str) -> None:
    flip_a_bit(stored.rows / name)
    found: list[Finding] = outcome_of(stored).findings
    assert [(one.check, one.file) for one in found] == [("checksum", f"rows/g/1/{name}")]
    assert "planmesh load" in found[0].advice


async def test_counts_that_do_not_add_up_are_named(stored: StoredGraph) -> None:
    stored.recount(1, exits=stored.manifest.partitions[1].exits + 1)
    assert checks_of(outcome_of(stored)) == {("count", "partitions/00001", "d1")}


async def test_ids_that_name_two_nodes_are_found(stored: StoredGraph) -> None:
    def repeat_an_id(arrays: Arrays) -> None:
        arrays["ids.blob"][0:4] = arrays["ids.blob"][4:8]

    stored.change("directory", repeat_an_id)
    assert {finding.check for finding in outcome_of(stored).findings} == {"ids"}


async def test_what_is_not_there_is_an_error_and_no_finding(stored: StoredGraph, tmp_path: Path) -> None:
    with pytest.raises(GraphUnknown, match="graphs that are: g"):
        find_snapshot(stored.data, "other")
    with pytest.raises(SnapshotError, match="--data"):
        find_snapshot(tmp_path / "empty", "g")


async def test_a_version_that_is_replaced_meanwhile_is_no_damage(stored: StoredGraph) -> None:
    found = find_snapshot(stored.data, "g")
    stored.snapshot.rename(stored.snapshot.with_name("2"))
    with pytest.raises(VersionGone, match="newer version"):
        verify(found, VerifyOptions(), lambda *_: None)
