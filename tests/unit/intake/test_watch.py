"""Hints from the kernel, and what is noticed when they stop coming."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropmill.intake.watch import Batch, Hint, Hints, Watch, WatchesExhausted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / ".dropmill").mkdir(parents=True)
    return path


@pytest.fixture
def hints() -> Hints:
    return Hints(lambda: None)


@pytest.fixture
def watch(root: Path, hints: Hints) -> Iterator[Watch]:
    watch = Watch(str(root), hints)
    yield watch
    watch.close()


def until(condition: Callable[[], object], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def collect(hints: Hints, wanted: set[tuple[str, Hint]]) -> None:
    """Wait until all these hints have come."""
    seen: set[tuple[str, Hint]] = set()

    def come() -> bool:
        seen.update(hints.take().paths.items())
        return wanted <= seen

    try:
        until(come)
    except AssertionError:
        raise AssertionError(f"{wanted - seen} never came, only {seen}") from None


def test_creating_closing_and_renaming_in_are_hints(root: Path, hints: Hints, watch: Watch) -> None:
    with (root / "a").open("wb") as file:
        file.write(b"x")
        file.flush()
        collect(hints, {("a", Hint.CREATED)})
    collect(hints, {("a", Hint.CLOSED)})
    (root.parent / "b").write_bytes(b"x")
    (root.parent / "b").rename(root / "b")
    collect(hints, {("b", Hint.RENAMED_IN)})
    (root / "folder").mkdir()
    collect(hints, {("folder", Hint.FOLDER)})
    bad = os.fsdecode(b"bad\xff")
    (root / bad).touch()
    collect(hints, {(bad, Hint.CLOSED)})


def test_our_own_reads_and_moves_out_are_no_hints(root: Path, hints: Hints, watch: Watch) -> None:
    (root / "a").write_bytes(b"x")
    collect(hints, {("a", Hint.CLOSED)})
    (root / "a").read_bytes()
    (root / "a").rename(root.parent / "a")
    (root / "last").touch()
    seen: dict[str, Hint] = {}

    def come() -> bool:
        seen.update(hints.take().paths)
        return seen.get("last") is Hint.CLOSED

    until(come)
    assert "a" not in seen


def test_inner_folders_are_watched_where_asked(root: Path, hints: Hints, watch: Watch) -> None:
    (root / "in").mkdir()
    watch.add("in")
    watch.add("in")
    (root / "in" / "x").touch()
    collect(hints, {("in/x", Hint.CLOSED)})
    watch.keep([])
    (root / "in" / "y").touch()
    (root / "z").touch()
    collect(hints, {("z", Hint.CLOSED)})
    watch.add("gone")  # it has vanished meanwhile: no error


def test_a_renamed_inner_folder_is_watched_anew_under_each_name(root: Path, hints: Hints, watch: Watch) -> None:
    (root / "in").mkdir()
    watch.add("in")
    (root / "in").rename(root / "moved")
    until(lambda: hints.take().scan)
    (root / "in").mkdir()
    watch.add("in")
    watch.add("moved")
    (root / "in" / "x").touch()
    (root / "moved" / "y").touch()
    collect(hints, {("in/x", Hint.CLOSED), ("moved/y", Hint.CLOSED)})


@pytest.mark.parametrize("end", ["delete", "rename"])
def test_the_end_of_the_root_is_noticed(root: Path, hints: Hints, watch: Watch, end: str) -> None:
    if end == "delete":
        (root / ".dropmill").rmdir()
        root.rmdir()
    else:
        root.rename(root.parent / "elsewhere")
    lost: list[str] = []

    def come() -> bool:
        batch = hints.take()
        lost.append(batch.lost)
        return bool(batch.lost) and batch.scan

    until(come)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts")
def test_an_unmounted_root_is_noticed(tmp_path: Path, hints: Hints) -> None:
    root = tmp_path / "mounted"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(root)], check=True)
    (root / ".dropmill").mkdir()
    watch = Watch(str(root), hints)
    try:
        subprocess.run(["umount", str(root)], check=True)
        until(lambda: hints.take().lost)
    finally:
        watch.close()


def test_closing_is_no_loss(root: Path, hints: Hints) -> None:
    watch = Watch(str(root), hints)
    watch.close()
    watch.close()
    until(lambda: not watch._reader.is_alive())
    assert hints.take() == Batch({}, False, "")


def test_closing_gives_the_descriptors_back(root: Path, hints: Hints) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watches = [Watch(str(root), hints) for _ in range(5)]
    for watch in watches:
        watch.close()
    until(lambda: len(os.listdir("/proc/self/fd")) == before)


def test_the_canary_is_heard(root: Path, watch: Watch) -> None:
    assert not watch.silent
    watch.sing()
    until(lambda: not watch.silent)


def test_a_silent_canary_tells_of_a_dead_watch(root: Path, watch: Watch) -> None:
    (root / ".dropmill").rmdir()
    (root / ".dropmill").mkdir()
    watch.sing()
    time.sleep(0.2)
    assert watch.silent
    watch.sing()
    assert watch.silent


def test_a_canary_that_cannot_sing_says_nothing(root: Path, watch: Watch) -> None:
    (root / ".dropmill").rmdir()
    watch.sing()
    assert not watch.silent


def test_a_dead_thread_is_silence_and_a_loss(
    root: Path, hints: Hints, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> list[object]:
        raise RuntimeError("broken")

    monkeypatch.setattr(watch._reader, "read_events", broken)
    (root / "a").touch()
    until(lambda: watch.silent)
    assert "broken" in hints.take().lost


def test_a_failing_handler_ends_nothing(
    root: Path, hints: Hints, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = watch._folders[""][0]

    def fail(_event: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(folder, "on_event", fail)
    (root / "a").mkdir()  # one event
    until(lambda: hints.take().scan)
    monkeypatch.undo()
    (root / "b").touch()
    collect(hints, {("b", Hint.CLOSED)})


def test_an_overflow_of_the_kernels_queue_asks_for_a_full_scan(root: Path, hints: Hints, watch: Watch) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with hints._lock:  # the reading thread stands still at its first hint
        for number in range(limit // 3 + 2000):
            (root / f"{number}").touch()
            (root / f"{number}").rename(root / f"r{number}")
    until(lambda: hints.take().scan)


def test_hints_are_bounded(hints: Hints) -> None:
    few = Hints(lambda: None, limit=3)
    for name in "abc":
        few.put(name, Hint.CREATED)
    few.put("a", Hint.CLOSED)
    assert few.take() == Batch({"a": Hint.CLOSED, "b": Hint.CREATED, "c": Hint.CREATED}, False, "")
    for name in "abcdef":
        few.put(name, Hint.CREATED)
    assert few.take() == Batch({}, True, "")
    assert few.take() == Batch({}, False, "")


def test_a_weaker_hint_does_not_replace_a_stronger(hints: Hints) -> None:
    hints.put("a", Hint.RENAMED_IN)
    hints.put("a", Hint.CREATED)
    assert hints.take().paths == {"a": Hint.RENAMED_IN}


def test_the_first_hint_after_a_look_wakes_once() -> None:
    wakes: list[int] = []
    hints = Hints(lambda: wakes.append(1))
    hints.put("a", Hint.CREATED)
    hints.put("b", Hint.CREATED)
    assert len(wakes) == 1
    hints.take()
    hints.put("c", Hint.CREATED)
    assert len(wakes) == 2


def test_a_root_that_cannot_be_watched_is_an_error(tmp_path: Path, hints: Hints) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="No such file"):
        Watch(str(tmp_path / "none"), hints)
    until(lambda: threading.active_count() == before)


@pytest.mark.skipif(os.getuid() != 0, reason="makes a user namespace with limits of its own")
@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_exhausted_watches_are_told_apart(root: Path, limit: str) -> None:
    program = f"""
from dropmill.intake.watch import Hints, Watch, WatchesExhausted
try:
    Watch({str(root)!r}, Hints(lambda: None))
except WatchesExhausted as error:
    print("exhausted:", error)
"""
    setup = f"echo 0 > /proc/sys/user/{limit} && exec {sys.executable} -"
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", setup]
    done = subprocess.run(command, input=program, capture_output=True, text=True, timeout=30, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    assert done.stdout.startswith("exhausted:"), done.stderr


def test_exhausted_is_an_exception_of_its_own() -> None:
    assert not issubclass(WatchesExhausted, OSError)
