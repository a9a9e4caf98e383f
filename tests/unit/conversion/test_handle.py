from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dropmill.conversion import handle as handles
from dropmill.conversion.handle import WorkerHandle
from dropmill.conversion.worker.frames import Kind, pack
from dropmill.conversion.worker.page import STACK_OFFSET
from dropmill.foundation.clock import ManualClock
from support.puppets import Listener, Puppet, ticket, until


class Scene:
    def __init__(self, tmp_path: Path) -> None:
        self.clock = ManualClock()
        self.puppet = Puppet(1, tmp_path)
        self.listener = Listener()
        self.handle = WorkerHandle(self.puppet.launched, self.listener, asyncio.get_running_loop(), self.clock)

    async def calls(self, count: int) -> list[Any]:
        made = [ticket() for _ in range(count)]
        for one in made:
            self.handle.send(one)
        await until(lambda: self.puppet.read() == list(range(1, count + 1)))
        return made

    async def over(self) -> None:
        await until(lambda: self.listener.is_reaped)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    before = set(os.listdir("/proc/self/fd"))
    made = Scene(tmp_path)
    yield made
    made.handle.end("cancelled", "the test is over")
    await until(lambda: made.listener.is_reaped)
    made.puppet.close()
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_hello(scene: Scene) -> None:
    scene.puppet.hello(resident=7)
    await until(lambda: scene.listener.is_ready)
    assert scene.handle.started
    assert scene.handle.resident == 7
    assert scene.handle.confined == {"landlock": 0}


async def test_a_converter_is_described_once(scene: Scene) -> None:
    await scene.calls(3)
    assert [kind for kind, _, _ in scene.puppet.frames] == [Kind.SETUP, Kind.CALL, Kind.CALL, Kind.CALL]


async def test_descriptors_go_with_their_call(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    scene.handle.send(ticket(descriptors=[descriptor]))
    await until(lambda: scene.puppet.read() == [1])
    os.close(descriptor)
    assert os.pread(scene.puppet.descriptors[0], 100, 0) == b"content"


async def test_answers_bring_their_reports(scene: Scene) -> None:
    (one,) = await scene.calls(1)
    scene.puppet.say(Kind.REPORT, {"n": 1, "id": "r"}, b"body")
    scene.puppet.answer(1, result="converted")
    await until(lambda: scene.listener.answers)
    ((found, answer),) = scene.listener.answers
    assert found is one
    assert answer.ok
    assert answer.reports == (({"n": 1, "id": "r"}, b"body"),)
    assert answer.folder.name == "1"
    assert scene.handle.finished == 1
    assert not scene.handle.calls


async def test_an_error_brings_what_was_printed(scene: Scene) -> None:
    await scene.calls(1)
    os.write(scene.puppet.output, b"printed \xff\n")
    await until(lambda: scene.handle.tail())
    scene.puppet.answer(1, ok=False, worn="threads left over")
    await until(lambda: scene.listener.answers)
    assert scene.listener.answers[0][1].output == "printed \\xff\n"
    assert scene.handle.worn == "threads left over"
    assert not scene.handle.accepts(8)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"nonsense, nonsense", "no frame"),
        (pack(Kind.HELLO, {}), "says nothing of itself"),
        (pack(Kind.QUIT, {"n": 1}), "never sends QUIT"),
        (pack(Kind.OK, {}), "names no call"),
        (pack(Kind.REPORT, {"n": "1"}), "names no call"),
        (pack(Kind.OK, {"n": 1}), "still at work"),
    ],
)
async def test_what_is_no_answer_ends_it(scene: Scene, data: bytes, part: str) -> None:
    one, other = await scene.calls(2)
    scene.puppet.page.begin(1)
    scene.puppet.channel.sendall(data)
    await scene.over()
    assert scene.listener.victim is not None
    victim, death = scene.listener.victim
    assert victim is one
    assert death.kind == "protocol"
    assert part in death.message
    assert scene.listener.returned == [other]


