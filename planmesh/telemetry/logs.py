"""Structured logs on standard error: one line for each event, as JSON or for a console, with its trace."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any, Final, TextIO

import orjson
import structlog
from opentelemetry import trace as otel_trace
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

HIDDEN: Final = "***"
_URL_PASSWORD: Final = re.compile(r'(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^/@\s:"]*):(?P<password>[^/\s"]*)@', re.I)
QUIET_LOGGERS: Final = ("kombu", "amqp", "grpc._cython.cygrpc", "opentelemetry.attributes", "asyncio")
"""Libraries whose informational lines do not help an operator; their warnings are kept."""


def redact_url(text: str) -> str:
    """Return `text` with the password of every URL hidden: redis://:secret@host becomes redis://:***@host."""
    if "@" not in text:
        return text
    return _URL_PASSWORD.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    context = otel_trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", f"{context.trace_id:032x}")
        event.setdefault("span_id", f"{context.span_id:016x}")
    else:
        event.setdefault("trace_id", "")
        event.setdefault("span_id", "")
    return event


def _redact(_: WrappedLogger, __: str, line: Any) -> str:
    """Hide passwords in the finished line, whatever their source: a field, a traceback, an error's repr."""
    return redact_url(line)


def _serialize(event: Any, default: Any = str, **_: Any) -> str:
    return orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def configure_logs(service: str, log_format: str = "json", level: str = "info", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` (standard error) as `log_format` at `level`.

    Every line has `service`, `pid`, `timestamp` (UTC), `level`, `event`, `trace_id` and `span_id`. `module` names its
    writer among ours, `logger` among libraries. Passwords in URLs are hidden. May be called again, as tests do.
    """
    target = sys.stderr if stream is None else stream

    def add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["pid"] = os.getpid()  # read for each line, because a worker may fork after this
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_process,
        _add_trace,
    ]
    ending: list[Processor]
    if log_format == "json":
        ending = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialize),
            _redact,
        ]
    else:
        # Plain tracebacks, because the pretty ones print local variables, which may hold secrets.
        ending = [
            structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback),
            _redact,
        ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a structured logger. `name` is the module that writes (`__name__`); each line has it as `module`."""
    logger: FilteringBoundLogger = structlog.get_logger(module=name)
    return logger
