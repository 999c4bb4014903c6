"""One redis-server for all store tests that do not damage it; every test uses its own graph name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import RedisServer


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()