async def test_more_reports_than_a_worker_sends_end_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "_MAX_REPORTS", 3)
    await scene.calls(1)
    scene.puppet.page.begin(1)
    for _ in range(4):
        scene.puppet.say(Kind.REPORT, {"n": 1})
    await scene.over()
    assert scene.listener.victim is not None
    assert "more on the pipe" in scene.listener.victim[1].message


async def test_answers_to_calls_that_were_taken_back_are_not_heeded(scene: Scene) -> None:
    scene.puppet.hello()
    await until(lambda: scene.handle.started)
    one, two, three = await scene.calls(3)
    scene.puppet.page.begin(1)
    assert scene.handle.current is one
    assert scene.handle.take_back() == [two, three]
    assert scene.puppet.page.cancelled(2)
    assert scene.puppet.page.cancelled(3)
    scene.puppet.say(Kind.REPORT, {"n": 2}, b"x")
    scene.puppet.answer(2)
    scene.puppet.page.end()
    scene.puppet.answer(1)
    await until(lambda: scene.listener.answers)
    assert [found for found, _ in scene.listener.answers] == [one]


async def test_a_worker_that_is_about_to_begin_keeps_its_first_call(scene: Scene) -> None:
    one, two = await scene.calls(2)
    assert scene.handle.take_back() == [one, two], "one that has not started yet cannot have begun"
    scene.puppet.hello()
    await until(lambda: scene.handle.started)
    three, four = ticket(), ticket()
    scene.handle.send(three)
    scene.handle.send(four)
    assert scene.handle.take_back() == [four]


async def test_a_death_tells_all(scene: Scene) -> None:
    one, two = await scene.calls(2)
    page = scene.puppet.page
    page.begin(1)
    page.advance(77)
    page.beat(0.5)
    os.write(scene.puppet.output, b"last words")
    os.pwrite(scene.puppet.memory, b"Fatal Python error", STACK_OFFSET)
    scene.puppet.die(signal.SIGSEGV)
    await scene.over()
    assert scene.listener.victim is not None
    victim, death = scene.listener.victim
    assert victim is one
    assert (death.kind, death.signal, death.exit_code) == ("crash", "SIGSEGV", None)
    assert (death.read, death.done, death.output, death.stack) == (77, 0.5, "last words", "Fatal Python error")
    assert scene.listener.returned == [two]


async def test_a_death_between_calls_has_no_victim(scene: Scene) -> None:
    one, two = await scene.calls(2)
    scene.puppet.die()
    await scene.over()
    assert scene.listener.victim is None
    assert scene.listener.returned == [one, two]


async def test_what_was_answered_before_the_death_counts(scene: Scene) -> None:
    one, two = await scene.calls(2)
    scene.puppet.answer(1)
    scene.puppet.page.begin(2)
    scene.puppet.die()
    await scene.over()
    assert [found for found, _ in scene.listener.answers] == [one]
    assert scene.listener.victim is not None
    assert scene.listener.victim[0] is two


async def test_an_answer_after_the_time_was_up_comes_too_late(scene: Scene) -> None:
    one, two = await scene.calls(2)
    scene.puppet.page.begin(1)
    scene.handle.expire("timeout", "too long")
    assert scene.handle.dying
    scene.puppet.page.end()
    scene.puppet.answer(1)
    scene.puppet.answer(2)
    await scene.over()
    assert [found for found, _ in scene.listener.answers] == [two]
    assert scene.listener.victim is not None
    assert scene.listener.victim[0] is one
    assert (scene.listener.victim[1].kind, scene.listener.victim[1].message) == ("timeout", "too long")


async def test_the_first_reason_counts(scene: Scene) -> None:
    await scene.calls(1)
    scene.puppet.page.begin(1)
    scene.handle.expire("timeout", "too long")
    scene.handle.expire("oom", "too much")
    scene.handle.end("cancelled", "stop")
    await scene.over()
    assert scene.listener.victim is not None
    assert scene.listener.victim[1].kind == "timeout"


