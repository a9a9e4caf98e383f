"""Judges from a head of at most 64 KiB whether a file is the declared table. Never raises; never reads further."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.api import Head, Level, Match
from dropmill_plugins.converters.common.encodings import known_encoding, marked_encoding
from dropmill_plugins.converters.csv.dialect import NAMES, find_delimiter
from dropmill_plugins.converters.csv.table import Dialect, sample_lines

__all__ = ["sniff"]

_TABLES = (".csv", ".tsv", ".tab", ".ssv", ".psv")
_MARKUP = ("<", "{", "[", "%PDF", "PK")


def sniff(head: Head, options: Mapping[str, Any], dialect: Dialect, *, mapped: bool) -> Match | None:
    """LIKELY where the header has every declared column; POSSIBLE for a clear table; WEAK for a text with a table's suffix."""
    text = _decoded(head, dialect)
    if text is None or not text.strip():
        return None
    lines = sample_lines(io.StringIO(text, newline="").readlines(), dialect)
    if not lines:
        return Match(Level.WEAK, "a text whose first 64 KiB are to be skipped") if not head.complete else None
    guess = find_delimiter(lines, dialect.formats, truncated=not head.complete) if dialect.delimiter == "auto" else None
    delimiter = dialect.delimiter if guess is None else guess.delimiter
    suffix = head.name.lower().endswith(_TABLES)
    if mapped and delimiter is not None:
        declared = {name for name in _declared(options) if isinstance(name, str)}
        if declared and dialect.header:
            lacks = declared - _header(lines, delimiter, dialect)
            if not lacks:
                return Match(Level.LIKELY, "the header has every declared column")
            return Match(Level.WEAK, f"the header has no column {min(lacks)!r}")
    if (
        guess is not None
        and guess.delimiter is not None
        and guess.columns > 1
        and not text.lstrip().startswith(_MARKUP)
    ):
        return Match(Level.POSSIBLE, guess.reason)
    if suffix or (mapped and guess is None):
        return Match(
            Level.WEAK,
            f"a text; {guess.reason}" if guess is not None else f"a text, with the declared {_told(dialect)}",
        )
    return None


def _told(dialect: Dialect) -> str:
    return NAMES.get(dialect.delimiter, repr(dialect.delimiter))


def _decoded(head: Head, dialect: Dialect) -> str | None:
    name = dialect.encoding
    if name == "auto":
        name = marked_encoding(head.data) or ("" if b"\0" in head.data else "utf-8")
        if not name:
            return None
    if not known_encoding(name):
        name = "latin-1"  # the file is not at fault, and convert says what is
    try:
        return codecs.getincrementaldecoder(name)("replace").decode(head.data)
    except UnicodeError:
        return None


def _declared(options: Mapping[str, Any]) -> Iterator[str | int]:
    """The columns that the file has to have."""
    for group in ("columns", "step"):
        for entry in options.get(group, {}).values():
            if not isinstance(entry, Mapping):
                yield entry
            elif "column" in entry and not entry.get("optional", False):
                yield entry["column"]
    for entry in options.get("measurements", ()):
        if not entry.get("optional", False):
            yield from (entry[key] for key in entry if key == "column" or key.endswith("_column"))
    misc = options.get("misc", ())
    if misc != "rest":
        yield from misc


def _header(lines: list[str], delimiter: str, dialect: Dialect) -> set[str]:
    rows = csv.reader(lines, delimiter=delimiter, **{**dialect.formats, "strict": False})
    number = 0
    try:
        for row in rows:
            number += bool(row)
            if number == dialect.header:
                return {name.strip() for name in row}
    except csv.Error:
        pass
    return set()
