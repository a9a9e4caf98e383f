"""Opens a workbook and gives its sheets as rows of plain values. Every way in which a file can be unreadable becomes `BadInput`.

The reader builds the whole area that a sheet uses, so what a file would unpack to, and how far an xlsx sheet reaches, is
looked up before it is let near one. Cells that hold an error (`#DIV/0!`) come out empty: the reader does not tell them.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError

from dropmill.api import BadInput, Source

__all__ = ["Limits", "Sheet", "Value", "column_letter", "open_workbook"]

Value = int | float | bool | str | datetime | date | time | timedelta | None
"""A cell; None for an empty one."""

_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml", re.IGNORECASE)
_CELL = re.compile(rb"<(?:\w+:)?c\s[^>]*?\br=\"([A-Z]{1,3})(\d{1,7})\"")
_PIECE = 1 << 20
_OVERLAP = 256


@dataclass(frozen=True)
class Limits:
    """What a workbook may cost."""

    unpacked: int
    cells: int


@dataclass(frozen=True)
class Sheet:
    """One sheet with cells."""

    name: str
    first_row: int
    """Number of the first row of `rows`, from 1."""
    first_column: int
    """Number of the first column, from 1."""
    rows: list[list[Value]]

    @property
    def width(self) -> int:
        """Columns of the used area."""
        return max(map(len, self.rows), default=0)


@contextmanager
def open_workbook(source: Source, limits: Limits) -> Iterator[Callable[[Sequence[str | int]], Iterator[Sheet]]]:
    """Open a workbook; the answer reads the named sheets, or all of them where none is named.

    Raises:
        BadInput: Protected, damaged, no workbook, or too large.
    """
    with source.open() as stream:
        _check(stream, limits)
        stream.seek(0)
        workbook = _load(source, stream)
        try:
            yield lambda wanted: _sheets(workbook, wanted, limits)
        finally:
            workbook.close()


def column_letter(number: int) -> str:
    """`A` for 1, `AA` for 27."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _load(source: Source, stream: BinaryIO) -> CalamineWorkbook:
    """By content, as suffixes lie; by suffix where the content says nothing, as in a workbook that is encrypted as a whole."""
    try:
        with _refusals():
            return CalamineWorkbook.from_filelike(stream)
    except BadInput as first:
        try:
            with _refusals():
                return CalamineWorkbook.from_path(source.local_path())
        except BadInput as second:
            raise (second if second.code == "XLSX-PASSWORD" else first) from None


def _sheets(workbook: CalamineWorkbook, wanted: Sequence[str | int], limits: Limits) -> Iterator[Sheet]:
    names = workbook.sheet_names
    for index in _indexes(names, wanted):
        with _refusals():
            sheet = workbook.get_sheet_by_index(index)
            if sheet.total_height * sheet.total_width > limits.cells * 4:
                raise _too_wide(names[index], limits)
            rows = sheet.to_python()
        yield _sheet(names[index], sheet, rows)


def _indexes(names: Sequence[str], wanted: Sequence[str | int]) -> list[int]:
    if not wanted:
        return list(range(len(names)))
    found = []
    for one in wanted:
        if isinstance(one, int) and one <= len(names):
            found.append(one - 1)
        elif isinstance(one, str) and one in names:
            found.append(names.index(one))
        else:
            told = ", ".join(map(repr, names[:10]))
            raise BadInput("XLSX-NO-SHEET", f"the workbook has no sheet {one!r}; it has {told}")
    return found


def _sheet(name: str, sheet: CalamineSheet, rows: list[list[Any]]) -> Sheet:
    row, column = sheet.start or (0, 0)
    return Sheet(name, row + 1, column + 1, [[None if cell == "" else cell for cell in cells] for cells in rows])


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn the reader's complaints into refusals; a panic of its compiled code is one, too."""
    try:
        yield
    except (BadInput, MemoryError):
        raise
    except PasswordError:
        raise BadInput("XLSX-PASSWORD", "the workbook is protected by a password") from None
    except (CalamineError, OSError, ValueError, IndexError, KeyError) as error:
        raise BadInput("XLSX-DAMAGED", f"the workbook cannot be read: {error}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise BadInput("XLSX-DAMAGED", f"the workbook cannot be read: {error}") from None


def _check(stream: BinaryIO, limits: Limits) -> None:
    """Look at a zip's directory and at the cells of xlsx sheets before anything is unpacked into memory."""
    stream.seek(0)
    if stream.read(2) != b"PK":
        return
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > limits.unpacked:
                raise BadInput(
                    "XLSX-TOO-LARGE", f"the workbook unpacks to more than {limits.unpacked} bytes (option max_unpacked)"
                )
            for member in members:
                if _SHEET.fullmatch(member.filename):
                    _measure(archive, member, limits)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise BadInput("XLSX-DAMAGED", f"the workbook is no sound zip archive: {error}") from None
    except Exception as error:
        if type(error).__module__ != "zlib":
            raise
        raise BadInput("XLSX-DAMAGED", f"the workbook is no sound zip archive: {error}") from None


def _measure(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: Limits) -> None:
    rows, columns = (1_048_577, 0), (16_385, 0)
    tail = b""
    unpacked = 0
    with archive.open(member) as stream:
        while piece := stream.read(_PIECE):
            unpacked += len(piece)
            if unpacked > limits.unpacked:
                raise BadInput(
                    "XLSX-TOO-LARGE", f"a sheet unpacks to more than {limits.unpacked} bytes (option max_unpacked)"
                )
            for letters, digits in _CELL.findall(tail + piece):
                row, column = int(digits), _number(letters)
                rows = min(rows[0], row), max(rows[1], row)
                columns = min(columns[0], column), max(columns[1], column)
            tail = piece[-_OVERLAP:]
    if rows[1] and (rows[1] - rows[0] + 1) * (columns[1] - columns[0] + 1) > limits.cells:
        raise _too_wide(member.filename, limits)


def _number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _too_wide(name: str, limits: Limits) -> BadInput:
    return BadInput("XLSX-TOO-LARGE", f"the sheet {name!r} spans more than {limits.cells} cells (option max_cells)")
