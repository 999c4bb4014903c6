"""The process that meets a mistake of a deployment reports it, and is not ready meanwhile.

docs/operations/troubleshooting.md has the table that these tests check.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from planmesh.local.ports import free_port
from planmesh.local.readiness import health_serving
from planmesh.versions.catalog import SCHEMA
from planmesh.versions.embedded import CATALOG_NAME
from tests.conftest import RedisServer
from tests.deploy.processes import MODULES, running
from tests.mesh.polling import eventually
from workers.pulse import ALIVE, READY

pytestmark = pytest.mark.mesh


@pytest.fixture
def port_in_use() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_missing_or_misspelt_variable_stops_every_process_and_is_named(tmp_path: Path) -> None:
    missing = {
        "services.gateway": {"GATEWAY_LISTEN", "COORDINATOR_ADDRESS", "PARTITION_ADDRESS"},
        "services.coordinator": {"COORDINATOR_LISTEN", "PARTITION_ADDRESS", "REDIS_URL", "SHARDS"},
        "services.partition": {"PARTITION_LISTEN", "REDIS_URL", "SHARDS"},
        "workers": {"REDIS_URL", "WORKER_ROLE", "WORKER_SHARD"},
    }
    # The variables of the image, and one that a user has written.
    variables = {"PLANMESH_IN_CONTAINER": "true", "PLANMESH_DATA": str(tmp_path), "PLANMESH_LOG_LEVLE": "debug"}
    with contextlib.ExitStack() as stack:
        for module, process in [(module, stack.enter_context(running(module, variables))) for module in MODULES]:
            assert process.wait() == 2, process.said
            first, *lines = process.lines
            assert first == "cannot start: invalid settings"
            assert (
                lines[0].strip()
                == "- PLANMESH_LOG_LEVLE is not a setting of planmesh; did you mean PLANMESH_LOG_LEVEL?"
            )
            assert {line.split(":")[0].strip(" -").removeprefix("PLANMESH_") for line in lines[1:]} == missing[module]


@pytest.mark.parametrize("module", ["coordinator", "partition"])
def test_a_port_in_use_ends_the_process_and_is_named(
    module: str, port_in_use: int, redis_server: RedisServer, tmp_path: Path
) -> None:
    variables = {
        f"PLANMESH_{module.upper()}_LISTEN": f"127.0.0.1:{port_in_use}",
        "PLANMESH_REDIS_URL": redis_server.url,
        "PLANMESH_DATA": str(tmp_path / "data"),
    }
    with running(f"services.{module}", variables) as process:
        assert process.wait() == 1
        assert process.events()[-1]["message"] == (
            f"cannot listen on 127.0.0.1:{port_in_use}: [Errno 98] Address already in use"
        )
        assert "Traceback" not in process.said


def test_a_data_folder_of_a_newer_format_ends_the_process_and_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / CATALOG_NAME)) as catalog:
        catalog.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        catalog.commit()
    with running("services.partition", {"PLANMESH_DATA": str(tmp_path)}) as process:
        assert process.wait() == 1
        message = process.events()[-1]["message"]
        assert f"expected at most schema {SCHEMA}, found {SCHEMA + 1}: written by a newer planmesh" in message
        assert "Traceback" not in process.said
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / CATALOG_NAME)) as catalog:
        assert catalog.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)


def serving(address: str) -> bool:
    """Return the gRPC health of a server."""
    return asyncio.run(health_serving(address))


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4_096)):
            pass


def on_a_small_disk(folder: Path) -> list[str]:
    """Return a command that runs another one with a private disk of one MiB at `folder`; needs no root."""
    unshare, mount = shutil.which("unshare"), shutil.which("mount")
    if unshare is None or mount is None:
        pytest.skip("needs unshare and mount on PATH (Debian: util-linux, mount)")
    script = f'"{mount}" -t tmpfs -o size=1m planmesh "{folder}" && exec "$@"'
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [unshare, *own, "--mount", "/bin/sh", "-c", script, "sh"]


@pytest.mark.tools
def test_a_full_disk_makes_the_process_unready_until_there_is_room(redis_server: RedisServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    address = f"127.0.0.1:{free_port()}"
    variables = {
        "PLANMESH_PARTITION_LISTEN": address,
        "PLANMESH_REDIS_URL": redis_server.url,
        "PLANMESH_DATA": str(data),
    }
    with running("services.partition", variables, *on_a_small_disk(data)) as process:
        process.wait_for("ready")
        assert serving(address)
        filling = Path(f"/proc/{process.process.pid}/root") / data.relative_to("/") / "filling"
        fill(filling)
        line = process.wait_for("not ready: the data folder cannot be written; free space, or correct its permissions")
        assert "No space left on device" in line["error"]
        process.wait_for("not ready")
        assert not serving(address)
        assert process.process.poll() is None, "the service continues to serve"
        filling.unlink()
        process.wait_for("the data folder can be written again")
        eventually(lambda: serving(address), "readiness after the disk has room")


@pytest.mark.tools
def test_a_disk_that_is_full_at_the_start_ends_the_process_and_is_named(tmp_path: Path) -> None:
    fill = [sys.executable, "-c", FILL_AND_RUN, str(tmp_path)]
    with running("services.partition", {"PLANMESH_DATA": str(tmp_path)}, *on_a_small_disk(tmp_path), *fill) as process:
        assert process.wait() == 1
        assert "No space left on device" in process.events()[-1]["message"] or "disk is full" in process.said
        assert str(tmp_path) in process.events()[-1]["message"]
        assert "Traceback" not in process.said


FILL_AND_RUN = """
import contextlib, os, sys
with contextlib.suppress(OSError), open(sys.argv[1] + "/filling", "wb", buffering=0) as file:
    while True:
        file.write(bytes(4096))
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_redis_without_persistence_makes_the_mesh_unready_until_it_has_one(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Also checks a worker's files for probes."""
    gateway, coordinator, partition = (f"127.0.0.1:{free_port()}" for _ in range(3))
    pulse = tmp_path / "pulse"
    variables = {
        "PLANMESH_IN_CONTAINER": "true",
        "PLANMESH_REDIS_URL": redis_server.url,
        "PLANMESH_REDIS_PERSISTENCE": "append-only",
        "PLANMESH_DATA": str(tmp_path / "data"),
        "PLANMESH_SHARDS": "1",
        "PLANMESH_GATEWAY_LISTEN": gateway,
        "PLANMESH_COORDINATOR_LISTEN": coordinator,
        "PLANMESH_COORDINATOR_ADDRESS": coordinator,
        "PLANMESH_PARTITION_LISTEN": partition,
        "PLANMESH_PARTITION_ADDRESS": partition,
        "PLANMESH_WORKER_ROLE": "query",
        "PLANMESH_WORKER_SHARD": "0",
        "PLANMESH_WORKER_PULSE": str(pulse),
    }
    with contextlib.ExitStack() as stack:
        worker, _, coordinating, gating = [
            stack.enter_context(running(module, variables))
            for module in ("workers", "services.partition", "services.coordinator", "services.gateway")
        ]
        line = coordinating.wait_for("not ready: Redis would lose tasks")
        assert line["problem"].startswith("expected an append-only file, got none; start it with")
        gating.wait_for("listening")
        eventually((pulse / READY).exists, "the worker's readiness")
        assert (pulse / ALIVE).exists()
        assert not serving(coordinator)
        assert not serving(gateway)

        with redis.Redis.from_url(redis_server.url) as client:
            client.config_set("appendonly", "yes")
        coordinating.wait_for("ready")
        eventually(lambda: serving(gateway), "the gateway's readiness")

        redis_server.kill()
        eventually(lambda: not (pulse / READY).exists(), "the end of the worker's readiness")
        assert (pulse / ALIVE).exists()
        assert worker.process.poll() is None, "the worker outlives Redis"
        redis_server.start()
        eventually((pulse / READY).exists, "the worker's readiness")
