"""One look at a waiting file with the intention to take it: opened once, proved free of writers, hashed while read once.

The look is also the second observation that settling asks for. A file that passes stays open, its lease held, until the claim
is through; of any other, the answer says what stood in the way. Nothing is changed on disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from dropmill.intake import lease
from dropmill.intake.copying import read_pieces
from dropmill.intake.lease import Proof
from dropmill.intake.settle import Stamp, stamp_of

__all__ = ["Held", "Interrupted", "Refusal", "probe"]

_SMALL = 1 << 16
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR}


class Interrupted(Exception):
    """The agent stops: a long file is left where it is."""


@dataclass(slots=True)
class Held:
    """A file that can be claimed now. `close` lets it go."""

    path: str
    """Relative to the root."""
    parent: int
    """Descriptor of its folder; not owned."""
    name: str
    descriptor: int
    stamp: Stamp
    sha256: str
    proof: Proof

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it cannot be taken now."""

    kind: str
    """`gone`, `changed` (its stamp is now `stamp`), `writer`, `unsettled` (no proof of no writer), `empty`, `error`."""
    stamp: Stamp | None = None
    error: OSError | None = None


def probe(
    path: str,
    parent: int,
    expected: Stamp,
    *,
    leases: bool = True,
    take_empty: bool = False,
    need_proof: bool = False,
    sign: Callable[[], None] = lambda: None,
) -> Held | Refusal:
    """Look at the file `path` (relative to the root), whose folder is open as `parent`.

    Args:
        expected: The stamp that settling observed.
        leases: Whether the file system's answer about writers counts.
        take_empty: Whether an empty file may be taken.
        need_proof: Refuse where nothing proves that there is no writer.
        sign: Called after each piece that was read; may raise `Interrupted`.
    """
    name = path.rpartition("/")[2]
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        return Refusal("gone") if error.errno in _GONE else Refusal("error", error=error)
    try:
        answer = _look(path, name, parent, descriptor, expected, leases, take_empty, need_proof, sign)
    except OSError as error:
        answer = Refusal("error", error=error)
    except BaseException:
        os.close(descriptor)
        raise
    if isinstance(answer, Refusal):
        os.close(descriptor)
    return answer


def _look(
    path: str,
    name: str,
    parent: int,
    descriptor: int,
    expected: Stamp,
    leases: bool,
    take_empty: bool,
    need_proof: bool,
    sign: Callable[[], None],
) -> Held | Refusal:
    proof = lease.prove(descriptor) if leases else Proof.UNKNOWN
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return Refusal("gone")
    stamp = stamp_of(status)
    if stamp != expected:
        return Refusal("changed", stamp)
    if proof is Proof.WRITER:
        return Refusal("writer", stamp)
    if proof is Proof.UNKNOWN and need_proof:
        return Refusal("unsettled", stamp)
    if not stamp[0] and not take_empty:
        return Refusal("empty", stamp)
    digest = hashlib.sha256()
    if stamp[0] <= _SMALL:
        data = os.read(descriptor, stamp[0] + 1)
        digest.update(data)
        size = len(data)
    else:
        size = read_pieces(descriptor, digest.update, sign=sign, size=stamp[0])
    if size != stamp[0] or (proof is Proof.UNKNOWN and stamp_of(os.fstat(descriptor)) != stamp):
        return Refusal("changed", stamp_of(os.fstat(descriptor)))
    return Held(path, parent, name, descriptor, stamp, digest.hexdigest(), proof)
