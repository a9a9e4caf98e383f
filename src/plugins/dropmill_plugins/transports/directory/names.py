"""Names for files and folders that come out of data: no value can climb out, hide, or be refused by a common file system.

Pure. A name that had to be cut keeps its suffix and gets a piece of its hash, so that two long names stay two.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["MAX_NAME", "clean", "component", "with_suffix"]

MAX_NAME = 240
"""Bytes of a name; common file systems take 255, and a collision's suffix needs room."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_LONGEST_SUFFIX = 20


def clean(value: str) -> str:
    """A value made safe to stand anywhere in a name: no separators, no leading dot, no characters that file systems refuse."""
    text = _UNSAFE.sub("_", value)
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    text = text.rstrip(" .")
    if text.startswith("."):
        text = "_" + text[1:]
    return text or "_"


def component(name: str) -> str:
    """A rendered name made safe as a whole: at most `MAX_NAME` bytes, not reserved, not `.` or `..`."""
    name = name.rstrip(" .")
    if not name:
        return "_"
    if _RESERVED.fullmatch(name):
        name = "_" + name
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= MAX_NAME:
        return name
    stem, suffix = _split(name)
    tail = f"~{hashlib.sha256(encoded).hexdigest()[:8]}{suffix}"
    room = MAX_NAME - len(tail.encode("utf-8", "surrogateescape"))
    cut = stem.encode("utf-8", "surrogateescape")[:room]
    return cut.decode("utf-8", "ignore") + tail


def with_suffix(name: str, key: str) -> str:
    """The name of another report's file beside one of the same name: always the same for a key."""
    stem, suffix = _split(name)
    return f"{stem}-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{suffix}"


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem or len(suffix.encode("utf-8", "surrogateescape")) > _LONGEST_SUFFIX:
        return name, ""
    return stem, dot + suffix
