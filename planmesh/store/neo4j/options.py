"""Options in the URL of a graph in Neo4j."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from planmesh.store.urls import Identifier, StoreOptions


class PathFinder(StrEnum):
    """The plugin that searches cheapest paths in the database; Cypher itself only finds the fewest hops."""

    AUTO = "auto"
    GDS = "gds"
    APOC = "apoc"


class Neo4jOptions(StoreOptions):
    """How the database represents the graph, and how we query it."""

    label: Identifier = Field("Node", description="Label of the nodes.")
    edge_type: Identifier = Field("EDGE", description="Type of the relationships.")
    id_property: Identifier = Field("id", description="Property that holds a node's id: a unique text.")
    domain_property: Identifier = Field("domain", description="Property that holds a node's domain.")
    region_property: Identifier = Field("region", description="Property that holds a node's region.")
    cost_property: Identifier = Field("cost", description="Property that holds a relationship's cost, a number.")
    schema_create: bool = Field(
        True,
        description="Whether to create the constraint that ids are unique; false for a user with read access only.",
    )
    atomic_rows_max: int = Field(
        200_000,
        ge=0,
        le=2_000_000,
        description="Most rows, old and new, for which a replacement is one transaction, held in the server's memory.",
    )
    pool_max: int = Field(16, ge=1, le=1_000, description="Most connections to one server.")
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust with TLS, instead of the system's.")
    path_finder: PathFinder = Field(
        PathFinder.AUTO,
        description="Graph Data Science or APOC for cheapest paths; auto takes the first that is installed.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [self.id_property, self.domain_property, self.region_property]
        if len(set(names)) != len(names):
            raise ValueError("expected different properties for id, domain and region")
        return self
