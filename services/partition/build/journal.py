"""The journal, which makes a build resumable. It is written durably into the build's folder before the phase `index`.

The folder has everything else that a resumed build needs: the input arrays, the directory, the report, and the files of
the finished partitions with their facts. The received rows are sealed in the store under a token. Like a manifest, the
journal is JSON of two fields, `checksum` and `content`. A build with a damaged journal is not resumed.

Neither the journal nor the files that it names contain indexes, and each partition's facts name its format. Thus a
build that an earlier planmesh began is resumed, but the partitions that it finished are indexed again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planmesh.errors import SnapshotDamaged
from planmesh.snapshot.array_file import FileFacts, verify_file, written_aside
from planmesh.snapshot.build_folder import INPUT_NAME, BuildFolder, BuiltPartition
from planmesh.snapshot.manifest import DIRECTORY_NAME, REPORT_NAME
from planmesh.telemetry.logs import get_logger
from services.partition.build.prepared import PreparedGraph
from services.partition.ingest.options import LoadOptions

JOURNAL_NAME: Final = "journal.json"
JOURNAL_FORMAT: Final = 1

log = get_logger(__name__)


class MergedState(BaseModel):
    """What a build has beside its rows that is the base of an existing version. `down_nodes` are ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    down_nodes: list[str]


class Journal(BaseModel):
    """A build whose rows are all received.

    `rows` is the store's token for them; `content` is their digest if known. `merged` is None for a new version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(JOURNAL_FORMAT, ge=JOURNAL_FORMAT, le=JOURNAL_FORMAT)
    options: LoadOptions
    rows: str
    content: str = ""
    started_unix_s: float
    indexed_from_unix_s: float
    prepared: PreparedGraph
    merged: MergedState | None = None


@dataclass(frozen=True, slots=True)
class UnfinishedBuild:
    """A build that can be resumed."""

    folder: BuildFolder
    journal: Journal

    @property
    def graph(self) -> str:
        """Name of the graph of which it builds a version."""
        return self.journal.options.graph


def write_journal(
    folder: BuildFolder,
    options: LoadOptions,
    rows: str,
    content: str,
    started_unix_s: float,
    prepared: PreparedGraph,
    merged: MergedState | None = None,
) -> Journal:
    """Make a build resumable: write its journal, which is on disk when this returns. Blocks."""
    journal = Journal(
        format=JOURNAL_FORMAT,
        options=options,
        rows=rows,
        content=content,
        started_unix_s=started_unix_s,
        indexed_from_unix_s=time.time(),
        prepared=prepared,
        merged=merged,
    )
    text = journal.model_dump_json()
    checksum = xxhash.xxh3_128_hexdigest(text.encode())
    with written_aside(folder.path / JOURNAL_NAME) as aside:
        aside.write_bytes(orjson.dumps({"checksum": checksum, "content": text}))
    return journal


def read_journal(folder: Path) -> Journal | None:
    """Return the journal of a build, None when it has none.

    Raises SnapshotDamaged when it is damaged, or was written by an incompatible version of planmesh.
    """
    try:
        document = orjson.loads((folder / JOURNAL_NAME).read_bytes())
        content = str(document["content"])
        found, expected = xxhash.xxh3_128_hexdigest(content.encode()), document["checksum"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotDamaged(JOURNAL_NAME, f"is not a journal: {error}") from error
    if found != expected:
        raise SnapshotDamaged(JOURNAL_NAME, f"expected the checksum {expected}, found {found}")
    try:
        return Journal.model_validate_json(content)
    except ValidationError as error:
        field = error.errors()[0]["loc"]
        raise SnapshotDamaged(JOURNAL_NAME, f"was written by another version of planmesh: {field}") from error


def forget_journal(folder: BuildFolder) -> None:
    """Delete the journal, so that the build will not be resumed."""
    (folder.path / JOURNAL_NAME).unlink(missing_ok=True)


def find_unfinished(builds: Iterable[Path], sealed: Iterable[str]) -> list[UnfinishedBuild]:
    """Return the builds that can be resumed: the newest of each graph with a journal and with rows sealed in the store.

    A build with a journal but without sealed rows was already committed, and only its folder was left behind.
    """
    tokens = set(sealed)
    found: dict[str, UnfinishedBuild] = {}
    for path in sorted(builds):
        try:
            journal = read_journal(path)
        except SnapshotDamaged as error:
            log.error("build not resumed", build=path.name, error=error.message)
            continue
        if journal is None:
            continue
        build = UnfinishedBuild(BuildFolder(path), journal)
        other = found.get(build.graph)
        newer = other is None or other.journal.indexed_from_unix_s < journal.indexed_from_unix_s
        if journal.rows in tokens and newer:
            found[build.graph] = build
    return list(found.values())


def recover(build: UnfinishedBuild) -> dict[int, BuiltPartition]:
    """Return the finished partitions whose files are intact. Blocks while it reads all of them.

    The facts of damaged ones are deleted, so that they are indexed again. Raises SnapshotDamaged when the build's
    input, the directory or the report is damaged: then the build cannot be resumed.
    """
    folder, prepared = build.folder, build.journal.prepared
    folder.create()
    verify_file(folder.input_path, prepared.input, INPUT_NAME)
    verify_file(folder.snapshot_path / DIRECTORY_NAME, prepared.directory, DIRECTORY_NAME)
    verify_file(folder.snapshot_path / REPORT_NAME, prepared.report, REPORT_NAME)
    finished = {}
    for number in range(len(prepared.partitions)):
        try:
            built = folder.finished(number)
            if built is not None:
                verify_file(folder.snapshot_path / built.file, FileFacts(built.bytes, built.checksum), built.file)
        except SnapshotDamaged as error:
            log.warning(
                "partition will be indexed again", build=folder.path.name, partition=number, error=error.message
            )
            built = None
        if built is None:
            folder.facts_path(number).unlink(missing_ok=True)
            continue
        finished[number] = built
    return finished
