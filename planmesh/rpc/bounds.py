"""Bounds of what travels in one call."""

from __future__ import annotations

from typing import Final

REQUEST_BYTES_MAX: Final = 16 * 2**20
"""Of a message that a server receives: a load's batch of 65,536 edges with ids of 100 bytes, or 10,000 pairs of
the longest ids."""

RESPONSE_BYTES_MAX: Final = 64 * 2**20
"""Of a message that a server sends: 100,000 neighbours with the longest ids and partition names of 100 bytes."""

CONTENT_BYTES_MAX: Final = RESPONSE_BYTES_MAX - 2**20
"""Of a plan, or of a node's neighbours: a MiB is left for what a response has beside it. gRPC itself ends the whole
call at a response that is too large, with all other answers of a batch."""

METADATA_BYTES_MAX: Final = 32 * 2**10
"""Of the metadata of a call that a server of ours takes in."""
