"""The child that moves files out of work/, with a real store, in trouble."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.intake.status import FolderState
from dropmill.queue.records import FileState
from dropmill.queue.sqlite import SqliteStore

Make = Any


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again soon."""
    monkeypatch.setattr("dropmill.intake.moves._RETRY", (0.05, 0.1))


async def test_a_folder_that_cannot_be_moved_to_makes_it_degraded_until_it_can(
    make: Make, root: Path, soon: None
) -> None:
    (root / "done").write_bytes(b"in the way")
    running = await make(exclude=("done",))
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    await running.finish(file)
    await running.until(lambda: running.intake.status()[0].state is FolderState.DEGRADED, "the trouble to show")
    assert running.intake.status()[0].problem.code == "DM-I016"
    assert Path(file.place).exists()
    (root / "done").unlink()
    await running.until((root / "done" / "a.csv").exists, "the move")
    await running.until(lambda: running.intake.status()[0].state is FolderState.ONLINE, "the folder to be well")


async def test_one_file_that_cannot_be_moved_stands_before_nobody(
    make: Make, root: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropmill.intake import dispose

    real = dispose.rename_no_replace
    stuck = threading.Event()

    def rename(source: str, target: str, **folders: int) -> None:
        if "stuck" in source and not stuck.is_set():
            raise PermissionError(13, "Permission denied", source)
        real(source, target, **folders)

    monkeypatch.setattr(dispose, "rename_no_replace", rename)
    running = await make()
    for name in ("stuck.csv", "a.csv"):
        (root / name).write_bytes(name.encode())
    for file in await running.claimed(2):
        await running.finish(file)
    await running.until((root / "done" / "a.csv").exists, "the other one")
    (root / "b.csv").write_bytes(b"later")
    (file,) = await running.claimed(1)
    await running.finish(file)
    await running.until((root / "done" / "b.csv").exists, "a later one")
    stuck.set()
    await running.until((root / "done" / "stuck.csv").exists, "the stuck one")


async def test_a_name_taken_between_plan_and_move_is_planned_anew(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropmill.intake.dispose import Disposer

    real = Disposer.move

    def move(self: Disposer, *arguments: Any) -> Any:
        (root / "done").mkdir(exist_ok=True)
        (root / "done" / "a.csv").write_bytes(b"somebody's")
        return real(self, *arguments)

    monkeypatch.setattr(Disposer, "move", move)
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    await running.finish(file)
    await running.until(lambda: (root / "done").exists() and len(os.listdir(root / "done")) == 2, "both names")
    assert (root / "done" / "a.csv").read_bytes() == b"somebody's"


async def test_a_file_that_somebody_took_from_work_is_put_on_record_as_missing(
    make: Make, root: Path, store: SqliteStore, tmp_path: Path
) -> None:
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    Path(file.place).unlink()
    await running.finish(file)

    async def finished() -> bool:
        (known,) = await store.known_content("inbox", file.sha256)
        return known.state is FileState.FINISHED

    await running.until(finished, "the end of it")
    (known,) = await store.known_content("inbox", file.sha256)
    assert known.place == ""


async def test_while_its_root_is_gone_nothing_is_called_missing(
    make: Make, root: Path, store: SqliteStore, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    monkeypatch.setattr("dropmill.intake.folder.BEAT", 60.0)
    folder = running.intake._folders["inbox"]
    folder.inbox._watch.close()  # nobody tells of it in time
    root.rename(root.with_name("away"))
    root.mkdir()
    await running.finish(file)
    await asyncio.sleep(0.5)
    root.rmdir() if not os.listdir(root) else shutil.rmtree(root)
    root.with_name("away").rename(root)
    running.intake.rescan()
    await running.until((root / "done" / "a.csv").exists, "the move")


async def test_files_of_a_folder_that_is_not_configured_any_more_stay(
    make: Make, root: Path, tmp_path: Path, folder_settings: Callable[..., FolderSettings]
) -> None:
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    await running.stop()
    (tmp_path / "other").mkdir()
    running = await make(folders=[folder_settings(tmp_path / "other", name="other")])
    await running.finish(file)
    (tmp_path / "other" / "b.csv").write_bytes(b"y")
    (other,) = await running.claimed(1)
    await running.finish(other)
    await running.until((tmp_path / "other" / "done" / "b.csv").exists, "the other folder's file")
    assert Path(file.place).exists()


async def test_a_stop_does_not_wait_for_a_move_that_hangs(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropmill.intake import dispose

    monkeypatch.setattr("dropmill.intake.moves.ABANDON", 0.2)
    go = threading.Event()
    entered = threading.Event()

    def rename(*_: str, **__: int) -> None:
        entered.set()
        go.wait()

    monkeypatch.setattr(dispose, "rename_no_replace", rename)
    running = await make()
    (root / "a.csv").write_bytes(b"x")
    (file,) = await running.claimed(1)
    await running.finish(file)
    await running.until(entered.is_set, "the hang")
    async with asyncio.timeout(5):
        await running.stop()
    go.set()
