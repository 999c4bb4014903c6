from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from bench.graph_making import make_graph
from bench.supervised import SubjectFailed, SupervisedSubject

GRAPH = "service-1k"
LARGE_MB = 100_000.0


@pytest.fixture(autouse=True)
def graph() -> None:
    """Make the graph in the cache, which the subject's process reads."""
    make_graph(GRAPH)


def offspring() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def test_a_subject_answers_and_is_ended_with_its_server() -> None:
    before = offspring()
    subject = SupervisedSubject("redis-by-hand", GRAPH, LARGE_MB)
    subject.ask("prepare", 120.0)
    started = offspring() - before
    assert len(started) == 2, "the subject's process and its redis-server"
    assert subject.ask("load", 120.0)["load_s"] > 0
    answer = subject.ask("query", 120.0, pairs=[[0, 0], [0, 0]], cached=False, stop_after_s=60.0)
    assert answer["costs"] == [0.0, 0.0]
    assert len(answer["ms"]) == 2
    assert subject.memory_mb > 0
    subject.close()
    assert offspring() == before
    assert not any(psutil.pid_exists(pid) for pid in started)


def test_a_failing_subject_is_reported_and_ended() -> None:
    before = offspring()
    subject = SupervisedSubject("networkx", GRAPH, LARGE_MB)
    with pytest.raises(SubjectFailed, match="AttributeError"):
        subject.ask("load", 120.0)  # fails without `prepare`
    assert offspring() == before
    with pytest.raises(SubjectFailed, match="AttributeError"):
        subject.ask("prepare", 120.0)
    subject.close()


def test_a_bound_of_memory_ends_the_subject() -> None:
    before = offspring()
    subject = SupervisedSubject("redis-by-hand", GRAPH, 1.0)
    with pytest.raises(SubjectFailed, match=r"more than the bound of 1 MiB"):
        subject.ask("prepare", 120.0)
    assert offspring() == before


def test_a_bound_of_time_ends_the_subject() -> None:
    before = offspring()
    subject = SupervisedSubject("networkx", GRAPH, LARGE_MB)
    with pytest.raises(SubjectFailed, match="longer than the bound of 0 s"):
        subject.ask("prepare", 0.0)
    assert offspring() == before


def test_a_dead_process_is_reported(tmp_path: Path) -> None:
    subject = SupervisedSubject("no-such-subject", GRAPH, LARGE_MB)
    with pytest.raises(SubjectFailed, match="exit code 1"):
        subject.ask("prepare", 120.0)
