"""protos/ beside what it was taken from."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from planmesh.v1 import graph_pb2, mesh_pb2, plan_pb2

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("module", [error_details_pb2, status_pb2], ids=lambda module: module.DESCRIPTOR.name)
def test_the_protos_of_google_rpc_are_those_of_the_installed_package(module: ModuleType) -> None:
    """Compilers of other languages read the copy in protos/, Python reads the package; both must mean the same."""
    name = Path(module.DESCRIPTOR.name)
    installed = Path(str(module.__file__)).with_name(name.name)
    assert (ROOT / "protos" / name).read_text() == installed.read_text()


PUBLIC = {module.DESCRIPTOR.name: module for module in (graph_pb2, mesh_pb2, plan_pb2)}


@pytest.mark.parametrize("name", PUBLIC)
def test_what_was_released_is_still_there(name: str) -> None:
    """Fields, values and rpcs are added, never changed; a field that goes leaves its number reserved.

    `.ci/buf` checks more, but needs npm.
    """
    released = FileDescriptorSet.FromString((ROOT / "protos" / "released.binpb").read_bytes())
    before = next(file for file in released.file if file.name == name)
    now = FileDescriptorProto()
    PUBLIC[name].DESCRIPTOR.CopyToProto(now)
    gone = {
        (message.name, number)
        for message in now.message_type
        for span in message.reserved_range
        for number in range(span.start, span.end)
    }
    kept = {message.name for message in now.message_type}
    dropped = {message.name for message in before.message_type} - kept
    lost = {fact for fact in facts_of(before) - facts_of(now) if fact[:2] not in gone}
    assert {fact for fact in lost if str(fact[0]).split(".")[0] not in dropped} == set()


def facts_of(file: FileDescriptorProto) -> set[tuple[object, ...]]:
    """Return what callers of a file depend on."""
    found: set[tuple[object, ...]] = set()
    for message in file.message_type:
        found |= fields_of(message, message.name)
    for enum in file.enum_type:
        found |= {(enum.name, value.number, value.name) for value in enum.value}
    for service in file.service:
        found |= {
            (service.name, rpc.name, rpc.input_type, rpc.output_type, rpc.client_streaming, rpc.server_streaming)
            for rpc in service.method
        }
    return found


def fields_of(message: DescriptorProto, name: str) -> set[tuple[object, ...]]:
    """Return the fields of a message, and of those inside it."""
    found: set[tuple[object, ...]] = {
        (name, field.number, field.name, field.type, field.type_name, field.label) for field in message.field
    }
    for inner in message.nested_type:
        found |= fields_of(inner, f"{name}.{inner.name}")
    return found
