"""A real process: real signals, a really blocked loop, a thread that really hangs, a fake service manager."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("program.py")


class Program:
    """The program under a supervisor, what it says, and how it ends."""

    def __init__(self, environment: dict[str, str] | None = None, **task: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(task)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )
        self.said: list[dict[str, Any]] = []
        self.stderr = ""
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()
        self.signalled = 0.0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.stderr = self.process.stderr.read()

    def wait_for(self, name: str, true: Callable[[dict[str, Any]], bool] = lambda event: True) -> dict[str, Any]:
        while True:
            event = self._lines.get(timeout=60)
            assert event is not None, f"it ended before it said {name}: {self.said}\n{self.stderr}"
            self.said.append(event)
            if event["name"] == name and true(event):
                return event

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.signalled = self.signalled or time.monotonic()
        self.process.send_signal(number)

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(60)
        for reader in self._readers:
            reader.join()
        while (event := self._lines.get()) is not None:
            self.said.append(event)
        return code

    @property
    def took(self) -> float:
        """Seconds from the first signal to now."""
        return time.monotonic() - self.signalled

    def names(self) -> list[str]:
        return [event["name"] for event in self.said]


@contextlib.contextmanager
def program(environment: dict[str, str] | None = None, **task: Any) -> Iterator[Program]:
    started = Program(environment, **task)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.end()
        for stream in (started.process.stdout, started.process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_cleanly_and_fast(number: signal.Signals) -> None:
    with program(children=["obedient", "drains"]) as it:
        it.wait_for("agent.ready")
        it.signal(number)
        assert it.end() == 0
        assert 1 <= it.took < 3
        assert it.said[-1]["code"] == 0
        assert "verify" in it.names()
        assert it.stderr == ""


def test_idle_it_stops_within_half_a_second() -> None:
    with program(children=["obedient"] * 1) as it:
        it.wait_for("agent.ready")
        it.signal()
        stopped = it.wait_for("end")
        assert stopped["at"] - it.signalled < 0.5
        assert it.end() == 0


def test_what_does_not_finish_is_cancelled_10() -> None:
    with program(children=["never_finishes", "obedient"]) as it:
        it.wait_for("agent.ready")
        it.signal()
        assert it.end() == 10
        assert 2 <= it.took < 4


def test_what_will_not_die_is_named_11() -> None:
    with program(children=["swallows", "obedient"]) as it:
        it.wait_for("agent.ready")
        it.signal()
        undead = it.wait_for("stop.undead")
        assert "swallows" in undead["data"]["traceback"]
        assert it.end() == 11
        assert 4 <= it.took < 6
        assert it.names().count("swallowed") >= 3


def test_a_second_signal_cancels_and_a_third_ends() -> None:
    with program(children=["swallows"], graceful=30, force=60, second=30) as it:
        it.wait_for("agent.ready")
        it.signal()
        it.wait_for("stop.phase", lambda event: event["data"]["phase"] == "graceful")
        it.signal(signal.SIGINT)
        it.wait_for("swallowed")
        it.signal(signal.SIGINT)
        assert it.end() == 11
        assert it.took < 5


@pytest.mark.parametrize("child", ["exits", "interrupts"])
def test_an_exit_in_a_child_does_not_end_the_process(child: str) -> None:
    with program(children=[child, "obedient"]) as it:
        for _ in range(3):
            it.wait_for("child.failed", lambda event: event["subject"] == child)
        it.signal()
        assert it.end() == 0


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.14, 0.2, 0.3, 0.45])
def test_a_signal_at_any_moment_of_the_start_is_honoured(delay: float) -> None:
    """From the first moment on, long before asyncio was imported."""
    with program(children=["obedient"], prepare=0.05) as it:
        it.wait_for("installed")
        time.sleep(delay)
        it.signal()
        assert it.end() == 0
        assert it.said[-1] | {"name": "end", "code": 0} == it.said[-1]
        assert "verify" in it.names()
        assert it.stderr == ""


def test_a_signal_while_it_prepares_ends_that() -> None:
    with program(children=["obedient"], prepare=30) as it:
        it.wait_for("preparing")
        it.signal()
        assert it.end() == 0
        assert it.took < 2
        assert "agent.ready" not in it.names()


# --- what hangs ----------------------------------------------------------------------------------------------------------


def test_a_loop_that_is_blocked_when_the_signal_comes_12() -> None:
    with program(children=["blocks", "obedient"], block=60, graceful=1, force=2, reserve=1) as it:
        it.wait_for("blocking")
        it.signal()
        assert it.end() == 12
        assert 3 <= it.took < 5
        assert "DM-S011" in it.stderr
        assert "in blocking_in_python" in it.stderr
        assert "Task blocks:" in it.stderr


def test_a_loop_that_is_blocked_during_the_stop_12() -> None:
    with program(children=["blocks_when_told"], block=60, graceful=1, force=2, reserve=1) as it:
        it.wait_for("agent.ready")
        it.signal()
        assert it.end() == 12
        assert 3 <= it.took < 5
        assert "in blocks_when_told" in it.stderr


def test_a_second_and_third_signal_reach_even_a_blocked_loop_12() -> None:
    with program(children=["blocks"], block=60, graceful=30, force=60, reserve=1) as it:
        it.wait_for("blocking")
        for _ in range(3):
            it.signal()
            time.sleep(0.2)
        assert it.end() == 12
        assert it.took < 4


def test_a_verification_that_hangs_12() -> None:
    with program(children=["obedient"], verify=60, graceful=30, force=60, reserve=1) as it:
        it.wait_for("agent.ready")
        it.signal()
        it.wait_for("verify")
        assert it.end() == 12
        assert it.took < 4
        assert "in verify" in it.stderr


def test_a_thread_that_hangs_at_the_end_12() -> None:
    """The child ends by cancellation, the stop is over, and the interpreter waits for the thread: until the deadline."""
    with program(children=["stuck_thread"], block=60, graceful=1, force=2, reserve=1) as it:
        it.wait_for("sleeping")
        it.signal()
        ended = it.wait_for("end")
        assert ended["code"] == 10
        assert it.end() == 12
        assert it.took < 5
        assert "in sleeping_in_a_thread" in it.stderr


def test_a_loop_that_is_blocked_for_a_while_is_named_and_goes_on() -> None:
    with program(children=["blocks", "obedient"], block=1.5) as it:
        blocked = it.wait_for("loop.blocked")
        assert "DM-S006" in blocked["problem"]
        assert blocked["data"]["task"] == "blocks"
        assert "in blocking_in_python" in blocked["data"]["traceback"]
        it.signal()
        assert it.end() == 0
        assert it.said[-1]["lag"]["max"] > 1.0


def test_a_held_interpreter_lock_ends_the_process_with_stacks() -> None:
    with program(children=["holds_the_gil"], block=60, gil_limit=2) as it:
        it.wait_for("holding")
        began = time.monotonic()
        assert it.end() == 1
        assert time.monotonic() - began < 6
        assert "holding_the_gil" in it.stderr


def test_a_held_interpreter_lock_during_the_stop_keeps_the_deadline() -> None:
    """No Python thread can run then, so it is the timer of C that ends the process, a little later and with its own code."""
    with program(children=["holds_the_gil"], block=60, graceful=1, force=2, reserve=1) as it:
        it.wait_for("agent.ready")
        it.signal()
        assert it.end() == 1
        assert 3 <= it.took < 6


def test_the_watchdogs_signal_prints_every_stack() -> None:
    with program(children=["blocks"], block=60) as it:
        it.wait_for("blocking")
        it.process.send_signal(signal.SIGABRT)
        assert it.end() == -signal.SIGABRT
        assert "in blocking_in_python" in it.stderr


# --- the service manager -------------------------------------------------------------------------------------------------


class Manager:
    """A notification socket in the hands of a test."""

    def __init__(self) -> None:
        self.address = f"@dropmill-manager-{os.getpid()}-{time.monotonic_ns()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:])
        self.told: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while message := self._socket.recv(65536):
            self.told.append((time.monotonic(), message.decode()))

    def environment(self, watchdog: float) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(watchdog * 1e6))}

    def names(self) -> list[str]:
        return [text.split("=")[0] for _, text in self.told]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", "\0" + self.address[1:])
        self._thread.join()
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    fake = Manager()
    yield fake
    fake.close()


def test_the_service_manager_is_told_in_order(manager: Manager) -> None:
    with program(manager.environment(1.0), children=["obedient", "drains"], prepare=0.5) as it:
        it.wait_for("agent.ready")
        time.sleep(2)
        it.signal()
        assert it.end() == 0
    names = [name for name in manager.names() if name in ("READY", "STOPPING")]
    assert names == ["READY", "STOPPING"]
    assert manager.names().index("EXTEND_TIMEOUT_USEC") < manager.names().index("READY")
    assert "EXTEND_TIMEOUT_USEC" in manager.names()[manager.names().index("STOPPING") :]
    assert 4 <= manager.names().count("WATCHDOG") <= 12
    statuses = [text for _, text in manager.told if text.startswith("STATUS=")]
    assert statuses[0] == "STATUS=running"
    assert statuses[-1] == "STATUS=stopped: SIGTERM"


def test_no_watchdog_while_the_loop_is_blocked(manager: Manager) -> None:
    with program(manager.environment(0.6), children=["blocks", "obedient"], block=2.5, gil_limit=1) as it:
        began = it.wait_for("blocking")["at"]
        it.wait_for("loop.blocked")
        time.sleep(1)
        it.signal()
        assert it.end() == 0, "with a service manager that watches, the fuse of our own stays out"
    pings = [when for when, text in manager.told if text == "WATCHDOG=1"]
    assert not [when for when in pings if began + 0.1 < when < began + 2.4]
    assert [when for when in pings if when < began]
    assert [when for when in pings if when > began + 2.5]


def test_a_manager_that_never_reads_is_no_trouble() -> None:
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = f"@dropmill-deaf-{os.getpid()}"
    deaf.bind("\0" + address[1:])
    with deaf, program({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}, children=["obedient"]) as it:
        it.wait_for("agent.ready")
        time.sleep(2)
        it.signal()
        assert it.end() == 0
        assert it.took < 1.5
