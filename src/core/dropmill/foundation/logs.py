"""Logging: structlog for everybody, written by one thread, so that a stuck terminal or pipe never stops the agent.

JSON lines for services, readable lines on a terminal. The buffer is bounded: what does not fit is counted, and the count is
logged once there is room. Equal lines repeat at most `BURST` times a minute; the rest are counted too.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TextIO

import structlog

__all__ = ["BUFFER", "BURST", "LogWriter", "configure"]

BUFFER = 10_000
"""Lines that may wait for the writer."""
BURST = 20
"""Equal lines (level, event, code) in a minute that are written."""

_KEYS = 1_000
_WINDOW = 60.0

_Event = MutableMapping[str, Any]


class LogWriter:
    """Writes lines to a stream in a thread of its own; also the logger that structlog calls."""

    def __init__(self, stream: TextIO, *, buffer: int = BUFFER) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(buffer)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def msg(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = err = msg

    def __call__(self, *_args: Any) -> LogWriter:
        return self

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, as far as it goes in `timeout` seconds."""
        try:
            self._lines.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    self._stream.write(f"({dropped} log lines dropped: the log's reader was too slow)\n")
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # the reader is gone; there is nobody left to tell
                self._dropped += 1


class _Repeats:
    """Drops lines that say the same again and again, and says how many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str, str], tuple[float, int]] = {}
        self._lock = threading.Lock()

    def __call__(self, _logger: Any, method: str, event: _Event) -> _Event:
        key = (method, str(event.get("event")), str(event.get("code", "")))
        now = self._clock()
        with self._lock:
            since, count = self._seen.get(key, (now, 0))
            if now - since >= _WINDOW:
                if count > BURST:
                    event["suppressed"] = count - BURST
                since, count = now, 0
            if len(self._seen) >= _KEYS and key not in self._seen:
                self._seen.clear()
            self._seen[key] = (since, count + 1)
        if count >= BURST:
            raise structlog.DropEvent
        return event


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    style: Literal["auto", "json", "text"] = "auto",
    stream: TextIO | None = None,
) -> LogWriter:
    """Set structlog up for this process (and route the standard library's warnings and errors into it).

    Args:
        level: Lines below it are not made.
        style: `auto` is text on a terminal and JSON elsewhere.
        stream: Default: standard error.
    """
    stream = stream or sys.stderr
    as_text = style == "text" or (style == "auto" and stream.isatty())
    writer = LogWriter(stream)
    number = getattr(logging, level.upper())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if as_text else structlog.processors.JSONRenderer()
    )
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _Repeats(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if as_text else [structlog.processors.format_exc_info]),
        renderer,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=writer,
        cache_logger_on_first_use=True,
    )
    handler = _Standard()
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    return writer


class _Standard(logging.Handler):
    """Libraries that use the standard library's logging end up in the same place."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None)
