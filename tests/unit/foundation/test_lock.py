"""The lock file, between real processes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropmill.foundation.clock import ManualClock, SystemClock
from dropmill.foundation.lock import FileLock, Holder, LockHeld

HOLD = """
import sys, time
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.lock import FileLock
lock = FileLock(sys.argv[1], instance="the other", clock=SystemClock())
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""


def lock(path: Path, instance: str = "mine") -> FileLock:
    return FileLock(path, instance=instance, clock=SystemClock())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "owner.lock"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_taken_and_let_go(path: Path) -> None:
    mine = lock(path)
    assert not mine.held
    mine.acquire()
    assert mine.held
    holder = FileLock.holder(path)
    assert holder is not None
    assert (holder.pid, holder.instance) == (os.getpid(), "mine")
    assert abs(holder.since - time.time()) < 60
    mine.release()
    mine.release()
    assert not mine.held
    assert FileLock.holder(path) is None
    assert path.exists(), "removing it would let two holders in"
    with lock(path, "second") as second:
        assert second.held
    assert not second.held


def test_a_second_object_is_refused_and_told_who_holds_it(path: Path) -> None:
    with lock(path), pytest.raises(LockHeld) as caught:
        lock(path, "late").acquire()
    assert caught.value.code == "DM-F001"
    assert caught.value.holder is not None
    assert caught.value.holder.instance == "mine"
    assert re.search(rf"held by process {os.getpid()} \(mine\), since \d{{4}}-", str(caught.value))


def test_one_object_is_taken_once(path: Path) -> None:
    with lock(path) as mine, pytest.raises(RuntimeError, match="already locked by this object"):
        mine.acquire()


def test_another_process_holds_it(path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(LockHeld) as caught:
        lock(path).acquire()
    assert caught.value.holder is not None
    assert (caught.value.holder.pid, caught.value.holder.instance) == (other.pid, "the other")
    assert FileLock.holder(path) == caught.value.holder


def test_waiting_for_another_process(path: Path, other: subprocess.Popen[str]) -> None:
    def let_go() -> None:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()

    threading.Timer(0.3, let_go).start()
    mine = lock(path)
    began = time.monotonic()
    mine.acquire(wait=30)
    assert 0.2 < time.monotonic() - began < 20
    mine.release()


def test_kill_9_lets_go_of_it(path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert json.loads(path.read_text())["instance"] == "the other", "its record is still there, and counts for nothing"
    assert FileLock.holder(path) is None
    with lock(path):
        holder = FileLock.holder(path)
        assert holder is not None
        assert holder.instance == "mine"


def test_programs_that_are_started_do_not_inherit_it(path: Path) -> None:
    mine = lock(path)
    mine.acquire()
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        mine.release()
        lock(path).acquire()
    finally:
        child.kill()
        child.wait()


def test_a_wait_has_an_end(path: Path) -> None:
    clock = ManualClock()
    late = FileLock(path, instance="late", clock=clock, sleep=clock.advance)
    with lock(path), pytest.raises(LockHeld):
        late.acquire(wait=10)
    assert 10 <= clock.monotonic() - 1000 < 11


def test_somebody_who_only_looks_is_in_nobodys_way(path: Path) -> None:
    """Looking takes the lock for an instant; taking it must not fail for that."""
    with lock(path):
        pass
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            FileLock.holder(path)
            time.sleep(0.001)

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(100):
            with lock(path):
                pass
    finally:
        stop.set()
        for watcher in watchers:
            watcher.join()


def test_one_refusal_proves_nothing(path: Path) -> None:
    """Even without a wait: whoever looks has the lock for an instant."""
    path.touch()
    looks = os.open(path, os.O_RDONLY)
    fcntl.flock(looks, fcntl.LOCK_SH)
    mine = FileLock(path, instance="mine", clock=ManualClock(), sleep=lambda seconds: os.close(looks))
    mine.acquire()
    mine.release()


def test_exactly_one_of_many_gets_it(path: Path) -> None:
    got: list[FileLock] = []
    refused: list[LockHeld] = []
    barrier = threading.Barrier(16)

    def race(n: int) -> None:
        mine = lock(path, f"racer {n}")
        barrier.wait()
        try:
            mine.acquire()
            got.append(mine)
        except LockHeld as error:
            refused.append(error)

    threads = [threading.Thread(target=race, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 15)
    got[0].release()


def test_a_file_that_is_removed_while_it_is_held_protects_the_new_one(path: Path) -> None:
    """An administrator who deletes the lock file does not get two agents on one name."""
    first = lock(path, "first")
    first.acquire()
    path.unlink()
    second = lock(path, "second")
    second.acquire()
    with pytest.raises(LockHeld) as caught:
        lock(path, "third").acquire()
    assert caught.value.holder is not None
    assert caught.value.holder.instance == "second"
    first.release()
    second.release()


def test_a_file_that_is_replaced_between_open_and_lock_is_not_the_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            path.unlink()
        calls.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    mine = lock(path)
    mine.acquire()
    monkeypatch.undo()
    assert len(calls) == 2
    holder = FileLock.holder(path)
    assert holder is not None
    assert holder.instance == "mine", "the lock is on the file that is there"
    mine.release()


@pytest.mark.parametrize(
    "content", ["", "nonsense", "[]", '{"pid": "x"}', '{"pid": 1}', "\xff", '{"pid": 1, "instance": 2}']
)
def test_a_record_that_cannot_be_read_names_nobody(path: Path, content: str) -> None:
    with lock(path):
        path.write_text(content, encoding="latin-1")
        assert FileLock.holder(path) is None
        with pytest.raises(LockHeld, match="held by a process that has just started") as caught:
            lock(path, "late").acquire()
    assert caught.value.holder is None


def test_no_folder_no_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock(tmp_path / "no" / "owner.lock").acquire()
    assert FileLock.holder(tmp_path / "no" / "owner.lock") is None


def test_a_link_is_not_followed(tmp_path: Path, path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        lock(path).acquire()
    assert victim.read_text() == "precious"


def test_a_holder_reads_well() -> None:
    holder = Holder(pid=12, instance="line-1", since=1_700_000_000.0)
    assert str(holder) == "process 12 (line-1), since 2023-11-14T22:13:20.000Z"


def test_a_record_that_cannot_be_written_is_an_error_and_no_lock() -> None:
    full = Path("/dev/full")
    with pytest.raises(OSError, match=r"Invalid argument|No space left"):
        lock(full).acquire()
    assert FileLock.holder(full) is None
