"""Hints that something changed in a root: they wake the scanner and say where to look, and nothing more depends on them.

Built on the inotify reader of watchdog (`InotifyFD`): one instance and one thread a root, one watch a folder. Its `Observer` is
not used: it passes every event through two unbounded queues and a thread for each watch, tells nobody of an overflow, and
reports itself alive when its root is gone (`docs/decisions/intake-watching.md`). What is wrong with a watch is noticed here:
overflow and a lost root ask for a full scan, a canary proves that events still come through.
"""

from __future__ import annotations

import enum
import errno
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from dropmill.intake.names import HOME

__all__ = ["Batch", "Hint", "Hints", "Watch", "WatchesExhausted"]

_log = structlog.get_logger(__name__)


class Hint(enum.IntEnum):
    """What an event said of a path; the higher outweighs the lower."""

    CREATED = 1
    CLOSED = 2
    """A writer closed it."""
    RENAMED_IN = 3
    FOLDER = 4
    """A folder appeared: look into it."""


class WatchesExhausted(Exception):
    """The kernel grants no more watches (or inotify instances) to this user."""


@dataclass(frozen=True)
class Batch:
    """The hints since the last look."""

    paths: dict[str, Hint]
    scan: bool
    """Too many came to keep, or events were lost: look at everything."""
    lost: str
    """Why the watch must be made anew; empty: it need not."""


class Hints:
    """Collects hints from the watching thread for the scanner; bounded: beyond `limit` paths it asks for a full scan."""

    def __init__(self, wake: Callable[[], None], *, limit: int = 10_000) -> None:
        """`wake` is called from the watching thread with the first hint after each `take`; it must not block."""
        self._wake = wake
        self._limit = limit
        self._lock = threading.Lock()
        self._paths: dict[str, Hint] = {}
        self._scan = False
        self._lost = ""

    def put(self, path: str, hint: Hint) -> None:
        with self._lock:
            first = not self._paths and not self._scan and not self._lost
            if len(self._paths) >= self._limit and path not in self._paths:
                self._scan = True
                self._paths.clear()
            elif not self._scan:
                self._paths[path] = max(hint, self._paths.get(path, hint))
        if first:
            self._wake()

    def ask_scan(self) -> None:
        """Events were lost."""
        with self._lock:
            self._scan = True
            self._paths.clear()
        self._wake()

    def lose(self, why: str) -> None:
        """The watch is of no use any more."""
        with self._lock:
            self._lost = self._lost or why
        self._wake()

    def take(self) -> Batch:
        with self._lock:
            batch = Batch(self._paths, self._scan or bool(self._lost), self._lost)
            self._paths, self._scan, self._lost = {}, False, ""
        return batch


_FILES = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
    | InotifyConstants.IN_EXCL_UNLINK
)
_SELF_GONE = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_UNMOUNT
_REMOVED = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM
_CANARY = Mask(InotifyConstants.IN_OPEN | _REMOVED | InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DONT_FOLLOW)


