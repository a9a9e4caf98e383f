"""Workers whose every word a test says: a real process that sleeps, and the worker's end of the pipes in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dropmill.config.settings import ConverterChoice
from dropmill.conversion.handle import WorkerHandle
from dropmill.conversion.launch import Launched
from dropmill.conversion.selection import Selector
from dropmill.conversion.ticket import Answer, Death, Ticket
from dropmill.conversion.worker.frames import Decoder, Kind, pack
from dropmill.conversion.worker.page import SIZE, Page
from support.conversions import bindings


class Puppet:
    """One such worker; `launched` is what the agent gets."""

    def __init__(self, number: int, scratch: Path) -> None:
        ours, self.channel = socket.socketpair()
        ours.setblocking(False)
        self.channel.setblocking(False)
        memory = os.memfd_create("puppet")
        os.ftruncate(memory, SIZE)
        self.memory = os.dup(memory)
        self._mapping = mmap.mmap(memory, SIZE)
        self.page = Page(memoryview(self._mapping))
        output, self.output = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        self.process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        self.launched = Launched(
            number=number,
            process=self.process,
            pidfd=os.pidfd_open(self.process.pid),
            channel=ours,
            output=output,
            memory=memory,
            mapping=mmap.mmap(memory, SIZE),
            folder=scratch / str(number),
        )
        self._decoder = Decoder()
        self.frames: list[tuple[Kind, dict[str, Any], bytes]] = []
        self.descriptors: list[int] = []

    def hello(self, resident: int = 10**12) -> None:
        self.say(Kind.HELLO, {"confined": {"landlock": 0}, "resident": resident})

    def say(self, kind: Kind, header: dict[str, Any], body: bytes = b"") -> None:
        self.channel.sendall(pack(kind, header, body))

    def read(self) -> list[int]:
        """Take what the agent sent; the numbers of all calls so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self.channel.recvmsg(1_048_576, socket.CMSG_SPACE(4 * 64))
                for _, _, body in ancillary:
                    self.descriptors.extend(memoryview(body).cast("i"))
                if not data:
                    break
                self.frames += self._decoder.feed(data)
        return [header["n"] for kind, header, _ in self.frames if kind is Kind.CALL]

    @property
    def told_to_quit(self) -> bool:
        self.read()
        return any(kind is Kind.QUIT for kind, _, _ in self.frames)

    def answer(
        self, number: int, *, ok: bool = True, worn: str | None = None, wall: float = 0.001, **more: Any
    ) -> None:
        self.say(Kind.OK if ok else Kind.ERROR, {"n": number, "worn": worn, "wall": wall, **more})

    def die(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.channel.close()
        for descriptor in (self.output, self.memory, *self.descriptors):
            os.close(descriptor)
        self.page.release()
        self._mapping.close()


class Listener:
    """An overseer that remembers."""

    def __init__(self) -> None:
        self.is_ready = False
        self.answers: list[tuple[Ticket, Answer]] = []
        self.victim: tuple[Ticket, Death] | None = None
        self.returned: Sequence[Ticket] | None = None
        self.is_reaped = False

    def ready(self, worker: WorkerHandle) -> None:
        self.is_ready = True

    def answered(self, worker: WorkerHandle, ticket: Ticket, answer: Answer) -> None:
        self.answers.append((ticket, answer))

    def ended(self, worker: WorkerHandle, victim: tuple[Ticket, Death] | None, returned: Sequence[Ticket]) -> None:
        assert self.returned is None, "told once"
        self.victim, self.returned = victim, returned

    def reaped(self, worker: WorkerHandle) -> None:
        assert self.returned is not None
        self.is_reaped = True


def ticket(group: str = "acme", converter: str = "lines", descriptors: Sequence[int] = (), **options: Any) -> Ticket:
    choices = [ConverterChoice(id=converter, options=options)]
    return Ticket(
        group=group,
        mode="choose",
        candidates=Selector(choices, bindings(timeout=1.0)).all(),
        header={"fds": len(descriptors)},
        body=b"",
        descriptors=descriptors,
        future=asyncio.get_running_loop().create_future(),
        submitted=0.0,
    )


async def until(condition: Any, patience: float = 10.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.005)
