"""Reads a delimited text as a header and numbered rows: encoding, dialect, comments, skipped lines and blank lines settled.

It judges the text's form alone and knows nothing of what columns mean. Memory holds one row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from dropmill.api import BadInput, Source
from dropmill_plugins.converters.common.encodings import Encoding, find_encoding
from dropmill_plugins.converters.csv.dialect import Guess, find_delimiter

__all__ = ["MAX_CELL", "Dialect", "Row", "Table"]

MAX_CELL = 16 << 20
"""Characters in a cell; a quote that is never closed must not swallow a large file."""

_SAMPLE = 65_536
_SAMPLE_ROWS = 500


@dataclass(frozen=True)
class Dialect:
    """How the text is written, as declared."""

    delimiter: str
    """One character, or `auto`."""
    quotechar: str
    doublequote: bool
    escapechar: str
    skipinitialspace: bool
    lenient_quotes: bool
    encoding: str
    """A codec, or `auto`."""
    fallback_encoding: str
    skip_rows: int
    comment: str
    header: int

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Dialect:
        """From the converter's options, with the schema's defaults."""
        return cls(
            delimiter=options.get("delimiter", "auto"),
            quotechar=options.get("quotechar", '"'),
            doublequote=options.get("doublequote", True),
            escapechar=options.get("escapechar", ""),
            skipinitialspace=options.get("skipinitialspace", False),
            lenient_quotes=options.get("lenient_quotes", False),
            encoding=options.get("encoding", "auto"),
            fallback_encoding=options.get("fallback_encoding", "cp1252"),
            skip_rows=options.get("skip_rows", 0),
            comment=options.get("comment", ""),
            header=options.get("header", 1),
        )

    @property
    def formats(self) -> dict[str, Any]:
        """The csv module's parameters but for the delimiter."""
        return {
            "quotechar": self.quotechar or None,
            "quoting": csv.QUOTE_MINIMAL if self.quotechar else csv.QUOTE_NONE,
            "doublequote": self.doublequote,
            "escapechar": self.escapechar or None,
            "skipinitialspace": self.skipinitialspace,
            "strict": not self.lenient_quotes,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One row that is not a blank line."""

    line: int
    """1-based, of its first line."""
    cells: list[str]
    ended: bool
    """Whether a line break follows; only a file's last row may lack it."""


class Content:
    """The file's bytes: a small file is read once and kept, as its form is looked at several times."""

    kept = 1 << 20

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data: bytes | None = None

    def open(self) -> BinaryIO:
        """A stream at the start."""
        if self._source.size > self.kept:
            return self._source.open()
        if self._data is None:
            with self._source.open() as stream:
                self._data = stream.read()
        return io.BytesIO(self._data)

    def text(self, encoding: Encoding) -> io.TextIOWrapper:
        """Decoded, with its own line ends, at the start; closing it closes the stream."""
        return io.TextIOWrapper(self.open(), encoding=encoding.name, errors="strict", newline="")


class Table:
    """One file, read through `rows` once or several times; `open` settles its form first."""

    def __init__(self, content: Content, dialect: Dialect, encoding: Encoding, delimiter: str) -> None:
        self._content = content
        self._dialect = dialect
        self._delimiter = delimiter or ","
        self.encoding = encoding
        self.delimiter = delimiter
        """Empty where none occurs in the file."""
        self.header: list[str] | None = None
        """Once `rows` has begun; None without a header."""
        self.header_line = 0
        self.blank_lines = 0
        """Once `rows` has ended."""
        self.left_out = 0
        """Rows before the header, once `rows` has begun."""

    @classmethod
    def open(cls, source: Source, dialect: Dialect) -> Table:
        """Find the encoding and the delimiter.

        Raises:
            BadInput: Not text, or no delimiter is sure.
        """
        content = Content(source)
        encoding = Encoding(dialect.encoding, certain=True)
        if dialect.encoding == "auto":
            with content.open() as stream:
                found = find_encoding(stream, dialect.fallback_encoding)
            if found is None:
                raise BadInput("CSV-BINARY", "the file holds NUL bytes and is neither UTF-16 nor UTF-32: not a text")
            encoding = found
        delimiter = dialect.delimiter
        if delimiter == "auto":
            guess = cls._guess(content, dialect, encoding)
            if guess.delimiter is None:
                raise BadInput(
                    "CSV-DELIMITER-UNSURE",
                    f"the delimiter is not clear: {guess.reason}; declare it with the option delimiter",
                )
            delimiter = guess.delimiter if guess.columns > 1 else ""
        return cls(content, dialect, encoding, delimiter)

    @classmethod
    def _guess(cls, content: Content, dialect: Dialect, encoding: Encoding) -> Guess:
        with content.text(encoding) as stream:
            try:
                text = stream.read(_SAMPLE)
            except UnicodeError:
                raise _undecodable(content, encoding) from None
        lines = io.StringIO(text, newline="").readlines()
        truncated = len(text) >= _SAMPLE or len(lines) > _SAMPLE_ROWS
        return find_delimiter(sample_lines(lines, dialect), dialect.formats, truncated=truncated)

    def rows(self) -> Iterator[Row]:
        """The rows after the header, in order.

        Raises:
            BadInput: Quotes that do not fit, bytes that are no text, or no header row.
        """
        self.header, self.header_line, self.blank_lines, self.left_out = None, 0, 0, 0
        with self._content.text(self.encoding) as stream:
            lines = _Lines(stream, self._dialect)
            before = csv.field_size_limit(MAX_CELL)
            try:
                yield from self._read(csv.reader(lines, delimiter=self._delimiter, **self._dialect.formats), lines)
            finally:
                csv.field_size_limit(before)

    def _read(self, reader: Iterator[list[str]], lines: _Lines) -> Iterator[Row]:
        number, wanted = 0, self._dialect.header
        while True:
            lines.begin()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise BadInput("CSV-QUOTES", f"the row cannot be read: {error}", line=lines.first) from None
            except UnicodeError:
                raise _undecodable(self._content, self.encoding) from None
            if cells is None:
                break
            if not cells:
                self.blank_lines += 1
                continue
            number += 1
            if number < wanted:
                self.left_out += 1
            elif number == wanted:
                self.header, self.header_line = cells, lines.first
            else:
                yield Row(lines.first, cells, lines.ended)
        if number < wanted:
            told = (
                "the file has no row"
                if number == 0
                else f"the file has {number} rows, and the header should be number {wanted}"
            )
            raise BadInput("CSV-NO-HEADER", told)
        if number == 0:
            raise BadInput("CSV-EMPTY", "the file has no row")


class _Lines:
    """The lines for the csv module, without what is declared to be left out; a comment is one only where a row may begin."""

    def __init__(self, text: io.TextIOBase, dialect: Dialect) -> None:
        self._text = text
        self._skip = dialect.skip_rows
        self._comment = dialect.comment
        self.number = 0
        self.first = 0
        """The line on which the row under construction began."""
        self.ended = True
        """Whether the line read last had a line break."""
        self._fresh = True

    def begin(self) -> None:
        self._fresh = True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        while True:
            line = self._text.readline(MAX_CELL)
            if not line:
                raise StopIteration
            self.number += 1
            if len(line) >= MAX_CELL:
                raise BadInput("CSV-LINE-TOO-LONG", f"a line has more than {MAX_CELL} characters", line=self.number)
            if self.number <= self._skip or (self._fresh and self._comment and line.startswith(self._comment)):
                continue
            if self._fresh:
                self.first, self._fresh = self.number, False
            self.ended = line[-1] in "\r\n"
            return line


def sample_lines(lines: list[str], dialect: Dialect) -> list[str]:
    """The first lines, without what is declared to be left out."""
    kept = lines[dialect.skip_rows :]
    if dialect.comment:
        kept = [line for line in kept if not line.startswith(dialect.comment)]
    return kept[:_SAMPLE_ROWS]


def _undecodable(content: Content, encoding: Encoding) -> BadInput:
    told = f"the file is not {encoding.name}" if encoding.certain else f"the file is neither UTF-8 nor {encoding.name}"
    return BadInput("CSV-ENCODING", f"{told}; declare its encoding", line=_undecodable_line(content, encoding))


def _undecodable_line(content: Content, encoding: Encoding) -> int | None:
    """The first line that does not decode, where a line feed is one byte; text comes in blocks, which do not tell it."""
    if encoding.name.startswith(("utf-16", "utf-32")):
        return None
    with content.open() as stream:
        number = 1
        while line := stream.readline(MAX_CELL):
            try:
                line.decode(encoding.name)
            except UnicodeError:
                return number
            number += line.endswith(b"\n")
    return None
