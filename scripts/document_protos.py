"""Prints docs/reference/protos.md from the comments in protos/planmesh/v1. `make docs` writes it; a test compares."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "planmesh.v1"
COLUMNS = 100

HEAD = """# Protos

The public API is the package `planmesh.v1`, in [protos/planmesh/v1](../../protos/planmesh/v1).
Fields are added, never renumbered. [Clients](../guides/clients.md) shows how to call it, and
[errors](errors.md) lists the statuses. The package `planmesh.internal.v1` connects the processes of
one mesh; it is not for clients and may change with any version.

`make docs` generates this page from the comments of the protos.
"""

# Field numbers in FileDescriptorProto and its messages. The paths of comments consist of them.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, NESTED_ENUMS = 2, 3, 4
METHODS = VALUES = 2

Comments = dict[tuple[int, ...], str]


def read_files() -> list[FileDescriptorProto]:
    """Return the files of the package, with their comments."""
    protos = ROOT / "protos"
    names = sorted(path.relative_to(protos).as_posix() for path in (protos / "planmesh" / "v1").glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "set"
        command = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={output}", *names], cwd=ROOT, check=True)
        everything = FileDescriptorSet.FromString(output.read_bytes())
    return [file for file in everything.file if file.package == PACKAGE]


def comments_of(file: FileDescriptorProto) -> Comments:
    """Return leading comments by path, with each paragraph in one line."""
    return {
        tuple(location.path): location.leading_comments
        for location in file.source_code_info.location
        if location.leading_comments
    }


def prose(comment: str) -> str:
    """Wrap a comment as Markdown; blank lines separate paragraphs."""
    paragraphs = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", comment)]
    wrapped = [textwrap.fill(part, COLUMNS, break_long_words=False, break_on_hyphens=False) for part in paragraphs]
    return "\n\n".join(escape(part) for part in wrapped if part)


def cell(comment: str) -> str:
    """Format a comment as a table cell."""
    return escape(re.sub(r"\s+", " ", comment).strip()).replace("|", "\\|") or "-"


def escape(text: str) -> str:
    """Escape angle brackets, which would become HTML."""
    return text.replace("<", "\\<")


def short(name: str) -> str:
    """Shorten `.planmesh.v1.Plan` to `Plan`."""
    return name.removeprefix(f".{PACKAGE}.").removeprefix(".")


def anchor(name: str) -> str:
    """Return the anchor of a heading with this name."""
    return name.lower().replace(".", "")


def type_of(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    """Return the type of a field, linked to its heading if it is on this page."""
    if field.type_name in maps:
        key, value = maps[field.type_name].field
        return f"map of {type_of(key, maps)} to {type_of(value, maps)}"
    repeated = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    optional = "optional " if field.proto3_optional else ""
    if not field.type_name:
        return f"{repeated}{optional}{FieldDescriptorProto.Type.Name(field.type).removeprefix('TYPE_').lower()}"
    name = short(field.type_name)
    own = field.type_name.startswith(f".{PACKAGE}.")
    return f"{repeated}{optional}" + (f"[{name}](#{anchor(name)})" if own else f"`{name}`")


def service(descriptor: ServiceDescriptorProto, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    """Yield the blocks of a service and its calls."""
    yield f"### {descriptor.name}"
    yield prose(comments.get(path, ""))
    for number, method in enumerate(descriptor.method):
        takes, gives = short(method.input_type), short(method.output_type)
        first = "stream of " if method.client_streaming else ""
        second = "stream of " if method.server_streaming else ""
        yield f"#### {descriptor.name}.{method.name}"
        yield f"{first}[{takes}](#{anchor(takes)}) → {second}[{gives}](#{anchor(gives)})"
        yield prose(comments.get((*path, METHODS, number), ""))


def message(descriptor: DescriptorProto, name: str, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    """Yield the blocks of a message, its fields, and the types declared inside it."""
    maps = {f".{PACKAGE}.{name}.{nested.name}": nested for nested in descriptor.nested_type if nested.options.map_entry}
    yield f"### {name}"
    yield prose(comments.get(path, ""))
    if descriptor.field:
        rows = ["| field | type | number | meaning |", "|---|---|---|---|"]
        for index, field in enumerate(descriptor.field):
            meaning = cell(comments.get((*path, FIELDS, index), ""))
            if field.HasField("oneof_index") and not field.proto3_optional:
                choice = f"One of `{descriptor.oneof_decl[field.oneof_index].name}`."
                meaning = choice if meaning == "-" else f"{choice} {meaning}"
            rows.append(f"| `{field.name}` | {type_of(field, maps)} | {field.number} | {meaning} |")
        yield "\n".join(rows)
    else:
        yield "No fields."
    for index, nested in enumerate(descriptor.nested_type):
        if not nested.options.map_entry:
            yield from message(nested, f"{name}.{nested.name}", (*path, NESTED, index), comments)
    for index, nested_enum in enumerate(descriptor.enum_type):
        yield from enum(nested_enum, f"{name}.{nested_enum.name}", (*path, NESTED_ENUMS, index), comments)


def enum(descriptor: EnumDescriptorProto, name: str, path: tuple[int, ...], comments: Comments) -> Iterator[str]:
    """Yield the blocks of an enum and its values."""
    yield f"### {name}"
    yield prose(comments.get(path, ""))
    rows = ["| value | number | meaning |", "|---|---|---|"]
    for index, value in enumerate(descriptor.value):
        rows.append(f"| `{value.name}` | {value.number} | {cell(comments.get((*path, VALUES, index), ''))} |")
    yield "\n".join(rows)


def page(files: Iterable[FileDescriptorProto]) -> Iterator[str]:
    """Yield the blocks of the page: first all services, then the messages of each file."""
    described = [(file, comments_of(file)) for file in files]
    yield "## Services"
    for file, comments in described:
        for index, each in enumerate(file.service):
            yield from service(each, (SERVICES, index), comments)
    yield "## Messages"
    for file, comments in described:
        for index, each_message in enumerate(file.message_type):
            yield from message(each_message, each_message.name, (MESSAGES, index), comments)
        for index, each_enum in enumerate(file.enum_type):
            yield from enum(each_enum, each_enum.name, (ENUMS, index), comments)


def main() -> None:
    """Print the page."""
    print(HEAD)
    print("\n\n".join(block for block in page(read_files()) if block))


if __name__ == "__main__":
    main()
