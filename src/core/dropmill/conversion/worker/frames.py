"""Frames on the socket between the agent and a worker: a header of JSON and a body of bytes, both with caps.

    magic 0xD3 | kind | 0 0 | length of the header, 32 bit | length of the body, 32 bit | header | body

The numbers are big-endian. Anything that is not such a frame is a violation that ends the worker: there is no resynchronising
and nothing is guessed. Nothing is ever unpickled.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

__all__ = ["INLINE", "MAX_BODY", "MAX_HEADER", "Decoder", "Kind", "ProtocolError", "clean", "pack"]

INLINE = 65_536
"""Largest payload that travels in a frame; larger ones are written to a file in the task's folder."""
MAX_BODY = 131_072
MAX_HEADER = 4_194_304
"""A converter's options and schemas, or a hundred warnings, fit with room to spare."""

_MAGIC = 0xD3
_PREFIX = struct.Struct("!BBxxII")


class Kind(enum.IntEnum):
    """What a frame is. Sent by the worker: HELLO, REPORT, OK, ERROR; by the agent: SETUP, CALL, QUIT."""

    HELLO = 1
    """Ready: what protects this worker, and how large it is."""
    SETUP = 2
    """A converter with its options, under a key that calls use."""
    CALL = 3
    """Work on one file; its read-only descriptors come along with the frame."""
    REPORT = 4
    """One finished report of the call."""
    OK = 5
    """The call has ended, in one of the foreseen ways."""
    ERROR = 6
    """The call has ended by the converter's fault."""
    QUIT = 7
    """Finish what was called for, then exit."""


class ProtocolError(Exception):
    """The other side sent something that is no frame."""


def pack(kind: Kind, header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """One frame.

    Raises:
        ProtocolError: it would break the caps.
        orjson.JSONEncodeError: the header holds what is not JSON (see `clean`).
    """
    text = orjson.dumps(header)
    if len(text) > MAX_HEADER or len(body) > MAX_BODY:
        raise ProtocolError(f"a frame of {len(text)} and {len(body)} bytes is over the caps")
    return b"".join((_PREFIX.pack(_MAGIC, kind, len(text), len(body)), text, body))


def clean(text: object, limit: int = 2_000) -> str:
    """Any object as text that fits into a header: encodable as UTF-8, at most `limit` characters (its end is cut)."""
    try:
        made = str(text)
    except Exception:  # noqa: BLE001 - a plugin's object
        made = f"<{type(text).__name__}>"
    if len(made) > limit:
        made = made[: limit - 1] + "…"
    return made.encode("utf-8", "backslashreplace").decode()


class Decoder:
    """Takes bytes as they come and gives back whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, dict[str, Any], bytes]]:
        """The frames that `data` completes.

        Raises:
            ProtocolError: what came is no frame; the decoder is of no more use.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _PREFIX.size:
                magic, number, header_size, body_size = _PREFIX.unpack_from(buffer, start)
                if magic != _MAGIC or not Kind.HELLO <= number <= Kind.QUIT:
                    raise ProtocolError(f"no frame begins with {bytes(buffer[start : start + 12])!r}")
                if header_size > MAX_HEADER or body_size > MAX_BODY:
                    raise ProtocolError(f"a frame of {header_size} and {body_size} bytes is over the caps")
                middle = start + _PREFIX.size + header_size
                end = middle + body_size
                if len(buffer) < end:
                    return
                header = _header(bytes(buffer[start + _PREFIX.size : middle]))
                body = bytes(buffer[middle:end])
                start = end
                yield Kind(number), header, body
        finally:
            del buffer[:start]


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"a frame's header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise ProtocolError("a frame's header is no JSON object")
    return header
