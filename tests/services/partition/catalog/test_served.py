"""The state of graphs: versions, loads that exclude each other, and graphs that cannot be served."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from planmesh.errors import Conflict, GraphUnknown, Overloaded, Unavailable, VersionGone
from planmesh.telemetry.tracing import make_telemetry
from planmesh.v1 import graph_pb2
from services.partition.catalog.served import KnownGraphs, KnownVersion, UnservedVersion
from services.partition.ingest.options import LoadOptions
from services.partition.ingest.progress import LoadProgress


def stored(graph: str, number: int) -> Any:
    return SimpleNamespace(graph=graph, version=number, nodes=5, committed_unix_s=1.0)


def version(graph: str, number: int) -> KnownVersion:
    return KnownVersion(stored(graph, number), cast("Any", None), cast("Any", None), "")


def unserved(graph: str, number: int, options: LoadOptions | None = None) -> UnservedVersion:
    return UnservedVersion(stored(graph, number), "", "it has another format", options)


def progress(*, resumed: bool = False) -> LoadProgress:
    return LoadProgress("g", make_telemetry("test"), resumed=resumed)


def test_the_newest_version_is_served_and_older_ones_are_kept() -> None:
    graphs = KnownGraphs(2)
    with pytest.raises(GraphUnknown):
        graphs.served("g")
    for number in (1, 3):
        graphs.add_version(version("g", number))
    assert graphs.served("g").number == graphs.version("g", 0).number == graphs.version("g", 3).number == 3
    assert graphs.version("g", 1).number == 1
    with pytest.raises(VersionGone, match=r"version 2 .* 3 is served"):
        graphs.version("g", 2)


def test_loads_of_one_graph_exclude_each_other_and_their_number_is_bounded() -> None:
    graphs = KnownGraphs(2)
    first = progress()
    graphs.begin_load("g", first)
    with pytest.raises(Conflict, match="another load"):
        graphs.begin_load("g", progress())
    first.sealed = True
    with pytest.raises(Conflict, match="all rows received"):
        graphs.begin_load("g", progress())
    with pytest.raises(Conflict, match="is being loaded"):
        graphs.remove("g")
    with pytest.raises(GraphUnknown, match="first time"):
        graphs.served("g")
    graphs.begin_load("h", progress())
    with pytest.raises(Overloaded, match="at most 2 loads"):
        graphs.begin_load("i", progress())
    graphs.begin_load("i", progress(resumed=True))
    with pytest.raises(Conflict, match="is being resumed"):
        graphs.begin_load("i", progress())
    graphs.end_load("g")
    assert not graphs.knows("g"), "a graph without a version is forgotten"


def test_a_graph_whose_newest_version_cannot_be_served_is_unavailable_until_a_new_one_comes() -> None:
    graphs = KnownGraphs(2)
    graphs.add_version(version("g", 1))
    newest = unserved("g", 2, LoadOptions(graph="g"))
    graphs.add_unserved(newest)
    assert graphs.is_unserved(newest)
    assert graphs.get("g").outdated == [1, 2]
    assert graphs.get("g").message().state == graph_pb2.GRAPH_STATE_REBUILDING
    with pytest.raises(Unavailable, match="another format"):
        graphs.served("g")
    graphs.give_up(newest, "the rebuild failed")
    assert graphs.get("g").message().state == graph_pb2.GRAPH_STATE_UNREADABLE
    with pytest.raises(Unavailable, match="the rebuild failed"):
        graphs.served("g")
    graphs.add_version(version("g", 3))
    assert graphs.served("g").number == 3


def test_a_failed_removal_is_undone_and_a_load_that_began_meanwhile_continues() -> None:
    graphs = KnownGraphs(2)
    graphs.add_version(version("g", 1))
    removed = graphs.remove("g")
    begun = progress()
    graphs.begin_load("g", begun)
    graphs.put_back(removed)
    assert graphs.served("g").number == 1
    assert graphs.get("g").loading is begun
