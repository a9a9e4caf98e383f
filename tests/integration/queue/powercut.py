"""Replays a recorded life of the queue up to a power cut: what the disk then holds is what was synced, and some of the rest.

The rules are POSIX's, not one file system's: the bytes of a file last once the file was synced, its name once the folder was.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

PAGE = 4096
_HEADER = struct.Struct("<cQQQII")


@dataclass(frozen=True)
class Record:
    kind: str
    inode: int
    offset: int
    data: bytes
    first: str
    second: str


def read_log(path: Path) -> Iterator[Record]:
    with path.open("rb") as log:
        while header := log.read(_HEADER.size):
            kind, inode, offset, size, first, second = _HEADER.unpack(header)
            paths = log.read(first + second).decode("utf-8", "surrogateescape")
            data = log.read(size) if kind in b"WM" else b""
            yield Record(kind.decode(), inode, offset, data, paths[:first], paths[first:])


@dataclass
class File:
    size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)

    def write(self, offset: int, data: bytes) -> set[int]:
        touched = set()
        position = 0
        while position < len(data):
            number, start = divmod(offset + position, PAGE)
            piece = data[position : position + PAGE - start]
            page = self.pages.get(number, bytes(PAGE))
            self.pages[number] = page[:start] + piece + page[start + len(piece) :]
            touched.add(number)
            position += len(piece)
        self.size = max(self.size, offset + len(data))
        return touched

    def truncate(self, size: int) -> None:
        if size < self.size:
            last = -(-size // PAGE)
            self.pages = {number: page for number, page in self.pages.items() if number < last}
            if size % PAGE and last - 1 in self.pages:
                self.pages[last - 1] = self.pages[last - 1][: size % PAGE].ljust(PAGE, b"\0")
        self.size = size


class Disk:
    """What was written, and what of it lasts."""

    def __init__(self) -> None:
        self.written: dict[int, File] = {}
        self.lasting: dict[int, File] = {}
        self.unsynced: dict[int, set[int]] = {}
        self.names: dict[str, int] = {}
        self.lasting_names: dict[str, int] = {}

    def apply(self, record: Record) -> bool:
        """Take a record in; whether what lasts may have changed."""
        kind = record.kind
        if kind == "C":
            self.names[record.first] = record.inode
            self.written.setdefault(record.inode, File())
        elif kind == "W":
            file = self.written.setdefault(record.inode, File())
            self.unsynced.setdefault(record.inode, set()).update(file.write(record.offset, record.data))
        elif kind == "T":
            self.written.setdefault(record.inode, File()).truncate(record.offset)
        elif kind == "S":
            self._sync(record.inode)
            return True
        elif kind == "D":
            folder = record.first.rstrip("/")
            for names, known in ((self.lasting_names, self.names), (self.names, self.lasting_names)):
                for name in [name for name in names if os.path.dirname(name) == folder]:
                    if name not in known and names is self.lasting_names:
                        del names[name]
            self.lasting_names.update({name: at for name, at in self.names.items() if os.path.dirname(name) == folder})
            return True
        elif kind in ("R", "L"):
            inode = self.names.get(record.first)
            if inode is not None:
                self.names[record.second] = inode
                if kind == "R":
                    del self.names[record.first]
        elif kind == "U":
            self.names.pop(record.first, None)
        return False

    def _sync(self, inode: int) -> None:
        file = self.written.setdefault(inode, File())
        lasting = self.lasting.setdefault(inode, File())
        for number in self.unsynced.pop(inode, ()):
            if number in file.pages:
                lasting.pages[number] = file.pages[number]
        if file.size < lasting.size:
            lasting.truncate(file.size)
        lasting.size = file.size

    def cut(self, root: str, target: Path, random: Random | None) -> None:
        """Make `target` what the disk holds after a power cut. With `random` some of what was not synced is there as well,
        page by page and name by name, as a disk may have it."""
        names = dict(self.lasting_names)
        if random is not None:
            for name in {*names, *self.names}:
                if names.get(name) != self.names.get(name) and random.random() < 0.5:
                    if name in self.names:
                        names[name] = self.names[name]
                    else:
                        del names[name]
        for name, inode in names.items():
            path = target / os.path.relpath(name, root)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self.lasting.get(inode, File())
            pages, size = dict(file.pages), file.size
            if random is not None and inode in self.written:
                written = self.written[inode]
                size = random.choice((size, written.size))
                for number in self.unsynced.get(inode, ()):
                    if number in written.pages and random.random() < 0.5:
                        pages[number] = written.pages[number]
            with path.open("wb") as out:
                out.truncate(size)
                for number, page in pages.items():
                    if number * PAGE < size:
                        out.seek(number * PAGE)
                        out.write(page[: size - number * PAGE])
