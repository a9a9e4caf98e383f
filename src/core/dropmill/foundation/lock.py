"""A lock file that says who holds it and is never stale: the kernel lets go of it when its holder dies, however it dies.

Built on flock(2). The file stays where it is when the lock is released (removing it would let two holders in), its content
is only ever read to name a holder, never to decide whether there is one. All functions are synchronous; those that wait
belong in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from dropmill.foundation.clock import Clock, utc_iso
from dropmill.foundation.errors import DropmillError
from dropmill.foundation.files import write_all

__all__ = ["FileLock", "Holder", "LockHeld"]

_TRIES = 3
_PAUSE = 0.02
"""Who looks (`FileLock.holder`) has the lock for an instant: one refusal proves nothing yet."""
_RECORD_LIMIT = 4096


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock, as it wrote itself down."""

    pid: int
    instance: str
    """The holder's name for itself: an agent's instance id, or a command line."""
    since: float
    """Seconds since the epoch."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.instance}), since {utc_iso(self.since)}"


class LockHeld(DropmillError):
    """Another process holds the lock; `holder` is None where it has not written itself down yet."""

    default_code = "DM-F001"

    def __init__(self, path: str, holder: Holder | None) -> None:
        who = "a process that has just started" if holder is None else str(holder)
        super().__init__(
            f"the lock is held by {who}", where=path, todo="stop that process, or wait until it has finished"
        )
        self.holder = holder


class FileLock:
    """An exclusive lock between processes; use `acquire` and `release`, or `with`.

    One object is one holder: a second object on the same path is refused, even in the same process. The descriptor is not
    inherited by programs that this process executes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        instance: str,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = os.fspath(path)
        self._instance = instance
        self._clock = clock
        self._sleep = sleep
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, *, wait: float = 0.0) -> None:
        """Take the lock, trying for `wait` seconds; the folder must exist, the file is made.

        Raises:
            LockHeld: somebody else has it.
            OSError: the file cannot be made or locked (a file system without locks says ENOLCK or EOPNOTSUPP).
        """
        if self._descriptor is not None:
            raise RuntimeError(f"{self.path} is already locked by this object")
        deadline = self._clock.monotonic() + wait
        tries = 0
        while (descriptor := _try(self.path)) is None:
            tries += 1
            if tries >= _TRIES and self._clock.monotonic() >= deadline:
                raise LockHeld(self.path, _read(self.path))
            self._sleep(_PAUSE)
        try:
            holder = Holder(pid=os.getpid(), instance=self._instance, since=self._clock.time())
            os.ftruncate(descriptor, 0)
            write_all(descriptor, json.dumps(asdict(holder)).encode() + b"\n")
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of it; harmless where it is not held."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.ftruncate(descriptor, 0)
        except OSError:
            pass  # the content is only a courtesy
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    @staticmethod
    def holder(path: str | os.PathLike[str]) -> Holder | None:
        """Who holds the lock at this moment; None: nobody (or somebody who has not written itself down yet)."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(os.fspath(path))
        finally:
            os.close(descriptor)
        return None


def _try(path: str) -> int | None:
    """The locked descriptor, or None where somebody else has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the file was removed or replaced between open and lock: lock the one that is there


def _is_at(path: str, descriptor: int) -> bool:
    ours = os.fstat(descriptor)
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _read(path: str) -> Holder | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        record = json.loads(os.read(descriptor, _RECORD_LIMIT))
        return Holder(pid=int(record["pid"]), instance=str(record["instance"]), since=float(record["since"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    finally:
        os.close(descriptor)
