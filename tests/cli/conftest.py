"""The gateway of the client's tests, for commands that run against it."""

from __future__ import annotations

from tests.client.conftest import stage

__all__ = ["stage"]
