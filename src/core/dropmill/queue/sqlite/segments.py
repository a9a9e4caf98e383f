"""Payloads of middling size, appended one behind the other to files of 64 MB that are made once and used again.

A segment that is full takes no more; once nothing in it is needed, it is written from its start again. Which bytes of it are
in use stands in the rows that point into it and nowhere else, so nothing can disagree after a crash. Bytes are durable only
after `sync`; a place is given back only once the commit that no longer needs it is durable. Never called on the event loop;
any thread may write and read, the writer thread alone commits.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory

__all__ = ["SEGMENT_SIZE", "Segments", "SyncFailed"]

SEGMENT_SIZE = 64 * 1024 * 1024
_SPARE = 2
"""Empty segments that are kept for the next payloads; more are removed."""


class SyncFailed(OSError):
    """What was written may be lost. Never try the same sync again: the kernel forgets what it could not write."""


@dataclass
class _Segment:
    number: int
    descriptor: int
    tail: int = 0
    live: int = 0
    """Payloads that are written or being written here and are still needed."""
    readers: int = 0
    dirty: bool = False
    sound: bool = True
    """False after an I/O error: nothing is ever appended again."""


class Segments:
    """The segment files of one store."""

    def __init__(self, folder: Path, failpoints: Failpoints, *, size: int = SEGMENT_SIZE) -> None:
        self._folder = folder
        self._failpoints = failpoints
        self._size = size
        self._lock = threading.Lock()
        self._segments: dict[int, _Segment] = {}
        self._active: _Segment | None = None

    def open(self, live: Iterable[tuple[int, int, int]]) -> None:
        """Take over what is there: `live` holds (segment, payloads, end of the last one) of the segments in use."""
        self._folder.mkdir(exist_ok=True)
        used = {number: (count, end) for number, count, end in live}
        for entry in sorted(self._folder.iterdir()):
            if entry.name.isdecimal():
                number = int(entry.name)
                descriptor = os.open(entry, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                count, end = used.get(number, (0, 0))
                self._segments[number] = _Segment(number, descriptor, tail=end, live=count)

    def close(self) -> None:
        """Let go of the files. What was not synced is not durable."""
        with self._lock:
            for segment in self._segments.values():
                os.close(segment.descriptor)
            self._segments.clear()
            self._active = None

    def append(self, size: int, pieces: Iterable[bytes]) -> tuple[int, int]:
        """Write a payload of `size` bytes; where it stands, as (segment, offset). Not durable before `sync`.

        Raises:
            OSError: it was not written, and takes no place.
        """
        with self._lock:
            segment = self._room(size)
            offset, segment.tail = segment.tail, segment.tail + size
            segment.live += 1
            segment.dirty = True
        position = offset
        try:
            for piece in pieces:
                view = memoryview(piece)
                if position + len(view) > offset + size:
                    raise OSError(errno.EFBIG, f"a payload of {size} bytes had more")
                while view:
                    written = os.pwrite(segment.descriptor, view, position)
                    position += written
                    view = view[written:]
                self._failpoints.hit("queue.segment.written")
            if position != offset + size:
                raise OSError(errno.EIO, f"a payload of {size} bytes had {position - offset}")
        except BaseException:
            self.release(segment.number)
            raise
        return segment.number, offset

    def _room(self, size: int) -> _Segment:
        candidates = self._segments.values() if self._active is None else (self._active, *self._segments.values())
        for segment in candidates:
            if segment.live == 0 and segment.readers == 0:
                segment.tail = 0
            if segment.sound and segment.tail + size <= self._size:
                self._active = segment
                return segment
        self._active = self._create()
        return self._active

    def _create(self) -> _Segment:
        number = max(self._segments, default=0) + 1
        path = self._folder / str(number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._failpoints.hit("queue.segment.created")
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                os.ftruncate(descriptor, self._size)
            os.fsync(descriptor)
            fsync_directory(self._folder)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        segment = self._segments[number] = _Segment(number, descriptor)
        return segment

    def sync(self) -> None:
        """Make everything durable that was appended so far: every segment that was touched, not just the last.

        Raises:
            SyncFailed: some of it may be lost; the segment takes no more payloads.
        """
        with self._lock:
            dirty = [segment for segment in self._segments.values() if segment.dirty]
            for segment in dirty:
                segment.dirty = False
        for segment in dirty:
            try:
                self._failpoints.hit("queue.segment.sync")
                os.fdatasync(segment.descriptor)
            except OSError as error:
                segment.sound = False
                raise SyncFailed(error.errno, error.strerror, str(segment.number)) from error

    def sync_one(self, number: int) -> None:
        """Like `sync`, for one segment: called by the thread that has appended a large payload, so that the writer need not
        wait for it."""
        segment = self._segments[number]
        try:
            self._failpoints.hit("queue.segment.sync")
            os.fdatasync(segment.descriptor)
        except OSError as error:
            segment.sound = False
            raise SyncFailed(error.errno, error.strerror, str(number)) from error

    def release(self, number: int) -> None:
        """A payload is no longer needed (its last commit is durable), or did not come about."""
        with self._lock:
            segment = self._segments.get(number)
            if segment is not None:
                segment.live -= 1

    def pin(self, number: int) -> None:
        """A reader begins: what it reads stays, even if its delivery ends meanwhile."""
        with self._lock:
            self._segments[number].readers += 1

    def unpin(self, number: int) -> None:
        with self._lock:
            segment = self._segments.get(number)
            if segment is not None:
                segment.readers -= 1

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Bytes of a segment; fewer where it ends early.

        Raises:
            OSError: it cannot be read (ENOENT: the segment is gone).
        """
        segment = self._segments.get(number)
        if segment is None:
            raise OSError(errno.ENOENT, "the segment is gone", str(self._folder / str(number)))
        return os.pread(segment.descriptor, size, offset)

    def usage(self) -> Mapping[int, int]:
        """Payloads in use, by segment that is not being filled."""
        with self._lock:
            return {number: segment.live for number, segment in self._segments.items() if segment is not self._active}

    def trim(self) -> int:
        """Remove empty segments beyond a few that are kept for later; how many went."""
        with self._lock:
            empty = [
                segment
                for segment in self._segments.values()
                if segment.live == 0 and segment.readers == 0 and segment is not self._active
            ]
            surplus = [segment for segment in empty if not segment.sound]
            surplus += [segment for segment in empty if segment.sound][_SPARE:]
            for segment in surplus:
                del self._segments[segment.number]
                os.close(segment.descriptor)
        for segment in surplus:
            (self._folder / str(segment.number)).unlink(missing_ok=True)
        return len(surplus)
