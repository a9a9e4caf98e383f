"""The proof that nobody writes."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropmill.intake.lease import Proof, kept, prove, release


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def reader(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_file_that_nobody_writes_to_is_free(reader: int) -> None:
    assert prove(reader) is Proof.FREE
    assert kept(reader)


def test_an_open_writer_is_seen(path: Path, reader: int) -> None:
    with path.open("ab"):
        assert prove(reader) is Proof.WRITER
    assert prove(reader) is Proof.FREE


def test_a_memory_map_that_can_write_is_seen(path: Path, reader: int) -> None:
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    assert prove(reader) is Proof.WRITER
    mapped.close()
    assert prove(reader) is Proof.FREE


def test_readers_do_not_matter(path: Path, reader: int) -> None:
    assert prove(reader) is Proof.FREE
    assert path.read_bytes() == b"content"
    assert kept(reader)


def test_who_opens_it_for_writing_waits_and_is_noticed(path: Path, reader: int) -> None:
    assert prove(reader) is Proof.FREE
    opened = threading.Event()

    def write() -> None:
        with path.open("ab"):
            opened.set()

    writer = threading.Thread(target=write)
    writer.start()
    deadline = time.monotonic() + 10
    while kept(reader) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not kept(reader)
    assert not opened.is_set()
    release(reader)
    assert opened.wait(10)
    writer.join()


def test_a_broken_lease_does_not_end_the_process(path: Path) -> None:
    program = f"""
import os, subprocess, sys, time
from dropmill.intake.lease import kept, prove
descriptor = os.open({str(path)!r}, os.O_RDONLY)
prove(descriptor)
writer = subprocess.Popen([sys.executable, "-c", "open({str(path)!r}, 'ab').close()"])
while kept(descriptor):
    time.sleep(0.01)
os.close(descriptor)
print("alive", writer.wait())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "alive 0\n")


def test_where_nothing_can_be_proved_nothing_is_said(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert prove(descriptor) is Proof.UNKNOWN
    finally:
        os.close(descriptor)


def test_another_users_file_proves_nothing_without_the_capability(path: Path) -> None:
    program = f"""
import os
from dropmill.intake.lease import prove
descriptor = os.open({str(path)!r}, os.O_RDONLY)
os.setresuid(65534, 65534, 65534)
print(prove(descriptor).value)
"""
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "unknown\n"
