"""Clients of the mesh that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from planmesh.client import Client
from tests.conftest import RunningMesh
from tests.mesh.wire import Wire


@pytest.fixture(scope="module")
def client(mesh: RunningMesh) -> Iterator[Client]:
    with Client(mesh.address, timeout_s=30) as connected:
        yield connected


@pytest.fixture(scope="module")
def wire(mesh: RunningMesh) -> Iterator[Wire]:
    with Wire(mesh.address) as connected:
        yield connected
