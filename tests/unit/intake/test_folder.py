"""A folder at work: its states, what it takes and what it leaves, back-pressure, trouble."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.intake.errors import UnknownFolder
from dropmill.intake.status import FolderState
from dropmill.queue.errors import StoreUnavailable
from dropmill.queue.records import FileState
from dropmill.queue.sqlite import SqliteStore

Make = Any
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="mounts, or becomes another user")


def state(running: Any, number: int = 0) -> FolderState:
    return running.intake.status()[number].state


# --- what is taken ---------------------------------------------------------------------------------------------------------


async def test_names_of_all_kinds_go_the_whole_way(make: Make, root: Path) -> None:
    names = [
        "ü.csv",
        "u\u0308.csv",
        " lead and trail ",
        "dot.",
        "new\nline.csv",
        os.fsdecode(b"bad\xff\xfe.csv"),
        "n" * 251 + ".csv",
        "$(rm -rf).csv",
    ]
    running = await make()
    for name in names:
        (root / name).write_bytes(os.fsencode(name))
    for file in await running.claimed(len(names)):
        assert Path(file.place).read_bytes() == os.fsencode(file.name)
        if file.name.startswith("nn"):
            await running.fail(file)
        else:
            await running.finish(file)
    await running.until(lambda: len(list((root / "done").glob("*"))) == len(names) - 1, "all of them in done/")
    for name in names:
        folder = "failed" if name.startswith("nn") else "done"
        assert (root / folder / name).read_bytes() == os.fsencode(name)
    await running.until(lambda: not os.listdir(root / ".dropmill" / "work"), "work/ to be empty")


async def test_a_file_written_slowly_is_never_taken_early(make: Make, root: Path) -> None:
    running = await make(settle=0.1)

    def write() -> None:
        with (root / "slow.csv").open("wb", buffering=0) as file:
            for _ in range(20):
                file.write(b"x" * 50)
                time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    await asyncio.to_thread(writer.join)
    (file,) = await running.claimed(1)
    assert file.size == 1000


async def test_a_file_written_in_several_openings_waits_for_the_last(make: Make, root: Path) -> None:
    running = await make(settle=0.4)
    for _ in range(5):
        with (root / "slow.csv").open("ab") as file:
            file.write(b"x" * 10)
        await asyncio.sleep(0.1)
    (record,) = await running.claimed(1)
    assert record.size == 50


async def test_a_file_renamed_in_is_taken_sooner(make: Make, root: Path) -> None:
    running = await make(settle=5.0)
    await running.until(lambda: running.intake.status()[0].last_scan, "the first scan")
    (root.parent / "a").write_bytes(b"x")
    (root.parent / "a").rename(root / "a.csv")
    await running.claimed(1, within=2.0)


async def test_a_file_linked_in_is_taken(make: Make, root: Path) -> None:
    running = await make()
    (root.parent / "a").write_bytes(b"x")
    os.link(root.parent / "a", root / "a.csv")
    await running.claimed(1)


async def test_excluded_and_odd_things_stay(make: Make, root: Path) -> None:
    running = await make(include=("*.csv",), exclude=("old*",))
    (root / "old.csv").write_bytes(b"x")
    (root / "a.txt").write_bytes(b"x")
    (root / "a.csv.part").write_bytes(b"x")
    (root / "folder.csv").mkdir()
    (root / "link.csv").symlink_to(root / "a.txt")
    os.mkfifo(root / "pipe.csv")
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    assert file.name == "a.csv"
    await asyncio.sleep(0.3)
    assert sorted(os.listdir(root)) == [
        ".dropmill",
        "a.csv.part",
        "a.txt",
        "folder.csv",
        "link.csv",
        "old.csv",
        "pipe.csv",
    ]


async def test_folders_inside_are_followed_where_asked_and_paths_are_kept(make: Make, root: Path) -> None:
    (root / "early").mkdir()
    (root / "early" / "a.csv").write_bytes(b"1")
    running = await make(recursive=True, rescan=3600.0)
    (root / "late" / "deep").mkdir(parents=True)
    (root / "late" / "deep" / "b.csv").write_bytes(b"2")
    files = await running.claimed(2)
    assert {file.name for file in files} == {"early/a.csv", "late/deep/b.csv"}
    await running.finish(files[0])
    await running.fail(files[1])
    for file, folder in zip(files, ("done", "failed"), strict=True):
        await running.until((root / folder / file.name).exists, f"{file.name} in {folder}/")
    (root / "late" / "deep" / "c.csv").write_bytes(b"3")
    (root / "early").rename(root / "renamed")
    (root / "renamed" / "d.csv").write_bytes(b"4")
    assert {file.name for file in await running.claimed(2)} == {"late/deep/c.csv", "renamed/d.csv"}


async def test_a_burst_of_thousands_is_taken_whole(make: Make, root: Path) -> None:
    running = await make(settle=0.2)

    def burst() -> None:
        for number in range(3000):
            (root / f"{number}.csv").write_bytes(str(number).encode())

    await asyncio.to_thread(burst)
    files = await running.claimed(3000, within=60)
    assert len({file.sha256 for file in files}) == 3000


async def test_oldest_first(make: Make, root: Path) -> None:
    for number in range(30):
        (root / f"{number:02}.csv").write_bytes(b"x%d" % number)
        os.utime(root / f"{number:02}.csv", (2000 - number, 2000 - number))
    running = await make(open_files=16)
    files = await running.claimed(30)
    assert [file.name for file in files] == [f"{number:02}.csv" for number in reversed(range(30))]


async def test_empty_files_wait_and_block_nobody(make: Make, root: Path) -> None:
    running = await make(stuck_after=0.3, rescan=0.2)
    (root / "empty.csv").touch()
    (root / "full.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    assert file.name == "full.csv"
    await running.until(lambda: running.intake.status()[0].stuck, "a report of the empty file")
    (problem,) = running.intake.status()[0].stuck
    assert problem.code == "DM-I011"
    assert problem.where == str(root / "empty.csv")
    assert running.intake.status()[0].reasons == {"empty": 1}
    (root / "empty.csv").write_bytes(b"now")
    await running.claimed(2)


async def test_empty_files_are_taken_or_put_aside_where_asked(make: Make, root: Path) -> None:
    running = await make(zero_byte="take")
    (root / "empty.csv").touch()
    await running.claimed(1)
    await running.stop()
    running = await make(zero_byte="quarantine")
    (root / "other.csv").touch()
    await running.until((root / "failed" / "other.csv.reason.json").exists, "the reason")
    await running.until((root / "failed" / "other.csv").exists, "the file in failed/")


# --- duplicates ------------------------------------------------------------------------------------------------------------


async def test_the_same_content_again_is_processed_by_default(make: Make, root: Path) -> None:
    running = await make()
    (root / "a.csv").write_bytes(b"same")
    await running.claimed(1)
    (root / "b.csv").write_bytes(b"same")
    files = await running.claimed(2)
    assert [file.occurrence for file in files] == [0, 1]


async def test_the_same_name_with_new_content_is_a_new_file(make: Make, root: Path) -> None:
    running = await make(duplicates="skip")
    (root / "a.csv").write_bytes(b"one")
    (first,) = await running.claimed(1)
    await running.finish(first)
    await running.until((root / "done" / "a.csv").exists, "the first in done/")
    (root / "a.csv").write_bytes(b"two")
    (second,) = await running.claimed(1)
    await running.finish(second)
    await running.until(lambda: len(os.listdir(root / "done")) == 2, "both in done/")
    contents = sorted(path.read_bytes() for path in (root / "done").iterdir())
    assert contents == [b"one", b"two"]
    assert (root / "done" / "a.csv").read_bytes() == b"one"


async def test_duplicates_are_skipped_where_asked_even_within_one_group(make: Make, root: Path) -> None:
    for name in "abc":
        (root / f"{name}.csv").write_bytes(b"same")
    running = await make(duplicates="skip")
    files = await running.claimed(1)
    await running.until(
        lambda: len(os.listdir(root / "done")) == 2 if (root / "done").exists() else False, "two in done/"
    )
    assert await running.files() == files


async def test_duplicates_are_put_aside_where_asked(make: Make, root: Path, store: SqliteStore) -> None:
    running = await make(duplicates="quarantine")
    (root / "a.csv").write_bytes(b"same")
    (first,) = await running.claimed(1)
    (root / "b.csv").write_bytes(b"same")
    await running.until((root / "failed" / "b.csv").exists, "the copy in failed/")
    assert first.id in (root / "failed" / "b.csv.reason.json").read_text()
    states = {file.name: file.state for file in await store.known_content("inbox", first.sha256)}
    assert states == {"a.csv": FileState.CLAIMED, "b.csv": FileState.FAILED}


async def test_a_failed_file_that_is_dropped_again_is_a_retry(make: Make, root: Path) -> None:
    running = await make(duplicates="skip")
    (root / "a.csv").write_bytes(b"same")
    (first,) = await running.claimed(1)
    await running.fail(first)
    await running.until((root / "failed" / "a.csv").exists, "the file in failed/")
    (root / "a.csv").write_bytes(b"same")
    (second,) = await running.claimed(1)
    assert second.id != first.id


# --- states ------------------------------------------------------------------------------------------------------------------


async def test_a_missing_root_is_offline_and_its_coming_is_noticed(make: Make, root: Path) -> None:
    root.rmdir()
    running = await make()
    assert state(running) is FolderState.OFFLINE
    assert "No such file" in running.intake.status()[0].reason
    assert not running.intake.online("inbox")
    assert running.intake.problems()[0].code == "DM-I001"
    root.mkdir()
    (root / "a.csv").write_bytes(b"x")
    await running.claimed(1)
    assert state(running) is FolderState.ONLINE
    assert running.intake.online("inbox")
    assert running.intake.problems() == []


async def test_a_root_that_is_removed_and_made_anew_goes_on(make: Make, root: Path) -> None:
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    await running.finish(file)
    await running.until((root / "done" / "a.csv").exists, "the first in done/")
    shutil.rmtree(root)
    await running.until(lambda: state(running) is FolderState.OFFLINE, "the folder to be offline")
    root.mkdir()
    (root / "b.csv").write_bytes(b"y")
    await running.claimed(1)


async def test_a_root_that_was_renamed_away_returns_with_its_files_and_without_copies(make: Make, root: Path) -> None:
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    files = await running.claimed(1)
    away = root.with_name("away")
    root.rename(away)
    await running.until(lambda: state(running) is FolderState.OFFLINE, "the folder to be offline")
    (away / "b.csv").write_bytes(b"y")
    away.rename(root)
    after = await running.claimed(2)
    assert {file.id for file in files} < {file.id for file in after}
    assert all(Path(file.place).exists() for file in after)


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no event tells of is noticed soon."""
    monkeypatch.setattr("dropmill.intake.folder.BEAT", 0.2)


