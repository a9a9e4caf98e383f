"""Why a file that lies in a folder is not taken (yet), for a person who asks. Looks at the file, changes nothing.

Works with what a running folder knows of it (`Inbox`), and without one: then it tells what the rules say.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import utc_iso
from dropmill.intake import lease
from dropmill.intake.beneath import open_beneath
from dropmill.intake.inbox import Inbox, name_filter
from dropmill.intake.lease import Proof
from dropmill.intake.markers import Markers
from dropmill.intake.status import Sighting
from dropmill.intake.tracker import Why

__all__ = ["beneath", "sight"]


def beneath(root: Path, path: Path) -> str | None:
    """The path relative to the root, both resolved by components (the last one is not followed); None: it lies outside."""
    resolved = os.path.join(os.path.realpath(path.parent), path.name)
    base = os.path.realpath(root)
    if os.path.commonpath([base, resolved]) != base or resolved == base:
        return None
    return os.path.relpath(resolved, base)


def sight(
    settings: FolderSettings, path: Path, inbox: Inbox | None = None, *, now: float | None = None
) -> Sighting | None:
    """What can be said of the file at `path` in this folder; None: it does not lie in it.

    Args:
        inbox: What the running folder knows.
        now: Monotonic time of the clock that the inbox uses.
    """
    relative = beneath(settings.path, path)
    if relative is None:
        return None
    excluded = _excluded(settings, relative)
    if excluded is not None:
        return Sighting(folder=settings.name, state="excluded", reason=excluded)
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError as error:
        return Sighting(folder=settings.name, state="missing", reason=f"it is not there: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link: links are not followed" if stat.S_ISLNK(status.st_mode) else "no regular file"
        return Sighting(folder=settings.name, state="excluded", reason=f"it is {kind}")
    details: dict[str, object] = {"size": status.st_size, "modified": utc_iso(status.st_mtime)}
    known = _known(inbox, relative, time.monotonic() if now is None else now, details)
    reason = known or _rules(settings, relative, status) or "it is taken as soon as it has settled"
    return Sighting(folder=settings.name, state="waiting", reason=reason, details=details)


def _excluded(settings: FolderSettings, relative: str) -> str | None:
    if "/" in relative and not settings.recursive:
        first = relative.partition("/")[0]
        inner = name_filter(settings).why_not(relative)
        return inner or f"it lies in {first}/, and the folder is not recursive"
    return name_filter(settings).why_not(relative)


def _known(inbox: Inbox | None, relative: str, now: float, details: dict[str, object]) -> str | None:
    """What the running folder knows of it."""
    if inbox is None:
        return None
    track = inbox.tracker.get(relative)
    if track is None:
        return "it has not been looked at yet" if inbox.tracker.untracked else None
    stands = now - track.watched.since
    settle = inbox.tracker.settle_time(track, now)
    details |= {"unchangedFor": round(stands, 3), "settle": settle, "seenFor": round(now - track.watched.first, 3)}
    if track.why is Why.SETTLING:
        if stands < settle:
            return f"it is settling: unchanged for {stands:.1f} s of {settle:g} s"
        return "it has settled and waits for its turn"
    text = {
        Why.WRITER: "a program has it open for writing",
        Why.EMPTY: "it is empty, and empty files wait (zero_byte)",
        Why.UNREADABLE: f"it cannot be read: {track.detail}",
        Why.MARKER: "it waits for its marker",
        Why.BLOCKED: f"it cannot be claimed: {track.detail}",
    }
    return text[track.why]


def _rules(settings: FolderSettings, relative: str, status: os.stat_result) -> str | None:
    """What stands against it by the rules alone."""
    if status.st_size == 0 and settings.zero_byte == "wait":
        return "it is empty, and empty files wait (zero_byte)"
    try:
        root = os.open(settings.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return f"the folder cannot be read: {error.strerror}"
    try:
        parent = open_beneath(root, relative.rpartition("/")[0])
    except OSError as error:
        return f"its folder cannot be read: {error.strerror}"
    finally:
        os.close(root)
    try:
        if settings.ready == "marker" and Markers(settings).find(relative, parent) is None:
            return f"it waits for its marker ({', '.join(settings.marker_suffixes)})"
        return _open(relative, parent)
    finally:
        os.close(parent)


def _open(relative: str, parent: int) -> str | None:
    name = relative.rpartition("/")[2]
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    try:
        return "a program has it open for writing" if lease.prove(descriptor) is Proof.WRITER else None
    finally:
        os.close(descriptor)
