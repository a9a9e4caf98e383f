"""The base class for blocking clients: threads of its own, payloads on demand, nothing left hanging."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from dropmill.api import (
    BlockingItem,
    BlockingTransport,
    Delivered,
    Outcome,
    Rejected,
    TransportCaps,
    TransportSpec,
    Unavailable,
)
from support.lanes import Item, Site

CONTEXT: Any = SimpleNamespace(destination="files", base=".", timeout=5.0)


class Recording(BlockingTransport):
    """Keeps what it gets, and in which threads."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options or {})
        self.threads_seen: set[str] = set()
        self.got: dict[str, bytes] = {}
        self.closed = 0

    def _note(self) -> None:
        self.threads_seen.add(threading.current_thread().name)

    def connect(self, context: Any) -> None:
        self._note()

    def check(self) -> None:
        self._note()
        raise Unavailable("not today")

    def deliver(self, batch: Sequence[BlockingItem]) -> Sequence[Outcome]:
        self._note()
        outcomes: list[Outcome] = []
        for item in batch:
            if item.fields.get("bad"):
                outcomes.append(Rejected("BAD", "bad"))
                continue
            pieces = list(item.chunks(self.options.get("piece", 10)))
            assert b"".join(pieces) == item.read() and len(item.read()) == item.size
            self.got[item.key] = b"".join(pieces)
            outcomes.append(Delivered(item.key))
        return outcomes

    def disconnect(self) -> None:
        self._note()
        self.closed += 1


async def test_everything_that_blocks_runs_in_threads_of_the_destination() -> None:
    transport = Recording()
    await transport.open(CONTEXT)
    with pytest.raises(Unavailable, match="not today"):
        await transport.probe()
    outcomes = await transport.send([Item("a.1", b"x" * 35, piece=10), Item("b.1", bad=True), Item("c.1", b"")])
    await transport.close()
    await transport.close()
    assert outcomes == [Delivered("a.1"), Rejected("BAD", "bad"), Delivered("c.1")]
    assert transport.got == {"a.1": b"x" * 35, "c.1": b""}
    assert transport.closed == 1
    assert all(name.startswith("deliver files") for name in transport.threads_seen)


async def test_several_sends_at_a_time() -> None:
    meeting = threading.Barrier(3, timeout=10)

    class Meeting(BlockingTransport):
        def deliver(self, batch: Sequence[BlockingItem]) -> Sequence[Outcome]:
            meeting.wait()
            return [Delivered(item.read().decode()) for item in batch]

    transport = Meeting({})
    await transport.open(CONTEXT)
    answers = await asyncio.gather(*(transport.send([Item(f"{n}.1", str(n).encode())]) for n in range(3)))
    assert [answer[0].ref for answer in answers] == ["0", "1", "2"]  # type: ignore[union-attr]
    await transport.close()


@pytest.mark.parametrize("error", [Unavailable("away"), KeyError("bug"), SystemExit(1)])
async def test_what_is_raised_in_the_thread_comes_out(error: BaseException) -> None:
    class Raising(BlockingTransport):
        def deliver(self, batch: Sequence[BlockingItem]) -> Sequence[Outcome]:
            raise error

    transport = Raising({})
    await transport.open(CONTEXT)
    try:
        await transport.send([Item("a.1")])
    except BaseException as raised:
        assert raised is error
    else:
        raise AssertionError("nothing was raised")
    await transport.close()


async def test_a_payload_that_cannot_be_read_is_told_to_the_thread() -> None:
    class Damaged(Item):
        async def read(self) -> bytes:
            raise OSError("damaged")

        async def chunks(self, size: int = 0) -> AsyncIterator[bytes]:
            yield b"x"
            raise OSError("damaged")

    told: list[str] = []

    class Careful(BlockingTransport):
        def deliver(self, batch: Sequence[BlockingItem]) -> Sequence[Outcome]:
            for read in (batch[0].read, lambda: list(batch[0].chunks())):
                try:
                    read()
                except OSError as error:
                    told.append(str(error))
            return [Rejected("X", "x")]

    transport = Careful({})
    await transport.open(CONTEXT)
    await transport.send([Damaged("a.1")])
    assert told == ["damaged", "damaged"]
    await transport.close()


async def test_a_cancelled_send_leaves_no_thread_waiting_for_an_answer() -> None:
    asked, ended = threading.Event(), threading.Event()
    refusals: list[str] = []

    class Slow(Item):
        async def read(self) -> bytes:
            asked.set()
            await asyncio.sleep(3600)
            return b""

    class Reading(BlockingTransport):
        def deliver(self, batch: Sequence[BlockingItem]) -> Sequence[Outcome]:
            for _ in range(2):
                try:
                    batch[0].read()
                except RuntimeError as error:
                    refusals.append(str(error))
            ended.set()
            return [Delivered()]

    transport = Reading({})
    await transport.open(CONTEXT)
    task = asyncio.ensure_future(transport.send([Slow("a.1")]))
    await asyncio.to_thread(asked.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 10)
    assert len(refusals) == 2 and all("over" in refusal for refusal in refusals)
    await transport.close()


async def test_a_client_that_hangs_does_not_hold_up_closing() -> None:
    go_on = threading.Event()

    class Hanging(BlockingTransport):
        threads = 2

        def deliver(self, batch: Sequence[BlockingItem]) -> Sequence[Outcome]:
            go_on.wait(30)
            return [Delivered()]

    transport = Hanging({})
    await transport.open(CONTEXT)
    task = asyncio.ensure_future(transport.send([Item("a.1")]))
    await asyncio.sleep(0.05)
    task.cancel()
    began = time.monotonic()
    await transport.close()
    assert time.monotonic() - began < 5
    go_on.set()


async def test_used_before_it_is_open_or_without_deliver() -> None:
    transport = BlockingTransport({"a": 1})
    assert transport.options == {"a": 1}
    with pytest.raises(RuntimeError, match="not open"):
        await transport.send([Item("a.1")])
    await transport.open(CONTEXT)
    await transport.probe()
    with pytest.raises(NotImplementedError, match="BlockingTransport"):
        await transport.send([Item("a.1")])
    await transport.close()


async def test_on_a_lane(queue: Site) -> None:
    await queue.offer(*range(30), body=b"x" * 100_000)
    transport = Recording({"piece": 40_000})
    spec = TransportSpec("recording", "", TransportCaps(max_batch=4, max_in_flight=4))
    async with queue.running(queue.lane(transport, spec=spec)):
        await queue.until(lambda: len(queue.names("delivery.sent")) == 30)
    assert set(transport.got.values()) == {b"x" * 100_000} and len(transport.got) == 30
