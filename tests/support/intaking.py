"""Folders, a real store and intake at work: what intake's tests share. Fixtures, to be imported by a conftest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings, QueueSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.service import Intake
from dropmill.queue.records import FileRecord
from dropmill.queue.sqlite import SqliteStore

__all__ = ["Gate", "Running", "TestHeart", "clock", "folder_settings", "ids", "make", "root", "settings_of", "store"]


def settings_of(path: Path, **changes: Any) -> FolderSettings:
    settings = FolderSettings(
        name="inbox",
        path=path,
        converters=(),
        destinations=("reports",),
        settle=0.1,
        done=path / "done",
        failed=path / "failed",
    )
    return replace(settings, **changes)


class Gate:
    """Back-pressure by hand."""

    intake_open = True
    intake_reason = ""


class TestHeart:
    """A heart as the supervisor hands it out."""

    __test__ = False

    def __init__(self) -> None:
        self._quiesce = asyncio.Event()
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1

    @property
    def quiescing(self) -> bool:
        return self._quiesce.is_set()

    async def wait_quiesce(self) -> None:
        await self._quiesce.wait()

    async def sleep(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._quiesce.wait()
        except TimeoutError:
            return True
        return False

    def quiesce(self) -> None:
        self._quiesce.set()


@dataclass
class Running:
    """Intake with its children running in tasks."""

    intake: Intake
    store: SqliteStore
    gate: Gate
    folders: list[FolderSettings]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    hearts: list[TestHeart] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folders[0].path

    async def start(self) -> None:
        await self.intake.recover()
        for spec in self.intake.children():
            heart = TestHeart()
            self.hearts.append(heart)
            self.tasks.append(asyncio.get_running_loop().create_task(spec.run(heart), name=spec.name))  # type: ignore[arg-type]

    async def stop(self) -> None:
        for heart in self.hearts:
            heart.quiesce()
        for spec in self.intake.children():
            if spec.quiesce is not None:
                spec.quiesce()
        self.store.wakeups.notify("disposals")
        await asyncio.wait_for(asyncio.gather(*self.tasks), 30)
        self.tasks.clear()
        self.hearts.clear()
        self.intake.close()

    async def until(self, condition: Callable[[], Any], what: str, within: float = 20.0) -> Any:
        """Wait until the condition holds; children that failed meanwhile fail the test."""
        for _ in range(int(within / 0.01)):
            for task in self.tasks:
                if task.done():
                    await task
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited {within} s in vain for {what}: {self.intake.status()}")

    async def files(self) -> list[FileRecord]:
        """Confirmed files that are due for conversion."""
        return list(await self.store.next_files(100_000))

    async def claimed(self, count: int, within: float = 20.0) -> list[FileRecord]:
        """Wait for `count` files to convert."""

        async def enough() -> list[FileRecord] | None:
            files = await self.files()
            return files if len(files) >= count else None

        files = await self.until(enough, f"{count} claimed files", within)
        assert len(files) == count
        return files

    async def finish(self, file: FileRecord) -> None:
        """Convert it to nothing."""
        await self.store.start_conversions([file.id])
        await self.store.publish(file.id, [], converter="test 1")

    async def fail(self, file: FileRecord, **error: Any) -> None:
        await self.store.start_conversions([file.id])
        await self.store.fail_file(
            file.id, code="DM-V001", reason="it is no good", error={"code": "DM-V001", **error}, converter="test 1"
        )


@pytest.fixture
def folder_settings() -> Callable[..., FolderSettings]:
    """`folder_settings(path, settle=..., ...)`."""
    return settings_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def ids(clock: SystemClock) -> IdSource:
    return IdSource(clock, Random(7))


@pytest.fixture
async def store(tmp_path: Path, clock: SystemClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state", QueueSettings(), clock=clock, failpoints=Failpoints(), instance="test")
    await store.open()
    yield store
    await store.close(clean=True)


@pytest.fixture
async def make(
    tmp_path: Path, root: Path, store: SqliteStore, clock: SystemClock, ids: IdSource
) -> AsyncIterator[Callable[..., Any]]:
    """`await make(settle=..., ...)` starts intake on the folder; `folders=[...]` replaces it; `begin=False` does not start it."""
    running: list[Running] = []

    async def start(
        *,
        folders: list[FolderSettings] | None = None,
        failpoints: str = "",
        begin: bool = True,
        max_claimed: int = 10_000,
        open_files: int | None = None,
        **changes: Any,
    ) -> Running:
        gate = Gate()
        all_folders = folders if folders is not None else [settings_of(root, **changes)]
        intake = Intake(
            all_folders,
            store,
            state=tmp_path / "state",
            clock=clock,
            ids=ids,
            failpoints=Failpoints(failpoints),
            gate=gate,
            max_claimed=max_claimed,
            instance=f"test {len(running)}",
            open_files=open_files,
        )
        one = Running(intake, store, gate, all_folders)
        running.append(one)
        if begin:
            await one.start()
            assert await intake.started(10)
        return one

    yield start
    for one in running:
        if one.tasks:
            await one.stop()
