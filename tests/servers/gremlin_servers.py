"""Apache TinkerPop's Gremlin Server over TinkerGraph, and the same server class over JanusGraph."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Any, ClassVar, Final

from planmesh.local.ports import LOOPBACK
from tests.servers.certificate import Certificate, make_certificate
from tests.servers.jars import HERE, Jars
from tests.servers.java_server import JavaServer, Reaper

USER: Final = "planmesh"
PASSWORD: Final = "gremlin-password-of-tests"
"""The password whose bcrypt hash is in gremlin_server/credentials.json."""

PROBE_S_MAX: Final = 5.0
ADMIN_S_MAX: Final = 60.0
TEMPLATES: Final = HERE / "gremlin_server"


class GremlinServer(JavaServer):
    """Gremlin Server over a TinkerGraph with transactions; its data is lost when it stops.

    `secure`: only TLS, with `certificate`, and USER with PASSWORD. Otherwise neither.
    """

    name: ClassVar[str] = "gremlin_server"
    entry: ClassVar[str] = "org.apache.tinkerpop.gremlin.server.GremlinServer"
    more_plugins: ClassVar[str] = ""
    registries: ClassVar[str] = ""

    def __init__(self, folder: Path, reaper: Reaper, *, secure: bool = False, heap_max: str = "1g") -> None:
        super().__init__(folder, reaper)
        self.secure = secure
        self.certificate: Certificate | None = None
        self._heap_max = heap_max

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without TLS and password."""
        return f"gremlin://{self.address}/g"

    def empty(self) -> None:
        """Delete all data."""
        self.run("g.V().drop().iterate(); 'emptied'")

    def run(self, script: str) -> Any:
        """Run a script in one transaction; return its result as GraphSON."""
        request = urllib.request.Request(
            f"http://{self.address}/gremlin",
            json.dumps({"gremlin": script}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ADMIN_S_MAX) as response:
            return json.loads(response.read())["result"]["data"]

    def configure(self, jars: Jars) -> None:
        """Write server.yaml and the files that it names."""
        conf = self.folder / "conf"
        conf.mkdir(exist_ok=True)
        shutil.copy(HERE / self.name / "graph.properties", conf)
        shutil.copy(TEMPLATES / "init.groovy", conf)
        facts = {"port": str(self.port), "more_plugins": self.more_plugins, "registries": self.registries}
        settings = Template((TEMPLATES / "server.yaml").read_text("ascii")).substitute(facts)
        if self.secure:
            for file in ("credentials.properties", "credentials.json"):
                shutil.copy(TEMPLATES / file, conf)
            self.certificate = make_certificate(self.folder / "tls", PASSWORD)
            security = Template((TEMPLATES / "security.yaml").read_text("ascii"))
            settings += security.substitute(store_password=self.certificate.password)
        (conf / "server.yaml").write_text(settings, "ascii")

    def command(self, jars: Jars) -> list[str]:
        """Return the server's command line."""
        memory = ["-Xms256m", f"-Xmx{self._heap_max}"]
        return ["java", *memory, "-cp", jars.class_path, self.entry, "conf/server.yaml"]

    def answers(self) -> bool:
        """Evaluate a traversal of the source `g` over HTTP: an open port does not mean that the server is ready."""
        scheme = "https" if self.secure else "http"
        headers = {"Content-Type": "application/json"}
        context = None
        if self.secure:
            assert self.certificate is not None
            context = ssl.create_default_context(cafile=str(self.certificate.public))
            headers["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"{scheme}://{self.address}/gremlin", json.dumps({"gremlin": "g.inject(1)"}).encode(), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=PROBE_S_MAX, context=context) as response:
                return bool(response.status == HTTPStatus.OK)
        except urllib.error.HTTPError as error:
            error.close()
            return False  # the port is open before `g` exists
        except OSError:
            return False


class JanusGraphServer(GremlinServer):
    """JanusGraph in memory; its data is lost when it stops."""

    name: ClassVar[str] = "janusgraph"
    entry: ClassVar[str] = "org.janusgraph.graphdb.server.JanusGraphServer"
    more_plugins: ClassVar[str] = "org.janusgraph.graphdb.tinkerpop.plugin.JanusGraphGremlinPlugin: {}"
    registries: ClassVar[str] = "ioRegistries: [org.janusgraph.graphdb.tinkerpop.JanusGraphIoRegistry]"
