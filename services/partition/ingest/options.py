"""What a load was asked to do, and what is committed with its rows: enough to do it again, to the same bytes."""

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
"""A graph's name becomes the name of a folder: no separators, and no leading dot."""

DESCRIPTION_FORMAT: Final = 1

STORES_MAX: Final = 1_000
STORES_BYTES_MAX: Final = 65_536
"""Of the stores that a load names: they are kept with each version, and read for every page of partitions."""

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
    """The header of a load; `strategy` None leaves the choice to the partitioner."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph: str
    strategy: Strategy | None = None
    partitions: int = 0
    undirected: bool = False
    implicit_nodes: bool = False
    region_stores: dict[str, str] = {}
    """The store of each region, its URL without a password."""
    domain_stores: dict[str, str] = {}
    """The store of each domain."""


class VersionDescription(BaseModel):
    """What is committed with the rows of a version. `manifest` is the text of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = DESCRIPTION_FORMAT
    options: LoadOptions
    manifest: str


def check_graph_name(name: str) -> str:
    """Return the name of a graph, "default" for none; InvalidRequest when it is no name."""
    if not name:
        return GRAPH_DEFAULT
    if not GRAPH_NAME.fullmatch(name):
        raise InvalidRequest(
            "expected a graph name of 1 to 64 characters out of a-z, 0-9, '.', '_' and '-', not beginning with '.', "
            f"got {name[:80]!r}",
            field="graph",
        )
    return name


def read_header(header: graph_pb2.LoadGraphHeader) -> LoadOptions:
    """Check the header of a load."""
    graph = check_graph_name(header.graph)
    if header.partitions > PARTITIONS_MAX:
        raise LimitExceeded(
            f"expected at most {PARTITIONS_MAX} partitions, got {header.partitions}", bound="PARTITIONS_MAX"
        )
    if header.strategy != graph_pb2.STRATEGY_UNSPECIFIED and header.strategy not in STRATEGIES:
        raise InvalidRequest(f"strategy {header.strategy} is not known here", field="strategy")
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
    """Return labels and URLs, without what is secret in them, whatever the caller left in."""
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
    """Return what was committed with a version; SnapshotError when a newer planmesh wrote it."""
    try:
        return VersionDescription.model_validate_json(stored.description)
    except ValidationError as error:
        raise SnapshotError(
            f"graph {stored.graph!r} version {stored.version}: its description in the store is not of format "
            f"{DESCRIPTION_FORMAT}; it was written by another planmesh"
        ) from error
