"""Real disks in trouble: full, read-only, frozen."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.intake.status import FolderState

Make = Any

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(os.getuid() != 0, reason="mounts disks"),
]


class Disk:
    """A small ext4 file system in a file."""

    def __init__(self, image: Path, point: Path) -> None:
        self.image = image
        self.point = point
        point.mkdir()
        with image.open("wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", str(image)], check=True)
        self.mount()

    def mount(self) -> None:
        command = ["mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.point)]
        subprocess.run(command, check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.point)], check=False)

    def break_it(self) -> None:
        """An error that makes the kernel turn it read-only."""
        device = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(self.point)], check=True, capture_output=True, text=True
        ).stdout.strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "image", tmp_path / "disk")
    yield disk
    subprocess.run(["fsfreeze", "-u", str(disk.point)], check=False, capture_output=True)
    disk.unmount()


def fill(disk: Disk) -> None:
    """Take every free block."""
    with (disk.point / "filler").open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    for size in (4096, 1024, 1):
        try:
            while True:
                with (disk.point / "filler").open("ab", buffering=0) as file:
                    file.write(b"x" * size)
        except OSError:
            continue


async def test_a_full_disk_leaves_files_where_they_are_until_there_is_room(
    make: Make, disk: Disk, folder_settings: Callable[..., FolderSettings]
) -> None:
    root = disk.point / "inbox"
    root.mkdir()
    running = await make(folders=[folder_settings(root)])
    running.gate.intake_open = False
    name = "n" * 251 + ".csv"  # its entry needs a folder of its own, and that a block
    (root / name).write_bytes(b"precious")
    (root / "short.csv").write_bytes(b"content")
    fill(disk)
    running.gate.intake_open = True
    await running.until(lambda: running.intake.status()[0].state is FolderState.DEGRADED, "the trouble to show")
    assert running.intake.status()[0].problem.code == "DM-I008"
    assert "No space left" in running.intake.status()[0].reason
    assert (root / name).read_bytes() == b"precious"
    (short,) = await running.claimed(1)
    assert short.name == "short.csv"
    (disk.point / "filler").unlink()
    await running.claimed(2)
    await running.until(lambda: running.intake.status()[0].state is FolderState.ONLINE, "the folder to be well")
    await running.stop()


async def test_a_disk_that_turned_read_only_loses_nothing_and_is_taken_up_again(
    make: Make, disk: Disk, folder_settings: Callable[..., FolderSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropmill.intake.folder.BEAT", 0.2)
    root = disk.point / "inbox"
    root.mkdir()
    running = await make(folders=[folder_settings(root)])
    (root / "before.csv").write_bytes(b"1")
    (before,) = await running.claimed(1)
    running.gate.intake_open = False
    (root / "after.csv").write_bytes(b"2")
    os.sync()
    disk.break_it()
    running.gate.intake_open = True
    await running.until(
        lambda: running.intake.status()[0].state in (FolderState.DEGRADED, FolderState.OFFLINE), "the trouble to show"
    )
    assert (root / "after.csv").read_bytes() == b"2"
    disk.unmount()
    await running.until(lambda: running.intake.status()[0].state is FolderState.OFFLINE, "the folder to be offline")
    subprocess.run(["e2fsck", "-y", "-f", str(disk.image)], check=False, capture_output=True)
    disk.mount()
    after = await running.claimed(2)
    assert before.id in {file.id for file in after}
    assert all(Path(file.place).exists() for file in after)
    await running.stop()


async def test_a_frozen_disk_stalls_its_own_folder_and_no_stop(
    make: Make,
    disk: Disk,
    tmp_path: Path,
    folder_settings: Callable[..., FolderSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dropmill.intake.folder.HUNG", 0.5)
    monkeypatch.setattr("dropmill.intake.folder.ABANDON", 0.5)
    (disk.point / "inbox").mkdir()
    (tmp_path / "good").mkdir()
    folders = [folder_settings(disk.point / "inbox", name="frozen"), folder_settings(tmp_path / "good", name="good")]
    running = await make(folders=folders)
    running.gate.intake_open = False
    (disk.point / "inbox" / "a.csv").write_bytes(b"1")
    os.sync()
    await asyncio.to_thread(subprocess.run, ["fsfreeze", "-f", str(disk.point)], check=True)
    running.gate.intake_open = True
    await running.until(lambda: running.intake.status()[0].state is FolderState.OFFLINE, "the hang to be noticed")
    assert running.intake.status()[0].problem.code == "DM-I004"
    (tmp_path / "good" / "b.csv").write_bytes(b"2")
    (good,) = await running.claimed(1)
    assert good.folder == "good"
    subprocess.run(["fsfreeze", "-u", str(disk.point)], check=True)
    await running.claimed(2)
    assert running.intake.status()[0].state is FolderState.ONLINE
    await asyncio.to_thread(subprocess.run, ["fsfreeze", "-f", str(disk.point)], check=True)
    running.gate.intake_open = True
    (tmp_path / "good" / "c.csv").write_bytes(b"3")
    await running.claimed(3)
    async with asyncio.timeout(5):
        await running.stop()
