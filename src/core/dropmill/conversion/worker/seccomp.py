"""A small system-call filter: no network of any kind, and no leaving the worker's process group.

Landlock knows TCP only. And a descendant that cannot leave the group is one that killing the group reaches for certain, however
fast it forks. Refused calls fail with EACCES or EPERM; nothing is killed by it. See seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from typing import Final

__all__ = ["restrict"]

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian

# architecture's audit id, then the numbers of socket, setpgid, setsid
_KNOWN: Final = {
    "x86_64": (0xC000003E, 41, 109, 112),
    "aarch64": (0xC00000B7, 198, 154, 157),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def restrict(libc: ctypes.CDLL) -> bool:
    """Install the filter for this process and its children, for good; needs no_new_privs. False: not known here.

    Raises:
        OSError: the kernel refused.
    """
    known = _KNOWN.get(platform.machine())
    if known is None:
        return False
    audit, socket_, setpgid, setsid = known
    # (code, if true: skip, if false: skip, value)
    code = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, _ARCHITECTURE),
            (_EQUAL, 0, 7, audit),  # a foreign ABI: allowed
            (_LOAD, 0, 0, _NUMBER),
            (_EQUAL, 6, 0, setpgid),
            (_EQUAL, 5, 0, setsid),
            (_EQUAL, 0, 3, socket_),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_EQUAL, 1, 0, socket.AF_UNIX),
            (_RETURN, 0, 0, _ERRNO | errno.EACCES),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        )
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
    return True
