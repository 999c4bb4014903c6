"""Neo4j Community with Graph Data Science and APOC, as a test server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import ClassVar, Final

import neo4j

from planmesh.local.ports import LOOPBACK
from tests.servers.certificate import Certificate, make_certificate
from tests.servers.jars import HERE, Jars, ServerNotToBeHad
from tests.servers.java_server import JavaServer, Reaper

USER: Final = "neo4j"
OPENED: Final = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch")
PROBE_S_MAX: Final = 5.0


class Neo4jServer(JavaServer):
    """A Bolt server, with or without TLS as the client chooses (its certificate is `certificate`).

    It keeps its data over `stop`, `kill` and `start`.
    """

    name: ClassVar[str] = "neo4j"

    def __init__(
        self,
        folder: Path,
        reaper: Reaper,
        password: str,
        *,
        tls: bool = True,
        heap_max: str = "1g",
        page_cache: str = "512m",
    ) -> None:
        super().__init__(folder, reaper)
        self.password = password
        self.certificate: Certificate | None = None
        self._tls = tls
        self._heap_max = heap_max
        self._page_cache = page_cache

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The URL with the password in it."""
        return f"bolt://{USER}:{self.password}@{self.address}"

    def empty(self) -> None:
        """Delete all data; constraints stay."""
        with self.session() as session:
            session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()

    @contextmanager
    def session(self) -> Iterator[neo4j.Session]:
        """Yield a session of the administrator."""
        with (
            neo4j.GraphDatabase.driver(f"bolt://{self.address}", auth=(USER, self.password)) as driver,
            driver.session() as session,
        ):
            yield session

    def configure(self, jars: Jars) -> None:
        """Write neo4j.conf, and set the password before the first start."""
        first = not (self.folder / "data").is_dir()
        (self.folder / "conf").mkdir(exist_ok=True)
        facts = {"port": str(self.port), "page_cache": self._page_cache, "folder": str(self.folder / "tls")}
        settings = Template((HERE / "neo4j" / "neo4j.conf").read_text("ascii")).substitute(facts)
        if self._tls:
            self.certificate = make_certificate(self.folder / "tls", self.password)
            settings += Template((HERE / "neo4j" / "tls.conf").read_text("ascii")).substitute(facts)
        (self.folder / "conf" / "neo4j.conf").write_text(settings, "ascii")
        if first:
            (self.folder / "plugins").symlink_to(jars.plugins)
            self._set_password(jars)

    def command(self, jars: Jars) -> list[str]:
        """Return the server's command line."""
        memory = ["-Xms512m", f"-Xmx{self._heap_max}"]
        opened = [f"--add-opens={package}=ALL-UNNAMED" for package in OPENED]
        places = [f"--home-dir={self.folder}", f"--config-dir={self.folder / 'conf'}", "--console-mode"]
        main = "org.neo4j.server.CommunityEntryPoint"
        return ["java", *memory, *opened, "-cp", jars.class_path, main, *places]

    def answers(self) -> bool:
        """Connect and authenticate."""
        try:
            with neo4j.GraphDatabase.driver(
                f"bolt://{self.address}", auth=(USER, self.password), connection_timeout=PROBE_S_MAX
            ) as driver:
                driver.verify_connectivity()
        except (neo4j.exceptions.ServiceUnavailable, neo4j.exceptions.SessionExpired, OSError):
            return False
        except neo4j.exceptions.ClientError as error:
            if "DatabaseNotFound" in (error.code or "") or "DatabaseUnavailable" in (error.code or ""):
                return False  # Bolt answers before the database does
            raise
        return True

    def _set_password(self, jars: Jars) -> None:
        admin = ["org.neo4j.server.startup.Neo4jAdminCommand", "dbms", "set-initial-password", "--", self.password]
        done = subprocess.run(
            ["java", "-cp", jars.class_path, *admin],
            env={**os.environ, "NEO4J_HOME": str(self.folder), "NEO4J_CONF": str(self.folder / "conf")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).replace(self.password, "…")
            raise ServerNotToBeHad(f"neo4j: the initial password could not be set: {said}")
