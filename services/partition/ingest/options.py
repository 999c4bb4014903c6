"""The options of a load, and the description that is committed with its rows: enough to build the same bytes again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from planmesh.defaults import GRAPH_DEFAULT
from planmesh.errors import InvalidRequest, LimitExceeded, SnapshotError
from planmesh.graph.model import PARTITIONS_MAX
from planmesh.graph.rules import shown
from planmesh.partition.strategies import Strategy
from planmesh.store.urls import SCHEMES, redacted
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import StoredVersion

GRAPH_NAME: Final = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,63}")
"""A graph's name becomes the name of a folder, so it has no separators and no leading dot."""

DESCRIPTION_FORMAT: Final = 1

STORES_MAX: Final = 1_000
STORES_BYTES_MAX: Final = 65_536
"""Bytes of the stores that a load names. They are stored with each version, and read for every page of partitions."""

STRATEGIES: Final = {
    graph_pb2.STRATEGY_DOMAIN: Strategy.DOMAIN,
    graph_pb2.STRATEGY_REGION: Strategy.REGION,
    graph_pb2.STRATEGY_HYBRID: Strategy.HYBRID,
    graph_pb2.STRATEGY_HASH: Strategy.HASH,
    graph_pb2.STRATEGY_MINCUT: Strategy.MINCUT,
    graph_pb2.STRATEGY_STREAM: Strategy.STREAM,
}
STRATEGY_NUMBERS: Final = {str(strategy): number for number, strategy in STRATEGIES.items()}


class LoadOptions(BaseModel):
    """The header of a load. With `strategy` None, the partitioner chooses one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: str
    strategy: Strategy | None = None
    partitions: int = 0
    undirected: bool = False
    implicit_nodes: bool = False
    region_stores: dict[str, str] = {}
    """URL, without a password, of the store of each region."""
    domain_stores: dict[str, str] = {}
    """URL, without a password, of the store of each domain."""


class VersionDescription(BaseModel):
    """The description that is committed with the rows of a version. `manifest` is the text of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = DESCRIPTION_FORMAT
    options: LoadOptions
    manifest: str
    down_nodes: list[str] = []
    """The nodes that were down, if the version was built from an earlier one and its changes."""


def check_graph_name(name: str) -> str:
    """Return the name of a graph, "default" for an empty one. Raises InvalidRequest when it breaks GRAPH_NAME."""
    if not name:
        return GRAPH_DEFAULT
    if not GRAPH_NAME.fullmatch(name):
        raise InvalidRequest(
            "expected a graph name of 1 to 64 characters from a-z, 0-9, '.', '_' and '-', not starting with '.', "
            f"got {name[:80]!r}",
            field="graph",
        )
    return name


def read_header(header: graph_pb2.LoadGraphHeader) -> LoadOptions:
    """Return the options in the header of a load. Raises InvalidRequest and LimitExceeded."""
    graph = check_graph_name(header.graph)
    if header.partitions > PARTITIONS_MAX:
        raise LimitExceeded(
            f"expected at most {PARTITIONS_MAX} partitions, got {header.partitions}", bound="PARTITIONS_MAX"
        )
    if header.strategy != graph_pb2.STRATEGY_UNSPECIFIED and header.strategy not in STRATEGIES:
        raise InvalidRequest(
            f"expected a known strategy, got {header.strategy}; the partition service may be older than the caller",
            field="strategy",
        )
    return LoadOptions(
        graph=graph,
        strategy=STRATEGIES.get(header.strategy),
        partitions=header.partitions,
        undirected=header.undirected,
        implicit_nodes=header.implicit_nodes,
        region_stores=_read_stores(header.region_stores, "region_stores"),
        domain_stores=_read_stores(header.domain_stores, "domain_stores"),
    )


def _read_stores(stores: Mapping[str, str], field: str) -> dict[str, str]:
    """Return URLs by label, sorted, without any secrets that the caller left in them."""
    if len(stores) > STORES_MAX:
        raise LimitExceeded(f"{field}: expected at most {STORES_MAX} stores, got {len(stores)}", bound="STORES_MAX")
    size_bytes = sum(len(label.encode()) + len(url.encode()) for label, url in stores.items())
    if size_bytes > STORES_BYTES_MAX:
        raise LimitExceeded(
            f"{field}: expected at most {STORES_BYTES_MAX:,} bytes, got {size_bytes:,}", bound="STORES_BYTES_MAX"
        )
    for label, url in stores.items():
        if "://" not in url or url.partition("://")[0] not in SCHEMES:
            raise InvalidRequest(f"{field}: expected the URL of a store for {shown(label)}, got none", field=field)
    return {label: redacted(url) for label, url in sorted(stores.items())}


def read_description(stored: StoredVersion) -> VersionDescription:
    """Return the description that was committed with a version. Raises SnapshotError when it cannot be parsed."""
    try:
        return VersionDescription.model_validate_json(stored.description)
    except ValidationError as error:
        raise SnapshotError(
            f"graph {stored.graph!r} version {stored.version}: expected a description of format {DESCRIPTION_FORMAT} "
            "in the store, got another one; it was written by another version of planmesh"
        ) from error
