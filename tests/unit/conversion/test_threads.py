from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropmill.conversion import threads
from dropmill.conversion.inputs import Job, Prepared, Unreadable
from dropmill.conversion.opening import Opening
from dropmill.conversion.selection import Selector, Shortlist
from dropmill.conversion.threads import PlaceThreads

JOB = Job(id="f1", place="", name="a", size=0, sha256="", folder="inbox", selector=Selector([], {}))


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("test ")]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threads, "_IDLE", 0.05)
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("test "):
            thread.join(5)


async def test_results_and_errors_come_back(quick: None) -> None:
    made = PlaceThreads(asyncio.get_running_loop(), "test")
    assert await made.submit("a", lambda: 7) == 7
    with pytest.raises(OSError, match="no"):
        await made.submit("a", lambda: (_ for _ in ()).throw(OSError("no")))
    for error in (StopIteration(), SystemExit(1), KeyboardInterrupt()):

        def call(error: BaseException = error) -> None:
            raise error

        with pytest.raises(RuntimeError, match=type(error).__name__):
            await made.submit("a", call)


async def test_a_place_that_hangs_holds_up_itself_alone(quick: None) -> None:
    made = PlaceThreads(asyncio.get_running_loop(), "test")
    release = threading.Event()
    order: list[int] = []
    hung = made.submit("bad", release.wait)
    behind = made.submit("bad", lambda: order.append(1))
    assert await made.submit("good", lambda: 1) == 1
    assert not behind.done()
    release.set()
    await hung
    await behind
    assert order == [1]


async def test_threads_end_when_idle_and_come_again(quick: None) -> None:
    made = PlaceThreads(asyncio.get_running_loop(), "test")
    await made.submit("a", lambda: 1)
    assert names() == ["test a"]
    async with asyncio.timeout(5):
        while names():
            await asyncio.sleep(0.01)
    assert await made.submit("a", lambda: 2) == 2


async def test_a_result_that_nobody_waits_for_is_dropped(quick: None) -> None:
    made = PlaceThreads(asyncio.get_running_loop(), "test")
    release = threading.Event()
    future = made.submit("a", release.wait)
    future.cancel()
    release.set()
    assert await made.submit("a", lambda: 1) == 1


def test_a_loop_that_is_closed_meanwhile(quick: None) -> None:
    release = threading.Event()

    async def start() -> None:
        PlaceThreads(asyncio.get_running_loop(), "test").submit("a", release.wait)

    asyncio.run(start())
    release.set()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "test a"]
    thread.join(5)
    assert not thread.is_alive()


# --- opening ---------------------------------------------------------------------------------------------------------------


def is_open(found: Prepared) -> bool:
    return Path(f"/proc/self/fd/{found.descriptors[0]}").exists()


def open_file(path: Path) -> Prepared:
    path.write_text("x")
    return Prepared(JOB, (os.open(path, os.O_RDONLY),), 0.0, Shortlist([], {}))


async def test_each_job_takes_its_own(tmp_path: Path) -> None:
    future: asyncio.Future[list[Prepared | Unreadable]] = asyncio.get_running_loop().create_future()
    opening = Opening(future)
    waiting = asyncio.get_running_loop().create_task(opening.take(1, 5))
    await asyncio.sleep(0)
    unreadable = Unreadable(JOB, "DM-V031", "no", False)
    found = open_file(tmp_path / "a")
    future.set_result([found, unreadable])
    assert await waiting is unreadable
    assert await opening.take(0, 5) is found
    assert is_open(found)


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_what_is_given_up_is_closed_when_it_opens_after_all(tmp_path: Path, how: str) -> None:
    future: asyncio.Future[list[Prepared | Unreadable]] = asyncio.get_running_loop().create_future()
    opening = Opening(future)
    task = asyncio.get_running_loop().create_task(opening.take(0, 0.01 if how == "timeout" else 5))
    await asyncio.sleep(0)
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(TimeoutError):
            await task
    assert not future.cancelled()
    found, kept = open_file(tmp_path / "a"), open_file(tmp_path / "b")
    future.set_result([found, kept])
    await asyncio.sleep(0)
    assert not is_open(found)
    assert is_open(kept)


async def test_what_is_given_up_and_fails_to_open(tmp_path: Path) -> None:
    for end in ("error", "cancel", "unreadable"):
        future: asyncio.Future[list[Prepared | Unreadable]] = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            await Opening(future).take(0, 0.001)
        if end == "error":
            future.set_exception(OSError("no"))
        elif end == "cancel":
            future.cancel()
        else:
            future.set_result([Unreadable(JOB, "DM-V031", "no", False)])
        await asyncio.sleep(0)
