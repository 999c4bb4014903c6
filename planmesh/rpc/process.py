"""The `main` of a process: settings, telemetry, an event loop, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import uvloop

from planmesh.errors import PlanmeshError
from planmesh.settings import ProcessSettings, SettingsError, read_settings
from planmesh.telemetry.logs import get_logger
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

    async def run() -> None:
        await main(settings, telemetry)

    log = get_logger("process")
    try:
        uvloop.run(run())
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # as above: a person reads it
        return EXIT_CALLED_WRONGLY
    except PlanmeshError as error:
        log.error("ended", message=error.message, metadata=error.metadata)  # noqa: TRY400  # the cause is told, no defect
        return EXIT_FAILED
    except Exception as error:
        log.exception("ended by an unexpected error", error=repr(error))
        return EXIT_FAILED
    finally:
        telemetry.shutdown()
    return 0
