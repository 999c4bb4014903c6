"""Faults planted in the overlay's file are found there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planmesh.snapshot.overlay_file import SEGMENTS_PREFIX
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
