"""A checksum behind a task or a reply, so that bytes which changed on their way are never taken for an answer.

It finds accidents: a bit that flips in memory, a cut or mixed-up write, a stranger's bytes. It is no signature: whoever
can write to Redis can seal what he likes.
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
    """Serialise a message that has a field `checksum`, which the caller left unset, with the checksum behind it."""
    content = message.SerializeToString()
    return content + _SEAL.pack(CHECKSUM_TAG, xxhash.xxh3_64_intdigest(content))


def open_sealed(kind: type[Sealed], payload: bytes) -> Sealed:
    """Parse what `seal` made. Raises DecodeError when it is no such message, or not as it was sealed.

    A message without a checksum is let pass: it comes from an earlier version, in the middle of an upgrade. Such a one
    has no field that is not known here, so one that has was sealed, and what changed is the seal.
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
        raise DecodeError(f"the checksum of a {kind.__name__} of {len(payload)} bytes does not fit: it was changed")
    return message
