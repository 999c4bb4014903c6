"""Faults planted in the overlay's file are found there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from planmesh.snapshot.array_file import open_array_file
from planmesh.snapshot.overlay_file import SEGMENTS_PREFIX, read_overlay
from planmesh.verify.overlay import opened_overlay_faults, overlay_array_faults
from tests.verify.stored_graph import Arrays, StoredGraph, outcome_of


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
    arrays[f"{SEGMENTS_PREFIX}cost"][0] += 1.0


def overlay_numbers(arrays: Arrays) -> None:
    arrays["overlay_global"][:2] = arrays["overlay_global"][:2][::-1]


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (overlay_level_edge, "edge cost"),
        (overlay_level_one, "level 1"),
        (overlay_cross_edge, "cross edge"),
        (overlay_nan, "costs"),
        (overlay_segment, "segment"),
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
    if check in {"edge cost", "level 1", "cross edge", "segment"}:
        assert {finding.partition for finding in outcome.findings} <= {"d0", "d1", "d2"}
        assert all(finding.nodes for finding in outcome.findings)


async def test_an_overlay_must_match_the_manifest_and_its_edges(stored: StoredGraph) -> None:
    opened, manifest = read_overlay(open_array_file(stored.snapshot / "overlay")), stored.manifest
    assert opened_overlay_faults(opened, manifest) == []
    segments = opened.segments
    descending = segments.first.copy()
    descending[1], descending[2] = descending[-1], 0
    for changed, check in (
        (replace(opened, is_original=opened.is_original[1:]), "shape"),
        (replace(opened, overlay_first=opened.overlay_first[1:]), "firsts"),
        (replace(opened, overlay_global=opened.overlay_global + np.int32(120)), "numbers"),
        (replace(opened, segments=replace(segments, first=segments.first[:-1])), "firsts"),
        (replace(opened, segments=replace(segments, cost=segments.cost[1:])), "firsts"),
        (replace(opened, segments=replace(segments, first=descending)), "firsts"),
    ):
        assert [fault.check for fault in opened_overlay_faults(changed, manifest)] == [check]
    counts = manifest.counts.model_copy(update={"overlay_core_nodes": -1})
    [fault] = opened_overlay_faults(opened, manifest.model_copy(update={"counts": counts}))
    assert (fault.check, fault.expected) == ("count", "-1 nodes of the top core, as the manifest says")


async def test_arrays_of_short_segments_exist_together_or_not_at_all(stored: StoredGraph) -> None:
    def faults() -> list[str]:
        return [fault.expected for fault in overlay_array_faults(open_array_file(stored.snapshot / "overlay"))]

    def drop(*names: str) -> Callable[[Arrays], None]:
        def change(arrays: Arrays) -> None:
            for name in names:
                del arrays[f"{SEGMENTS_PREFIX}{name}"]

        return change

    assert faults() == []
    stored.change("overlay", drop("cost"))
    assert faults() == [f"an array {SEGMENTS_PREFIX}cost"]
    stored.change("overlay", drop("first", "node"))
    assert faults() == []
