"""What `import planmesh` offers, and that it imports nothing before it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import planmesh
import planmesh.client
import planmesh.testing
from planmesh import errors

CLIENT_ONLY = {"ADDRESS_DEFAULT", "PlanmeshClient", "SyncPlanmeshClient"}
"""Names of planmesh.client that are no names of planmesh: a setting, and the earlier names of the clients."""


def test_the_public_names_are_the_clients_and_all_errors() -> None:
    error_classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.PlanmeshError)
    }
    expected = {*planmesh.client.__all__, *error_classes, "__version__"} - CLIENT_ONLY
    assert planmesh.__all__ == sorted(expected)


def test_each_name_is_the_same_object_as_where_it_is_defined() -> None:
    for name in planmesh.__all__:
        if name != "__version__":
            assert getattr(planmesh, name) is getattr(errors, name, getattr(planmesh.client, name, None)), name
    assert set(planmesh.__all__) <= set(dir(planmesh))


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="planmesh"):
        getattr(planmesh, "PlanmeshClient")  # noqa: B009 - mypy knows that there is none


def test_the_public_names_of_testing() -> None:
    assert planmesh.testing.__all__ == ["local_mesh", "local_mesh_async"]


def test_the_package_alone_imports_neither_grpc_nor_its_client() -> None:
    """Workers and the pure packages import it too."""
    code = "import sys, planmesh; print([name for name in sys.modules if name in ('grpc', 'planmesh.client')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
