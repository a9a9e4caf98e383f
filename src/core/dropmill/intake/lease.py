"""The proof that nobody writes to a file: a read lease, which the kernel gives only while no descriptor can write to it.

The lease sees every writer of this machine, memory maps too. Held over the claim it does more: a program that opens the file
for writing meanwhile waits in its open(2) until the lease is gone, and we learn of it (`kept` is false), so the file can be put
back before that program writes a byte. Nothing is proved on network file systems, nor for files of other users without
CAP_LEASE: the answer is then `UNKNOWN`, and settling alone decides.

A broken lease sends its holder a signal, whose default (SIGIO) ends the process: SIGURG is asked for instead, whose default is
to be ignored.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import signal

__all__ = ["Proof", "kept", "prove", "release"]

_F_SETSIG = 10  # linux/fcntl.h; the fcntl module has no name for it


class Proof(enum.Enum):
    """What is known of writers."""

    FREE = "free"
    """Nobody has it open for writing, and nobody can without breaking the lease that is now held."""
    WRITER = "writer"
    """Somebody has it open for writing."""
    UNKNOWN = "unknown"
    """The platform, the file system or its rights give no answer."""


def prove(descriptor: int) -> Proof:
    """Try to take a read lease on a file that is open read-only; `FREE`: it is held until `release` or the last close."""
    try:
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return Proof.WRITER if error.errno == errno.EAGAIN else Proof.UNKNOWN
    return Proof.FREE


def kept(descriptor: int) -> bool:
    """Whether a lease that was taken is still whole: nobody has tried to open the file for writing since."""
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK)


def release(descriptor: int) -> None:
    """Give the lease back; whoever waits for it goes on."""
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
