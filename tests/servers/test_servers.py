"""The test servers start, stop and restart, and end with a run that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.mesh.polling import eventually
from tests.servers.gremlin_servers import GremlinServer
from tests.servers.jars import ServerNotToBeHad, cache_folder, fetch_jars
from tests.servers.java_server import Reaper

pytestmark = pytest.mark.stores

A_RUN_THAT_HANGS = """
import sys, time
from pathlib import Path
from tests.servers.gremlin_servers import GremlinServer
from tests.servers.java_server import Reaper
with Reaper() as reaper, GremlinServer(Path(sys.argv[1]), reaper) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


def test_jars_are_fetched_once() -> None:
    first = fetch_jars("gremlin_server")
    assert fetch_jars("gremlin_server") == first
    assert first.folder.parent == cache_folder()
    assert not list(first.folder.parent.glob("*.part-*"))


def test_a_jar_that_maven_cannot_find_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pom = fetch_jars.__globals__["HERE"] / "gremlin_server" / "pom.xml"
    (tmp_path / "poms" / "gremlin_server").mkdir(parents=True)
    broken = pom.read_text().replace("<version>3.7.5</version>", "<version>0.0.0-none</version>")
    (tmp_path / "poms" / "gremlin_server" / "pom.xml").write_text(broken)
    monkeypatch.setattr("tests.servers.jars.HERE", tmp_path / "poms")
    monkeypatch.setenv("PLANMESH_TEST_SERVERS", str(tmp_path / "cache"))
    with pytest.raises(ServerNotToBeHad, match=r"0\.0\.0-none"):
        fetch_jars("gremlin_server")
    assert not list((tmp_path / "cache").glob("gremlin*"))


def test_a_server_that_was_killed_comes_back_on_its_port(tmp_path: Path, reaper: Reaper) -> None:
    with GremlinServer(tmp_path, reaper) as server:
        port = server.port
        server.kill()
        assert not server.answers()
        server.start()
        assert server.port == port
        assert server.answers()
    assert not server.answers()


def test_a_server_does_not_outlive_a_run_that_was_killed(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", A_RUN_THAT_HANGS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    server = int(run.stdout.readline())
    assert psutil.pid_exists(server)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    eventually(lambda: not psutil.pid_exists(server), "the end of the server")
