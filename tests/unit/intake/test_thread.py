"""Blocking calls in a thread of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from dropmill.foundation.clock import SystemClock
from dropmill.intake.thread import RootThread


async def test_calls_run_in_order_in_one_daemon_thread() -> None:
    thread = RootThread("t", SystemClock())
    threads = [await thread.call(threading.current_thread) for _ in range(3)]
    assert len(set(threads)) == 1
    assert threads[0].daemon
    assert threads[0].name == "t"
    thread.close()
    threads[0].join(10)
    assert not threads[0].is_alive()
    thread.close()


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
async def test_whatever_a_call_raises_comes_out_of_the_wait(error: BaseException) -> None:
    thread = RootThread("t", SystemClock())

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await thread.call(fail)
    assert await thread.call(lambda: 1) == 1
    thread.close()


async def test_stop_iteration_cannot_hide_in_a_future() -> None:
    thread = RootThread("t", SystemClock())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await thread.call(next, iter(()))
    thread.close()


async def test_a_long_call_is_told_of_and_can_be_left_to_itself() -> None:
    silences: list[float] = []

    def silent(seconds: float) -> None:
        silences.append(seconds)
        if len(silences) == 3:
            raise TimeoutError

    thread = RootThread("t", SystemClock(), on_silence=silent, look_every=0.02)
    go = threading.Event()
    with pytest.raises(TimeoutError):
        await thread.call(go.wait)
    assert 0 < silences[0] < silences[1] < silences[2]
    assert thread.silence > 0
    go.set()
    assert await thread.call(lambda: 2) == 2
    assert thread.silence == 0
    thread.close()


async def test_progress_ends_the_silence() -> None:
    silences: list[float] = []
    thread = RootThread("t", SystemClock(), on_silence=silences.append, look_every=0.05)
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.005):
            thread.sign()

    call = asyncio.ensure_future(thread.call(work))
    await asyncio.sleep(0.3)
    stop.set()
    await call
    assert silences
    assert max(silences) < 0.05
    thread.close()


async def test_a_call_that_has_not_begun_can_be_taken_back() -> None:
    thread = RootThread("t", SystemClock())
    go = threading.Event()
    ran: list[int] = []
    first = thread.submit(go.wait)
    second = thread.submit(ran.append, 1)
    second.cancel()
    go.set()
    await first
    await thread.call(lambda: None)
    assert ran == []
    thread.close()


async def test_an_answer_after_the_wait_was_cancelled_harms_nobody() -> None:
    thread = RootThread("t", SystemClock())
    go = threading.Event()
    first = thread.submit(go.wait)
    await asyncio.sleep(0.02)
    first.cancel()
    go.set()
    assert await thread.call(lambda: 3) == 3
    thread.close()


def test_a_hung_call_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import asyncio, threading
from dropmill.foundation.clock import SystemClock
from dropmill.intake.thread import RootThread
async def main():
    thread = RootThread("hung", SystemClock())
    thread.submit(threading.Event().wait)
    await asyncio.sleep(0.1)
asyncio.run(main())
print("over")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_an_answer_after_the_loop_is_closed_is_dropped() -> None:
    thread = RootThread("t", SystemClock())
    go = threading.Event()

    async def begin() -> None:
        thread.submit(go.wait)

    asyncio.run(begin())
    go.set()
    worker = thread._thread
    assert worker is not None
    worker.join(10)
    assert not worker.is_alive()