class _Reader(InotifyFD):
    """The reading thread: contains whatever a callback raises, and says when it dies or events are lost."""

    def __init__(self, hints: Hints) -> None:
        super().__init__()
        self._hints = hints
        self.ended = False
        """Set before the watches go, so that their going is no news."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - noticed by whoever takes the hints
            _log.exception("watching failed", error=str(error))
            self._hints.lose(f"the watching thread failed: {error}")

    def handle_event(self, event: InotifyEvent) -> None:
        try:
            if event.is_queue_overflow:
                self._hints.ask_scan()
            super().handle_event(event)
        except Exception as error:  # noqa: BLE001 - no event may end watching
            _log.exception("an event could not be handled", error=str(error))
            self._hints.ask_scan()


class _Folder:
    """Receives the events of one watched folder."""

    def __init__(self, hints: Hints, reader: _Reader, path: str) -> None:
        self._hints = hints
        self._reader = reader
        self._path = path
        self._prefix = f"{path}/" if path else ""
        self.stale = False
        """The path leads to another folder now, or to none."""

    def on_event(self, event: InotifyEvent) -> None:
        mask = event.mask
        if not event.name:
            if mask & _SELF_GONE:
                self._gone("the folder was moved, deleted or unmounted")
            return
        path = self._prefix + os.fsdecode(event.name)
        if mask & InotifyConstants.IN_ISDIR:
            self._hints.put(path, Hint.FOLDER)
        elif mask & InotifyConstants.IN_MOVED_TO:
            self._hints.put(path, Hint.RENAMED_IN)
        elif mask & InotifyConstants.IN_CLOSE_WRITE:
            self._hints.put(path, Hint.CLOSED)
        else:
            self._hints.put(path, Hint.CREATED)

    def on_watch_deleted(self, _wd: WatchDescriptor) -> None:
        if not self._reader.ended:
            self._gone("the kernel ended the watch: the folder is gone or unmounted")

    def on_queue_overflow(self) -> None:
        """The reader has asked for a full scan already."""

    def _gone(self, why: str) -> None:
        self.stale = True
        if self._path:
            self._hints.ask_scan()
        else:
            self._hints.lose(why)


class _Canary:
    """Hears the folder of ours being opened, and emptied: the root's own removal tells nobody while we hold it open."""

    def __init__(self, hints: Hints, reader: _Reader) -> None:
        self._hints = hints
        self._reader = reader
        self.heard = 0

    def on_event(self, event: InotifyEvent) -> None:
        if event.mask & _REMOVED:
            self._hints.lose(f"something of ours was removed from {HOME}")
        else:
            self.heard += 1

    def on_watch_deleted(self, _wd: WatchDescriptor) -> None:
        if not self._reader.ended:
            self._hints.lose(f"{HOME} was removed")

    def on_queue_overflow(self) -> None:
        """Nothing is lost that counts."""


class Watch:
    """The watches of one root. All methods belong to the root's own thread, except `close`."""

    def __init__(self, root: str, hints: Hints) -> None:
        """Start watching the root itself.

        Raises:
            WatchesExhausted: poll instead.
            OSError: the root cannot be watched.
        """
        self._root = root
        self._hints = hints
        self._folders: dict[str, tuple[_Folder, WatchDescriptor, CallbackId]] = {}
        self._ids = 0
        self._expected = 0
        with _telling_exhaustion():
            self._reader = _Reader(hints)
        self._canary = _Canary(hints, self._reader)
        self._reader.start()
        try:
            self._add("")
            self._ids += 1
            with _telling_exhaustion():
                self._reader.add_callback(
                    os.fsencode(os.path.join(root, HOME)), _CANARY, self._canary, CallbackId(self._ids)
                )
        except BaseException:
            self.close()
            raise

    def add(self, folder: str) -> None:
        """Watch this folder (relative) too; one that has gone again, or may not be read, is left to the scan to tell of.

        Raises:
            WatchesExhausted: it cannot be watched.
        """
        known = self._folders.get(folder)
        if known is not None and not known[0].stale:
            return
        self._drop([folder])
        try:
            self._add(folder)
        except OSError as error:
            _log.debug("a folder cannot be watched", path=folder, error=str(error))

    def keep(self, folders: Collection[str]) -> None:
        """Stop watching all folders but these (and the root)."""
        wanted = set(folders)
        self._drop([path for path in self._folders if path and path not in wanted])

    def _drop(self, folders: Collection[str]) -> None:
        known = [self._folders.pop(folder) for folder in folders if folder in self._folders]
        self._reader.remove_callbacks([(descriptor, number) for _, descriptor, number in known])

    def _add(self, path: str) -> None:
        self._ids += 1
        number = CallbackId(self._ids)
        folder = _Folder(self._hints, self._reader, path)
        with _telling_exhaustion():
            descriptor = self._reader.add_callback(
                os.fsencode(os.path.join(self._root, path) if path else self._root), _FILES, folder, number
            )
        self._folders[path] = (folder, descriptor, number)

    def sing(self) -> None:
        """Open our own folder, which must be heard: `silent` tells."""
        if self.silent:
            return
        before = self._canary.heard
        try:
            os.close(
                os.open(os.path.join(self._root, HOME), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            )
        except OSError:
            return
        self._expected = before + 1

    @property
    def silent(self) -> bool:
        """The last canary has not been heard (yet), or nobody is left to hear it."""
        return self._canary.heard < self._expected or not self._reader.is_alive()

    def close(self) -> None:
        """End the watch; does not wait for its thread."""
        if not self._reader.ended:
            self._reader.ended = True
            self._reader.stop()


@contextmanager
def _telling_exhaustion() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EMFILE, errno.ENFILE):
            raise WatchesExhausted(str(error)) from error
        raise
