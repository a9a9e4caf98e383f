"""Where the bytes of a report lie, by size: in a row, in a segment, or in a file of their own.

A payload is written before the row that points to it is committed, and its bytes are given back only after the commit that no
longer needs them. Its checksum is verified at every read. Never called on the event loop.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory, write_all
from dropmill.queue.records import NewReport
from dropmill.queue.sqlite.segments import Segments

__all__ = [
    "INLINE",
    "PAYLOADS_FOLDER",
    "ROW_LIMIT",
    "SEGMENTS_FOLDER",
    "SEGMENT_LIMIT",
    "Payloads",
    "Placed",
    "seal",
]

SEGMENTS_FOLDER = "segments"
PAYLOADS_FOLDER = "payloads"
ROW_LIMIT = 16 * 1024
SEGMENT_LIMIT = 32 * 1024 * 1024
INLINE = 64 * 1024
"""Payloads up to this size travel with their lease."""
_PIECE = 1024 * 1024


def seal(
    uid: str | bytes, revision: int, media_type: str, schema: str | None, fields: str, size: int, sha256: str, crc: int
) -> int:
    """Checksum of the columns of a report that never change, the payload's checksum among them."""
    name = uid if isinstance(uid, bytes) else uid.encode()
    return zlib.crc32(
        f"\0{revision}\0{media_type}\0{schema}\0{fields}\0{size}\0{sha256}\0{crc}".encode(), zlib.crc32(name)
    )


@dataclass(frozen=True)
class Placed:
    """A payload on disk (a row's is still in memory), not yet committed."""

    tier: str
    crc: int
    size: int
    sha256: str
    data: bytes | None = None
    segment: int | None = None
    offset: int | None = None
    name: str | None = None
    """Of a file of its own."""
    staged: str | None = None
    """The file that it was copied or linked from; to be removed after the commit."""


