"""The command line of `make load-test`, without a mesh."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from load import run

ASKED = {"shape": "steady", "seconds": 5.0, "users": None, "rate": None, "processes": 1}


def test_options_that_were_not_given_are_left_to_locust() -> None:
    command = run.locust_command(Namespace(**ASKED), "127.0.0.1:1")
    assert command[command.index("--host") + 1] == "127.0.0.1:1"
    assert not {"--shape-users", "--agent-rate", "--processes"} & set(command)


def test_several_processes_meet_on_a_free_loopback_port() -> None:
    command = run.locust_command(Namespace(**{**ASKED, "processes": 2, "users": 300, "rate": 2.5}), "127.0.0.1:1")
    value = {name: command[command.index(name) + 1] for name in command if name.startswith("--master")}
    assert value["--master-bind-host"] == "127.0.0.1"
    assert value["--master-bind-port"] == value["--master-port"]
    assert command[command.index("--shape-users") + 1] == "300"
    assert command[command.index("--agent-rate") + 1] == "2.5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "1000"], "--rate: expected 0.1 to 100, got 1000"),
        (["--source", "/nowhere.csv"], "--source: expected a file, got /nowhere.csv, which does not exist"),
    ],
)
def test_bad_options_are_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    with pytest.raises(SystemExit) as raised:
        run.arguments()
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TERMINATION_S_MAX", 0.05)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        run.end(process)
        assert process.returncode == -9
