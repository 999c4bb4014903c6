"""The `main` of every process: settings, telemetry, event loop and exit codes."""

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
    """Read settings, set up telemetry, run `main` on uvloop until it returns, and return the exit code.

    0: it ended normally. 1: it could not start, or failed, and logged why. 2: its settings are wrong.
    """
    try:
        settings = read_settings(model)
        telemetry = setup(service, settings)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # logging is not set up yet
        return EXIT_CALLED_WRONGLY

    observe_process(telemetry.meter, usd_per_hour=settings.usd_per_hour)
    log = get_logger(__name__)
    try:
        uvloop.run(_until_signal(main(settings, telemetry)))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # for the person who wrote the settings
        return EXIT_CALLED_WRONGLY
    except PlanmeshError as error:
        log.error("ended", message=error.message, metadata=error.metadata)  # a known cause needs no stack
        return EXIT_FAILED
    except Exception as error:
        log.exception("ended by an unexpected error", error=repr(error))
        return EXIT_FAILED
    finally:
        telemetry.shutdown()
    log.info("ended")
    return 0


async def _until_signal(main: Awaitable[None]) -> None:
    """Run `main`. A signal that arrives during start-up cancels it, which is not a failure.

    Once `main` serves, `serve_until_signal` handles the signals.
    """
    loop, starting = asyncio.get_running_loop(), asyncio.ensure_future(main)
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        starting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await starting
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