class Payloads:
    """The payload files of one store. `place`, then `sync`, then the commit, then `committed`; or `discard`."""

    def __init__(self, state: Path, failpoints: Failpoints) -> None:
        self.segments = Segments(state / SEGMENTS_FOLDER, failpoints)
        self._folder = state / PAYLOADS_FOLDER
        self._failpoints = failpoints
        self._count = 0
        self._swept = False
        self._lock = threading.Lock()

    def open(self, live: Iterable[tuple[int, int, int]], files: Collection[str]) -> None:
        """Take over what is there; at the first time payload files that no row names are removed."""
        self.segments.open(live)
        self._folder.mkdir(exist_ok=True)
        if not self._swept:
            for entry in self._folder.iterdir():
                if entry.name not in files:
                    entry.unlink()
            self._swept = True

    def close(self) -> None:
        self.segments.close()

    def place(self, report: NewReport) -> Placed:
        """Write a payload where one of its size belongs. Durable after `sync` at the latest (a file of its own: now).

        Raises:
            OSError: it could not be written, and takes no place.
            ValueError: the staged file is not the one that the report describes.
        """
        if report.body is not None:
            if len(report.body) != report.size:
                raise ValueError(f"report {report.uid} says {report.size} bytes and has {len(report.body)}")
            crc = zlib.crc32(report.body)
            if report.size <= ROW_LIMIT:
                return Placed("row", crc, report.size, report.sha256, data=report.body)
            if report.size <= SEGMENT_LIMIT:
                segment, offset = self.segments.append(report.size, (report.body,))
                return Placed("segment", crc, report.size, report.sha256, segment=segment, offset=offset)
            return self._own_file(report, (report.body,))
        if report.staged is None:
            raise ValueError(f"report {report.uid} has neither a body nor a staged file")
        if report.size <= ROW_LIMIT:
            data = b"".join(_Checked(report).pieces())
            return Placed("row", zlib.crc32(data), report.size, report.sha256, data=data, staged=report.staged)
        checked = _Checked(report)
        if report.size <= SEGMENT_LIMIT:
            segment, offset = self.segments.append(report.size, checked.pieces())
            return Placed(
                "segment",
                checked.crc,
                report.size,
                report.sha256,
                segment=segment,
                offset=offset,
                staged=report.staged,
            )
        return self._own_file(report, None)

    def _own_file(self, report: NewReport, pieces: Iterable[bytes] | None) -> Placed:
        with self._lock:
            self._count += 1
            name = f"{report.sha256[:32]}-{os.getpid()}-{self._count}"
        path = self._folder / name
        crc = 0
        checked = _Checked(report)
        try:
            if pieces is None and report.staged is not None and self._linked(report.staged, path):
                for _ in checked.pieces():
                    pass
                crc = checked.crc
            else:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    for piece in pieces if pieces is not None else checked.pieces():
                        crc = zlib.crc32(piece, crc)
                        write_all(descriptor, piece)
                finally:
                    os.close(descriptor)
            self._failpoints.hit("queue.payload.written")
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._failpoints.hit("queue.payload.synced")
            fsync_directory(self._folder)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Placed("file", crc, report.size, report.sha256, name=name, staged=report.staged)

    @staticmethod
    def _linked(source: str, target: Path) -> bool:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                return False
            raise
        return True

    def sync(self) -> None:
        """Make every payload durable that was placed so far.

        Raises:
            OSError: some may be lost; the commit must not follow.
        """
        self.segments.sync()

    def committed(self, placed: Placed) -> None:
        """The row is durable: what the payload was staged in goes."""
        if placed.segment is not None:
            self.segments.keep(placed.segment)
        if placed.staged is not None:
            _remove(Path(placed.staged))

    def discard(self, placed: Placed) -> None:
        """The row did not come about: the payload goes, and what it was staged in stays."""
        if placed.segment is not None:
            self.segments.drop(placed.segment)
        elif placed.name is not None:
            _remove(self._folder / placed.name)

    def free(self, tier: str, segment: int | None, name: str | None) -> None:
        """Nobody needs the payload any more, and the commit that says so is durable."""
        if tier == "segment" and segment is not None:
            self.segments.release(segment)
        elif tier == "file" and name is not None:
            _remove(self._folder / name)

    def pieces(
        self, tier: str, segment: int | None, offset: int | None, name: str | None, size: int, piece: int
    ) -> Iterator[bytes]:
        """The bytes of a payload outside the database, `piece` at a time, unverified.

        Raises:
            OSError: they cannot be read; EIO where the payload is cut short.
        """
        if tier == "segment" and segment is not None and offset is not None:
            done = 0
            while done < size:
                data = self.segments.read(segment, offset + done, min(piece, size - done))
                if not data:
                    raise OSError(errno.EIO, "the payload is cut short")
                done += len(data)
                yield data
        elif tier == "file" and name is not None:
            with (self._folder / name).open("rb", buffering=0) as file:
                done = 0
                while done < size:
                    data = file.read(min(piece, size - done))
                    if not data:
                        raise OSError(errno.EIO, "the payload is cut short", name)
                    done += len(data)
                    yield data
        else:
            raise OSError(errno.ENOENT, "the payload is gone")


def _remove(path: Path) -> None:
    """Remove a file that nobody needs; one that cannot be removed is swept at the next start."""
    try:
        path.unlink()
    except OSError:
        pass


class _Checked:
    """Reads a staged file once, for its bytes, their checksum and the proof that they are what was announced."""

    def __init__(self, report: NewReport) -> None:
        self._report = report
        self.crc = 0

    def pieces(self) -> Iterator[bytes]:
        report = self._report
        digest = hashlib.sha256()
        done = 0
        with open(report.staged or "", "rb", buffering=0) as file:
            while done <= report.size:
                data = file.read(_PIECE)
                if not data:
                    break
                done += len(data)
                digest.update(data)
                self.crc = zlib.crc32(data, self.crc)
                yield data
        if done != report.size or digest.hexdigest() != report.sha256:
            raise ValueError(
                f"the staged file of report {report.uid} is not the one that was announced: {report.staged}"
            )
