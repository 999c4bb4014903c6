"""What callers need not say: one value each, for services, clients and the command line."""

from __future__ import annotations

from typing import Final

ADDRESS_DEFAULT: Final = "127.0.0.1:50051"
"""Where `planmesh up` serves, and where clients look for a mesh."""

GRAPH_DEFAULT: Final = "default"
"""The graph of a request that names none."""
