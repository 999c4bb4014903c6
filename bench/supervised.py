"""Supervises a subject's process: bounds its time and memory, samples its memory, and ends all of its processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

from bench.graphs import ROOT

SAMPLE_EVERY_S: Final = 0.5
CLOSE_S_MAX: Final = 60.0
MEBIBYTE: Final = 1 << 20


class SubjectFailed(Exception):  # noqa: N818 - reports print the name
    """A subject is unavailable, failed, or exceeded a bound; the message says which."""


class SupervisedSubject:
    """One subject on one graph."""

    def __init__(self, name: str, graph: str, memory_max_mb: float) -> None:
        self.name = name
        self.memory_mb = 0.0
        self._memory_max_mb = memory_max_mb
        self._folder = Path(tempfile.mkdtemp(prefix="planmesh-bench-"))
        self._folder.chmod(0o711)  # a database server runs as another user
        request_read, self._requests = os.pipe()
        self._answers, answer_write = os.pipe()
        log_path = ROOT / "build" / "bench" / "logs" / f"{graph}.{name}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "bench.subject_process", name, graph, str(self._folder)),
                    *(str(request_read), str(answer_write)),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(request_read, answer_write),
                start_new_session=True,
            )
        os.close(request_read)
        os.close(answer_write)
        self._started: dict[int, psutil.Process] = {}
        self._rest = b""
        self._ended = ""

    def ask(self, do: str, seconds_max: float, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer. On failure or at a bound, end the subject and raise SubjectFailed."""
        if self._ended:
            raise SubjectFailed(self._ended)
        try:
            return self._ask(do, seconds_max, request)
        except SubjectFailed as failure:
            self.end(str(failure))
            raise

    def close(self) -> None:
        """Close the subject in order."""
        if not self._ended:
            with contextlib.suppress(SubjectFailed):
                self._ask("close", CLOSE_S_MAX, {})
            self.end("it was closed")

    def end(self, reason: str) -> None:
        """End the process and every process it started, each by its own pid, and delete its folder."""
        self._ended = reason
        self._note_processes()
        for process in self._started.values():
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, left = psutil.wait_procs(list(self._started.values()), timeout=10)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()
        for descriptor in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, do: str, seconds_max: float, request: dict[str, Any]) -> dict[str, Any]:
        try:
            os.write(self._requests, json.dumps({"do": do, **request}).encode() + b"\n")
        except BrokenPipeError:
            raise SubjectFailed(f"its process ended with exit code {self._process.wait()}") from None
        stop_s = time.monotonic() + seconds_max
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], SAMPLE_EVERY_S)
            if ready:
                received = os.read(self._answers, 1 << 20)
                if not received:
                    raise SubjectFailed(f"its process ended with exit code {self._process.wait()} during {do}")
                self._rest += received
                continue
            if do != "query":
                self.sample_memory()  # not during queries, because sampling costs processor time
            self._check_memory(do)
            if time.monotonic() > stop_s:
                break
        if time.monotonic() > stop_s:
            raise SubjectFailed(f"{do} took longer than the bound of {seconds_max:,.0f} s")
        line, _, self._rest = self._rest.partition(b"\n")
        self.sample_memory()
        self._check_memory(do)
        answer: dict[str, Any] = json.loads(line)
        if reason := answer.get("unavailable") or answer.get("error"):
            raise SubjectFailed(reason)
        return answer

    def _check_memory(self, do: str) -> None:
        if self.memory_mb > self._memory_max_mb:
            raise SubjectFailed(f"{do} needed more than the bound of {self._memory_max_mb:,.0f} MiB")

    def _note_processes(self) -> list[psutil.Process]:
        """Return the living processes of the subject. All are remembered, because a dead parent hides its children."""
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self._process.pid)
            self._started |= {process.pid: process for process in (root, *root.children(recursive=True))}
        return [process for process in self._started.values() if process.is_running()]

    def processor_s(self) -> float:
        """Return the processor time of all its processes so far, in seconds."""
        total = 0.0
        for process in self._note_processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def sample_memory(self) -> None:
        """Record the peak: for one process the kernel's, for several the sum of their proportional shares."""
        alive = self._note_processes()
        total = 0.0
        for process in alive:
            with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):
                if len(alive) == 1:
                    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
                    total += int(status.partition("VmHWM:")[2].split()[0]) / 1024
                else:
                    total += process.memory_full_info().pss / MEBIBYTE
        self.memory_mb = max(self.memory_mb, total)
