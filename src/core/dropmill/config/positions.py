"""Where in a TOML text each key and value stands: tomllib tells the values alone.

The scanner only ever sees texts that tomllib has accepted, so it looks for no errors; should it lose its way, later keys have no
position, and nothing else happens.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass

__all__ = ["KeyPath", "Place", "Positions", "locate", "spell"]

KeyPath = tuple[str | int, ...]
"""The way to a value: names of keys, and places in lists from 0."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_SCALAR = re.compile(r"[^,\]}\n#]*")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_MULTILINE_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL)
_MULTILINE_LITERAL = re.compile(r"'''(?:[^']|'(?!''))*'{3,5}")


def spell(path: KeyPath) -> str:
    """`folder[2].settle`; keys that are not bare are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
            text += f".{name}" if text else name
    return text


@dataclass(frozen=True)
class Place:
    """From 1; the column counts characters."""

    line: int
    column: int


class Positions:
    """Answers where a path's key or value stands."""

    def __init__(self, text: str) -> None:
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._keys: dict[KeyPath, int] = {}
        self._values: dict[KeyPath, int] = {}

    def value(self, path: KeyPath) -> Place | None:
        """Where the value starts; for what has none of its own (a table), its key; else what encloses it."""
        while path:
            offset = self._values.get(path, self._keys.get(path))
            if offset is not None:
                return self._place(offset)
            path = path[:-1]
        return None

    def key(self, path: KeyPath) -> Place | None:
        """Where the key stands; for an element of a list, its value; else what encloses it."""
        while path:
            offset = self._keys.get(path, self._values.get(path))
            if offset is not None:
                return self._place(offset)
            path = path[:-1]
        return None

    def note_key(self, path: KeyPath, offset: int) -> None:
        self._keys.setdefault(path, offset)

    def note_value(self, path: KeyPath, offset: int) -> None:
        self._values.setdefault(path, offset)

    def _place(self, offset: int) -> Place:
        line = bisect_right(self._lines, offset)
        return Place(line, offset - self._lines[line - 1] + 1)


def locate(text: str) -> Positions:
    """The positions of a text that tomllib accepts."""
    positions = Positions(text)
    with contextlib.suppress(_LostError, RecursionError):
        _Scanner(text, positions).document()
    return positions


class _LostError(Exception):
    """The text is not what the scanner took it for."""


class _Scanner:
    """Walks over the text once."""

    def __init__(self, text: str, positions: Positions) -> None:
        self._text = text
        self._at = 0
        self._positions = positions
        self._lengths: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text.startswith("[", self._at):
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> KeyPath:
        start = self._at
        self._at += brackets
        names = self._names()
        self._expect("]" * brackets)
        path: KeyPath = ()
        for number, (name, offset) in enumerate(names, start=1):
            path = (*path, name)
            self._positions.note_key(path, offset)
            if number == len(names) and brackets == 2:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
                self._positions.note_key(path, start)
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for name, offset in self._names():
            path = (*path, name)
            self._positions.note_key(path, offset)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _names(self) -> list[tuple[str, int]]:
        names: list[tuple[str, int]] = []
        while True:
            self._skip(_SPACE)
            start = self._at
            if self._text.startswith(('"', "'"), start):
                quoted = self._take(_BASIC if self._text[start] == '"' else _LITERAL)
                names.append((str(tomllib.loads(f"name = {quoted}")["name"]), start))
            else:
                names.append((self._take(_BARE), start))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        self._positions.note_value(path, self._at)
        if self._text.startswith("[", self._at):
            self._array(path)
        elif self._text.startswith("{", self._at):
            self._table(path)
        elif self._text.startswith('"""', self._at):
            self._take(_MULTILINE_BASIC)
        elif self._text.startswith("'''", self._at):
            self._take(_MULTILINE_LITERAL)
        elif self._text.startswith('"', self._at):
            self._take(_BASIC)
        elif self._text.startswith("'", self._at):
            self._take(_LITERAL)
        else:
            self._take(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        count = 0
        while True:
            self._skip(_BLANK)
            if self._text.startswith("]", self._at):
                self._at += 1
                return
            self._value((*path, count))
            count += 1
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1

    def _table(self, path: KeyPath) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text.startswith("}", self._at):
                self._at += 1
                return
            self._pair(path)
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None, "these patterns match the empty text"
        self._at = match.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None or match.end() == self._at:
            raise _LostError
        self._at = match.end()
        return match[0]

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            raise _LostError
        self._at += len(text)