async def test_one_that_only_closes_its_pipe_is_ended(scene: Scene) -> None:
    await scene.calls(1)
    scene.puppet.page.begin(1)
    scene.puppet.channel.shutdown(2)
    await scene.over()
    assert scene.listener.victim is not None
    assert scene.listener.victim[1].message == "it closed its pipe to the agent"


async def test_one_that_does_not_die_does_not_hold_up_its_files(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "_REAP", 0.05)
    (one,) = await scene.calls(1)
    scene.puppet.page.begin(1)
    real = os.killpg
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    scene.handle.end("timeout", "too long")
    await until(lambda: scene.listener.returned is not None)
    assert scene.listener.victim is not None
    assert scene.listener.victim[0] is one
    assert not scene.listener.is_reaped
    monkeypatch.setattr(os, "killpg", real)
    scene.puppet.die()
    await scene.over()


async def test_a_worker_that_reads_nothing_gets_the_rest_later(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    sent = []
    for number in range(1, 200):
        descriptor = os.open(tmp_path / "a", os.O_RDONLY)
        scene.handle.send(ticket(descriptors=[descriptor], pad=f"{number}" + "x" * 10_000))
        await asyncio.sleep(0)
        os.close(descriptor)
        sent.append(number)
    await until(lambda: scene.puppet.read() == sent)
    assert [os.pread(descriptor, 10, 0) for descriptor in scene.puppet.descriptors] == [b"content"] * len(sent)


async def test_what_could_not_be_sent_is_closed_with_it(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    scene = Scene(tmp_path)
    (tmp_path / "a").write_text("content")
    for _ in range(200):
        descriptor = os.open(tmp_path / "a", os.O_RDONLY)
        scene.handle.send(ticket(descriptors=[descriptor], pad="x" * 10_000))
        await asyncio.sleep(0)
        os.close(descriptor)
    scene.puppet.die()
    await scene.over()
    scene.handle.send(ticket())
    scene.handle.retire()
    scene.puppet.close()
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_a_flood_is_read_so_much_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "_OUTPUT_BURST", 100_000)
    os.set_blocking(scene.puppet.output, False)
    written = 0
    scene.handle.tick()
    for _ in range(50):
        try:
            written += os.write(scene.puppet.output, b"x" * 65_536)
        except BlockingIOError:
            pass
        await asyncio.sleep(0.001)
    assert written < 300_000
    scene.handle.tick()
    await asyncio.sleep(0.01)
    assert os.write(scene.puppet.output, b"y" * 4_000) == 4_000
    assert len(scene.handle.tail()) <= 65_536


async def test_retiring_lets_it_finish(scene: Scene) -> None:
    await scene.calls(1)
    scene.handle.retire()
    assert scene.handle.worn == "retired"
    await until(lambda: scene.puppet.told_to_quit)
    scene.puppet.answer(1)
    await until(lambda: scene.listener.answers)


async def test_cancelling_one_call(scene: Scene) -> None:
    _, two = await scene.calls(2)
    scene.handle.cancel(two)
    assert not scene.puppet.page.cancelled(1)
    assert scene.puppet.page.cancelled(2)


async def test_memory_and_children_of_what_is_gone(scene: Scene) -> None:
    assert scene.handle.memory() > 0
    scene.puppet.die()
    await scene.over()
    assert scene.handle.children() == []


@pytest.mark.parametrize(
    ("code", "output", "kind"),
    [
        (3, "", "crash"),
        (-9, "", "crash"),
        (-24, "", "limit"),
        (-6, "memory allocation of 8 bytes failed", "oom"),
        (-6, "assertion failed", "crash"),
        (-77, "", "crash"),
    ],
)
def test_ends_that_nobody_ordered(code: int, output: str, kind: str) -> None:
    assert handles._why(code, output)[0] == kind
