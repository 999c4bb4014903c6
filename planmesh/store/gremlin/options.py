"""Options in the URL of a graph behind Gremlin."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from planmesh.store.protocol import ROWS_PER_CALL_MAX
from planmesh.store.urls import Identifier, StoreOptions


class DialectName(StrEnum):
    """The databases that we support, each with its dialect of Gremlin."""

    TINKERPOP = "tinkerpop"
    JANUSGRAPH = "janusgraph"
    NEPTUNE = "neptune"
    COSMOSDB = "cosmosdb"


class GremlinOptions(StoreOptions):
    """How the database represents the graph, and how we query it."""

    dialect: DialectName = Field(DialectName.TINKERPOP, description="The database behind the server.")
    batch_rows: int = Field(500, ge=1, le=ROWS_PER_CALL_MAX, description="Most rows of one write or read to the store.")
    request_bytes_max: int = Field(
        60_000,
        ge=4_096,
        le=64 * 1024 * 1024,
        description="Largest request; Gremlin Server takes 65,536 bytes by default (its maxContentLength).",
    )
    endpoint: str = Field(
        "", pattern=r"^(/[A-Za-z0-9._/-]*)?$", description="Path of the WebSocket; by default that of the dialect."
    )
    label: Identifier = Field("node", description="Label of the vertices.")
    edge_label: Identifier = Field("leads_to", description="Label of the edges.")
    id_property: Identifier | None = Field(
        None,
        description="Property that holds a vertex's id; by default that of the dialect, often the vertex's own id.",
    )
    domain_property: Identifier = Field("domain", description="Property that holds a vertex's domain.")
    region_property: Identifier = Field("region", description="Property that holds a vertex's region.")
    cost_property: Identifier = Field("cost", description="Property that holds an edge's cost, a number.")
    partition_property: Identifier = Field("pk", description="Cosmos DB: the container's partition key.")
    schema_create: bool = Field(
        True, description="JanusGraph: whether to create missing property keys, labels and the index of ids."
    )
    stream_s_max: float = Field(
        3_600.0, gt=0, le=86_400, description="Longest time in which the server must have sent the whole graph."
    )
    pool_max: int = Field(8, ge=1, le=1_000, description="Most connections open at the same time.")
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust with TLS, instead of the system's.")
    iam: bool = Field(False, description="Neptune: sign requests (SigV4) with the AWS credentials of the environment.")
    aws_region: str = Field("", pattern=r"^[a-z0-9-]{0,32}$", description="Neptune: region of the cluster, for `iam`.")
