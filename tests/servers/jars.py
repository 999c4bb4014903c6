"""Jars of the servers that tests start, fetched with Maven, pinned by the poms here, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PLUGINS: Final[dict[str, str]] = {"neo4j": "org.neo4j.gds,org.neo4j.procedure"}
"""Maven groups whose jars go into a server's plugin folder instead of among its libraries."""

FETCH_S_MAX: Final = 900.0
"""Seconds for one fetch: the largest takes a minute here without a cache; a slow network may need several."""


class ServerNotToBeHad(Exception):  # noqa: N818 - reads as the reason for a skipped test
    """A server cannot be fetched or started on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Jars:
    """The jars of one server; `plugins` may be empty. They are read-only by convention."""

    folder: Path

    @property
    def libraries(self) -> Path:
        """The folder of the server with all its dependencies."""
        return self.folder / "lib"

    @property
    def plugins(self) -> Path:
        """The folder of its plugins."""
        return self.folder / "plugins"

    @property
    def class_path(self) -> str:
        """The value for `java -cp`."""
        return f"{self.libraries}/*:{self.plugins}/*"


def cache_folder() -> Path:
    """Return the folder of the jars: $PLANMESH_TEST_SERVERS, else planmesh/servers in the user's cache folder."""
    named = os.environ.get("PLANMESH_TEST_SERVERS")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "planmesh" / "servers"


def fetch_jars(server: str) -> Jars:
    """Return the jars of `server`; fetch them if they are missing, one process at a time.

    A folder is named after its pom's checksum, and appears only when it is complete. Raises ServerNotToBeHad.
    """
    pom = HERE / server / "pom.xml"
    recipe = pom.read_bytes() + PLUGINS.get(server, "").encode()
    cache = cache_folder()
    target = cache / f"{server}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with _only_one(cache / "fetch.lock"):
            if not target.is_dir():
                _fetch(server, pom, target)
    return Jars(target)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel releases it when this process ends in any way
        yield


def _fetch(server: str, pom: Path, target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        raise ServerNotToBeHad(f"{server}: expected mvn and java (17 or 21) on PATH; Debian: apt-get install maven")
    aside = Path(tempfile.mkdtemp(prefix=f"{server}.part-", dir=target.parent))
    plugins = PLUGINS.get(server)
    try:
        (aside / "plugins").mkdir()
        _copy(maven, pom, aside / "lib", *([f"-DexcludeGroupIds={plugins}"] if plugins else []))
        if plugins:
            _copy(maven, pom, aside / "plugins", f"-DincludeGroupIds={plugins}")
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy(maven: str, pom: Path, into: Path, *options: str) -> None:
    """Copy the jars that a pom names into a folder."""
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={into}", *options]
    command = [maven, "--batch-mode", "--no-transfer-progress", "--file", str(pom), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise ServerNotToBeHad(f"{pom.parent.name}: mvn took longer than {FETCH_S_MAX:g} s") from None
    if done.returncode != 0 or not any(into.glob("*.jar")):
        complaints = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        raise ServerNotToBeHad(
            f"{pom.parent.name}: mvn failed:\n" + "\n".join(complaints[:10] or [done.stdout[-2000:]])
        )


def main(servers: list[str]) -> None:
    """Fetch the named servers, or all, and print the folders of their jars."""
    for server in servers or sorted(pom.parent.name for pom in HERE.glob("*/pom.xml")):
        jars = fetch_jars(server)
        print(f"{server}: {len(list(jars.folder.rglob('*.jar')))} jars in {jars.folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
