"""The folder that receives reports: names are resolved, parts staged, synced and published, folders synced.

Synchronous; used in threads. Invariants: nothing outside the root is touched; no file is ever replaced or changed; an outcome
`Delivered` or `Duplicate` means that content and name are on disk. A report whose bytes lie there already under its name was
delivered before: that makes a repeated delivery leave one file.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dropmill.api import Delivered, Duplicate, Outcome, Rejected, Retry, Unavailable
from dropmill_plugins.transports.directory.parts import PREFIX, SUFFIX, Part, sync_folder

__all__ = ["Depot", "Parcel", "outcome_of"]

_STALE = 3600.0
_MAX_SCANNED = 100_000
_MAX_SWEPT = 10_000
_READ = 1_048_576
_RACES = 3

_DESTINATION = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTCONN,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
    errno.ETIMEDOUT,
}
"""What says that no report can be written now."""
_ITEM = {errno.EFBIG, errno.ENAMETOOLONG, errno.EILSEQ}
"""What says that this one never can."""


@dataclass(kw_only=True)
class Parcel:
    """One report to put down."""

    folder: PurePosixPath
    """Below the root."""
    names: Sequence[str]
    """File names that it may have, in order of preference."""
    size: int
    sha256: str
    body: bytes | None = None
    """The content; None: it is in `part` already."""
    part: Part | None = None


class Depot:
    """One folder. `prepare` first; all methods block."""

    def __init__(self, root: Path, *, create: bool, mode: int | None) -> None:
        self._root = root
        self._create = create
        self._mode = mode
        self._swept: set[Path] = set()

    def prepare(self) -> None:
        """Find or make the root.

        Raises:
            Unavailable: it is not there, or not a folder.
        """
        try:
            if self._create:
                _make_all(self._root)
            self._check_root()
            self._sweep(self._root)
        except OSError as error:
            raise Unavailable(_told(error)) from error

    def probe(self) -> None:
        """Whether a file could be made, without making one that anybody sees.

        Raises:
            Unavailable: it could not.
        """
        try:
            self._check_root()
            if not self._try_unnamed():
                if not os.access(self._root, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(self._root))
                room = os.statvfs(self._root)
                if room.f_flag & os.ST_RDONLY:
                    raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(self._root))
                if room.f_bavail == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self._root))
        except OSError as error:
            raise Unavailable(_told(error)) from error

    def begin(self, folder: PurePosixPath) -> Part:
        """A part for a report that comes in pieces.

        Raises:
            OSError: see `outcome_of`.
        """
        self._check_root()
        return Part(self._make(folder), self._mode)

    def put(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """Put all down: one outcome for each. Every step is done for all before the next, so that the disk works on many at once.

        Raises:
            Unavailable: nothing can be written now, and none was put down.
        """
        jobs = [_Job(parcel) for parcel in parcels]
        try:
            self._check_root()
            _each(jobs, self._stage, stop=True)
            _each(jobs, self._sync)
            _each(jobs, self._publish)
            self._sync_folders(jobs)
        except OSError as error:
            raise Unavailable(_told(error)) from error
        finally:
            for parcel in parcels:
                if parcel.part is not None:
                    parcel.part.discard()
        return _answers(jobs)

    # --- the steps -------------------------------------------------------------------------------------------------------

    def _stage(self, job: _Job) -> None:
        parcel = job.parcel
        job.folder = self._make(parcel.folder)
        if self._found(job) or parcel.part is not None:
            return
        assert parcel.body is not None
        parcel.part = Part(job.folder, self._mode)
        parcel.part.write(parcel.body)
        parcel.part.flush()

    def _sync(self, job: _Job) -> None:
        if job.place is None:
            assert job.parcel.part is not None
            job.parcel.part.sync()

    def _publish(self, job: _Job) -> None:
        part = job.parcel.part
        if job.place is not None:
            return
        assert part is not None
        for _ in range(_RACES):
            target = self._free(job)
            if target is None:
                return
            try:
                part.publish(target)
            except FileExistsError:
                continue  # somebody was faster: look again
            job.place = target
            return
        job.end = Retry("other writers take every name first", code="DIR-BUSY")

    def _sync_folders(self, jobs: Sequence[_Job]) -> None:
        for folder in {job.folder for job in jobs if job.place is not None}:
            failed: Outcome | Unavailable | None = None
            try:
                sync_folder(folder)
            except OSError as error:
                failed = outcome_of(error)
            for job in jobs:
                if job.folder == folder and job.place is not None:
                    job.end = failed or job.receipt()

    # --- looking ---------------------------------------------------------------------------------------------------------

    def _found(self, job: _Job) -> bool:
        """Whether the report needs no writing: it is there (then made sure to be on disk), or no name is left for it."""
        return self._free(job) is None

    def _free(self, job: _Job) -> Path | None:
        """The first free name; None: the job has its place or its outcome."""
        free = None
        for name in job.parcel.names:
            path = job.folder / name
            try:
                info = path.lstat()
            except FileNotFoundError:
                free = free or path
                continue
            if stat.S_ISREG(info.st_mode) and info.st_size == job.parcel.size and _same(path, job.parcel.sha256):
                job.place, job.known = path, True
                return None
        if free is None:
            job.end = Rejected(
                "DIR-NAME-TAKEN",
                f"{_shown(job.folder / job.parcel.names[0])} exists with other content, and nothing is ever replaced",
            )
        return free

    def _check_root(self) -> None:
        if not stat.S_ISDIR(self._root.stat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(self._root))

    def _make(self, folder: PurePosixPath) -> Path:
        """The subfolder, made as far as it is missing. Links are not followed: they could lead out of the root."""
        path = self._root
        for piece in folder.parts:
            parent, path = path, path / piece
            try:
                path.mkdir()
            except FileExistsError:
                if not stat.S_ISDIR(path.lstat().st_mode):
                    raise FileExistsError(
                        errno.EEXIST, "something that is not a folder is in the way", os.fspath(path)
                    ) from None
            else:
                sync_folder(parent)
        if path not in self._swept:
            self._sweep(path)
        return path

    def _sweep(self, folder: Path) -> None:
        """Remove parts that a crash left behind, once for each folder."""
        if len(self._swept) >= _MAX_SWEPT:
            self._swept.clear()
        self._swept.add(folder)
        now = time.time()
        with os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _MAX_SCANNED):
                if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                    try:
                        if now - entry.stat(follow_symlinks=False).st_mtime > _STALE:
                            os.unlink(entry.path)
                    except OSError:
                        continue  # somebody else's, or gone

    def _try_unnamed(self) -> bool:
        """Write to a file without a name. False: the file system has no such thing."""
        if not hasattr(os, "O_TMPFILE"):
            return False
        try:
            descriptor = os.open(self._root, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                return False
            raise
        try:
            os.write(descriptor, b"?")
        finally:
            os.close(descriptor)
        return True


def _make_all(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing, each durable."""
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