@needs_root
@pytest.mark.usefixtures("watchful")
async def test_an_unmounted_root_is_offline_until_it_is_mounted_again(make: Make, root: Path, tmp_path: Path) -> None:
    backing = tmp_path / "backing"
    backing.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(backing)], check=True)
    subprocess.run(["mount", "--bind", str(backing), str(root)], check=True)
    running = await make()
    try:
        (root / "a.csv").write_bytes(b"x")
        (file,) = await running.claimed(1)
        subprocess.run(["umount", "-l", str(root)], check=True)
        await running.until(lambda: state(running) is FolderState.OFFLINE, "the folder to be offline")
        running.intake.rescan("inbox")
        await asyncio.sleep(0.7)
        assert state(running) is FolderState.OFFLINE  # an empty folder of another device is not it
        assert running.intake.status()[0].problem.code == "DM-I006"
        assert os.listdir(root) == []  # nothing is made in it: a claimed file must not seem to be gone from its work/
        (root / "stray.csv").write_bytes(b"y")
        subprocess.run(["mount", "--bind", str(backing), str(root)], check=True)
        await running.until(lambda: state(running) is FolderState.ONLINE, "the folder to be online")
        assert Path(file.place).exists()
        assert [each.id for each in await running.files()] == [file.id]
    finally:
        await running.stop()
        subprocess.run(["umount", "-l", str(root)], check=False)
        subprocess.run(["umount", "-l", str(backing)], check=False)


