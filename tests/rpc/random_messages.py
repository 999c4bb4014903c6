"""Random messages of a type, as an unknown client with the protos might send them, and random bytes."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

DEPTH_MAX = 3
"""Greatest depth of nested messages."""
ITEMS_MAX = 4
"""Most items of a repeated field, except that a few have ITEMS_MANY."""
ITEMS_MANY = 40

TEXTS = (
    "",
    "a",
    "b",
    "default",
    "..",
    "a/../b",
    "\x00",
    "a\nb",
    "\u2028",
    "ü→🙂",
    "x" * 513,
    "\ufeff",
    "%s{}",
    "x" * 70_000,
)
INTEGERS = (0, 1, 2, 7, 100, 10_001, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1, -1)
FLOATS = (0.0, -0.0, 1.5, -1.0, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def random_message(descriptor: Descriptor, draw: random.Random, depth: int = 0) -> Any:
    """Return a message with some of its fields set, to anything that their wire types allow."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if draw.random() < 0.35 or (field.message_type is not None and depth >= DEPTH_MAX):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            for _ in range(draw.randint(0, ITEMS_MAX)):
                if value.message_type is None:
                    getattr(message, field.name)[_text(draw)] = _scalar(value, draw)
        elif field.is_repeated:
            items = getattr(message, field.name)
            for _ in range(ITEMS_MANY if draw.random() < 0.05 else draw.randint(0, ITEMS_MAX)):
                if field.message_type is not None:
                    items.append(random_message(field.message_type, draw, depth + 1))
                else:
                    items.append(_scalar(field, draw))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(random_message(field.message_type, draw, depth + 1))
        else:
            setattr(message, field.name, _scalar(field, draw))
    return message


def random_bytes(descriptor: Descriptor, draw: random.Random) -> bytes:
    """Return bytes that may be a message of the type: noise, or a message that was truncated or changed."""
    raw = bytearray(_serialized(random_message(descriptor, draw)))
    kind = draw.randrange(4)
    if kind == 0 or not raw:
        return draw.randbytes(draw.randint(1, 40))
    if kind == 1:
        return bytes(raw[: draw.randrange(len(raw))])
    if kind == 2:
        for _ in range(draw.randint(1, 4)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        return bytes(raw)
    # A field of another wire type, or a length beyond the end.
    return bytes([draw.randrange(1, 128), *raw, draw.randrange(128), 0xFF])


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _scalar(field: FieldDescriptor, draw: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _text(draw) if field.type == FieldDescriptor.TYPE_STRING else draw.randbytes(draw.randint(0, 30))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return draw.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return draw.choice(FLOATS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return draw.choice((0, 1, 2, 9, -1, 2**31 - 1))
    low, high = _BITS[kind]
    return draw.choice([number for number in INTEGERS if low <= number <= high])


def _text(draw: random.Random) -> str:
    return "x" * 70_000 if draw.random() < 0.01 else draw.choice(TEXTS)
