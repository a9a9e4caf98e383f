"""Opens claimed files for conversion, and shortlists who may get them: all that touches the files' disk, many at a time.

Synchronous: the pool runs it in the thread of the files' folder, so that a share that hangs holds up that folder alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dropmill.api import Part
from dropmill.conversion.selection import Selector, Shortlist
from dropmill.conversion.worker.source import HEAD
from dropmill.queue.records import FileIdentity

__all__ = ["Job", "Prepared", "Unreadable", "close_all", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A file to convert."""

    id: str
    place: str
    """Where it lies."""
    name: str
    """As it was dropped, relative to its folder's root."""
    size: int
    sha256: str
    folder: str
    occurrence: int = 0
    selector: Selector
    forced: str | None = None
    """The only converter that may have it."""
    identity: FileIdentity | None = None
    """What it was when it was claimed; None: not checked."""
    parts: Sequence[tuple[Part, str]] = ()
    """The unit's files and where each lies; empty: it is a single file."""


@dataclass(frozen=True)
class Prepared:
    """A file that is open, and its candidates. Whoever converts it closes it."""

    job: Job
    descriptors: Sequence[int]
    modified: float
    shortlist: Shortlist


@dataclass(frozen=True)
class Unreadable:
    """A file that could not be opened."""

    job: Job
    code: str
    """`DM-V030` it is gone, `DM-V031` it cannot be read now, `DM-V033` it is not what was claimed."""
    message: str
    lasting: bool
    """Whether another try cannot help."""


def prepare(jobs: Iterable[Job]) -> list[Prepared | Unreadable]:
    """One answer for each job, in order."""
    return [_prepare(job) for job in jobs]


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors; what cannot be closed is not ours any more."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _prepare(job: Job) -> Prepared | Unreadable:
    opened: list[int] = []
    try:
        opened.extend(_open(path) for path in [place for _, place in job.parts] or [job.place])
        found = os.fstat(opened[0])
        if refusal := _unlike(job, found):
            close_all(opened)
            return refusal
        if job.forced is not None:
            shortlist = job.selector.forced(job.forced)
        else:
            shortlist = job.selector.shortlist(job.name, job.size, lambda: os.pread(opened[0], HEAD, 0))
    except OSError as error:
        close_all(opened)
        return _unreadable(job, error)
    except BaseException:
        close_all(opened)
        raise
    return Prepared(job, tuple(opened), found.st_mtime, shortlist)


def _open(path: str) -> int:
    # Non-blocking, since opening a pipe that somebody put there would wait for a writer.
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _unlike(job: Job, found: os.stat_result) -> Unreadable | None:
    if not stat.S_ISREG(found.st_mode):
        return Unreadable(job, "DM-V033", f"{job.place} is no regular file any more", True)
    known = job.identity
    if known is None or (found.st_size, found.st_mtime_ns) == (known.size, known.mtime_ns):
        return None
    return Unreadable(
        job,
        "DM-V033",
        f"the file was changed after it was claimed (it had {known.size} bytes, now {found.st_size}); drop it again",
        True,
    )


def _unreadable(job: Job, error: OSError) -> Unreadable:
    text = f"{error.strerror} ({job.place})"
    if error.errno == errno.ENOENT and os.path.isdir(os.path.dirname(job.place)):
        return Unreadable(job, "DM-V030", f"the claimed file is gone: {text}", True)
    if error.errno == errno.ELOOP:
        return Unreadable(job, "DM-V033", f"{job.place} is a link now, which is not followed", True)
    return Unreadable(job, "DM-V031", f"the file cannot be read now: {text}", False)
