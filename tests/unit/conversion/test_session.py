"""The worker's end of the socket, in a thread of this process."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dropmill.conversion.worker.frames import Decoder, Kind, ProtocolError, pack
from dropmill.conversion.worker.session import Session, resident

from .conftest import Workplace


class Agent:
    """The other end: sends what it likes, reads what comes."""

    def __init__(self, workplace: Workplace, home: Path, growth: int = 10**9) -> None:
        self.workplace = workplace
        ours, theirs = socket.socketpair()
        self.channel = ours
        self._decoder = Decoder()
        self._frames: list[tuple[Kind, dict[str, Any], bytes]] = []
        self.error: BaseException | None = None
        self._theirs = theirs
        self._thread = threading.Thread(target=self._serve, args=(home, growth))
        self._thread.start()
        assert self.read()[:2] == (Kind.HELLO, {"pid": 1})
        ours.settimeout(10)

    def _serve(self, home: Path, growth: int) -> None:
        session = Session(self._theirs, self.workplace.runner, self.workplace.bench, home, growth)
        try:
            session.serve({"pid": 1})
        except (ProtocolError, OSError) as error:
            self.error = error

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.channel.sendmsg([data], ancillary)
        for descriptor in descriptors:
            os.close(descriptor)

    def call(self, *texts: str, **more: Any) -> None:
        """Several calls in one message."""
        frames, descriptors = b"", []
        for text in texts:
            header = self.workplace.header(text.encode(), "faulty", **more)
            descriptors.append(self.workplace.open(text.encode()))
            frames += pack(Kind.CALL, header, b"x.faulty")
        self.send(frames, descriptors)

    def read(self) -> tuple[Kind, dict[str, Any], bytes]:
        while not self._frames:
            data = self.channel.recv(65_536)
            if not data:
                raise EOFError
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def answer(self) -> dict[str, Any]:
        while True:
            kind, header, _ = self.read()
            if kind is not Kind.REPORT:
                return header

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._theirs.close()

    def hang_up(self) -> None:
        self.channel.close()
        self.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def agent(workplace: Workplace, home: Path) -> Iterator[Agent]:
    made = Agent(workplace, home)
    yield made
    made.hang_up()


def test_calls_are_answered_in_order(agent: Agent) -> None:
    agent.call("good\n", "bad_input\n", "raise\n", "good\n", "good\n", "good\n")
    kinds = []
    for _ in range(10):
        kind, header, body = agent.read()
        kinds.append((kind.name, header["n"]))
        assert bool(body) == (kind is Kind.REPORT)
    assert kinds == [
        ("REPORT", 1), ("OK", 1), ("OK", 2), ("ERROR", 3), ("REPORT", 4), ("OK", 4),
        ("REPORT", 5), ("OK", 5), ("REPORT", 6), ("OK", 6),
    ]  # fmt: skip


def test_an_answer_tells_whether_the_worker_is_worn(agent: Agent) -> None:
    agent.call("good\n")
    assert agent.answer()["worn"] is None


def test_quit_comes_after_what_was_called_for(agent: Agent) -> None:
    agent.call("good\n", "good\n")
    agent.send(pack(Kind.QUIT, {}))
    assert [agent.answer()["n"], agent.answer()["n"]] == [1, 2]
    agent.join()
    assert agent.error is None


def test_an_agent_that_hangs_up_ends_it(workplace: Workplace, home: Path) -> None:
    agent = Agent(workplace, home)
    agent.hang_up()
    assert agent.error is None


@pytest.mark.parametrize(
    "data",
    [
        b"no frame, no frame",
        pack(Kind.OK, {}),
        pack(Kind.CALL, {"fds": 1, "n": 1}),
        pack(Kind.CALL, {"fds": 0, "n": 1}),
        pack(Kind.SETUP, {}),
    ],
)
def test_what_no_agent_sends_ends_it(agent: Agent, data: bytes) -> None:
    agent.send(data)
    agent.join()
    assert isinstance(agent.error, ProtocolError)


def test_too_many_descriptors_end_it(agent: Agent) -> None:
    agent.send(pack(Kind.QUIT, {}), [os.open("/dev/null", os.O_RDONLY) for _ in range(70)])
    agent.join()
    assert isinstance(agent.error, ProtocolError)


def test_large_output_does_not_wait_for_the_end(agent: Agent) -> None:
    agent.call("many 900 1000\n")
    assert agent.answer()["reports"] == 900


def test_each_call_finds_a_clean_home(agent: Agent, home: Path) -> None:
    agent.call("write_inside\n")
    agent.answer()
    (home / "link").symlink_to("/etc")
    agent.call("list\n")
    agent.answer()
    agent.call("list\n")
    assert agent.answer()["reports"] == 1
    assert list(home.iterdir()) == []
    assert Path("/etc").exists()


def test_what_is_left_behind_is_said(agent: Agent, home: Path) -> None:
    agent.call("sleep 0\n")
    assert agent.answer()["worn"] is None
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    agent.call("good\n")
    assert agent.answer()["worn"] == "processes left over"
    child.wait()
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    agent.call("good\n")
    assert agent.answer()["worn"] == "threads left over"
    release.set()
    thread.join()


def test_memory_that_is_not_given_back_is_said(workplace: Workplace, home: Path) -> None:
    agent = Agent(workplace, home, growth=-(10**12))
    agent.call("good\n")
    assert agent.answer()["worn"] == "memory not given back"
    agent.hang_up()


def test_a_cancelled_call_is_left_out(agent: Agent) -> None:
    agent.workplace.page.cancel(2)
    agent.call("sleep 0.1\n", "good\n")
    assert [agent.answer()["result"], agent.answer()["result"]] == ["converted", "cancelled"]


def test_processor_time_is_limited_for_each_call() -> None:
    """In a process of its own, since the limit is the process's."""
    code = (
        "import resource; from dropmill.conversion.worker.session import CpuLimit\n"
        "limit, soft = CpuLimit(), lambda: resource.getrlimit(resource.RLIMIT_CPU)[0]\n"
        "limit.allow(0); assert soft() == resource.RLIM_INFINITY\n"
        "limit.allow(1000); assert 1000 < soft() <= 1062\n"
        "known = soft(); limit.allow(1020); assert soft() == known\n"
        "limit.allow(1)\n"
        "while True: pass\n"
    )
    start = time.monotonic()
    process = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert process.returncode == -24  # SIGXCPU
    assert time.monotonic() - start < 20


def test_resident_memory_is_known() -> None:
    assert resident() > 5_000_000
