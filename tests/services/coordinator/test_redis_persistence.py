"""The check of Redis's append-only file, on answers that the test gives."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from services.coordinator.redis_persistence import LOOK_INTERVAL_S, RedisPersistence


class Info:
    """A connection whose INFO has the answer that the test sets."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer
        self.calls = 0

    async def info(self, section: str) -> dict[str, Any]:
        assert section == "persistence"
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, ""),
        ({"aof_enabled": 1}, ""),
        ({"aof_enabled": 0}, "expected an append-only file, got none"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "cannot write its append-only file"),
        (ResponseError("NOPERM"), "got: NOPERM"),
    ],
)
async def test_each_answer_has_its_problem(answer: Any, problem: str) -> None:
    persistence = RedisPersistence(cast("Any", Info(answer)), "append-only")
    await persistence.look()
    assert problem in persistence.problem
    assert bool(persistence.problem) == bool(problem)


async def test_nothing_is_checked_when_the_settings_do_not_require_it() -> None:
    info = Info({"aof_enabled": 0})
    persistence = RedisPersistence(cast("Any", info), "any")
    await persistence.look()
    assert (info.calls, persistence.problem) == (0, "")


async def test_a_check_is_repeated_after_its_interval_and_a_redis_that_is_down_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1_000.0]
    monkeypatch.setattr("services.coordinator.redis_persistence.time.monotonic", lambda: now_s[0])
    info = Info({"aof_enabled": 0})
    persistence = RedisPersistence(cast("Any", info), "append-only")
    await persistence.look()
    found = persistence.problem
    info.answer = {"aof_enabled": 1}
    await persistence.look()
    assert (info.calls, persistence.problem) == (1, found)
    now_s[0] += LOOK_INTERVAL_S
    info.answer = RedisConnectionError("down")
    with pytest.raises(RedisConnectionError):
        await persistence.look()
    assert persistence.problem == found
    info.answer = {"aof_enabled": 1}
    await persistence.look()
    assert persistence.problem == ""
