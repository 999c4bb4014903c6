from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry import trace

from planmesh.telemetry.logs import configure_logs, get_logger, redact_url

CONTEXT = trace.SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=False)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines_of(write: Callable[[], None], level: str = "info") -> list[dict[str, Any]]:
    stream = io.StringIO()
    configure_logs("planmesh-test", "json", level, stream)
    write()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_has_process_and_trace() -> None:
    def write() -> None:
        get_logger("here").info("outside", nodes=3)
        with trace.use_span(trace.NonRecordingSpan(CONTEXT)):
            get_logger("here").info("inside")
            logging.getLogger("library").warning("also %s", "inside")

    outside, inside, library = lines_of(write)
    for line in (outside, inside, library):
        assert (line["service"], line["pid"]) == ("planmesh-test", os.getpid())
        assert line["timestamp"].endswith("Z")
    assert (outside["event"], outside["level"], outside["nodes"], outside["module"]) == ("outside", "info", 3, "here")
    assert outside["trace_id"] == ""
    assert inside["trace_id"] == library["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert inside["span_id"] == "b7ad6b7169203331"
    assert (library["event"], library["logger"], library["level"]) == ("also inside", "library", "warning")


def raise_and_catch(write: Callable[..., object]) -> None:
    try:
        raise ValueError("x")
    except ValueError:
        write("broke")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "exception"])
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_lines_of_every_kind_carry_their_process(log_format: str, level: str) -> None:
    """Ours by structlog, and those of libraries by the standard library, which are written from warnings on."""
    stream = io.StringIO()
    configure_logs("planmesh-test", log_format, "debug", stream)
    library = logging.getLogger("library")
    raise_and_catch(getattr(get_logger("here"), level))
    raise_and_catch(getattr(library, level))
    events = [line for line in stream.getvalue().splitlines() if "broke" in line]
    assert len(events) == (1 if level in ("debug", "info") else 2)
    for line, writer in zip(events, ("here", "library"), strict=False):
        assert writer in line
        if log_format == "json":
            found = json.loads(line)
            assert (found["service"], found["pid"]) == ("planmesh-test", os.getpid())
        else:
            assert "service=planmesh-test" in line
            assert f"pid={os.getpid()}" in line


def test_a_forked_process_writes_its_own_pid(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        configure_logs("planmesh-test", "json", "info", stream)
        child = os.fork()
        if child == 0:
            get_logger("here").info("forked")
            stream.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        stream.seek(0)
        assert json.loads(stream.read())["pid"] == child != os.getpid()


def test_the_level_is_respected() -> None:
    def write() -> None:
        get_logger("here").debug("no")
        get_logger("here").warning("yes")

    assert [line["event"] for line in lines_of(write, "warning")] == ["yes"]
    assert [line["event"] for line in lines_of(write, "debug")] == ["no", "yes"]


def test_exceptions_are_written_without_local_variables() -> None:
    def fail() -> None:
        local_secret = "hunter2"
        raise ValueError(len(local_secret))

    def write() -> None:
        try:
            fail()
        except ValueError:
            get_logger("here").exception("broke")
            logging.getLogger("library").exception("broke too")

    for line in lines_of(write):
        assert "ValueError: 7" in line["exception"]
    stream = io.StringIO()
    configure_logs("planmesh-test", "console", "info", stream)
    write()
    assert "ValueError: 7" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_values_that_are_not_json_are_written_as_text() -> None:
    (line,) = lines_of(lambda: get_logger("here").info("x", error=ValueError("redis://:pw@h"), where={1: object}))
    assert line["error"] == "ValueError('redis://:***@h')"


def test_passwords_in_urls_are_hidden() -> None:
    def write() -> None:
        get_logger("here").info("at redis://:hunter2@h:1/0", url="neo4j://user:hunter2@h")
        logging.getLogger("library").warning("redis://:hunter2@h")

    text = json.dumps(lines_of(write))
    assert "hunter2" not in text
    assert "redis://:***@h:1/0" in text


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:secret@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://user:p:w@h", "redis://user:***@h"),
        ("rediss+x://u:s@a, redis://:t@b", "rediss+x://u:***@a, redis://:***@b"),
        ("redis://:a@b@h/0", "redis://:***@h/0"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("mail to a@b", "mail to a@b"),
    ],
)
def test_redact_url(url: str, expected: str) -> None:
    assert redact_url(url) == expected


def test_console_lines_have_the_trace_too() -> None:
    stream = io.StringIO()
    configure_logs("planmesh-test", "console", "info", stream)
    with trace.use_span(trace.NonRecordingSpan(CONTEXT)):
        get_logger("here").info("hello")
    assert "hello" in stream.getvalue()
    assert "0af7651916cd43dd8448eb211c80319c" in stream.getvalue()
