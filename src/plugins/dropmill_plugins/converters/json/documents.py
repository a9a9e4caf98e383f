"""Splits a file into its documents: the whole, its lines, or the elements of its array. Memory holds one document at a time.

A small file is decoded at once; of a large one only lines and array elements are read piece by piece, and a single document
beyond the limit is refused before it is read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from dropmill.api import BadInput, Source
from dropmill_plugins.converters.common.strict_json import (
    StrictDecoder,
    decode_text,
    skip_space,
    syntax_error,
)

__all__ = ["Document", "Documents"]

_LINES = (".ndjson", ".jsonl", ".ldjson")
_PIECE = 262_144


@dataclass(frozen=True, slots=True)
class Document:
    """One value, and where it begins."""

    value: Any
    line: int


class Documents:
    """The documents of one file."""

    whole_up_to = 1 << 20
    """Bytes of a file that is decoded at once."""

    def __init__(self, source: Source, decoder: StrictDecoder, limit: int) -> None:
        self._source = source
        self._decoder = decoder
        self._limit = limit
        self._text: str | None = None
        if source.size <= self.whole_up_to:
            with source.open() as stream:
                self._text = decode_text(stream.read())

    def are_lines(self) -> bool:
        """Whether the file is one document a line, by its name or its first lines."""
        if self._source.name.lower().endswith(_LINES):
            return True
        with self._open() as text:
            try:
                first = self._line(text, 1)
                while first and not first.strip():
                    first = self._line(text, 1)
                if first.lstrip()[:1] not in ("{", "[") or not first.endswith("\n"):
                    return False
                self._decoder.whole(first)
            except BadInput:
                return False
            while line := self._line(text, 2):
                if line.strip():
                    return True
        return False

    def is_large_array(self) -> bool:
        """Whether the file is an array that is better read element by element."""
        if self._text is not None:
            return False
        with self._open() as text:
            head = self._read(text, _PIECE)
        return head[skip_space(head, 0) :][:1] == "["

    def whole(self) -> Document:
        """The file as one document.

        Raises:
            BadInput: Not one, or too large.
        """
        text = self._text
        if text is None:
            if self._source.size > self._limit:
                raise _too_large("the document", self._limit)
            with self._source.open() as stream:
                text = decode_text(stream.read())
        return Document(self._decoder.whole(text), text.count("\n", 0, skip_space(text, 0)) + 1)

    def lines(self) -> Iterator[Document]:
        """Each line that is not blank."""
        number = 0
        with self._open() as text:
            while line := self._line(text, number + 1):
                number += 1
                line = line.rstrip(" \t\r\n")
                if line:
                    yield Document(self._decoder.whole(line, number), number)

    def items(self) -> Iterator[Document]:
        """Each element of the array that the file is.

        Raises:
            BadInput: Not an array, or not whole.
        """
        if self._text is None:
            yield from self._streamed_items()
            return
        document = self.whole()
        if not isinstance(document.value, list):
            raise _not_an_array()
        for value in document.value:
            yield Document(value, document.line)

    def _streamed_items(self) -> Iterator[Document]:
        with self._open() as text:
            window = _Window(lambda size: self._read(text, size), self._limit)
            if window.next() != "[":
                raise _not_an_array()
            window.advance(1)
            if window.next() != "]":
                while True:
                    window.next()
                    line = window.line
                    yield Document(window.value(self._decoder), line)
                    following = window.next()
                    if following != ",":
                        break
                    window.advance(1)
                if following != "]":
                    raise BadInput("JSON-SYNTAX", "expecting ',' delimiter", line=window.line)
            window.advance(1)
            if window.next():
                raise BadInput("JSON-SYNTAX", "there is more text behind the JSON value", line=window.line)

    def _open(self) -> TextIO:
        if self._text is not None:
            return io.StringIO(self._text, newline="\n")
        stream = self._source.open()
        encoding = json.detect_encoding(stream.read(4))
        stream.seek(0)
        return io.TextIOWrapper(stream, encoding=encoding, errors="strict", newline="\n")

    def _line(self, text: TextIO, number: int) -> str:
        try:
            line = text.readline(self._limit)
        except UnicodeError:
            raise _undecodable(number) from None
        if len(line) >= self._limit:
            raise _too_large("a line", self._limit)
        return line

    def _read(self, text: TextIO, size: int) -> str:
        try:
            return text.read(size)
        except UnicodeError:
            raise _undecodable(None) from None


class _Window:
    """The part of a large text around the place that is being read."""

    def __init__(self, read: Callable[[int], str], limit: int) -> None:
        self._read = read
        self._limit = limit
        self._held = ""
        self._at = 0
        self._ended = False
        self.line = 1
        """Of the place that is being read."""

    def advance(self, to: int) -> None:
        """Go on by so many characters."""
        end = self._at + to
        self.line += self._held.count("\n", self._at, end)
        self._at = end

    def next(self) -> str:
        """The next character that is no white space, standing at it; empty at the end."""
        while True:
            self.advance(skip_space(self._held, self._at) - self._at)
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more():
                return ""

    def value(self, decoder: StrictDecoder) -> Any:
        """The value that begins here. What may only be incomplete is tried again with twice as much text."""
        while True:
            try:
                value, end = decoder.attempt(self._held, self._at)
            except json.JSONDecodeError as error:
                unfinished = error.pos + 16 >= len(self._held) or error.msg.startswith("Unterminated string")
                begun = self._held.count("\n", 0, self._at)
                if not unfinished or not self._more():
                    raise syntax_error(error, self.line - begun) from None
                continue
            except BadInput as error:
                raise BadInput(error.code, error.message, line=self.line) from None
            if end == len(self._held) and self._more():
                continue  # a number may go on
            self.advance(end - self._at)
            return value

    def _more(self) -> bool:
        if self._ended:
            return False
        self._held = self._held[self._at :]
        self._at = 0
        if len(self._held) > self._limit:
            raise _too_large("an element", self._limit)
        piece = self._read(max(_PIECE, len(self._held)))
        self._ended = not piece
        self._held += piece
        return bool(piece)


def _not_an_array() -> BadInput:
    return BadInput(
        "JSON-NOT-AN-ARRAY", "the documents are declared to be the elements of an array, and the file is none"
    )


def _undecodable(line: int | None) -> BadInput:
    return BadInput("JSON-ENCODING", "the file is not in an encoding of JSON (UTF-8)", line=line)


def _too_large(what: str, limit: int) -> BadInput:
    return BadInput("JSON-TOO-LARGE", f"{what} is larger than {limit} bytes (option max_document)")
