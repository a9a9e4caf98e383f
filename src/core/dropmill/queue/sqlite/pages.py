"""Reads a SQLite database file page by page, without SQLite: for what is left of one that SQLite calls malformed.

Follows the file format as https://www.sqlite.org/fileformat2.html describes it. Whatever cannot be read is left out, and
nothing that is read can make it fail: every offset, length and pointer is checked. Reads only.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Database", "Row", "Unreadable"]

_DEFAULT_PAGE = 4096
_TABLE_LEAF, _TABLE_INTERIOR, _INDEX_LEAF, _INDEX_INTERIOR = 0x0D, 0x05, 0x0A, 0x02
_LARGEST = 1 << 30
"""Bytes that one row may have."""


class Unreadable(Exception):
    """These bytes are not what they should be."""


@dataclass(frozen=True)
class Row:
    """A row: the integer that a table is stored by (None in an index), and its columns."""

    key: int | None
    columns: list[Any]


@dataclass
class Database:
    """The pages of a database file, with what its write-ahead log holds of committed newer ones."""

    data: bytes | mmap.mmap
    newer: Mapping[int, bytes]
    page_size: int = _DEFAULT_PAGE
    usable: int = _DEFAULT_PAGE
    bad: set[int] = field(default_factory=set)
    """Pages that something points to and that could not be read."""
    seen: set[int] = field(default_factory=set)
    """Pages that were read, or are known to be free."""

    @classmethod
    def load(cls, path: Path) -> Database:
        """Read the file, and its log where there is one."""
        data: bytes | mmap.mmap = b""
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        log = path.with_name(path.name + "-wal")
        size = _page_size(data)
        newer = _committed(log.read_bytes(), size) if log.exists() else {}
        reserved = data[20] if len(data) > 20 and data[20] < 64 else 0
        return cls(data, newer, size, size - reserved)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(self.data, mmap.mmap):
            self.data.close()

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(len(self.data) // self.page_size, max(self.newer, default=0))

    def page(self, number: int) -> bytes:
        """One page.

        Raises:
            Unreadable: it is not there.
        """
        page = self.newer.get(number)
        if page is None:
            page = self.data[(number - 1) * self.page_size : number * self.page_size]
        if number < 1 or len(page) < self.page_size:
            raise Unreadable(f"page {number} is not there")
        return page

    def roots(self) -> Mapping[str, int]:
        """The first page of each table, as far as the schema can be read."""
        found = {}
        for row in self.tree(1):
            if len(row.columns) == 5 and row.columns[0] == "table" and isinstance(row.columns[3], int):
                found[str(row.columns[1])] = row.columns[3]
        return found

    def free_pages(self) -> set[int]:
        """Pages of the list of free ones, as far as it can be read: what stands on them is not valid any more."""
        free: set[int] = set()
        try:
            (trunk,) = struct.unpack_from(">I", self.page(1), 32)
            while trunk and trunk not in free:
                free.add(trunk)
                page = self.page(trunk)
                trunk, count = struct.unpack_from(">II", page, 0)
                count = min(count, self.usable // 4 - 2)
                free.update(struct.unpack_from(f">{count}I", page, 8))
        except (Unreadable, struct.error):
            pass
        return free

    def tree(self, root: int) -> Iterator[Row]:
        """The rows of a tree, as far as its pages can be read."""
        stack = [root]
        while stack:
            number = stack.pop()
            if number in self.seen:
                continue
            try:
                page = self.page(number)
                children, rows = self._parse(number, page)
            except Unreadable:
                self.bad.add(number)
                continue
            self.seen.add(number)
            stack += reversed(children)
            yield from rows

    def leaf(self, number: int) -> list[Row]:
        """The rows of a page that nothing leads to, if it is a leaf of a table and whole."""
        try:
            page = self.page(number)
            if page[0] != _TABLE_LEAF:
                return []
            return self._parse(number, page)[1]
        except Unreadable:
            return []

    def _parse(self, number: int, page: bytes) -> tuple[list[int], list[Row]]:
        """Children and rows of a page."""
        start = 100 if number == 1 else 0
        kind = page[start]
        if kind not in (_TABLE_LEAF, _TABLE_INTERIOR, _INDEX_LEAF, _INDEX_INTERIOR):
            raise Unreadable(f"page {number} is no page of a tree")
        interior = kind in (_TABLE_INTERIOR, _INDEX_INTERIOR)
        (count,) = struct.unpack_from(">H", page, start + 3)
        array = start + (12 if interior else 8)
        if array + 2 * count > self.usable:
            raise Unreadable(f"page {number} claims {count} cells")
        children: list[int] = []
        rows: list[Row] = []
        for offset in struct.unpack_from(f">{count}H", page, array):
            try:
                if interior:
                    children.append(struct.unpack_from(">I", page, offset)[0])
                    if kind == _INDEX_INTERIOR:
                        rows.append(self._cell(page, offset + 4, keyed=False))
                else:
                    rows.append(self._cell(page, offset, keyed=kind == _TABLE_LEAF))
            except (Unreadable, struct.error, IndexError, UnicodeDecodeError):
                self.bad.add(number)
        if interior:
            children.append(struct.unpack_from(">I", page, start + 8)[0])
        return children, rows

    def _cell(self, page: bytes, offset: int, *, keyed: bool) -> Row:
        size, offset = _varint(page, offset)
        key = None
        if keyed:
            key, offset = _varint(page, offset)
        if size > _LARGEST:
            raise Unreadable("a row larger than any")
        most = self.usable - 35 if keyed else (self.usable - 12) * 64 // 255 - 23
        local = size
        if size > most:
            least = (self.usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (self.usable - 4)
            if local > most:
                local = least
        payload = page[offset : offset + local]
        if size > local:
            (overflow,) = struct.unpack_from(">I", page, offset + local)
            payload += self._overflow(overflow, size - local)
        if len(payload) != size:
            raise Unreadable("a row that is cut short")
        return Row(key, _record(payload))

    def _overflow(self, number: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            page = self.page(number)
            self.seen.add(number)
            part = page[4 : min(self.usable, 4 + size)]
            parts.append(part)
            size -= len(part)
            (number,) = struct.unpack_from(">I", page, 0)
        return b"".join(parts)


def _page_size(data: bytes | mmap.mmap) -> int:
    if data[:16] != b"SQLite format 3\0":
        return _DEFAULT_PAGE
    size = int.from_bytes(data[16:18], "big")
    size = 65_536 if size == 1 else size
    return size if size in (512 << shift for shift in range(8)) else _DEFAULT_PAGE


def _committed(log: bytes, page_size: int) -> dict[int, bytes]:
    """The newest version of each page in a write-ahead log, up to the last commit that is whole."""
    if len(log) < 32:
        return {}
    magic, _, size, _, salt_1, salt_2 = struct.unpack_from(">6I", log, 0)
    if magic not in (0x377F0682, 0x377F0683) or size != page_size:
        return {}
    order = ">" if magic & 1 else "<"
    sums = _checksum(log[:24], order, (0, 0))
    if sums != struct.unpack_from(">2I", log, 24):
        return {}
    committed: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    for offset in range(32, len(log) - 24 - page_size + 1, 24 + page_size):
        number, after, first, second = struct.unpack_from(">4I", log, offset)
        page = log[offset + 24 : offset + 24 + page_size]
        sums = _checksum(page, order, _checksum(log[offset : offset + 8], order, sums))
        if (first, second) != (salt_1, salt_2) or sums != struct.unpack_from(">2I", log, offset + 16):
            break
        waiting[number] = page
        if after:
            committed.update(waiting)
            waiting.clear()
    return committed


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    """A variable-length integer, and the offset behind it."""
    value = 0
    for _ in range(8):
        byte = data[offset]
        offset += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset
    value = value << 8 | data[offset]
    return value - (1 << 64) if value >= 1 << 63 else value, offset + 1


_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _record(payload: bytes) -> list[Any]:
    """The columns of a row."""
    header, offset = _varint(payload, 0)
    if header > len(payload):
        raise Unreadable("a row with a header beyond its end")
    columns: list[Any] = []
    body = header
    while offset < header:
        kind, offset = _varint(payload, offset)
        if kind in _INTEGERS:
            size = _INTEGERS[kind]
            columns.append(int.from_bytes(payload[body : body + size], "big", signed=True))
        elif kind >= 12:
            size = (kind - 12) // 2
            value = payload[body : body + size]
            columns.append(value.decode() if kind % 2 else value)
        elif kind == 7:
            size = 8
            columns.append(struct.unpack_from(">d", payload, body)[0])
        elif kind in (0, 8, 9):
            size = 0
            columns.append(None if kind == 0 else kind - 8)
        else:
            raise Unreadable("a column of no known kind")
        body += size
        if body > len(payload):
            raise Unreadable("a column beyond its row's end")
    return columns
