"""Landlock (Linux 5.13 and later): this process and its children write only below one folder, for good.

System calls by number, since libc has no wrappers; the numbers are the same on every architecture. See landlock(7).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["restrict", "version"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_WRITE_FILE: Final = 1 << 1
_TRUNCATE: Final = 1 << 14
_FIRST_ABI = _WRITE_FILE | sum(
    1 << bit for bit in range(4, 13)
)  # remove, make: directories, files, sockets, devices, links
_REFER = 1 << 13
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version(libc: ctypes.CDLL) -> int:
    """The kernel's Landlock ABI; 0: it has none, or it is switched off."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)))


def restrict(libc: ctypes.CDLL, folder: Path, files: Iterable[str] = ("/dev/null",)) -> int:
    """From here on nothing outside `folder` (and `files`) can be written, made, moved or removed; as far as the kernel knows
    how, no TCP port bound or connected to, and no process outside signalled.

    Needs no privilege once no_new_privs is set. Answers the ABI in force, 0 where there is none and nothing changed.

    Raises:
        OSError: the kernel has Landlock and refused.
    """
    abi = version(libc)
    if not abi:
        return 0
    rules = _Ruleset()
    rules.fs = _FIRST_ABI | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    rules.net = _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0
    rules.scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if abi >= 6 else 0
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), size, 0))
    try:
        _allow(libc, ruleset, os.fspath(folder), rules.fs)
        for path in files:
            _allow(libc, ruleset, path, rules.fs & (_WRITE_FILE | _TRUNCATE))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return abi


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(access, parent)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(parent)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
    return result
