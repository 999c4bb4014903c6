from __future__ import annotations

import stat
from pathlib import Path

from planmesh.local.folders import LOG_BYTES_MAX, LOG_GENERATIONS, DataFolder, log_tail, make_runtime_folder
from planmesh.local.state import remove_runtime_folder


def test_only_the_owner_may_enter_the_run_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    assert stat.S_IMODE(folder.run.stat().st_mode) == 0o700


def test_long_logs_are_set_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.create()
    for start in range(LOG_GENERATIONS + 2):
        folder.log_file("gateway").write_bytes(bytes([start]) * (LOG_BYTES_MAX + 1))
        folder.rotate_logs()
    kept = sorted(path.name for path in folder.logs.iterdir())
    assert kept == [f"gateway.log.{generation}" for generation in range(1, LOG_GENERATIONS + 1)]
    assert (folder.logs / "gateway.log.1").read_bytes()[0] == LOG_GENERATIONS + 1


def test_short_logs_stay(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.create()
    folder.log_file("gateway").write_text("a line\n")
    folder.rotate_logs()
    assert folder.log_file("gateway").read_text() == "a line\n"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert log_tail(log, lines=2) == "line 9998\nline 9999"
    assert log_tail(tmp_path / "missing.log") == ""


def test_the_runtime_folder_is_private_short_and_removed() -> None:
    folder = make_runtime_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(str(folder / "coordinator.sock")) < 104
    (folder / "coordinator.sock").touch()
    remove_runtime_folder(str(folder))
    assert not folder.exists()


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    remove_runtime_folder(str(tmp_path))
    assert tmp_path.exists()
