"""Python values to columns and back: JSON texts, and names of files that need not be valid Unicode.

Never loses a byte of a name: text that UTF-8 cannot hold (surrogate escapes of undecodable bytes) is stored as those bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from dropmill.queue.records import FileIdentity

__all__ = ["code_of", "dump", "dump_identity", "load", "load_identity", "pack", "unpack"]


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def dump(value: Any) -> str:
    """JSON text; what orjson refuses (surrogates, integers above 64 bits) goes through the standard library.

    Such a text begins with a space: `load` must know, because orjson would read the integers as floats.
    """
    if not value:
        return "{}" if isinstance(value, Mapping) else json.dumps(value)
    try:
        return orjson.dumps(value, default=_plain).decode()
    except TypeError:
        return " " + json.dumps(value, default=_plain, separators=(",", ":"))


def load(text: str | bytes | None) -> Any:
    """The value of a JSON column; None for none."""
    if text is None:
        return None
    return json.loads(text) if text[:1] in (" ", b" ") else orjson.loads(text)


def pack(text: str) -> str | bytes:
    """A name as a column: TEXT where UTF-8 can hold it, else BLOB."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def unpack(column: Any) -> str:
    """The name of a column that `pack` made."""
    return column if type(column) is str else bytes(column).decode("utf-8", "surrogateescape")


def code_of(error: Mapping[str, Any] | None) -> str | None:
    """The code of a failure's record, where it has one."""
    code = None if error is None else error.get("code")
    return None if code is None else str(code)


def dump_identity(identity: FileIdentity) -> str:
    """One column: inode and device numbers may exceed SQLite's signed 64 bits."""
    return f"{identity.size} {identity.mtime_ns} {identity.ctime_ns} {identity.device} {identity.inode}"


def load_identity(text: str) -> FileIdentity:
    return FileIdentity(*map(int, text.split()))
