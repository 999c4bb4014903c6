"""A checksum at the end of each task and reply, so that bytes changed in transit are never read as an answer.

It detects accidents: a flipped bit, a truncated or interleaved write, bytes of another program. It is not a signature:
a program that can write to Redis can compute a valid checksum for any message.
"""

from __future__ import annotations

import struct
from typing import Final, TypeVar

import xxhash
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

CHECKSUM_TAG: Final = 15 << 3 | 1
"""Field 15, eight bytes: `checksum` in task.proto."""

_SEAL: Final = struct.Struct("<BQ")


Sealed = TypeVar("Sealed", bound=Message)


def seal(message: Message) -> bytes:
    """Serialise a message and append its checksum. The message type has a field `checksum`, which must be unset."""
    content = message.SerializeToString()
    return content + _SEAL.pack(CHECKSUM_TAG, xxhash.xxh3_64_intdigest(content))


def open_sealed(kind: type[Sealed], payload: bytes) -> Sealed:
    """Parse what `seal` returned. Raises DecodeError for other bytes, and for bytes that changed since.

    A message without a checksum is accepted: during an upgrade, processes of an earlier version send them. Such a
    message has no unknown fields. One with unknown fields was therefore sealed, and its checksum field was damaged.
    """
    message = kind.FromString(payload)
    if not message.HasField("checksum"):
        if len(UnknownFieldSet(message)):
            raise DecodeError(
                f"a {kind.__name__} of {len(payload)} bytes has unknown fields and no checksum: it was changed"
            )
        return message
    content = payload[: -_SEAL.size]
    if payload[-_SEAL.size :] != _SEAL.pack(CHECKSUM_TAG, xxhash.xxh3_64_intdigest(content)):
        raise DecodeError(f"the checksum of a {kind.__name__} of {len(payload)} bytes does not match: it was changed")
    return message