@needs_root
@pytest.mark.usefixtures("watchful")
async def test_an_operator_may_take_up_a_root_on_another_device(make: Make, root: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(root)], check=True)
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    subprocess.run(["umount", "-l", str(root)], check=True)

    def refused() -> bool:
        problem = running.intake.status()[0].problem
        return problem is not None and problem.code == "DM-I006"

    await running.until(refused, "the folder to be refused")
    (root / "b.csv").write_bytes(b"y")
    await running.intake.resume("inbox")
    await running.claimed(2)
    assert state(running) is FolderState.DEGRADED
    assert running.intake.status()[0].problem.code == "DM-I014"
    assert str(file.place) == running.intake.status()[0].problem.where


async def test_one_folder_in_trouble_does_not_concern_the_others(
    make: Make, tmp_path: Path, folder_settings: Callable[..., FolderSettings]
) -> None:
    (tmp_path / "good").mkdir()
    folders = [folder_settings(tmp_path / name, name=name) for name in ("good", "gone")]
    running = await make(folders=folders)
    assert [status.state for status in running.intake.status()] == [FolderState.ONLINE, FolderState.OFFLINE]
    (tmp_path / "good" / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    assert file.folder == "good"


async def test_a_paused_folder_takes_nothing_over_restarts(make: Make, root: Path) -> None:
    running = await make()
    await running.intake.pause("inbox")
    (root / "a.csv").write_bytes(b"x")
    await asyncio.sleep(0.4)
    assert await running.files() == []
    assert state(running) is FolderState.PAUSED
    (sighting,) = await running.intake.explain(root / "a.csv")
    assert sighting.reason.startswith("the folder is paused")
    await running.stop()
    running = await make()
    await asyncio.sleep(0.4)
    assert state(running) is FolderState.PAUSED
    assert await running.files() == []
    await running.intake.resume("inbox")
    await running.claimed(1)
    assert state(running) is FolderState.ONLINE


async def test_unknown_folders_are_named_with_the_known(make: Make) -> None:
    running = await make()
    with pytest.raises(UnknownFolder, match="inbox"):
        await running.intake.pause("nope")
    with pytest.raises(UnknownFolder):
        await running.intake.resume("nope")
    with pytest.raises(UnknownFolder):
        running.intake.rescan("nope")
    assert not running.intake.online("nope")


async def test_changes_of_state_are_on_record(make: Make, root: Path, store: SqliteStore, tmp_path: Path) -> None:
    running = await make()
    root.rename(root.with_name("away"))
    await running.until(lambda: state(running) is FolderState.OFFLINE, "the folder to be offline")
    root.with_name("away").rename(root)
    await running.until(lambda: state(running) is FolderState.ONLINE, "the folder to be online")
    since = running.intake.status()[0].since
    assert time.time() - since < 5
    await running.stop()
    import sqlite3

    with sqlite3.connect(tmp_path / "state" / "queue.db") as database:
        rows = database.execute("SELECT name, data FROM event WHERE subject = 'inbox' ORDER BY seq").fetchall()
    database.close()
    assert [name for name, _ in rows] == ["folder.online", "folder.offline", "folder.online"]
    assert "DM-I001" in rows[1][1]


# --- back-pressure -----------------------------------------------------------------------------------------------------------


async def test_a_closed_gate_leaves_files_untouched_and_says_why(make: Make, root: Path) -> None:
    running = await make()
    running.gate.intake_open, running.gate.intake_reason = False, "the queue is full"
    (root / "a.csv").write_bytes(b"x")
    before = (root / "a.csv").stat()
    await running.until(lambda: running.intake.status()[0].holding == "the queue is full", "the reason")
    await asyncio.sleep(0.3)
    after = (root / "a.csv").stat()
    assert (after.st_ino, after.st_ctime_ns, after.st_atime_ns) == (
        before.st_ino,
        before.st_ctime_ns,
        before.st_atime_ns,
    )
    (sighting,) = await running.intake.explain(root / "a.csv")
    assert sighting.reason == "nothing is claimed now: the queue is full"
    running.gate.intake_open, running.gate.intake_reason = True, ""
    await running.claimed(1)
    assert running.intake.status()[0].holding == ""


async def test_no_more_files_are_claimed_than_allowed(make: Make, root: Path) -> None:
    for number in range(20):
        (root / f"{number}.csv").write_bytes(b"x%d" % number)
    running = await make(max_claimed=8)
    files = await running.claimed(8)
    await asyncio.sleep(0.3)
    assert len(await running.files()) == 8
    assert "max_claimed" in running.intake.status()[0].holding
    for file in files[:5]:
        await running.finish(file)
    await running.claimed(8)


# --- trouble -----------------------------------------------------------------------------------------------------------------


async def test_events_that_never_come_are_made_up_for_by_scans(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropmill.intake.watch import Hints

    monkeypatch.setattr(Hints, "put", lambda *_: None)
    running = await make(rescan=0.3)
    (root / "a.csv").write_bytes(b"x")
    await running.claimed(1)


async def test_exhausted_watches_mean_polling_with_a_warning(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropmill.intake import inbox, watch

    def refuse(*_: object) -> None:
        raise watch.WatchesExhausted("inotify watch limit reached")

    monkeypatch.setattr(inbox, "Watch", refuse)
    running = await make(rescan=0.2)
    status = running.intake.status()[0]
    assert status.watching == "polling"
    await running.until(lambda: state(running) is FolderState.DEGRADED, "the warning")
    assert running.intake.status()[0].problem.code == "DM-I007"
    assert "fs.inotify.max_user_watches" in running.intake.status()[0].problem.todo
    (root / "a.csv").write_bytes(b"x")
    await running.claimed(1)
    monkeypatch.undo()
    running.intake.rescan()
    await running.until(lambda: state(running) is FolderState.ONLINE, "watching again")
    assert running.intake.status()[0].watching == "events"


async def test_a_dead_watch_is_noticed_and_made_anew(make: Make, root: Path) -> None:
    running = await make(rescan=0.2)
    folder = running.intake._folders["inbox"]
    first = folder.inbox._watch
    first._reader.ended = True
    first._reader.stop()

    def made_anew() -> bool:
        watch = folder.inbox._watch
        return watch not in (None, first) and not watch.silent

    await running.until(made_anew, "a new watch")
    (root / "a.csv").write_bytes(b"x")
    await running.claimed(1)


async def test_a_writer_that_never_ends_is_reported_once_and_never_overrun(make: Make, root: Path) -> None:
    running = await make(settle=0.05, stuck_after=0.3, rescan=0.1)
    with (root / "open.csv").open("wb") as file:
        file.write(b"x")
        file.flush()
        await running.until(lambda: running.intake.status()[0].stuck, "the report")
        (sighting,) = await running.intake.explain(root / "open.csv")
        assert sighting.reason == "a program has it open for writing"
        await asyncio.sleep(0.5)
        assert len(running.intake.status()[0].stuck) == 1
        assert running.intake.status()[0].stuck[0].code == "DM-I010"
        assert await running.files() == []
    await running.claimed(1)


async def test_a_file_system_that_hangs_stalls_its_own_folder_alone(
    make: Make,
    tmp_path: Path,
    folder_settings: Callable[..., FolderSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dropmill.intake.folder.HUNG", 0.3)
    folders = []
    for name in ("good", "hung"):
        (tmp_path / name).mkdir()
        folders.append(folder_settings(tmp_path / name, name=name))
    running = await make(folders=folders)
    go = threading.Event()
    hung = running.intake._folders["hung"]
    check = hung.root.check
    monkeypatch.setattr(hung.root, "check", lambda: (go.wait(), check()))
    (tmp_path / "hung" / "a.csv").write_bytes(b"1")
    await running.until(lambda: state(running, 1) is FolderState.OFFLINE, "the hang to be noticed")
    assert running.intake.status()[1].problem.code == "DM-I004"
    (tmp_path / "good" / "b.csv").write_bytes(b"2")
    (file,) = await running.claimed(1)
    assert file.folder == "good"
    go.set()
    await running.until(lambda: state(running, 1) is FolderState.ONLINE, "its return")
    await running.claimed(2)


async def test_a_stop_does_not_wait_for_a_file_system_that_hangs(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropmill.intake.folder.ABANDON", 0.2)
    running = await make()
    go = threading.Event()
    monkeypatch.setattr(running.intake._folders["inbox"].root, "check", go.wait)
    (root / "a.csv").write_bytes(b"1")
    await running.until(lambda: running.intake._folders["inbox"]._thread.silence > 0.1, "the hang")
    start = time.monotonic()
    await running.stop()
    assert time.monotonic() - start < 3
    go.set()


async def test_a_stop_puts_what_was_moved_on_record(make: Make, root: Path, store: SqliteStore) -> None:
    for number in range(300):
        (root / f"{number}.csv").write_bytes(b"x%d" % number)
    running = await make(settle=0.0)
    await running.until(running.files, "the first claims")
    await running.stop()
    assert await store.unconfirmed_files() == []
    on_record = {Path(file.place).name for file in await store.next_files(1000)}
    assert on_record == set(os.listdir(root / ".dropmill" / "work"))


@needs_root
async def test_a_file_that_may_not_be_read_is_retried_and_reported(tmp_path: Path) -> None:
    """In a process of its own, as a user with few rights."""
    root = tmp_path / "inbox"
    root.mkdir()
    (tmp_path / "state").mkdir()
    (root / "secret.csv").write_bytes(b"x")
    (root / "secret.csv").chmod(0o600)
    for path in (tmp_path, root, tmp_path / "state"):
        os.chown(path, 65534, 65534)
    program = Path(__file__).with_name("as_nobody.py")
    for folder in tmp_path.parents:
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(program), str(root), str(tmp_path / "state")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "folder=inbox" not in line]
    assert said == [
        "DM-I012 the file could not be read (Permission denied)",
        "taken: secret.csv",
    ], done.stderr


# --- the queue in trouble ----------------------------------------------------------------------------------------------------


class Refusing:
    """Makes a method of the store refuse for a while."""

    def __init__(self, store: SqliteStore, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = True
        self.refused = 0
        real = getattr(store, name)

        async def method(*arguments: Any, **options: Any) -> Any:
            if self.on:
                self.refused += 1
                raise StoreUnavailable("the disk of the queue is full", todo="free space")
            return await real(*arguments, **options)

        monkeypatch.setattr(store, name, method)


@pytest.mark.parametrize("method", ["add_files", "confirm_files"])
async def test_a_queue_that_refuses_rows_keeps_nothing_from_being_taken_later(
    make: Make, root: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    refusing = Refusing(store, method, monkeypatch)
    running = await make()
    for name in "abc":
        (root / f"{name}.csv").write_bytes(name.encode())
    await running.until(lambda: state(running) is FolderState.DEGRADED, "the trouble to show")
    assert running.intake.status()[0].problem.code == "DM-I008"
    (sighting, *_) = await running.intake.explain(root / "a.csv")
    assert "disk of the queue is full" in sighting.reason or sighting.state == "missing"
    refusing.on = False
    await running.claimed(3)
    await running.until(lambda: state(running) is FolderState.ONLINE, "the folder to be well")


async def test_a_stop_while_the_queue_refuses_leaves_it_to_the_next_start(
    make: Make, root: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(store, "confirm_files", monkeypatch)
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    await running.until(lambda: refusing.refused, "the refusal")
    async with asyncio.timeout(5):
        await running.stop()
    assert len(await store.unconfirmed_files()) == 1
    refusing.on = False
    running = await make()
    await running.claimed(1)


async def test_a_folder_that_cannot_be_put_right_for_want_of_the_queue_waits(
    make: Make, root: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(store, "unconfirmed_files", monkeypatch)
    running = await make(begin=False)
    monkeypatch.setattr(running.intake._submitter, "recover", _nothing)
    await running.start()
    await running.until(lambda: state(running) is FolderState.OFFLINE, "the trouble to show")
    assert running.intake.status()[0].problem.code == "DM-I008"
    refusing.on = False
    (root / "a.csv").write_bytes(b"x")
    await running.claimed(1)


async def _nothing(_: object) -> list[object]:
    return []


async def test_a_refused_change_back_is_said_again(
    make: Make, root: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that did not come about, while its row cannot be removed."""
    from dropmill.intake.claim import Claimer

    real = Claimer.move

    def move(self: Claimer, group: Any) -> None:
        (root / "a.csv").unlink(missing_ok=True)
        real(self, group)

    monkeypatch.setattr(Claimer, "move", move)
    refusing = Refusing(store, "remove_files", monkeypatch)
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (root / "b.csv").write_bytes(b"y")
    await running.until(lambda: refusing.refused, "the refusal")
    refusing.on = False
    await running.claimed(1)

    async def none_left() -> bool:
        return not await store.unconfirmed_files()

    await running.until(none_left, "the row to go")


async def test_a_disk_that_does_not_keep_what_is_written_makes_the_folder_recover(make: Make, root: Path) -> None:
    running = await make(failpoints="claim.synced=error:EIO@1")
    for name in "abc":
        (root / f"{name}.csv").write_bytes(name.encode())
    await running.claimed(3)
    await running.until(lambda: running.intake._folders["inbox"].attachment == 2, "the second attachment")
    assert state(running) is FolderState.ONLINE


async def test_an_error_after_the_move_is_resolved_by_recovery(make: Make, root: Path) -> None:
    running = await make(failpoints="claim.synced=error:EIO@2")
    for name in "abc":
        (root / f"{name}.csv").write_bytes(name.encode())
    files = await running.claimed(3)
    assert {file.occurrence for file in files} == {0}
    await running.until(lambda: running.intake._folders["inbox"].attachment == 2, "the second attachment")


async def test_trouble_is_over_when_nothing_is_left_to_claim(
    make: Make, root: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Refusing(store, "add_files", monkeypatch)
    running = await make(rescan=0.3)
    (root / "a.csv").write_bytes(b"x")
    await running.until(lambda: state(running) is FolderState.DEGRADED, "the trouble to show")
    (root / "a.csv").unlink()
    await running.until(lambda: state(running) is FolderState.ONLINE, "the folder to be well")
