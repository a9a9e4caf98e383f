"""Durable files: contents are all or nothing, moves never overwrite, and what is synced is synced in the right order."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropmill.foundation import files
from dropmill.foundation.files import fsync_directory, rename_no_replace, syncfs, write_all, write_durably

ODD_NAMES = [
    b"plain",
    b"with space ",
    b"trailing.",
    "umlaut-ä".encode(),
    b"not-utf8-\xff\xfe",
    b"new\nline",
    b"x" * 255,
]


@pytest.fixture(params=ODD_NAMES, ids=lambda name: repr(name[:12]))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / os.fsdecode(request.param)


def test_write_and_replace(odd: Path) -> None:
    write_durably(odd, b"first")
    assert odd.read_bytes() == b"first"
    write_durably(odd, iter([b"sec", b"", b"ond"]))
    assert odd.read_bytes() == b"second"
    assert os.listdir(odd.parent) == [odd.name]


def test_mode(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        write_durably(tmp_path / "secret", b"x", mode=0o600)
        write_durably(tmp_path / "open", b"x")
    finally:
        os.umask(previous)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError("half way"), KeyboardInterrupt()])
def test_content_that_fails_half_way_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")

    def content() -> Iterator[bytes]:
        yield b"new"
        raise error

    with pytest.raises(type(error)):
        write_durably(target, content())
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["target"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_durably(tmp_path / "no" / "file", b"x")


def test_a_temporary_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / f".target.{os.getpid()}.tmp").symlink_to(victim)
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ELOOP))):
        write_durably(tmp_path / "target", b"x")
    assert victim.read_bytes() == b"precious"


def in_a_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_a_disk_that_takes_only_a_part(tmp_path: Path) -> None:
    """Under a file-size limit write(2) writes short without an error, as at a full disk; only the next call fails."""
    target = tmp_path / "target"
    target.write_bytes(b"old")
    code = (
        "import resource, sys\n"
        "from dropmill.foundation.files import write_durably\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: write_durably(sys.argv[1], b'x' * 250_000)\n"
        "except OSError as error: print(error.errno)\n"
    )
    result = in_a_process(code, str(target))
    assert result.stdout.strip() == str(errno.EFBIG), result.stderr
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["target"]


def test_write_all_goes_on_after_a_short_write() -> None:
    reader, writer = os.pipe()
    data = os.urandom(300_000)
    with open(reader, "rb") as source:
        thread = threading.Thread(target=lambda: (write_all(writer, memoryview(data)), os.close(writer)))
        thread.start()
        received = source.read()
        thread.join()
    assert received == data


def test_write_all_says_when_the_disk_is_full() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))):
            write_all(descriptor, b"x")
        write_all(descriptor, b"")
    finally:
        os.close(descriptor)


def test_rename(odd: Path) -> None:
    source = odd.parent / "source"
    source.write_bytes(b"content")
    rename_no_replace(source, odd)
    assert odd.read_bytes() == b"content"
    assert not source.exists()


@pytest.fixture(params=["renameat2", "link and unlink"])
def rename(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], None]:
    """Either way of moving."""
    if request.param == "link and unlink":
        monkeypatch.setattr(files, "_LIBC", object())
    return rename_no_replace


def test_rename_never_overwrites(rename: Callable[[Path, Path], None], tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        rename(source, target)
    assert (source.read_bytes(), target.read_bytes()) == (b"new", b"old")
    target.unlink()
    rename(source, target)
    assert target.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        rename(source, tmp_path / "other")


def test_rename_moves_a_link_not_what_it_points_to(rename: Callable[[Path, Path], None], tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    rename(tmp_path / "link", tmp_path / "moved")
    assert (tmp_path / "moved").is_symlink()
    assert (tmp_path / "real").exists()


def test_rename_between_file_systems_says_so(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EXDEV))):
        rename_no_replace(source, other / f"dropmill-{os.getpid()}")
    assert source.exists()


def test_syncing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync_directory(tmp_path)
    assert syncfs(tmp_path)
    with pytest.raises(FileNotFoundError):
        syncfs(tmp_path / "no")
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").write_bytes(b"")
        fsync_directory(tmp_path / "file")
    monkeypatch.setattr(files, "_LIBC", object())
    assert not syncfs(tmp_path)


STRACE = shutil.which("strace")


def traced(code: str, *arguments: str, inject: str = "") -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """The system calls that touch files, in order, and how it ended."""
    assert STRACE is not None
    command = [STRACE, "-f", "-y", "-qq", "-e", "trace=openat,write,fsync,rename,renameat2,unlink,syncfs"]
    command += ["-e", f"inject={inject}"] if inject else []
    result = subprocess.run(
        [*command, sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    if "ptrace" in result.stderr and "Operation not permitted" in result.stderr:
        pytest.skip("processes may not be traced here")
    return [line for line in result.stderr.splitlines() if any(a in line for a in arguments)], result


WRITE = (
    "import sys; from dropmill.foundation.files import write_durably; write_durably(sys.argv[1] + '/target', b'data')"
)


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_the_file_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path: Path) -> None:
    calls, result = traced(WRITE, str(tmp_path))
    assert result.returncode == 0, result.stderr[-2000:]
    steps = []
    for call in calls:
        if match := re.search(r"(write|fsync|rename)\w*\(.*", call):
            steps.append(
                match[1] + (" folder" if re.search(rf"fsync\(\d+<{re.escape(str(tmp_path))}>\)", call) else "")
            )
    assert steps == ["write", "fsync", "rename", "fsync folder"]


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("call", "content"),
    [
        ("write:{}:when=1", b"old"),
        ("fsync:{}:when=1", b"old"),
        ("rename:{}:when=1", b"old"),
        ("fsync:{}:when=2", b"data"),
    ],
)
@pytest.mark.parametrize("fault", ["error=EIO", "signal=SIGKILL"])
def test_old_or_new_and_whole_whatever_fails(tmp_path: Path, call: str, fault: str, content: bytes) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    _, result = traced(WRITE, str(tmp_path), inject=call.format(fault))
    assert result.returncode != 0, "it was told"
    assert target.read_bytes() == content
    if fault.startswith("error"):
        assert os.listdir(tmp_path) == ["target"], "nothing is left lying about"


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize(("error", "said"), [("EIO", "OSError 5"), ("ENOSYS", "False")])
def test_a_flush_that_fails_is_told_and_one_that_does_not_exist_is_not_an_error(
    tmp_path: Path, error: str, said: str
) -> None:
    code = (
        "import sys\n"
        "from dropmill.foundation.files import syncfs\n"
        "try: print(syncfs(sys.argv[1]))\n"
        "except OSError as error: print('OSError', error.errno)\n"
    )
    _, result = traced(code, str(tmp_path), inject=f"syncfs:error={error}:when=1")
    assert result.stdout.strip() == said
