"""One worker process, as the agent holds it: its calls, its pipes, its end. Driven by the event loop's callbacks alone.

Nothing here blocks, waits or makes a task. Invariant: every ticket that was handed in comes back exactly once, as an answer, as a
death that names it, or returned untouched; and a process is gone, with its whole group, before it is reported as ended.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dropmill.conversion.inputs import close_all
from dropmill.conversion.launch import Launched
from dropmill.conversion.ticket import Answer, Death, Ticket
from dropmill.conversion.worker.frames import Decoder, Kind, ProtocolError, clean, pack
from dropmill.conversion.worker.page import STACK_OFFSET, WINDOW, Page
from dropmill.foundation.clock import Clock

__all__ = ["Overseer", "WorkerHandle"]

_RECEIVE = 65_536
_OUTPUT = 65_536
_OUTPUT_BURST = 8_388_608
"""Bytes of print that are read between two ticks; a flood is held up by its own full pipe."""
_STACK = 65_536
_LAST_WORDS = 0.2
"""Seconds between asking for the stacks and killing."""
_REAP = 2.0
_MAX_REPORTS = 2_000
_MAX_REPORT_BYTES = 4_194_304


class Overseer(Protocol):
    """Whom a handle tells."""

    def answered(self, worker: WorkerHandle, ticket: Ticket, answer: Answer) -> None:
        """A call has ended; the worker has room for another."""
        ...

    def ended(self, worker: WorkerHandle, victim: tuple[Ticket, Death] | None, returned: Sequence[Ticket]) -> None:
        """It does no more. `victim` is the call that it was at, `returned` are those that it had not begun."""
        ...

    def reaped(self, worker: WorkerHandle) -> None:
        """Its process and its whole group are gone; comes after `ended`."""
        ...

    def ready(self, worker: WorkerHandle) -> None:
        """It said hello."""
        ...


class WorkerHandle:
    """Make it with a process that was just launched; from then on it owns all of that."""

    def __init__(self, launched: Launched, overseer: Overseer, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self.number = launched.number
        self.pid = launched.process.pid
        self.group: str | None = None
        """The distribution that it is bound to; None: it is spare."""
        self.calls: dict[int, Ticket] = {}
        """By number, in the order in which they were sent."""
        self.started = False
        """It said hello."""
        self.worn: str | None = None
        """Why it shall get no more calls."""
        self.finished = 0
        """Calls answered."""
        self.started_at = self.idle_since = clock.monotonic()
        self.resident = 0
        """Bytes resident when it said hello."""
        self.confined: dict[str, object] = {}
        self.yielding = False
        """It shall run empty, so that another distribution gets its turn."""
        self.engaged = False
        """It is at a long call: nothing more shall wait behind that."""
        self.page = Page(memoryview(launched.mapping))
        self._launched = launched
        self._overseer = overseer
        self._loop = loop
        self._clock = clock
        self._decoder = Decoder()
        self._keys: set[str] = set()
        self._next = 1
        self._outgoing: deque[tuple[bytes, Sequence[int]]] = deque()
        """What the worker has not taken yet; these descriptors are ours to close."""
        self._frames = bytearray()
        self._attached: list[int] = []
        self._flush_soon: asyncio.Handle | None = None
        self._output = bytearray()
        self._output_room = _OUTPUT_BURST
        self._output_paused = False
        self._cause: tuple[str, str] | None = None
        self._victim = 0
        """The call that it is ended for."""
        self._timers: list[asyncio.TimerHandle] = []
        self._gone = self._killed = self._reported = False
        self._statm = os.open(f"/proc/{self.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        loop.add_reader(launched.channel.fileno(), self._receive)
        loop.add_reader(launched.output, self._read_output)
        loop.add_reader(launched.pidfd, self._exited)

    # --- what the fleet asks -------------------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        return self._gone

    @property
    def dying(self) -> bool:
        """It is being ended, or has ended."""
        return self._cause is not None or self._reported

    @property
    def current(self) -> Ticket | None:
        """The call that it works on."""
        return self.calls.get(self.page.call)

    def accepts(self, window: int) -> bool:
        """Whether a further call may be sent to it."""
        return not (self.dying or self.worn or self.yielding or self.engaged) and len(self.calls) < min(window, WINDOW)

    def send(self, ticket: Ticket) -> None:
        """Have it do a call after those that it has."""
        for candidate in ticket.candidates:
            if candidate.key not in self._keys:
                self._keys.add(candidate.key)
                self._put(pack(Kind.SETUP, candidate.setup()), ())
        if not self.calls:
            self.idle_since = self._clock.monotonic()
        number = self._next
        self._next += 1
        self.calls[number] = ticket
        ticket.reports.clear()
        ticket.report_bytes = 0
        ticket.patience = None
        self._put(pack(Kind.CALL, {**ticket.header, "n": number}, ticket.body), ticket.descriptors)

    def take_back(self) -> list[Ticket]:
        """The calls that it has not begun; should it begin one after all, nobody heeds its answer."""
        current = self.page.call
        waiting = [number for number in self.calls if number != current]
        if not current and waiting and self.started:
            waiting = waiting[1:]  # it may be about to begin the first
        for number in waiting:
            self.page.cancel(number)
        return [self.calls.pop(number) for number in waiting]

    def cancel(self, ticket: Ticket) -> None:
        """Ask for a call to end at its next read or yield."""
        for number, held in self.calls.items():
            if held is ticket:
                self.page.cancel(number)

    def retire(self) -> None:
        """Let it finish what it has, then exit."""
        if not self.dying:
            self.worn = self.worn or "retired"
            self._put(pack(Kind.QUIT, {}), ())

    def expire(self, kind: str, message: str) -> None:
        """End it, after its threads have left their stacks."""
        if self._cause is None and not self._gone:
            self._condemn(kind, message)
            self._signal(signal.SIGUSR1)
            self._later(_LAST_WORDS, self._kill)

    def end(self, kind: str, message: str) -> None:
        """End it now."""
        if self._cause is None and not self._gone:
            self._condemn(kind, message)
        self._kill()

    def tick(self) -> None:
        """Called now and then while it is busy: let its output flow again."""
        self._output_room = _OUTPUT_BURST
        if self._output_paused and not self._gone:
            self._output_paused = False
            self._loop.add_reader(self._launched.output, self._read_output)

    def memory(self) -> int:
        """Bytes resident now, its children's included."""
        try:
            pages = int(os.pread(self._statm, 200, 0).split()[1])
        except (OSError, IndexError):
            return 0
        for child in self.children():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{child}/statm", "rb") as stream:
                pages += int(stream.read().split()[1])
        return pages * resource.getpagesize()

    def children(self) -> list[int]:
        """Processes that it started, or took over from one that ended."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children", "rb") as stream:
                return [int(pid) for pid in stream.read().split()]
        except OSError:
            return []

    def tail(self) -> str:
        """The end of what it printed."""
        return self._output.decode("utf-8", "backslashreplace")

    # --- the channel ---------------------------------------------------------------------------------------------------

    def _put(self, data: bytes, descriptors: Sequence[int]) -> None:
        """Send a frame: at once where the worker has nothing to do, else together with others of this round of the loop (one
        system call, one wake-up for the worker)."""
        if self.dying:
            return
        self._frames += data
        self._attached += descriptors
        if self._flush_soon is None:
            if len(self.calls) <= 1:
                self._flush()
            else:
                self._flush_soon = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_soon = None
        if self.dying:
            return
        data, descriptors = bytes(self._frames), tuple(self._attached)
        self._frames.clear()
        self._attached.clear()
        if not self._outgoing and (sent := self._try_to_send(data, descriptors)):
            data, descriptors = data[sent:], ()
        if data:
            # Own copies: the caller may close its descriptors before these go out.
            self._outgoing.append((data, [os.dup(descriptor) for descriptor in descriptors]))
            self._loop.add_writer(self._launched.channel.fileno(), self._write)

    def _write(self) -> None:
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            sent = self._try_to_send(data, descriptors)
            if not sent:
                return
            close_all(descriptors)
            if sent < len(data):
                self._outgoing[0] = (data[sent:], ())
            else:
                self._outgoing.popleft()
        self._loop.remove_writer(self._launched.channel.fileno())

    def _try_to_send(self, data: bytes, descriptors: Sequence[int]) -> int:
        """Bytes that were taken; the descriptors go with the first of them."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            return self._launched.channel.sendmsg([data], ancillary)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # it has hung up; the reader or the pidfd says so in a moment

    def _receive(self) -> None:
        if self._gone:
            return
        try:
            data = self._launched.channel.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._launched.channel.fileno())
            # Time to exit by itself, so that its own exit code is seen; one that only closed its pipe does not.
            self._later(_LAST_WORDS, lambda: self.end("protocol", "it closed its pipe to the agent"))
            return
        try:
            for kind, header, body in self._decoder.feed(data):
                self._frame(kind, header, body)
        except ProtocolError as error:
            self._loop.remove_reader(self._launched.channel.fileno())
            self.end("protocol", f"it wrote to its pipe what is no answer: {clean(error, 300)}")

    def _frame(self, kind: Kind, header: dict[str, Any], body: bytes) -> None:
        number = header.get("n")
        if kind is Kind.HELLO:
            confined, resident = header.get("confined"), header.get("resident")
            if not isinstance(confined, dict) or not isinstance(resident, int):
                raise ProtocolError("its HELLO says nothing of itself")
            self.started, self.confined, self.resident = True, confined, resident
            self._overseer.ready(self)
        elif kind not in (Kind.REPORT, Kind.OK, Kind.ERROR):
            raise ProtocolError(f"a worker never sends {kind.name}")
        elif not isinstance(number, int):
            raise ProtocolError(f"its {kind.name} names no call")
        elif kind is Kind.REPORT:
            if (ticket := self.calls.get(number)) is not None:
                self._keep(ticket, header, body)
        elif self._victim == number:
            return  # too late
        elif self.page.call == number:
            raise ProtocolError("it answers for a file that it is still at work on")
        else:
            self._end_call(number, kind is Kind.OK, header)

    def _keep(self, ticket: Ticket, header: dict[str, Any], body: bytes) -> None:
        ticket.report_bytes += len(body)
        if len(ticket.reports) >= _MAX_REPORTS or ticket.report_bytes > _MAX_REPORT_BYTES:
            raise ProtocolError("there is more on the pipe than a worker sends for one file")
        ticket.reports.append((header, body))

    def _end_call(self, number: int, ok: bool, header: dict[str, Any]) -> None:
        ticket = self.calls.pop(number, None)
        self.finished += 1
        if header.get("worn") is not None and self.worn is None:
            self.worn = clean(header["worn"], 100)
        if not self.calls:
            self.idle_since = self._clock.monotonic()
        if ticket is None:
            return
        answer = Answer(
            ok=ok,
            header=header,
            reports=tuple(ticket.reports),
            folder=self._launched.folder / str(number),
            output="" if ok else self.tail(),
        )
        ticket.reports.clear()
        self._overseer.answered(self, ticket, answer)

    def _read_output(self) -> None:
        try:
            data = os.read(self._launched.output, _OUTPUT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._output_room -= len(data)
        if not data or self._output_room <= 0:
            self._loop.remove_reader(self._launched.output)
            self._output_paused = bool(data)
        self._output += data
        del self._output[:-_OUTPUT]

    # --- the end -------------------------------------------------------------------------------------------------------

    def _condemn(self, kind: str, message: str) -> None:
        """What it is at now is what it ends for, whatever it still answers."""
        self._cause = (kind, message)
        self._victim = self.page.call

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(delay, call))

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._launched.pidfd, number)

    def _kill(self) -> None:
        """Kill the whole group: the worker leads it, and nothing in it can have left it."""
        if self._gone:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if not self._killed:
            self._killed = True
            self._later(_REAP, self._give_up)

    def _give_up(self) -> None:
        """It does not die: some call into the kernel holds it. Its files need not wait for that."""
        if not self._gone:
            self._report(None, None)

    def _exited(self) -> None:
        """The process is a zombie: its pid cannot have been given to another yet."""
        self._kill()
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._launched.process.returncode = code
        self._drain()
        self._report(code, usage)
        self._close()
        self._overseer.reaped(self)

    def _report(self, code: int | None, usage: resource.struct_rusage | None) -> None:
        if self._reported:
            return
        self._reported = True
        victim = None
        if (ticket := self.calls.pop(self._victim or self.page.call, None)) is not None:
            victim = (ticket, self._death(ticket, code, usage))
        returned = list(self.calls.values())
        self.calls.clear()
        self._overseer.ended(self, victim, returned)

    def _drain(self) -> None:
        """What it sent and printed before it ended."""
        with contextlib.suppress(OSError, ProtocolError):
            while data := self._launched.channel.recv(_RECEIVE):
                for kind, header, body in self._decoder.feed(data):
                    self._frame(kind, header, body)
        with contextlib.suppress(OSError):
            for _ in range(_OUTPUT_BURST // _OUTPUT):
                data = os.read(self._launched.output, _OUTPUT)
                if not data:
                    break
                self._output += data
                del self._output[:-_OUTPUT]

    def _death(self, ticket: Ticket, code: int | None, usage: resource.struct_rusage | None) -> Death:
        kind, message = self._cause or _why(0 if code is None else code, self.tail())
        return Death(
            kind=kind,
            message=message,
            candidate=min(self.page.candidate_index, len(ticket.candidates) - 1),
            exit_code=code if code is not None and code >= 0 else None,
            signal=_signal_name(-code) if code is not None and code < 0 else None,
            stack=os.pread(self._launched.memory, _STACK, STACK_OFFSET).decode("utf-8", "backslashreplace"),
            output=self.tail(),
            read=self.page.read,
            done=self.page.done,
            wall=0.0 if ticket.patience is None else self._clock.monotonic() - ticket.patience.began,
            cpu=0.0 if usage is None else usage.ru_utime + usage.ru_stime,
            peak=0 if usage is None else usage.ru_maxrss * 1024,
        )

    def _close(self) -> None:
        self._gone = True
        for timer in self._timers:
            timer.cancel()
        if self._flush_soon is not None:
            self._flush_soon.cancel()
        launched = self._launched
        self._loop.remove_reader(launched.channel.fileno())
        self._loop.remove_writer(launched.channel.fileno())
        self._loop.remove_reader(launched.output)
        self._loop.remove_reader(launched.pidfd)
        launched.channel.close()
        for _, descriptors in self._outgoing:
            close_all(descriptors)
        for descriptor in (launched.output, launched.pidfd, launched.memory, self._statm):
            os.close(descriptor)
        self.page.release()
        launched.mapping.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _why(code: int, output: str) -> tuple[str, str]:
    """What an end that nobody ordered was: kind and message."""
    if code >= 0:
        return "crash", f"its process exited with code {code} in the middle of the file"
    name = _signal_name(-code)
    if name == "SIGXCPU":
        return "limit", "it used more processor time than it may"
    if name == "SIGKILL":
        return "crash", "its process was killed from outside (SIGKILL); the machine may be out of memory"
    if name == "SIGABRT" and ("memory allocation of" in output or "MemoryError" in output):
        return "oom", "it ran out of memory"
    return "crash", f"its process was ended by {name}"