class _Job:
    """A parcel on its way down."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self.folder = Path()
        self.place: Path | None = None
        self.known = False
        """It lay there already."""
        self.end: Outcome | Unavailable | None = None

    def receipt(self) -> Outcome:
        assert self.place is not None
        shown = _shown(self.place)
        return Duplicate(shown) if self.known else Delivered(shown)


def _each(jobs: Sequence[_Job], step: Callable[[_Job], None], *, stop: bool = False) -> None:
    """Do a step for all that have not ended; with `stop`, what keeps one from being written keeps those behind it from trying."""
    trouble: Unavailable | None = None
    for job in jobs:
        if job.end is not None:
            continue
        if trouble is not None:
            job.end = trouble
            continue
        try:
            step(job)
        except OSError as error:
            job.place = None
            job.end = outcome_of(error)
            if stop and isinstance(job.end, Unavailable):
                trouble = job.end


def _answers(jobs: Sequence[_Job]) -> list[Outcome]:
    """The outcomes. A disk may be full after some: then those count, and the others are no more to blame than if none had fitted.

    Raises:
        Unavailable: that ended all of them.
    """
    ends = [job.end for job in jobs]
    troubles = [end for end in ends if isinstance(end, Unavailable)]
    if troubles and len(troubles) == len(ends):
        raise troubles[0]
    outcomes: list[Outcome] = []
    for end in ends:
        assert end is not None
        if isinstance(end, Unavailable):
            outcomes.append(Retry(end.reason, code="DIR-UNAVAILABLE", charged=False))
        else:
            outcomes.append(end)
    return outcomes


def outcome_of(error: OSError) -> Outcome | Unavailable:
    """What an error means: for one report, or (Unavailable) for every one."""
    if error.errno in _DESTINATION:
        return Unavailable(_told(error))
    name = errno.errorcode.get(error.errno or 0, "EIO")
    if error.errno == errno.EEXIST:
        return Rejected("DIR-FOLDER-TAKEN", _told(error))
    if error.errno in _ITEM:
        return Rejected(f"DIR-{name}", _told(error))
    return Retry(_told(error), code=f"DIR-{name}")


def _same(path: Path, sha256: str) -> bool:
    """Whether a file has this content; if so it is on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        digest = hashlib.sha256()
        while piece := os.read(descriptor, _READ):
            digest.update(piece)
        if digest.hexdigest() != sha256:
            return False
        os.fsync(descriptor)
        return True
    finally:
        os.close(descriptor)


def _told(error: OSError) -> str:
    where = f": {_shown(error.filename)}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _shown(path: str | bytes | Path) -> str:
    """A path as printable text, undecodable bytes escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
