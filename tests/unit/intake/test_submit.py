"""Copies taken straight into the queue."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.errors import UnknownFolder
from dropmill.intake.submit import Submitter
from dropmill.intake.thread import RootThread
from dropmill.queue.errors import QueueFull
from dropmill.queue.records import FileState
from dropmill.queue.sqlite import SqliteStore

Make = Any


@pytest.fixture
def submitter(tmp_path: Path, store: SqliteStore, clock: SystemClock, ids: IdSource) -> Submitter:
    return Submitter(tmp_path / "state", store, clock=clock, ids=ids, failpoints=Failpoints())


@pytest.fixture
def folder(root: Path, folder_settings: Callable[..., FolderSettings]) -> FolderSettings:
    return folder_settings(root)


async def test_a_submitted_file_goes_the_whole_way_and_its_source_stays(make: Make, root: Path, tmp_path: Path) -> None:
    running = await make()
    source = tmp_path / "a.csv"
    source.write_bytes(b"content")
    (answer,) = await running.intake.submit([source], "inbox")
    assert answer.problem is None
    (file,) = await running.claimed(1)
    assert (file.id, file.name) == (answer.file_id, "a.csv")
    assert Path(file.place).parent == tmp_path / "state" / "submitted"
    await running.finish(file)
    await running.until((root / "done" / "a.csv").exists, "the copy in done/")
    assert source.read_bytes() == b"content"


async def test_without_an_agent(
    submitter: Submitter, folder: FolderSettings, store: SqliteStore, tmp_path: Path
) -> None:
    paths = []
    for number in range(100):
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_bytes(b"%d" % number)
    answers = await submitter.submit(paths, folder)
    assert [answer.path for answer in answers] == paths
    files = await store.next_files(1000)
    assert {file.id for file in files} == {answer.file_id for answer in answers}
    assert {Path(file.place).read_bytes() for file in files} == {b"%d" % number for number in range(100)}


async def test_each_path_has_its_answer(submitter: Submitter, folder: FolderSettings, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "good")
    paths = [tmp_path / "none", tmp_path, tmp_path / "good", Path("/dev/null"), tmp_path / "link"]
    answers = await submitter.submit(paths, folder)
    assert [answer.file_id is not None for answer in answers] == [False, False, True, False, True]
    problems = [answer.problem.code for answer in answers if answer.problem is not None]
    assert problems == ["DM-I003"] * 3
    assert await submitter.submit([tmp_path / "none"], folder)


async def test_names_of_all_kinds(
    submitter: Submitter, folder: FolderSettings, store: SqliteStore, tmp_path: Path
) -> None:
    names = ["ü", os.fsdecode(b"\xff"), "n" * 255, " "]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    await submitter.submit([tmp_path / name for name in names], folder)
    files = await store.next_files(10)
    assert {file.name for file in files} == set(names)
    assert all(Path(file.place).exists() for file in files)


async def test_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, store: SqliteStore, clock: SystemClock, ids: IdSource, folder: FolderSettings, monkeypatch: Any
) -> None:
    from dropmill.intake import submit

    real = submit.copy_verified

    def grow(source: int, *arguments: Any, **options: Any) -> Any:
        copied = real(source, *arguments, **options)
        with (tmp_path / "a").open("ab") as file:
            file.write(b"more")
        return copied

    monkeypatch.setattr(submit, "copy_verified", grow)
    (tmp_path / "a").write_bytes(b"x")
    submitter = Submitter(tmp_path / "state", store, clock=clock, ids=ids, failpoints=Failpoints())
    (answer,) = await submitter.submit([tmp_path / "a"], folder)
    assert answer.problem is not None
    assert "changed" in answer.problem.what
    assert os.listdir(tmp_path / "state" / "submitted" / ".arriving") == []


async def test_a_full_queue_takes_none(make: Make, tmp_path: Path) -> None:
    running = await make()
    running.gate.intake_open, running.gate.intake_reason = False, "it is full"
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(QueueFull, match="it is full"):
        await running.intake.submit([tmp_path / "a"], "inbox")
    assert not (tmp_path / "state" / "submitted").exists()
    with pytest.raises(UnknownFolder):
        await running.intake.submit([tmp_path / "a"], "nope")


async def test_when_rows_cannot_be_written_no_copy_stays(
    submitter: Submitter, folder: FolderSettings, store: SqliteStore, tmp_path: Path, monkeypatch: Any
) -> None:
    async def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "add_files", fail)
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(OSError, match="No space left"):
        await submitter.submit([tmp_path / "a"], folder)
    for _ in range(200):
        if not os.listdir(tmp_path / "state" / "submitted" / ".arriving"):
            break
        import asyncio

        await asyncio.sleep(0.01)
    assert os.listdir(tmp_path / "state" / "submitted" / ".arriving") == []


@pytest.mark.parametrize("policy", ["skip", "quarantine"])
async def test_duplicates_follow_the_folders_policy(
    submitter: Submitter,
    folder: FolderSettings,
    store: SqliteStore,
    tmp_path: Path,
    policy: str,
    folder_settings: Callable[..., FolderSettings],
) -> None:
    settings = folder_settings(folder.path, duplicates=policy)
    for name in "abc":
        (tmp_path / name).write_bytes(b"same")
    await submitter.submit([tmp_path / "a", tmp_path / "b"], settings)
    await submitter.submit([tmp_path / "c"], settings)
    (file,) = await store.next_files(10)
    assert file.name == "a"
    states = {known.name: known.state for known in await store.known_content("inbox", file.sha256)}
    other = FileState.CONVERTED if policy == "skip" else FileState.FAILED
    assert states == {"a": FileState.CLAIMED, "b": other, "c": other}


async def test_a_copy_without_a_row_is_told_of_when_the_queue_was_replaced(
    submitter: Submitter, folder: FolderSettings, tmp_path: Path
) -> None:
    lost = tmp_path / "state" / "submitted" / "0123456789abcdef-a.csv"
    lost.parent.mkdir()
    lost.write_bytes(b"x")
    (lost.parent / "not ours").touch()
    arriving = lost.parent / ".arriving"
    (arriving / "0123456789abcdef").mkdir(parents=True)
    (arriving / "0123456789abcdef" / ("n" * 250)).write_bytes(b"half")
    (arriving / ".0123456789abcdef.part").write_bytes(b"half")
    (arriving / "0123456789abcdee-x").write_bytes(b"whole")
    (arriving / "something").write_bytes(b"not ours")
    problems = await submitter.recover({"inbox": folder})
    assert [problem.code for problem in problems] == ["DM-I017"]
    assert problems[0].where == str(lost)
    assert lost.exists()
    assert os.listdir(arriving) == ["something"]


async def test_nothing_to_recover(submitter: Submitter, folder: FolderSettings) -> None:
    assert await submitter.recover({"inbox": folder}) == []


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("name", ["a.csv", "n" * 251 + ".csv"])
async def test_a_copy_with_a_row_goes_on_after_a_crash(
    submitter: Submitter, folder: FolderSettings, store: SqliteStore, tmp_path: Path, name: str, moved: bool
) -> None:
    (tmp_path / name).write_bytes(b"content")
    thread = RootThread("test", SystemClock())
    row = submitter._arrive(tmp_path / name, folder, thread)
    await store.add_files([row])
    if moved:
        submitter._take_in([row])
    assert await submitter.recover({"inbox": folder}) == []
    (file,) = await store.next_files(9)
    assert file.id == row.id
    assert Path(file.place).read_bytes() == b"content"
    assert os.listdir(tmp_path / "state" / "submitted" / ".arriving") == []


async def test_a_copy_that_is_not_what_its_row_says_is_not_taken(
    submitter: Submitter, folder: FolderSettings, store: SqliteStore, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"content")
    row = submitter._arrive(tmp_path / "a", folder, RootThread("test", SystemClock()))
    await store.add_files([row])
    Path(row.origin).write_bytes(b"CONTENT")
    await submitter.recover({"inbox": folder})
    assert await store.next_files(9) == []
    assert await store.unconfirmed_files() == []
