"""The worker's command line, and the wiring of its two roles."""

from __future__ import annotations

from typing import Any

import pytest

from planmesh.settings import WorkerSettings
from workers import main as main_module
from workers.main import main


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, WorkerSettings]]:
    """The workers that `main` starts, instead of real ones."""
    found: list[tuple[str, WorkerSettings]] = []
    monkeypatch.setattr(main_module, "warm", lambda: None)
    for role in ("query", "build"):
        monkeypatch.setattr(
            main_module,
            f"run_{role}_worker",
            lambda settings, _telemetry, role=role: found.append((role, settings)),
        )
    return found


def test_arguments_win_over_the_environment(
    started: list[tuple[str, WorkerSettings]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANMESH_WORKER_ROLE", "build")
    monkeypatch.setenv("PLANMESH_WORKER_SHARD", "1")
    assert main([]) == 0
    assert main(["--role", "query", "--shard", "7"]) == 0
    assert main(["--role", "query"]) == 0
    assert [(role, settings.worker_role, settings.worker_shard) for role, settings in started] == [
        ("build", "build", 1),
        ("query", "query", 7),
        ("query", "query", 1),
    ]


def test_invalid_settings_end_the_process_with_2_before_a_worker_starts(
    started: list[tuple[str, WorkerSettings]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--shard", "1000"]) == 2
    assert "PLANMESH_WORKER_SHARD" in capsys.readouterr().err
    assert started == []


def test_an_unknown_role_is_refused_by_the_parser(started: list[tuple[str, WorkerSettings]]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--role", "plan"])
    assert raised.value.code == 2
    assert started == []


Served = tuple[str, list[str], int]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, redis_server: Any) -> list[Served]:
    """Collect what a worker would serve, instead of running it: its pool, its queues and its concurrency."""
    served: list[Served] = []
    monkeypatch.setattr(main_module, "warm", lambda: None)
    monkeypatch.setattr(
        main_module,
        "run",
        lambda _app, pool, found, concurrency, name: served.append((pool, [one.name for one in found], concurrency)),
    )
    monkeypatch.setenv("PLANMESH_REDIS_URL", redis_server.url)
    return served


@pytest.mark.parametrize(
    ("share", "queues"), [("0", ["planmesh.build"]), ("0.01", ["planmesh.build", "planmesh.shadow"])]
)
def test_a_build_worker_serves_the_queue_of_checks_only_if_it_may_check(
    served: list[Served], monkeypatch: pytest.MonkeyPatch, share: str, queues: list[str]
) -> None:
    monkeypatch.setenv("PLANMESH_SHADOW_PROCESSOR_SHARE", share)
    monkeypatch.setenv("PLANMESH_WORKER_BUILD_THREADS", "3")
    assert main(["--role", "build"]) == 0
    assert served == [("threads", queues, 3)]


def test_a_query_worker_takes_one_task_at_a_time_of_its_shard(served: list[Served]) -> None:
    assert main(["--role", "query", "--shard", "3"]) == 0
    assert served == [("solo", ["planmesh.query.3"], 1)]
