"""Logging never waits for its reader, and counts what it could not say."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from dropmill.foundation import logs
from dropmill.foundation.logs import BURST, LogWriter, configure


class Gate(io.StringIO):
    """A stream whose reader does not read until told."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.open = threading.Event()
        self.entered = threading.Event()
        self.broken = broken

    def write(self, text: str) -> int:
        self.entered.set()
        self.open.wait(30)
        if self.broken:
            raise BrokenPipeError
        return super().write(text)


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines() -> None:
    stream = io.StringIO()
    writer = configure("info", "json", stream)
    structlog.get_logger("dropmill").info("file.claimed", file="a.xml", size=12)
    structlog.get_logger("dropmill").debug("not this one")
    writer.close()
    [line] = lines(stream)
    assert line | {"event": "file.claimed", "level": "info", "file": "a.xml", "size": 12} == line
    assert line["timestamp"].endswith("Z")


def test_text_for_people() -> None:
    stream = io.StringIO()
    writer = configure("debug", "text", stream)
    structlog.get_logger("dropmill").warning("file.failed", file="a.xml")
    writer.close()
    assert "file.failed" in stream.getvalue()
    assert "file=a.xml" in stream.getvalue()


def test_auto_is_json_where_nobody_looks() -> None:
    stream = io.StringIO()
    writer = configure("info", "auto", stream)
    structlog.get_logger().info("x")
    writer.close()
    assert lines(stream)[0]["event"] == "x"


def test_tracebacks_and_the_standard_librarys_loggers() -> None:
    stream = io.StringIO()
    writer = configure("info", "json", stream)
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("some.library").exception("it broke: %s", "x")
    logging.getLogger("some.library").info("chatter")
    writer.close()
    [line] = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("it broke: x", "error", "some.library")
    assert "ValueError: boom" in line["exception"]


def test_a_reader_that_does_not_read_stops_nobody_and_the_loss_is_counted() -> None:
    stream = Gate()
    writer = LogWriter(stream, buffer=10)
    writer.msg("first")
    assert stream.entered.wait(10)
    for n in range(100):
        writer.msg(f"line {n}")
    stream.open.set()
    writer.close(10)
    written = stream.getvalue().splitlines()
    assert written[0] == "first"
    assert written[1] == "(90 log lines dropped: the log's reader was too slow)"
    assert len(written) == 12


def test_a_reader_that_is_gone_stops_nobody() -> None:
    stream = Gate(broken=True)
    stream.open.set()
    writer = LogWriter(stream)
    for n in range(100):
        writer.msg(f"line {n}")
    writer.close(10)
    assert not writer._thread.is_alive()


def test_closing_does_not_wait_for_a_stuck_reader() -> None:
    stream = Gate()
    writer = LogWriter(stream, buffer=1)
    writer.msg("a")
    assert stream.entered.wait(10)
    writer.msg("b")
    writer.close(0.05)
    stream.open.set()


def test_what_repeats_is_counted() -> None:
    now = [0.0]
    repeats = logs._Repeats(lambda: now[0])
    written = 0
    for _ in range(100):
        try:
            repeats(None, "error", {"event": "disk full", "code": "DM-Q003"})
            written += 1
        except structlog.DropEvent:
            pass
    assert written == BURST
    repeats(None, "error", {"event": "disk full", "code": "DM-Q009"})
    now[0] = 60.0
    assert repeats(None, "error", {"event": "disk full", "code": "DM-Q003"})["suppressed"] == 100 - BURST
    for n in range(5000):
        repeats(None, "info", {"event": f"event {n}"})
    assert len(repeats._seen) <= 1000
