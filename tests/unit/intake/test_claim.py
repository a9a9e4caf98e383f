"""A claim, step by step, with something going wrong at each."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.claim import Claimer
from dropmill.intake.group import Group, put_back
from dropmill.intake.inbox import Inbox
from dropmill.intake.root import Root
from dropmill.intake.settle import stamp_of
from dropmill.intake.tracker import Why
from dropmill.intake.watch import Hints


class Stand:
    """A folder with its claimer, driven by hand."""

    def __init__(self, settings: FolderSettings, failpoints: str = "") -> None:
        clock = SystemClock()
        self.settings = settings
        self.root = Root(str(settings.path), instance="test", clock=clock)
        self.root.attach()
        self.inbox = Inbox(settings, self.root, Hints(lambda: None), clock=clock)
        self.tracker = self.inbox.tracker
        self.claimer = Claimer(
            settings,
            self.root,
            self.tracker,
            ids=IdSource(clock, Random(1)),
            clock=clock,
            failpoints=Failpoints(failpoints),
        )

    @property
    def path(self) -> Path:
        return self.settings.path

    @property
    def work(self) -> Path:
        return self.path / ".dropmill" / "work"

    def prepare(self, limit: int = 100) -> Group:
        """Look, wait until everything has settled, and prepare."""
        self.inbox.look()
        time.sleep(self.settings.settle + 0.01)
        return self.claimer.prepare(limit)

    def claim(self, group: Group) -> None:
        self.claimer.sync(group)
        self.claimer.move(group)
        self.claimer.sync(group)
        self.claimer.finish(group)

    def entries(self) -> list[str]:
        return sorted(entry.name for entry in self.work.iterdir())

    def dropped(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir() if entry.name != ".dropmill")


@pytest.fixture
def stand(tmp_path: Path, folder_settings: Callable[..., FolderSettings]) -> Iterator[Callable[..., Stand]]:
    made: list[Stand] = []

    def make(failpoints: str = "", **changes: Any) -> Stand:
        path = tmp_path / "inbox"
        path.mkdir(exist_ok=True)
        made.append(Stand(folder_settings(path, settle=0.02, **changes), failpoints))
        return made[-1]

    before = len(os.listdir("/proc/self/fd"))
    yield make
    for one in made:
        one.inbox.close()
        one.root.detach()
    deadline = time.monotonic() + 5
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors (and leases) were left open"


Make = Callable[..., Stand]


def test_rows_tell_where_the_file_lay_and_will_lie(stand: Make) -> None:
    one = stand(tags={"line": "7"}, priority=3)
    (one.path / "a.csv").write_bytes(b"content")
    group = one.prepare()
    (row,) = one.claimer.rows(group)
    assert (row.folder, row.name, row.priority, row.tags) == ("inbox", "a.csv", 3, {"line": "7"})
    assert row.origin == str(one.path / "a.csv")
    assert row.place == str(one.work / f"{row.id}-a.csv")
    assert row.identity.inode == (one.path / "a.csv").stat().st_ino
    one.claim(group)
    assert Path(row.place).read_bytes() == b"content"
    assert group.words.confirm == [row.id]
    assert len(one.tracker) == 0


@pytest.mark.parametrize("count", [3, 40])
def test_groups_of_few_and_of_many(stand: Make, count: int) -> None:
    one = stand()
    for number in range(count):
        (one.path / f"{number}").write_bytes(b"x")
    group = one.prepare()
    one.claim(group)
    assert len(group.words.confirm) == count
    assert len(one.entries()) == count
    assert one.dropped() == []


def test_a_file_that_changed_after_it_settled_settles_again(stand: Make) -> None:
    one = stand()
    (one.path / "a").write_bytes(b"one")
    one.inbox.look()
    time.sleep(0.03)
    (one.path / "a").write_bytes(b"more")
    assert one.claimer.prepare(9).files == []
    time.sleep(0.03)
    group = one.claimer.prepare(9)
    assert len(group.files) == 1
    group.close()


def test_a_file_that_is_being_written_is_not_taken_and_looked_at_again(stand: Make) -> None:
    one = stand()
    with (one.path / "a").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert one.prepare().files == []
        track = one.tracker.get("a")
        assert track is not None
        assert track.why is Why.WRITER
        file.write(b"whole")
    one.inbox.ask_scan()
    group = one.prepare()
    while not group.files:  # its writer's pause was seen, and a little more is waited for now
        group = one.claimer.prepare(9)
    assert [file.held.path for file in group.files] == ["a"]
    one.claim(group)
    assert (one.work / one.entries()[0]).read_bytes() == b"halfwhole"


def test_a_file_that_vanishes_before_the_move_is_taken_back(stand: Make) -> None:
    one = stand()
    (one.path / "a").write_bytes(b"one")
    (one.path / "b").write_bytes(b"two")
    group = one.prepare()
    (one.path / "a").unlink()
    one.claim(group)
    gone, stays = sorted(group.files, key=lambda file: file.held.path)
    assert group.words.confirm == [stays.id]
    assert list(group.words.remove.values()) == [[gone.id]]
    assert one.tracker.get("a") is None


def test_a_file_that_was_replaced_before_the_move_is_put_back(stand: Make) -> None:
    one = stand()
    (one.path / "a").write_bytes(b"old")
    group = one.prepare()
    (one.path / "new").write_bytes(b"new")
    (one.path / "new").replace(one.path / "a")
    one.claim(group)
    assert (one.path / "a").read_bytes() == b"new"
    assert one.entries() == []
    assert group.words.remove == {"it was replaced while it was being claimed": [group.files[0].id]}
    assert one.tracker.get("a") is not None


def test_a_writer_that_comes_before_the_move_is_let_write_and_the_file_put_back(stand: Make) -> None:
    one = stand()
    (one.path / "a").write_bytes(b"old")
    group = one.prepare()

    def append() -> None:
        with (one.path / "a").open("ab") as file:
            file.write(b" and new")

    writer = threading.Thread(target=append)
    writer.start()
    time.sleep(0.1)  # it waits in open(2) for the lease
    assert writer.is_alive()
    one.claimer.sync(group)
    one.claimer.move(group)
    writer.join(10)
    assert (one.path / "a").read_bytes() == b"old and new"
    assert one.entries() == []
    assert group.words.remove == {"it changed while it was being claimed": [group.files[0].id]}
    group.close()


def test_without_leases_a_change_before_the_move_is_seen_by_size_and_time(
    stand: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stand()
    (one.path / "a").write_bytes(b"old")
    monkeypatch.setattr(Root, "remote", True)
    group = one.prepare()
    with (one.path / "a").open("ab") as file:
        file.write(b"new")
    one.claim(group)
    assert (one.path / "a").read_bytes() == b"oldnew"
    assert one.entries() == []


def test_what_is_put_back_never_overwrites(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        (tmp_path / "work").write_bytes(b"mine")
        (tmp_path / "a.csv").write_bytes(b"other")
        first = put_back("work", folder, "a.csv", folder, "f" * 64, 1_700_000_000.0)
        assert first == "a-20231114T221320000Z-ffffffff.csv"
        (tmp_path / "work").write_bytes(b"mine too")
        second = put_back("work", folder, "a.csv", folder, "f" * 64, 1_700_000_000.0)
        assert second == "a-20231114T221320000Z-ffffffff-1.csv"
    finally:
        os.close(folder)
    assert (tmp_path / "a.csv").read_bytes() == b"other"
    assert (tmp_path / first).read_bytes() == b"mine"


def test_a_name_too_long_for_its_id_has_a_folder(stand: Make) -> None:
    one = stand()
    name = "n" * 251 + ".csv"
    (one.path / name).write_bytes(b"x")
    group = one.prepare()
    one.claim(group)
    (row,) = one.claimer.rows(group)
    assert Path(row.place).name == name
    assert Path(row.place).read_bytes() == b"x"


def test_a_long_name_that_is_put_back_leaves_no_folder(stand: Make) -> None:
    one = stand()
    path = one.path / ("n" * 251 + ".csv")
    path.write_bytes(b"x")
    group = one.prepare()
    (one.path / "new").write_bytes(b"new")
    (one.path / "new").replace(path)
    one.claim(group)
    assert one.entries() == []
    group2 = one.prepare()
    path.unlink()
    one.claim(group2)
    assert one.entries() == []


def test_files_in_folders_and_in_their_places(stand: Make) -> None:
    one = stand(recursive=True)
    (one.path / "in" / "deep").mkdir(parents=True)
    (one.path / "in" / "deep" / "a.csv").write_bytes(b"x")
    group = one.prepare()
    (row,) = one.claimer.rows(group)
    assert row.name == "in/deep/a.csv"
    one.claim(group)
    assert len(one.entries()) == 1


def test_a_folder_that_becomes_a_link_hides_its_files(stand: Make, tmp_path: Path) -> None:
    one = stand(recursive=True)
    (one.path / "in").mkdir()
    (one.path / "in" / "a.csv").write_bytes(b"x")
    one.inbox.look()
    (one.path / "in").rename(tmp_path / "out")
    (one.path / "in").symlink_to(tmp_path / "out")
    time.sleep(0.03)
    assert one.claimer.prepare(9).files == []
    assert one.tracker.get("in/a.csv") is None


def test_large_files_close_a_group(stand: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill.intake.claim.GROUP_BYTES", 1000)
    one = stand()
    for number in range(4):
        (one.path / f"{number}").write_bytes(b"x" * 600)
    group = one.prepare()
    assert len(group.files) == 2
    again = one.claimer.prepare(9)
    assert len(again.files) == 2
    group.close()
    again.close()


def test_when_rows_cannot_be_written_everything_stays_and_is_tried_again(stand: Make) -> None:
    one = stand()
    (one.path / "a").write_bytes(b"x")
    group = one.prepare()
    one.claimer.release(group, "the queue cannot be written")
    track = one.tracker.get("a")
    assert track is not None
    assert (track.why, track.detail) == (Why.BLOCKED, "the queue cannot be written")
    assert one.dropped() == ["a"]
    assert track.due < time.monotonic() + 1


def test_empty_files_follow_the_policy(stand: Make) -> None:
    one = stand()
    (one.path / "empty").touch()
    (one.path / "full").write_bytes(b"x")
    group = one.prepare()
    assert [file.held.path for file in group.files] == ["full"]
    track = one.tracker.get("empty")
    assert track is not None
    assert track.why is Why.EMPTY
    group.close()
    taking = stand
    one.inbox.close()
    one.root.detach()
    other = taking(zero_byte="take")
    group = other.prepare()
    assert sorted(file.held.path for file in group.files) == ["empty", "full"]
    group.close()


def test_markers_are_waited_for_and_consumed(stand: Make) -> None:
    one = stand(ready="marker")
    for name in ("a.csv", "b.csv", "b.pdf", "c.csv"):
        (one.path / name).write_bytes(b"x")
    assert one.prepare().files == []
    assert len(one.tracker) == 0
    one.tracker.observe("c.csv", stamp_of(os.stat(one.path / "c.csv")), time.monotonic() - 1)  # a hint
    assert one.claimer.prepare(9).files == []
    assert one.tracker.counts() == {Why.MARKER.value: 1}
    (one.path / "a.csv.done").touch()
    (one.path / "b.ready").touch()
    one.inbox.ask_scan()
    group = one.prepare(2)
    assert sorted(file.held.path for file in group.files) == ["a.csv", "b.csv"]
    one.claim(group)
    assert one.dropped() == ["b.pdf", "b.ready", "c.csv"]  # b.pdf still needs the marker of its stem
    one.claim(one.claimer.prepare(2))
    assert one.dropped() == ["c.csv"]


def test_a_marker_with_content_is_kept_in_done(stand: Make) -> None:
    one = stand(ready="marker")
    (one.path / "a.csv").write_bytes(b"x")
    (one.path / "a.done").write_bytes(b"checked by Eva")
    one.claim(one.prepare())
    assert (one.path / "done" / "a.done").read_bytes() == b"checked by Eva"
    (one.path / "a.csv").write_bytes(b"y")
    (one.path / "a.done").write_bytes(b"again")
    one.inbox.ask_scan()
    one.claim(one.prepare())
    assert (one.path / "done" / "a.done").read_bytes() == b"checked by Eva"
    assert (one.path / "a.done").read_bytes() == b"again"


@pytest.mark.skipif(os.getuid() != 0, reason="mounts")
def test_a_mount_inside_the_root_is_claimed_by_a_verified_copy(stand: Make) -> None:
    one = stand(recursive=True)
    inner = one.path / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inner)], check=True)
    try:
        (inner / "a.csv").write_bytes(b"content")
        (inner / "b.csv").write_bytes(b"content")
        group = one.prepare()
        assert len(group.files) == 2
        two = next(file for file in group.files if file.held.name == "b.csv")

        def write() -> None:
            with (inner / "b.csv").open("ab") as file:
                file.write(b" and more")

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.1)
        one.claim(group)
        writer.join(10)
        assert os.listdir(inner) == ["b.csv"]
        assert (inner / "b.csv").read_bytes() == b"content and more"
        assert group.words.remove == {"it changed while it was being copied": [two.id]}
        (entry,) = one.entries()
        assert (one.work / entry).read_bytes() == b"content"
    finally:
        subprocess.run(["umount", "-l", str(inner)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts")
def test_a_full_disk_is_trouble_of_the_folder_and_leaves_the_source(stand: Make) -> None:
    one = stand(recursive=True)
    inner = one.path / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inner)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(one.work)], check=True)
    try:
        one.root.detach()
        one.root.attach()
        (inner / "a.csv").write_bytes(b"x" * 200_000)
        group = one.prepare()
        one.claim(group)
        assert group.trouble is not None
        assert group.trouble.errno == errno.ENOSPC
        assert (inner / "a.csv").stat().st_size == 200_000
        assert one.entries() == []
    finally:
        one.root.detach()
        subprocess.run(["umount", "-l", str(one.work)], check=True)
        subprocess.run(["umount", "-l", str(inner)], check=True)


def test_an_error_that_is_the_folders_ends_the_group(stand: Make) -> None:
    one = stand(failpoints="")
    for number in range(3):
        (one.path / f"{number}").write_bytes(b"x")
    one.inbox.look()
    time.sleep(0.03)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    keep = [os.open("/dev/null", os.O_RDONLY) for _ in range(used - len(os.listdir("/proc/self/fd")) + 2)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(keep) + 1, hard))
    try:
        group = one.claimer.prepare(9)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in keep:
            os.close(descriptor)
    assert group.files == []
    assert group.trouble is not None
    assert group.trouble.errno == errno.EMFILE
    assert one.tracker.counts()[Why.UNREADABLE.value] == 1  # the others have not been looked at
    group.close()


def test_an_error_in_the_middle_leaves_nothing_open(stand: Make) -> None:
    one = stand(failpoints="claim.probed=error:EIO@2")
    for number in range(3):
        (one.path / f"{number}").write_bytes(b"x")
    with pytest.raises(OSError, match="Input/output"):
        one.prepare()


def test_a_stop_leaves_a_long_file_where_it_is_and_claims_what_was_read(stand: Make) -> None:
    one = stand(order="name")
    (one.path / "a").write_bytes(b"x")
    (one.path / "b").write_bytes(b"x" * 3_000_000)
    (one.path / "c").write_bytes(b"x")
    one.claimer._stopping = lambda: True
    group = one.prepare()
    assert [file.held.path for file in group.files] == ["a"]
    one.claim(group)
    assert one.dropped() == ["b", "c"]
    one.claimer._stopping = lambda: False
    rest = one.claimer.prepare(9)
    assert len(rest.files) == 2
    rest.close()
