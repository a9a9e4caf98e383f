"""Verified, durable copies."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropmill.intake.copying import CopyDiffers, copy_verified


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one megabyte."""
    if os.getuid() != 0:
        pytest.skip("needs root to mount")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(2_500_000))
    path.chmod(0o640)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_content_mode_and_times_go_along(tmp_path: Path, folder: int, source: int) -> None:
    data = (tmp_path / "source").read_bytes()
    signs: list[int] = []
    copied = copy_verified(source, folder, "copy", ".t", sign=lambda: signs.append(1))
    assert (tmp_path / "copy").read_bytes() == data
    assert copied.sha256 == hashlib.sha256(data).hexdigest()
    assert copied.size == len(data)
    status = os.stat(tmp_path / "copy")
    assert status.st_mtime_ns == 1_600_000_000_987_654_321
    assert status.st_mode & 0o777 == 0o640
    assert len(signs) == 3


def test_a_name_that_is_taken_is_not_touched(tmp_path: Path, folder: int, source: int) -> None:
    (tmp_path / "copy").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        copy_verified(source, folder, "copy", ".t")
    assert (tmp_path / "copy").read_bytes() == b"mine"
    assert not (tmp_path / ".t").exists()


def test_other_content_than_expected_is_no_copy(tmp_path: Path, folder: int, source: int) -> None:
    with pytest.raises(CopyDiffers):
        copy_verified(source, folder, "copy", ".t", expected="0" * 64)
    assert sorted(os.listdir(tmp_path)) == ["source"]


def test_what_a_crash_left_is_replaced(tmp_path: Path, folder: int, source: int) -> None:
    (tmp_path / ".t").write_bytes(b"half")
    copy_verified(source, folder, "copy", ".t")
    assert sorted(os.listdir(tmp_path)) == ["copy", "source"]


def test_a_full_disk_leaves_no_copy_and_the_source(small_disk: Path, tmp_path: Path, source: int) -> None:
    full = os.open(small_disk, os.O_RDONLY)
    with pytest.raises(OSError, match="No space left"):
        copy_verified(source, full, "copy", ".t")
    os.close(full)
    assert os.listdir(small_disk) == []
    assert (tmp_path / "source").stat().st_size == 2_500_000
