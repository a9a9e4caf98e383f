from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropmill.foundation.regular import UnusableFileError, read_regular


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)
    assert read_regular(file, 100) == b"x" * size


def test_a_larger_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 101)
    with pytest.raises(UnusableFileError, match="larger than 100 bytes"):
        read_regular(file, 100)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_refused_and_left_no_descriptor(tmp_path: Path, make: object) -> None:
    path = tmp_path / "thing"
    make(path)  # type: ignore[operator]
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(UnusableFileError, match="no regular file"):
        read_regular(path, 100)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_device_is_not_read() -> None:
    with pytest.raises(UnusableFileError):
        read_regular("/dev/zero", 100)


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "missing", 100)
