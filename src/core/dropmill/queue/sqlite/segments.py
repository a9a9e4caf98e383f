"""Payloads of middling size, appended one behind the other to files of 64 MB that are made once and used again.

A segment that is full takes no more; once nothing in it is needed, it is written from its start again. Which bytes of it are
in use stands in the rows that point into it and nowhere else, so nothing can disagree after a crash. Bytes are durable only
after `sync`; a place is given back only once the commit that no longer needs it is durable. Never called on the event loop;
any thread may write and read, the writer thread alone commits. A file that was opened stays open until `close`, so that no
thread ever meets a descriptor that has become another file's.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Sequence
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
    """Payloads here that committed rows point to."""
    reserved: int = 0
    """Payloads here whose rows are not committed yet."""
    readers: int = 0
    dirty: bool = False
    written: bool = False
    """Every block of it was written before: syncing what is written over them changes no metadata, and costs half."""
    sound: bool = True
    """No sync of it has failed; else nothing is ever appended again."""
    sealed: bool = False
    """It is being emptied: nothing is appended until it is."""

    @property
    def idle(self) -> bool:
        return not (self.live or self.reserved or self.readers)


class Segments:
    """The segment files of one store. `append`, `sync`, then `keep` or `drop`; at last `release`."""

    def __init__(self, folder: Path, failpoints: Failpoints, *, size: int = SEGMENT_SIZE) -> None:
        self._folder = folder
        self._failpoints = failpoints
        self._size = size
        self._lock = threading.Lock()
        self._segments: dict[int, _Segment] = {}
        self._active: _Segment | None = None
        self._highest = 0

    def open(self, live: Iterable[tuple[int, int, int]]) -> None:
        """Take over what is there: `live` holds (segment, payloads, end of the last one) of the segments in use.

        Called again when the database was opened anew: what committed rows point to is counted anew.
        """
        self._folder.mkdir(exist_ok=True)
        used = {number: (count, end) for number, count, end in live}
        with self._lock:
            # A number that rows still point to is not given to a new file, even where its file is gone.
            self._highest = max(self._highest, max(used, default=0))
            for entry in sorted(self._folder.iterdir()):
                number = int(entry.name) if entry.name.isdecimal() else 0
                if number and number not in self._segments:
                    descriptor = os.open(entry, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                    self._segments[number] = _Segment(number, descriptor, written=self._is_written(descriptor))
                    self._highest = max(self._highest, number)
            for number, segment in self._segments.items():
                count, end = used.get(number, (0, 0))
                segment.live = count
                segment.tail = max(segment.tail, end)

    def close(self) -> None:
        """Let go of the files; nobody reads or writes any more. What was not synced is not durable."""
        with self._lock:
            for segment in self._segments.values():
                os.close(segment.descriptor)
            self._segments.clear()
            self._active = None

    # --- writing ---------------------------------------------------------------------------------------------------------

    def append(self, size: int, pieces: Iterable[bytes]) -> tuple[int, int]:
        """Write a payload of `size` bytes; where it stands, as (segment, offset). Not durable before `sync`.

        Raises:
            OSError: it was not written, and takes no place.
        """
        with self._lock:
            segment = self._room(size)
            offset, segment.tail = segment.tail, segment.tail + size
            segment.reserved += 1
            segment.dirty = True
        position, end = offset, offset + size
        try:
            for piece in pieces:
                view = memoryview(piece)
                if position + len(view) > end:
                    raise OSError(errno.EFBIG, f"a payload of {size} bytes had more")
                while view:
                    written = os.pwrite(segment.descriptor, view, position)
                    position += written
                    view = view[written:]
                self._failpoints.hit("queue.segment.written")
            if position != end:
                raise OSError(errno.EIO, f"a payload of {size} bytes had {position - offset}")
        except BaseException:
            self.drop(segment.number)
            raise
        return segment.number, offset

    def _room(self, size: int) -> _Segment:
        candidates = sorted(self._segments.values(), key=lambda segment: not segment.written)
        active = self._active
        if active is not None and (active.written or not (candidates[0].written and candidates[0].idle)):
            candidates.insert(0, active)
        for segment in candidates:
            if segment.idle:
                segment.tail, segment.sealed = 0, False
            if segment.sound and not segment.sealed and segment.tail + size <= self._size:
                self._active = segment
                return segment
        self._active = self._create()
        return self._active

    def _create(self) -> _Segment:
        """A new segment that has its room on disk. Called with the lock held."""
        number = self._highest + 1
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
        self._highest = number
        segment = self._segments[number] = _Segment(number, descriptor)
        return segment

    def _is_written(self, descriptor: int) -> bool:
        try:
            return os.lseek(descriptor, 0, os.SEEK_HOLE) >= self._size
        except OSError:
            return False

    def provide(self) -> bool:
        """Have an empty segment ready whose blocks were all written before, where segments are in use; whether one was made.

        Writes 64 MB: for a thread that nobody waits for, when there is room.

        Raises:
            OSError: it could not be written.
        """
        with self._lock:
            if self._active is None or any(
                segment.written and segment.sound and segment.idle
                for segment in self._segments.values()
                if segment is not self._active
            ):
                return False
            idle = [one for one in self._segments.values() if one.idle and one.sound and one is not self._active]
            segment = idle[0] if idle else self._create()
            segment.reserved += 1  # nobody else's meanwhile
        try:
            zeros = bytes(1 << 20)
            for offset in range(0, self._size, len(zeros)):
                os.pwrite(segment.descriptor, zeros[: self._size - offset], offset)
            self._sync(segment)
            segment.written = True
        finally:
            self.drop(segment.number)
        return True

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
            self._sync(segment)

    def sync_one(self, number: int) -> None:
        """Like `sync`, for one segment: called by the thread that has appended a large payload, so that the writer need not
        wait for it."""
        self._sync(self._segments[number])

    def _sync(self, segment: _Segment) -> None:
        try:
            self._failpoints.hit("queue.segment.sync")
            os.fdatasync(segment.descriptor)
        except OSError as error:
            segment.sound = False
            raise SyncFailed(error.errno, error.strerror, str(self._folder / str(segment.number))) from error

    # --- keeping ---------------------------------------------------------------------------------------------------------

    def keep(self, number: int) -> None:
        """The row of an appended payload is durable."""
        with self._lock:
            segment = self._segments[number]
            segment.reserved -= 1
            segment.live += 1

    def drop(self, number: int) -> None:
        """The row of an appended payload did not come about."""
        with self._lock:
            self._segments[number].reserved -= 1

    def release(self, number: int) -> None:
        """A payload is no longer needed, and the commit that says so is durable."""
        with self._lock:
            segment = self._segments.get(number)
            if segment is not None and segment.live > 0:
                segment.live -= 1

    def pin(self, number: int) -> None:
        """A reader begins: what it reads stays, even if its delivery ends meanwhile."""
        with self._lock:
            if number in self._segments:
                self._segments[number].readers += 1

    def unpin(self, number: int) -> None:
        """A reader has ended."""
        with self._lock:
            if number in self._segments:
                self._segments[number].readers -= 1

    # --- reading ---------------------------------------------------------------------------------------------------------

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Bytes of a segment; fewer where it ends early.

        Raises:
            OSError: it cannot be read (ENOENT: the segment is gone).
        """
        segment = self._segments.get(number)
        if segment is None:
            raise OSError(errno.ENOENT, "the segment is gone", str(self._folder / str(number)))
        return os.pread(segment.descriptor, size, offset)

    # --- upkeep ----------------------------------------------------------------------------------------------------------

    def sparse(self, most: int) -> Sequence[int]:
        """Segments in which at most `most` payloads keep the rest from being used again, and which nobody uses right now."""
        with self._lock:
            return [
                segment.number
                for segment in self._segments.values()
                if 0 < segment.live <= most
                and segment.tail > self._size // 2
                and not (segment.reserved or segment.readers or segment is self._active)
            ]

    def seal(self, number: int) -> None:
        """Append nothing to it until it is empty."""
        with self._lock:
            self._segments[number].sealed = True

    def trim(self) -> int:
        """Remove empty segments that are not sound, or beyond the few that are kept for later; how many went."""
        with self._lock:
            empty = [segment for segment in self._segments.values() if segment.idle and segment is not self._active]
            kept = sorted((one for one in empty if one.sound), key=lambda one: not one.written)[:_SPARE]
            surplus = [segment for segment in empty if segment not in kept]
            for segment in surplus:
                del self._segments[segment.number]
                os.close(segment.descriptor)
        for segment in surplus:
            (self._folder / str(segment.number)).unlink(missing_ok=True)
        return len(surplus)
