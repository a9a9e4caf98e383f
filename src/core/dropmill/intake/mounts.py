"""Which file system a root lies on, from the kernel's mount table: whether it tells of changes, and whether it knows leases.

Never touches the file system in question, so a hung share cannot hold it up.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

__all__ = ["Mount", "mount_of", "mount_table"]

_REMOTE = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "davfs",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "prl_fs",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
}
"""Others can change them without this machine's kernel noticing: there are no events, and no lease proves anything."""


@dataclass(frozen=True)
class Mount:
    """One line of the mount table."""

    point: str
    kind: str
    """File-system type."""
    source: str
    read_only: bool = False

    @property
    def remote(self) -> bool:
        """Whether changes can come from elsewhere, without events. FUSE counts as remote, unless it is on a block device."""
        return self.kind in _REMOTE or (self.kind.startswith("fuse.") or self.kind == "fuse")


def _plain(text: str) -> str:
    r"""Undo the kernel's `\040` escapes; whatever else is in a name stays as it is."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), os.fsencode(text)))


def mount_table(path: str = "/proc/self/mountinfo") -> list[Mount]:
    """The mount points of this process, in mounting order; empty where there is no such table."""
    mounts = []
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    for line in lines:
        before, _, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if len(left) >= 6 and len(right) >= 2:
            options = left[5].split(",")
            mounts.append(Mount(_plain(left[4]), right[0], _plain(right[1]), "ro" in options))
    return mounts


def mount_of(path: str, table: list[Mount]) -> Mount | None:
    """The mount that an absolute path without symbolic links lies on; the last one mounted wins."""
    best: Mount | None = None
    for mount in table:
        point = mount.point.rstrip("/")
        if (path == point or path.startswith(point + "/")) and (
            best is None or len(point) >= len(best.point.rstrip("/"))
        ):
            best = mount
    return best
