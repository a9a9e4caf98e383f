"""Finds the encoding of a text file from its bytes: marks and NUL patterns first, then whether all of it is UTF-8.

There is no guessing beyond that: what is none of these is in the encoding that the admin declared, or is refused.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Encoding", "find_encoding", "known_encoding", "marked_encoding"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PIECE = 1 << 20


@dataclass(frozen=True)
class Encoding:
    """What a file is written in."""

    name: str
    """A Python codec that also drops a byte order mark."""
    certain: bool
    """False where the declared fallback was taken because nothing else fits."""


def known_encoding(name: str) -> bool:
    """Whether Python can decode text of this name."""
    try:
        b"a".decode(name)  # an empty text is decoded by any name
    except LookupError:
        return False
    except UnicodeError:
        return True
    return True


def marked_encoding(head: bytes) -> str | None:
    """By byte order mark, or by the NULs that ASCII characters have in UTF-16 and UTF-32; None: neither."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    sample = head[:64]
    if len(sample) < 4 or b"\0" not in sample:
        return None
    for width, offset, name in ((4, 0, "utf-32-le"), (4, 3, "utf-32-be"), (2, 0, "utf-16-le"), (2, 1, "utf-16-be")):
        whole = sample[: len(sample) // width * width]
        used = whole[offset::width]
        if len(whole) >= width and 0 not in used and whole.count(0) == len(whole) - len(used):
            return name
    return None


def find_encoding(stream: BinaryIO, fallback: str) -> Encoding | None:
    """Read the whole stream, from its start, and say what it is in; None for what holds NULs and is no UTF-16 or UTF-32."""
    head = stream.read(_PIECE)
    marked = marked_encoding(head)
    if marked is not None:
        return Encoding(marked, certain=True)
    utf8: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")("strict")
    piece = head
    while piece:
        if b"\0" in piece:
            return None
        if utf8 is not None:
            try:
                utf8.decode(piece)
            except UnicodeDecodeError:
                utf8 = None
        piece = stream.read(_PIECE)
    if utf8 is not None:
        try:
            utf8.decode(b"", final=True)
            return Encoding("utf-8", certain=True)
        except UnicodeDecodeError:
            pass
    return Encoding(fallback, certain=False)
