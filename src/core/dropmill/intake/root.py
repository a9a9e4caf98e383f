"""One folder's root on disk, held open: everything inside is reached through its descriptor, so a path that leads elsewhere
meanwhile (remounted, replaced, a link) is noticed and never followed.

The root itself is never made: one that is missing is offline. `.dropmill/` inside it is ours: `work/` for claimed files and
`lock`, an flock(2) that keeps a second agent out and that dies with its holder.
"""

from __future__ import annotations

import errno
import os

import structlog

from dropmill.foundation.clock import Clock
from dropmill.foundation.lock import FileLock, LockHeld
from dropmill.intake.errors import FolderOffline
from dropmill.intake.mounts import Mount, mount_of, mount_table
from dropmill.intake.names import HOME

__all__ = ["WORK", "Root"]

_log = structlog.get_logger(__name__)

WORK = f"{HOME}/work"

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Root:
    """Find it, occupy it, use its descriptors, check it, detach it; all in the root's own thread."""

    def __init__(self, path: str, *, instance: str, clock: Clock) -> None:
        self.path = path
        self.descriptor = -1
        self.work = -1
        self.device = 0
        self.inode = 0
        self.mount: Mount | None = None
        self._lock = FileLock(os.path.join(path, HOME, "lock"), instance=instance, clock=clock)

    @property
    def attached(self) -> bool:
        return self.work >= 0

    @property
    def work_path(self) -> str:
        return os.path.join(self.path, WORK)

    @property
    def remote(self) -> bool:
        """Whether changes can come from other machines, unseen by this kernel."""
        return self.mount is not None and self.mount.remote

    def attach(self) -> None:
        """`find` it and `occupy` it.

        Raises:
            FolderOffline: it cannot be used now; it is as detached as before.
        """
        self.find()
        self.occupy()

    def find(self) -> None:
        """Open the root and see which one it is; nothing is changed in it.

        Raises:
            FolderOffline: it cannot be used now; it is as detached as before.
        """
        try:
            self.descriptor = os.open(self.path, _FOLDER)
            status = os.fstat(self.descriptor)
            self.device, self.inode = status.st_dev, status.st_ino
            self.mount = mount_of(os.path.realpath(self.path), mount_table())
        except OSError as error:
            self.detach()
            raise _offline(self.path, error) from error

    def occupy(self) -> None:
        """Make what is ours in the root, and take its lock.

        Raises:
            FolderOffline: it cannot be used now; it is detached.
        """
        try:
            self._make()
            self._lock_it()
        except OSError as error:
            self.detach()
            raise _offline(self.path, error) from error
        except LockHeld as error:
            self.detach()
            raise FolderOffline(
                f"another agent works in this folder: {error.problem.what}",
                where=self.path,
                todo="let one agent watch it; stop the other one, or give it a folder of its own",
                code="DM-I005",
            ) from error

    def _make(self) -> None:
        made = False
        for folder in (HOME, WORK):
            try:
                os.mkdir(folder, 0o755, dir_fd=self.descriptor)
                made = True
            except FileExistsError:
                pass
        home = os.open(HOME, _FOLDER | os.O_NOFOLLOW, dir_fd=self.descriptor)
        try:
            self.work = os.open("work", _FOLDER | os.O_NOFOLLOW, dir_fd=home)
            if made:
                os.fsync(home)
                os.fsync(self.descriptor)
        finally:
            os.close(home)

    def _lock_it(self) -> None:
        try:
            self._lock.acquire()
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _log.warning("the file system has no locks: nothing keeps a second agent out", folder=self.path)

    def check(self) -> None:
        """See that the path still leads to what was attached.

        Raises:
            FolderOffline: it does not; attach anew.
        """
        try:
            outer = os.stat(self.path)
            inner = os.stat(WORK, dir_fd=self.descriptor, follow_symlinks=False)
            work = os.fstat(self.work)
        except OSError as error:
            raise _offline(self.path, error) from error
        if (outer.st_dev, outer.st_ino) != (self.device, self.inode):
            raise FolderOffline("the path leads to another folder than before", where=self.path, todo=_TODO)
        if (inner.st_dev, inner.st_ino) != (work.st_dev, work.st_ino):
            raise FolderOffline(f"{WORK} was replaced", where=self.path, todo=_TODO)

    def detach(self) -> None:
        """Let go of it; harmless where it is not attached."""
        for descriptor in (self.descriptor, self.work):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self.work = -1
        self._lock.release()


_TODO = "nothing: it is looked at anew, and taken up again where it is in order"


def _offline(path: str, error: OSError) -> FolderOffline:
    todo = {
        errno.ENOENT: "make the folder, or mount what belongs there",
        errno.ENOTDIR: "point the folder's path at a directory",
        errno.EACCES: "give the agent's user the right to read, write and enter the folder",
        errno.EPERM: "give the agent's user the right to read, write and enter the folder",
        errno.EROFS: "mount it for writing: claimed files are moved inside it",
        errno.ENOSPC: "free space on its file system",
        errno.EMFILE: "raise the limit on open files (ulimit -n)",
    }.get(error.errno or 0, "see that its file system is mounted and answers")
    return FolderOffline(f"the folder cannot be used: {error.strerror}", where=path, todo=todo)
