"""pgRouting in a private PostgreSQL server (Debian: postgresql-15-pgrouting)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench.graphs import BenchGraph
from bench.subject import Unavailable

READY_S_MAX: Final = 30.0
SERVER_USER: Final = "postgres"
EDGES: Final = "SELECT id, source, target, cost FROM edges"


class PgRouting:
    """pgr_dijkstra, because pgr_bdDijkstra 3.4.2 returns more expensive paths for some pairs."""

    def prepare(self, graph: BenchGraph, folder: Path) -> None:
        """Create a database cluster and start its server; if run as root, under Debian's postgres user."""
        self.graph = graph
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        found = str(binaries[-1]) if binaries else shutil.which("postgres")
        if found is None or not list(Path("/usr/share/postgresql").glob("*/extension/pgrouting.control")):
            raise Unavailable("PostgreSQL with pgRouting is missing; Debian: apt-get install postgresql-15-pgrouting")
        try:
            psycopg: Any = import_module("psycopg")
        except ImportError as error:
            raise Unavailable(f"{error}; it is in bench/requirements.lock") from error
        data = folder / "postgres"
        data.mkdir(mode=0o700)
        user = SERVER_USER if os.geteuid() == 0 else None
        if user is not None:
            os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        initdb = [str(Path(found).with_name("initdb")), "-D", str(data / "cluster"), "-U", SERVER_USER, "--auth=trust"]
        subprocess.run(initdb, check=True, user=user, cwd=data, stdout=subprocess.DEVNULL)
        options = (f"unix_socket_directories={data}", "listen_addresses=", "fsync=off", "shared_buffers=512MB")
        command = [found, "-D", str(data / "cluster"), *(argument for option in options for argument in ("-c", option))]
        self.server = subprocess.Popen(command, user=user, cwd=data)
        stop_s = time.monotonic() + READY_S_MAX
        while True:
            try:
                self.connection = psycopg.connect(f"host={data} user={SERVER_USER} dbname=postgres", autocommit=True)
            except psycopg.OperationalError:
                if time.monotonic() > stop_s:
                    raise
                time.sleep(0.1)
            else:
                break
        self.connection.execute("CREATE EXTENSION pgrouting CASCADE")

    def load(self) -> None:
        """Copy the edges, and index them."""
        execute = self.connection.execute
        execute("CREATE TABLE edges (id bigint PRIMARY KEY, source bigint, target bigint, cost float8)")
        tails = self.graph.tails().tolist()
        graph = self.graph.graph
        rows = zip(range(len(tails)), tails, graph.head.tolist(), graph.weight.tolist(), strict=True)
        with self.connection.cursor() as cursor, cursor.copy("COPY edges FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        execute("CREATE INDEX ON edges (source)")
        execute("CREATE INDEX ON edges (target)")
        execute("ANALYZE edges")

    def query(self, start: int, goal: int) -> float:
        """Return the cost; the query finds the path too."""
        search = "SELECT agg_cost FROM pgr_dijkstra(%s, %s::bigint, %s::bigint) ORDER BY seq DESC LIMIT 1"
        row = self.connection.execute(search, (EDGES, start, goal)).fetchone()
        return float(row[0]) if row is not None else float("inf")

    def close(self) -> None:
        """Stop the server."""
        self.connection.close()
        self.server.terminate()
        self.server.wait()
