"""The file under conversion, read through descriptors that the agent opened.

Every read counts as progress and is where a cancelled conversion ends. A read that fails is remembered: whatever a converter
makes of it, the trouble is the disk's and neither the file's nor the plugin's.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from dropmill.api import Head, Part
from dropmill.conversion.worker.page import Page

__all__ = ["HEAD", "FileSource"]

HEAD = 65_536
"""Bytes of a file that `sniff` sees."""
_BUFFER, _SMALLEST = 65_536, 8_192


class FileSource:
    """A `dropmill.api.Source`.

    Args:
        descriptors: Of the file, or of the unit's parts in order; owned by the source from here on.
        folder: Makes and answers the task's folder, for links that give a descriptor a path.
    """

    def __init__(
        self,
        *,
        name: str,
        size: int,
        sha256: str,
        modified: float,
        parts: Sequence[Part],
        descriptors: Sequence[int],
        page: Page,
        folder: Callable[[], Path],
    ) -> None:
        self.name = name
        self.size = size
        self.sha256 = sha256
        self.modified = modified
        self.parts = parts
        self.trouble: OSError | None = None
        """The first read that failed."""
        self._descriptors = descriptors
        self._page = page
        self._folder = folder
        self._streams = ExitStack()
        self._links: dict[int, str] = {}
        self._found = [_identity(descriptor) for descriptor in descriptors]

    def open(self, part: str | None = None) -> BinaryIO:
        """The content (of a part), buffered, from its start."""
        raw = _Reader(self, self._index(part), part or self.name)
        return cast(
            BinaryIO, self._streams.enter_context(io.BufferedReader(raw, max(_SMALLEST, min(self.size, _BUFFER))))
        )

    def local_path(self, part: str | None = None) -> str:
        """A link in the task's folder that keeps the name's suffix."""
        index = self._index(part)
        if index not in self._links:
            folder = self._folder() / f"in{index}"
            folder.mkdir()
            link = folder / os.path.basename(part or self.name)
            link.symlink_to(f"/proc/{os.getpid()}/fd/{self._descriptors[index]}")
            self._links[index] = os.fspath(link)
        return self._links[index]

    def head(self) -> Head:
        """The first 64 KiB."""
        return Head(name=os.path.basename(self.name), size=self.size, data=self.pread(0, HEAD, 0))

    def changed(self) -> bool:
        """Whether the file was written to since the conversion began, or is not the size that was claimed."""
        if not self.parts and self._found[0][0] != self.size:
            return True
        return any(
            _identity(descriptor) != found for descriptor, found in zip(self._descriptors, self._found, strict=True)
        )

    def close(self) -> None:
        """Close the streams that the converter left open, and the descriptors."""
        self._streams.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = ()

    def pread(self, index: int, size: int, offset: int) -> bytes:
        try:
            data = os.pread(self._descriptors[index], size, offset)
        except OSError as error:
            self.trouble = self.trouble or error
            raise
        self._page.advance(len(data))
        return data

    def preadv(self, index: int, buffer: memoryview, offset: int) -> int:
        try:
            count = os.preadv(self._descriptors[index], [buffer], offset)
        except OSError as error:
            self.trouble = self.trouble or error
            raise
        self._page.advance(count)
        return count

    def length(self, index: int) -> int:
        return os.fstat(self._descriptors[index]).st_size

    def _index(self, part: str | None) -> int:
        if part is None:
            return 0
        for index, known in enumerate(self.parts):
            if known.name == part:
                return index
        raise KeyError(f"{self.name} has no part {part!r}")


class _Reader(io.RawIOBase):
    """One reading position in a file."""

    def __init__(self, source: FileSource, index: int, name: str) -> None:
        super().__init__()
        self._source = source
        self._index = index
        self._offset = 0
        self.name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        count = self._source.preadv(self._index, buffer, self._offset)
        self._offset += count
        return count

    def readall(self) -> bytes:
        chunks = []
        while True:
            wanted = max(self._source.size - self._offset, _SMALLEST) + 1
            chunk = self._source.pread(self._index, wanted, self._offset)
            self._offset += len(chunk)
            chunks.append(chunk)
            if len(chunk) < wanted:  # a regular file reads short at its end alone
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_CUR:
            offset += self._offset
        elif whence == os.SEEK_END:
            offset += self._source.length(self._index)
        if offset < 0:
            raise ValueError(f"seek to {offset}, before the start of {self.name}")
        self._offset = offset
        return offset

    def tell(self) -> int:
        return self._offset


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns
