"""The worker's end of the socket: takes frames, runs calls in order, answers, and tidies up after each.

It ends the process when the agent hangs up, says QUIT, or sends what is no frame; never by returning into a plugin's hands.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from dropmill.conversion.worker.bench import Bench
from dropmill.conversion.worker.frames import Decoder, Kind, ProtocolError, pack
from dropmill.conversion.worker.task import Call, Runner

__all__ = ["Session"]

_RECEIVE = 32_768
_FLUSH = 262_144
_HELD = 4
"""Answers that are sent together where further calls wait already; a crash makes those calls be done again, nothing more."""
_MAX_DESCRIPTORS = 64
_TIME_GRAIN = 50_000_000
"""Nanoseconds within which two changes of a folder may bear the same time."""
_ANCILLARY = socket.CMSG_SPACE(_MAX_DESCRIPTORS * ctypes.sizeof(ctypes.c_int))


class Session:
    """Serves one agent over one socket.

    Args:
        channel: Connected to the agent; blocking.
        runner: Does the work.
        bench: Where SETUP frames go.
        home: The folder that is current, and for temporary files, while a converter works; emptied after each call.
        growth: Bytes of resident memory, above what the worker has now, at which it says that it is worn out.
    """

    def __init__(self, channel: socket.socket, runner: Runner, bench: Bench, home: Path, growth: int) -> None:
        self._channel = channel
        self._runner = runner
        self._bench = bench
        self._home = home
        self._growth = growth
        self._decoder = Decoder()
        self._calls: deque[Call] = deque()
        self._descriptors: deque[int] = deque()
        self._out = bytearray()
        self._threads = threading.active_count()
        self._resident = resident()
        self._quitting = False
        self._cpu = CpuLimit()
        self._tidied = 0
        """When the home was last seen empty, by its own time."""

    def serve(self, hello: dict[str, Any]) -> None:
        """Say hello, then work until told to quit.

        Raises:
            ProtocolError: the agent sent what is no frame, or what cannot be answered.
            OSError: the socket is gone.
        """
        self._write(Kind.HELLO, hello)
        self._flush()
        held = 0
        while True:
            while not self._calls:
                if self._quitting or not self._receive():
                    return
            call = self._calls.popleft()
            self._cpu.allow(call.cpu)
            kind, answer = self._runner.run(call, self._report(call.number))
            answer["worn"] = self._worn(answer["peak"])
            self._write(kind, answer)
            held += 1
            if not self._calls or held >= _HELD or len(self._out) >= _FLUSH:
                self._flush()
                held = 0
            self._tidy()

    def _receive(self) -> bool:
        data, ancillary, flags, _ = self._channel.recvmsg(_RECEIVE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        for level, kind, body in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(memoryview(body).cast("i"))
        if flags & socket.MSG_CTRUNC:
            raise ProtocolError("more descriptors came with a frame than there is room for")
        if not data:
            return False
        for kind, header, body in self._decoder.feed(data):
            if kind is Kind.CALL:
                taken = [self._descriptors.popleft() for _ in range(min(header["fds"], len(self._descriptors)))]
                if len(taken) != header["fds"]:
                    raise ProtocolError("a call came without its descriptors")
                self._calls.append(Call.read(header, body, taken))
            elif kind is Kind.SETUP:
                self._bench.add(header)
            elif kind is Kind.QUIT:
                self._quitting = True
            else:
                raise ProtocolError(f"the agent sent a {kind.name} frame")
        return True

    def _report(self, number: int) -> Any:
        def send(header: dict[str, Any], body: bytes) -> None:
            header["n"] = number
            self._write(Kind.REPORT, header, body)
            if len(self._out) >= _FLUSH:
                self._flush()

        return send

    def _write(self, kind: Kind, header: dict[str, Any], body: bytes = b"") -> None:
        self._out += pack(kind, header, body)

    def _flush(self) -> None:
        self._channel.sendall(self._out)
        self._out.clear()

    def _worn(self, peak: int) -> str | None:
        """Why this worker should be replaced, if it should."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # a plugin may have closed or replaced it
                stream.flush()
        if threading.active_count() > self._threads:
            return "threads left over"
        if _has_children():
            return "processes left over"
        if peak > self._resident + self._growth and resident() > self._resident + self._growth:
            return "memory not given back"
        return None

    def _tidy(self) -> None:
        """Leave nothing of the call to the next one; what the folder's time shows to be untouched is not looked at again."""
        home = os.fspath(self._home)
        with contextlib.suppress(OSError):
            os.chdir(home)
            touched = os.stat(home).st_mtime_ns
            if touched == self._tidied and time.time_ns() - touched > _TIME_GRAIN:
                return
            for name in os.listdir(home):
                path = os.path.join(home, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    os.unlink(path)
            self._tidied = os.stat(home).st_mtime_ns


def resident() -> int:
    """Bytes of memory that this process has resident now; 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class CpuLimit:
    """Lets the kernel end this process when a call has used its processor time, should the agent be unable to."""

    _SLACK = 60

    def __init__(self) -> None:
        self._soft = 0

    def allow(self, seconds: int) -> None:
        """`seconds` from now, or up to a minute more: moving the limit costs more than many a call. 0: no limit."""
        if seconds <= 0:
            return
        wanted = int(time.process_time()) + 1 + seconds
        if wanted <= self._soft <= wanted + self._SLACK:
            return
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        self._soft = wanted + min(seconds, self._SLACK)
        soft = self._soft if hard == resource.RLIM_INFINITY else min(self._soft, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
