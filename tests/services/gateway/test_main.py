"""The gateway as a process: its exit codes, and its messages when it cannot start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PLANMESH_", "OTEL_"))}
    return {**kept, "PLANMESH_GATEWAY_LISTEN": "127.0.0.1:0", **variables}


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_invalid_settings_end_the_process_with_2_and_one_message() -> None:
    done = run(PLANMESH_GATEWAY_LISTN="x", PLANMESH_LOG_LEVEL="loud")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "cannot start: invalid settings"
    assert len(done.stderr.splitlines()) == 3
    assert "Traceback" not in done.stderr


def test_a_missing_token_file_ends_the_process_with_2() -> None:
    done = run(PLANMESH_GATEWAY_TOKEN_FILE="/nowhere/tokens")
    assert done.returncode == 2
    assert done.stderr.startswith("PLANMESH_GATEWAY_TOKEN_FILE: /nowhere/tokens cannot be read")
    assert "Traceback" not in done.stderr


def test_an_unknown_exporter_ends_the_process_with_2() -> None:
    done = run(OTEL_TRACES_EXPORTER="zipkin")
    assert done.returncode == 2
    assert "zipkin" in done.stderr


def test_a_port_in_use_ends_the_process_with_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(PLANMESH_GATEWAY_LISTEN=f"127.0.0.1:{port}")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert "Address already in use" in lines[-1]["message"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_0(number: signal.Signals) -> None:
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "services.gateway"],
                cwd=ROOT,
                env=environment(),
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("{") and json.loads(line)["event"] == "listening":
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == 0
        assert json.loads(rest.splitlines()[-1])["event"] == "ended"
