"""protos/ beside what it was taken from."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from google.rpc import error_details_pb2, status_pb2

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("module", [error_details_pb2, status_pb2], ids=lambda module: module.DESCRIPTOR.name)
def test_the_protos_of_google_rpc_are_those_of_the_installed_package(module: ModuleType) -> None:
    """Compilers of other languages read the copy in protos/, Python reads the package; both must mean the same."""
    name = Path(module.DESCRIPTOR.name)
    installed = Path(str(module.__file__)).with_name(name.name)
    assert (ROOT / "protos" / name).read_text() == installed.read_text()
