"""Which file system a path lies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropmill.intake.mounts import Mount, mount_of, mount_table

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /srv/share\\040one rw,nosuid shared:2 - nfs4 server:/export rw,vers=4.2
31 22 0:41 / /srv ro - tmpfs tmpfs rw
32 22 0:42 / /mnt/fuse rw - fuse.sshfs me@host: rw
33 22 0:43 / /mnt/disk rw - fuseblk /dev/sdb1 rw
34 22 254:1 / /srv rw - ext4 /dev/vdb rw
nonsense
"""


@pytest.fixture
def table(tmp_path: Path) -> list[Mount]:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return mount_table(str(path))


@pytest.mark.parametrize(
    ("path", "kind", "remote"),
    [
        ("/home", "ext4", False),
        ("/srv/share one/inbox", "nfs4", True),
        ("/srv/share one", "nfs4", True),
        ("/srv/share", "ext4", False),  # no prefix of a name counts; the later mount on /srv covers the earlier
        ("/mnt/fuse/x", "fuse.sshfs", True),
        ("/mnt/disk/x", "fuseblk", False),
    ],
)
def test_the_deepest_and_latest_mount_counts(table: list[Mount], path: str, kind: str, remote: bool) -> None:
    mount = mount_of(path, table)
    assert mount is not None
    assert (mount.kind, mount.remote) == (kind, remote)


def test_a_read_only_mount(table: list[Mount]) -> None:
    assert [mount.read_only for mount in table] == [False, False, True, False, False, False]


def test_no_table_no_answer(tmp_path: Path) -> None:
    assert mount_table(str(tmp_path / "none")) == []
    assert mount_of("/", []) is None


def test_this_machine_has_a_root() -> None:
    assert mount_of("/", mount_table()) is not None
