"""What the URL of a graph behind Gremlin may say."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from planmesh.store.protocol import ROWS_PER_CALL_MAX
from planmesh.store.urls import Identifier, StoreOptions


class DialectName(StrEnum):
    """Databases that speak Gremlin, each in its way."""

    TINKERPOP = "tinkerpop"
    JANUSGRAPH = "janusgraph"
    NEPTUNE = "neptune"
    COSMOSDB = "cosmosdb"


class GremlinOptions(StoreOptions):
    """How the graph stands in the database, and how it is asked."""

    dialect: DialectName = Field(DialectName.TINKERPOP, description="Which database it is.")
    batch_rows: int = Field(500, ge=1, le=ROWS_PER_CALL_MAX, description="Most rows of one write or read to the store.")
    request_bytes_max: int = Field(
        60_000,
        ge=4_096,
        le=64 * 1024 * 1024,
        description="Size of a request; Gremlin Server as it is shipped takes 65,536 bytes (its maxContentLength).",
    )
    endpoint: str = Field(
        "", pattern=r"^(/[A-Za-z0-9._/-]*)?$", description="Path of the WebSocket; not said: what the dialect has."
    )
    label: Identifier = Field("node", description="Label of the vertices.")
    edge_label: Identifier = Field("leads_to", description="Label of the edges.")
    id_property: Identifier | None = Field(
        None, description="Property of a vertex that is its id; not said: what the dialect has, often the vertex's own."
    )
    domain_property: Identifier = Field("domain", description="Property of a vertex that is its domain.")
    region_property: Identifier = Field("region", description="Property of a vertex that is its region.")
    cost_property: Identifier = Field("cost", description="Property of an edge that is its cost: a number.")
    partition_property: Identifier = Field("pk", description="Cosmos DB: the container's partition key.")
    schema_create: bool = Field(
        True, description="JanusGraph: whether to create property keys, labels and the index of ids."
    )
    stream_s_max: float = Field(
        3_600.0, gt=0, le=86_400, description="Longest that the server may take to hand out the whole graph."
    )
    pool_max: int = Field(8, ge=1, le=1_000, description="Most connections at a time.")
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust with TLS, instead of the system's.")
    iam: bool = Field(False, description="Neptune: sign requests (SigV4) with the AWS credentials of the environment.")
    aws_region: str = Field("", pattern=r"^[a-z0-9-]{0,32}$", description="Neptune: region of the cluster, for `iam`.")
