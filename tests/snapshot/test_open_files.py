"""The limit on open files is raised as far as needed and permitted, and determines how many files are mapped."""

from __future__ import annotations

import resource

import pytest

from planmesh.snapshot.open_files import FILES_RESERVED, MAPPED_FILES_MAX, raise_open_files_limit

INFINITE = resource.RLIM_INFINITY
WANTED = 2 * MAPPED_FILES_MAX + FILES_RESERVED


@pytest.mark.parametrize(
    ("soft", "hard", "raised_to", "mapped"),
    [
        (1_024, WANTED, WANTED, MAPPED_FILES_MAX),
        (1_024, INFINITE, WANTED, MAPPED_FILES_MAX),
        (1_024, 10 * WANTED, WANTED, MAPPED_FILES_MAX),
        (1_024, 4_096, 4_096, (4_096 - FILES_RESERVED) // 2),
        (2 * WANTED, 2 * WANTED, None, MAPPED_FILES_MAX),
        (4_096, 4_096, None, (4_096 - FILES_RESERVED) // 2),
        (INFINITE, INFINITE, None, MAPPED_FILES_MAX),
        (64, 64, None, 16),
    ],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised_to: int | None, mapped: int) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert raise_open_files_limit() == mapped
    assert limits == ([] if raised_to is None else [(raised_to, hard)])


def test_the_limit_of_this_process_can_be_raised() -> None:
    mapped = raise_open_files_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft in {INFINITE, hard} or soft >= WANTED
    assert 16 <= mapped <= MAPPED_FILES_MAX
