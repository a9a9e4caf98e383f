"""Looks: when everything, when only hints, and what is told of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import SystemClock
from dropmill.intake import inbox as module
from dropmill.intake.errors import FolderOffline
from dropmill.intake.inbox import Inbox, name_filter
from dropmill.intake.mounts import Mount
from dropmill.intake.root import Root
from dropmill.intake.watch import Hint, Hints, WatchesExhausted


@pytest.fixture
def make_inbox(root: Path, folder_settings: Callable[..., FolderSettings]) -> Iterator[Callable[..., Inbox]]:
    made: list[tuple[Inbox, Root]] = []

    def make(*, start: bool = True, **changes: Any) -> Inbox:
        clock = SystemClock()
        attached = Root(str(root), instance="test", clock=clock)
        attached.attach()
        one = Inbox(folder_settings(root, **changes), attached, Hints(lambda: None), clock=clock)
        made.append((one, attached))
        if start:
            one.start()
        return one

    yield make
    for one, attached in made:
        one.close()
        attached.detach()


Make = Callable[..., Inbox]


def tracked(inbox: Inbox) -> set[str]:
    return {path for path, _ in inbox.tracker}


def test_the_first_look_is_at_everything_the_next_only_at_hints(make_inbox: Make, root: Path) -> None:
    (root / "a").write_bytes(b"x")
    inbox = make_inbox()
    assert inbox.look()
    assert tracked(inbox) == {"a"}
    (root / "b").write_bytes(b"x")
    time.sleep(0.1)
    inbox._hints.take()  # the kernel's hints are swallowed
    assert not inbox.look()
    assert tracked(inbox) == {"a"}
    inbox._hints.put("b", Hint.CLOSED)
    inbox._hints.put("gone", Hint.CLOSED)
    inbox._hints.put(".hidden", Hint.CLOSED)
    inbox._hints.put("sub", Hint.FOLDER)
    inbox._hints.put("no/such", Hint.CLOSED)
    assert not inbox.look()
    assert tracked(inbox) == {"a", "b"}
    inbox.ask_scan()
    assert inbox.look()


def test_a_hint_at_something_that_is_no_file_is_ignored(make_inbox: Make, root: Path) -> None:
    inbox = make_inbox()
    inbox.look()
    (root / "link").symlink_to(root / "a")
    (root / "folder").mkdir()
    inbox._hints.put("link", Hint.CREATED)
    inbox._hints.put("folder", Hint.CREATED)
    inbox.look()
    assert tracked(inbox) == set()


def test_a_marker_is_a_hint_at_its_file_or_at_everything(make_inbox: Make, root: Path) -> None:
    inbox = make_inbox(ready="marker")
    inbox.look()
    (root / "a.csv").write_bytes(b"x")
    (root / "b.csv").write_bytes(b"x")
    (root / "a.csv.done").touch()
    (root / "b.done").touch()
    time.sleep(0.1)
    inbox._hints.take()
    inbox._hints.put("a.csv.done", Hint.RENAMED_IN)
    inbox.look()
    track = inbox.tracker.get("a.csv")
    assert track is not None
    assert not track.renamed_in
    assert not inbox._hints.take().scan
    inbox._hints.put("b.done", Hint.CLOSED)
    inbox.look()
    assert inbox._hints.take().scan


def test_unmarked_files_are_counted(make_inbox: Make, root: Path) -> None:
    inbox = make_inbox(ready="marker")
    (root / "a.csv").write_bytes(b"x")
    inbox.ask_scan()
    inbox.look()
    outlook = inbox.outlook(True)
    assert outlook.waiting == 1
    assert outlook.reasons == {"waiting for its marker": 1}
    assert len(inbox.tracker) == 0


def test_a_folder_that_appears_is_looked_into(make_inbox: Make, root: Path) -> None:
    inbox = make_inbox(recursive=True)
    inbox.look()
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "deep" / "a").write_bytes(b"x")
    (root / "done").mkdir()
    (root / "done" / "b").write_bytes(b"x")
    inbox._hints.take()
    inbox._hints.put("sub", Hint.FOLDER)
    inbox._hints.put("done", Hint.FOLDER)
    inbox._hints.put("vanished", Hint.FOLDER)
    assert not inbox.look()
    assert tracked(inbox) == {"sub/deep/a"}
    (root / "sub" / "deep" / "b").write_bytes(b"x")
    time.sleep(0.1)
    inbox.look()
    assert tracked(inbox) == {"sub/deep/a", "sub/deep/b"}
    inbox._hints.put("sub/deep/a", Hint.CLOSED)
    inbox.look()


def test_remote_file_systems_are_polled(make_inbox: Make, root: Path) -> None:
    inbox = make_inbox(start=False, rescan=60.0)
    inbox._root.mount = Mount("/", "nfs4", "server:/export")
    inbox.start()
    assert inbox.watching == "polling"
    before = time.monotonic()
    inbox.look()
    assert inbox.outlook(True).problem is None
    assert before + module.POLL <= inbox.next_scan <= time.monotonic() + module.POLL


def test_a_folder_that_cannot_be_watched_is_polled(
    make_inbox: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(module, "Watch", refuse)
    inbox = make_inbox()
    problem = inbox.outlook(True).problem
    assert problem is not None
    assert problem.code == "DM-I007"
    assert "Permission denied" in problem.what


def test_watches_that_run_out_in_the_middle_mean_polling(make_inbox: Make, root: Path) -> None:
    (root / "sub").mkdir()
    inbox = make_inbox(recursive=True)
    watch = inbox._watch
    assert watch is not None

    def refuse(_: str) -> None:
        raise WatchesExhausted("inotify watch limit reached")

    watch.add = refuse  # type: ignore[method-assign]
    (root / "sub" / "a").write_bytes(b"x")
    inbox.look()
    assert inbox.watching == "polling"
    assert tracked(inbox) == {"sub/a"}
    problem = inbox.outlook(True).problem
    assert problem is not None
    assert "max_user_watches" in problem.todo


def test_what_cannot_be_looked_at_is_told(make_inbox: Make, root: Path) -> None:
    inbox = make_inbox()
    inbox.look()
    inbox._unreadable = {"a": PermissionError(13, "Permission denied"), os.fsdecode(b"b\xff"): OSError(5, "I/O error")}
    problem = inbox.outlook(True).problem
    assert problem is not None
    assert problem.code == "DM-I009"
    assert problem.what.endswith("Permission denied (and 1 more)")


def test_a_lost_root_is_offline(make_inbox: Make, root: Path) -> None:
    inbox = make_inbox()
    root.rename(root.with_name("away"))
    with pytest.raises(FolderOffline):
        inbox.look()


def test_a_file_that_keeps_changing_is_reported_and_one_that_waits_its_turn_is_not(
    make_inbox: Make, root: Path
) -> None:
    inbox = make_inbox(settle=0.05, stuck_after=0.1)
    (root / "restless").write_bytes(b"x")
    (root / "patient").write_bytes(b"x")
    inbox.look()
    for number in range(4):
        time.sleep(0.04)
        (root / "restless").write_bytes(b"x" * number)
        inbox.ask_scan()
        inbox.look()
    reports = inbox.outlook(True).reports
    assert [(report.code, Path(report.where).name) for report in reports] == [("DM-I010", "restless")]
    assert inbox.outlook(True).reports == []
    assert inbox.outlook(False).reports == []


def test_our_folders_elsewhere_are_no_part_of_the_filter(
    root: Path, tmp_path: Path, folder_settings: Callable[..., FolderSettings]
) -> None:
    names = name_filter(folder_settings(root, done=tmp_path / "done"))
    assert names.enters("done", "done")
    assert not names.enters("failed", "failed")
