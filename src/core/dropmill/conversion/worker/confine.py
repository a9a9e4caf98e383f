"""Tie this process down, before any plugin's code runs in it: it dies with the agent, has limits, and reaches little.

What a kernel does not offer is left out and said in the answer; a worker without it still works. This contains faults, not
malice.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

from dropmill.conversion.worker import landlock, seccomp

__all__ = ["confine", "die_with_parent"]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_DESCRIPTORS = 512


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; exit at once if that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def confine(folder: Path, *, memory: int, file_size: int) -> dict[str, int | bool | str]:
    """Set the limits and give up the rights.

    Args:
        folder: The only place that may be written to.
        memory: Bytes of address space above what is mapped now.
        file_size: Bytes that a file written here may have.

    Answers what is in force: `landlock` (ABI, 0 for none), `seccomp`, and `refused` with the reason where the kernel said no.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)
    _limit(resource.RLIMIT_FSIZE, file_size)
    if mapped := _mapped():
        _limit(resource.RLIMIT_AS, mapped + memory)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # a grandchild that loses its parent becomes ours, and is seen
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    facts: dict[str, int | bool | str] = {"landlock": 0, "seccomp": False}
    refused = []
    try:
        facts["landlock"] = landlock.restrict(libc, folder)
    except OSError as error:
        refused.append(str(error))
    try:
        facts["seccomp"] = seccomp.restrict(libc)
    except OSError as error:
        refused.append(str(error))
    if refused:
        facts["refused"] = "; ".join(refused)
    return facts


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _mapped() -> int:
    """Bytes of address space in use."""
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
