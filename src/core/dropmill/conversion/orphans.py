"""Finds processes that workers of a dead agent left behind, by the tag in their environment, and ends them.

Synchronous: run it in a thread. It never touches a process that does not carry the tag of this very scratch folder, nor one of
the running instance, and it holds each by a pidfd while it looks, so that a recycled pid is not mistaken.
"""

from __future__ import annotations

import hashlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from dropmill.conversion.launch import TAG

__all__ = ["end_tagged", "tag_of"]


_QUIET = 2
"""Looks in a row that find nothing: a process that is forking while one looks can be missed."""


def tag_of(scratch: Path, instance: str = "") -> str:
    """The tag of one instance's workers, or, without one, what the tags of all that ever used `scratch` begin with."""
    place = hashlib.sha256(os.fsencode(os.path.realpath(scratch))).hexdigest()[:16]
    return f"{place}.{instance}"


def end_tagged(prefix: str, *, spare: str | None = None, wait: float = 2.0) -> list[int]:
    """Kill all processes whose tag begins with `prefix`, except those whose tag begins with `spare`; wait for their end.

    Answers their pids.
    """
    ended: list[int] = []
    deadline = time.monotonic() + wait
    quiet = 0
    while quiet < _QUIET:
        found = list(_tagged(prefix, spare))
        quiet = 0 if found else quiet + 1
        for pid, descriptor in found:
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                ended.append(pid)
            except ProcessLookupError:
                pass
        for _, descriptor in found:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            os.close(descriptor)
        if found and time.monotonic() >= deadline:
            break
    return ended


def _tagged(prefix: str, spare: str | None) -> Iterator[tuple[int, int]]:
    wanted = os.fsencode(f"{TAG}={prefix}")
    spared = None if spare is None else os.fsencode(f"{TAG}={spare}")
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            descriptor = os.pidfd_open(int(name))
        except OSError:
            continue
        keep = False
        try:
            with open(f"/proc/{name}/environ", "rb") as stream:
                tags = [entry for entry in stream.read().split(b"\0") if entry.startswith(wanted)]
            keep = bool(tags) and not (spared is not None and tags[0].startswith(spared))
        except OSError:
            pass  # it ended meanwhile, or is somebody else's
        finally:
            if not keep:
                os.close(descriptor)
        if keep:
            yield int(name), descriptor
