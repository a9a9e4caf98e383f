"""The root on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropmill.foundation.clock import SystemClock
from dropmill.intake.errors import FolderOffline
from dropmill.intake.root import Root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def root(path: Path) -> Iterator[Root]:
    root = Root(str(path), instance="test", clock=SystemClock())
    yield root
    root.detach()


def test_attaching_makes_what_is_ours(path: Path, root: Root) -> None:
    assert not root.attached
    root.attach()
    assert root.attached
    assert (path / ".dropmill" / "work").is_dir()
    root.check()
    assert not root.remote
    root.detach()
    root.detach()
    root.attach()


def test_a_missing_root_is_offline_and_not_made(tmp_path: Path) -> None:
    root = Root(str(tmp_path / "none"), instance="test", clock=SystemClock())
    with pytest.raises(FolderOffline) as caught:
        root.attach()
    assert caught.value.code == "DM-I001"
    assert "make the folder" in caught.value.problem.todo
    assert not root.attached
    assert not (tmp_path / "none").exists()


def test_a_file_in_its_place_is_offline(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderOffline, match="directory"):
        Root(str(tmp_path / "file"), instance="test", clock=SystemClock()).attach()


def test_a_second_agent_is_kept_out_until_the_first_has_gone(path: Path, root: Root) -> None:
    root.attach()
    other = Root(str(path), instance="other", clock=SystemClock())
    with pytest.raises(FolderOffline, match="another agent") as caught:
        other.attach()
    assert caught.value.code == "DM-I005"
    root.detach()
    other.attach()
    other.detach()


def test_a_link_in_place_of_our_folder_is_not_followed(path: Path, root: Root, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (path / ".dropmill").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderOffline):
        root.attach()
    assert not root.attached


def test_a_replaced_root_is_noticed(path: Path, root: Root) -> None:
    root.attach()
    path.rename(path.with_name("old"))
    with pytest.raises(FolderOffline, match="cannot be used"):
        root.check()
    path.mkdir()
    with pytest.raises(FolderOffline, match="another folder"):
        root.check()


def test_a_replaced_work_folder_is_noticed(path: Path, root: Root) -> None:
    root.attach()
    shutil.rmtree(path / ".dropmill")
    with pytest.raises(FolderOffline):
        root.check()
    (path / ".dropmill" / "work").mkdir(parents=True)
    with pytest.raises(FolderOffline, match="replaced"):
        root.check()


@pytest.mark.skipif(os.getuid() != 0, reason="mounts")
def test_a_mount_over_the_root_is_noticed_and_a_read_only_one_refused(path: Path, root: Root) -> None:
    root.attach()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(path)], check=True)
    try:
        with pytest.raises(FolderOffline, match="another folder"):
            root.check()
        root.detach()
        with pytest.raises(FolderOffline) as caught:
            root.attach()
        assert "mount it for writing" in caught.value.problem.todo
    finally:
        subprocess.run(["umount", str(path)], check=True)
    root.attach()


def test_descriptors_are_given_back(path: Path, root: Root) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        root.attach()
        root.detach()
    assert len(os.listdir("/proc/self/fd")) == before
