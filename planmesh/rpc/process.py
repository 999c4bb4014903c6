"""The `main` of a process: settings, telemetry, an event loop, and exit codes."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import uvloop

from planmesh.errors import PlanmeshError
from planmesh.settings import ProcessSettings, SettingsError, read_settings
from planmesh.telemetry.logs import get_logger
from planmesh.telemetry.process_metrics import observe_process
from planmesh.telemetry.tracing import Telemetry, setup

EXIT_FAILED: Final = 1
EXIT_CALLED_WRONGLY: Final = 2

Settings = TypeVar("Settings", bound=ProcessSettings)


def run_process(service: str, model: type[Settings], main: Callable[[Settings, Telemetry], Awaitable[None]]) -> int:
    """Read settings, set telemetry up, run `main` on a uvloop until it returns; the exit code.

    0: it ended as asked. 1: it could not start or broke, and said why. 2: its settings are wrong.
    """
    try:
        settings = read_settings(model)
        telemetry = setup(service, settings)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # there is no log yet
        return EXIT_CALLED_WRONGLY

    observe_process(telemetry.meter, usd_per_hour=settings.usd_per_hour)
    log = get_logger(__name__)
    try:
        uvloop.run(_until_signal(main(settings, telemetry)))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # as above: a person reads it
        return EXIT_CALLED_WRONGLY
    except PlanmeshError as error:
        log.error("ended", message=error.message, metadata=error.metadata)  # the cause is told, no defect
        return EXIT_FAILED
    except Exception as error:
        log.exception("ended by an unexpected error", error=repr(error))
        return EXIT_FAILED
    finally:
        telemetry.shutdown()
    log.info("ended")
    return 0


async def _until_signal(main: Awaitable[None]) -> None:
    """Run `main`; a signal that comes while it is still starting cancels it, which is no failure.

    Once `main` serves, `serve_until_signal` takes the signals over.
    """
    loop, starting = asyncio.get_running_loop(), asyncio.ensure_future(main)
    told = asyncio.Event()

    def stop() -> None:
        told.set()
        starting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await starting
    except asyncio.CancelledError:
        if not told.is_set():
            raise
