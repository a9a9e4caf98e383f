"""Converters that tests run in real worker processes: good ones, and one that does to its worker whatever the file says."""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dropmill.api import (
    Attachment,
    BadInput,
    ConvertContext,
    Head,
    Level,
    Match,
    NotMine,
    Report,
    RetryLater,
    Source,
    Unavailable,
)

LOADED = time.time()


def document(serial: str, **more: Any) -> dict[str, Any]:
    step = {"name": "voltage", "type": "test", "outcome": "passed"}
    root = {"name": "unit", "type": "group", "outcome": "passed", "steps": [step]}
    return {"kind": "test", "outcome": "passed", "unit": {"serial": serial}, "root": root, **more}


class Lines:
    """One report a line; the good one."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._level = options.get("level")
        self._prefix = options.get("prefix", "")

    def sniff(self, head: Head) -> Match | None:
        if not head.data.startswith(self._prefix.encode()):
            return None
        return Match(Level[self._level or "LIKELY"], "it begins as it should")

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        with source.open() as stream:
            for line in stream:
                serial = line.decode().strip()
                yield Report(document(serial), key=serial)


class NoSniff:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        if self._options.get("not_mine"):
            raise NotMine("on second thought")
        yield Report(document("no-sniff"))


class Complete(Lines):
    def is_complete(self, source: Source) -> bool:
        with source.open() as stream:
            return stream.read().endswith(b"END\n")


class BadSniff(Lines):
    def sniff(self, head: Head) -> Match | None:
        if head.data.startswith(b"kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise LookupError("sniffing fails")


class Unmakeable:
    def __init__(self, options: Mapping[str, Any]) -> None:
        raise OSError("no licence file")


class Own:
    """A document type of its own."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield Report({"temperature": float(source.open().read())}, schema="urn:test:weather:1")


class Faulty:
    """The file's first line names what happens, further words are its arguments."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._folder = options.get("folder", "")

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        with source.open() as stream:
            words = stream.readline().decode().split()
        yield from getattr(self, f"do_{words[0]}")(source, context, *words[1:])

    # --- ends that are foreseen ----------------------------------------------------------------------------------------

    def do_good(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield Report(document("good"))

    def do_bad_input(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        context.warn("ODD", "something was odd", line=1)
        raise BadInput("NO-HEADER", "the header is missing", line=3)
        yield

    def do_later(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        raise RetryLater("the licence server is away", after=12.5)
        yield

    def do_not_mine(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        raise NotMine
        yield

    def do_not_mine_late(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield Report(document("early"))
        raise NotMine

    def do_nothing(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield from ()

    def do_warn(self, source: Source, context: ConvertContext, count: str) -> Iterator[Report]:
        for number in range(int(count)):
            context.warn("ODD", f"warning {number}", line=number)
        yield Report(document("warned"))

    def do_many(self, source: Source, context: ConvertContext, count: str, size: str = "10") -> Iterator[Report]:
        for number in range(int(count)):
            yield Report(document(f"S{number}", misc=[{"name": "pad", "value": "x" * int(size)}]), key=f"S{number}")

    def do_steps(self, source: Source, context: ConvertContext, count: str) -> Iterator[Report]:
        made = document("steps")
        del made["root"]["steps"]

        def steps() -> Iterator[dict[str, Any]]:
            for number in range(int(count)):
                yield {"name": f"step {number}", "type": "test", "outcome": "failed" if number == 7 else "passed"}
            made["outcome"] = "failed"

        yield Report(made, steps=steps())

    def do_attach(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield Report(document("attached"), attachments=[Attachment(id="a", name="a.bin", data=b"\0\1")])

    def do_bytes(self, source: Source, context: ConvertContext, size: str) -> Iterator[Report]:
        yield Report(b"x" * int(size), media_type="application/octet-stream", schema=None)

    def do_path(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        path = source.local_path()
        assert source.local_path() == path
        child = subprocess.run(["cat", path], capture_output=True, check=True, text=True)
        yield Report(document(Path(path).name, operator=child.stdout.strip()))

    def do_environment(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        misc = [{"name": name, "value": value} for name, value in sorted(os.environ.items())]
        yield Report(document("environment", misc=misc))

    # --- invalid reports -----------------------------------------------------------------------------------------------

    def do_invalid(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield Report(document("fine"))
        yield Report(document("broken", outcome="splendid"))

    def do_nan(self, source: Source, context: ConvertContext, where: str) -> Iterator[Report]:
        made = document("nan")
        if where == "value":
            measurement = {"name": "u", "value": math.nan, "status": "failed"}
            made["root"]["steps"][0]["measurements"] = [measurement]
        else:
            made["duration"] = math.inf
        yield Report(made)

    def do_no_report(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield {"kind": "test"}  # type: ignore[misc]

    # --- faults --------------------------------------------------------------------------------------------------------

    def do_raise(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield Report(document("first"))
        raise ValueError("boo \udcff")

    def do_wrong_signal(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        raise Unavailable("not for converters")
        yield

    def do_exit(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        sys.exit("goodbye")
        yield

    def do_interrupt(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        raise KeyboardInterrupt
        yield

    def do_os_exit(self, source: Source, context: ConvertContext, code: str) -> Iterator[Report]:
        os._exit(int(code))
        yield

    def do_segv(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        ctypes.string_at(0)
        yield

    def do_abort(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        os.abort()
        yield

    def do_kill(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    def do_stop(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        os.kill(os.getpid(), signal.SIGSTOP)
        yield Report(document("went on"))

    def do_hang(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        while True:
            pass
        yield

    def do_hang_in_c(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        ctypes.PyDLL(None).sleep(1000)  # holds the GIL
        yield

    def do_sleep(self, source: Source, context: ConvertContext, seconds: str) -> Iterator[Report]:
        time.sleep(float(seconds))
        yield Report(document("slept"))

    def do_progress(self, source: Source, context: ConvertContext, seconds: str) -> Iterator[Report]:
        end = time.monotonic() + float(seconds)
        while (left := end - time.monotonic()) > 0:
            time.sleep(0.02)
            context.progress(1 - left / float(seconds))
        yield Report(document("progressed"))

    def do_reread(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        while True:
            time.sleep(0.01)
            with source.open() as stream:
                stream.read(10)
        yield

    def do_endless(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        number = 0
        while True:
            number += 1
            yield Report(document(f"S{number}"))

    def do_print(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        print("to standard output")
        print("to standard error", file=sys.stderr)
        os.write(1, b"straight to the descriptor\n")
        yield Report(document("printed"))

    def do_flood(self, source: Source, context: ConvertContext, megabytes: str) -> Iterator[Report]:
        for number in range(int(megabytes)):
            os.write(2, b"%06d " % number + b"x" * (1_048_576 - 8) + b"\n")
        raise ValueError("after the flood")
        yield

    def do_memory(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        hog = []
        while True:
            hog.append(bytearray(10_000_000))
        yield

    def do_memory_in_children(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        code = "import time; hog = [bytearray(b'x' * 30_000_000)]; time.sleep(1000)"
        for _ in range(4):
            subprocess.Popen([sys.executable, "-S", "-c", code])
        time.sleep(1000)
        yield

    def do_grow(self, source: Source, context: ConvertContext, megabytes: str) -> Iterator[Report]:
        LEAK.append(bytearray(b"x" * (int(megabytes) * 1_048_576)))
        yield Report(document("grown"))

    def do_recurse(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield from self.do_recurse(source, context)

    def do_fork(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """A child with a child of its own; both outlive the task."""
        subprocess.Popen([sys.executable, "-S", "-c", "import subprocess,time;subprocess.Popen(['sleep','1000'])"])
        time.sleep(0.2)
        yield Report(document("forked"))

    def do_fork_and_hang(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
        yield

    def do_daemonize(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        if os.fork() == 0:
            try:
                os.setsid()
                time.sleep(1000)
            finally:
                os._exit(0)
        os.wait()
        yield Report(document("not daemonized"))

    def do_daemonize_quietly(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        """Its grandchild leaves the process group and outlives everybody."""
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        yield Report(document("daemonized"))

    def do_bomb(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        for _ in range(200):
            subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
        yield

    def do_thread(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        yield Report(document("threaded"))

    def do_late_exit(self, source: Source, context: ConvertContext, seconds: str) -> Iterator[Report]:
        threading.Timer(float(seconds), os._exit, (9,)).start()
        yield Report(document("a thread of mine ends it all"))

    # --- reaching out --------------------------------------------------------------------------------------------------

    def do_write(self, source: Source, context: ConvertContext, path: str) -> Iterator[Report]:
        Path(path).write_text("evil")
        yield Report(document("wrote"))

    def do_write_inside(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        Path("notes.txt").write_text("mine")
        Path("deep").mkdir()
        Path("deep/er").write_text("mine")
        Path("/dev/null").write_text("gone")
        yield Report(document(" ".join(sorted(os.listdir(".")))))

    def do_list(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        yield Report(document(" ".join(sorted(os.listdir("."))) or "nothing"))

    def do_unlink(self, source: Source, context: ConvertContext, path: str) -> Iterator[Report]:
        os.unlink(path)
        yield

    def do_socket(self, source: Source, context: ConvertContext, family: str) -> Iterator[Report]:
        socket.socket(getattr(socket, family), socket.SOCK_DGRAM)
        yield Report(document("opened"))

    def do_signal(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        os.kill(os.getppid(), 0)  # only asks whether it may
        yield Report(document("it may"))

    def do_close_descriptors(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        os.closerange(3, 256)
        time.sleep(1000)
        yield

    def do_close_streams(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        sys.stdout.close()
        sys.stderr = None
        os.close(1)
        os.close(2)
        yield Report(document("silent"))

    def do_garbage(self, source: Source, context: ConvertContext, kind: str) -> Iterator[Report]:
        """Writes to the channel, which a plugin has no business to know."""
        for descriptor in range(3, 64):
            try:
                if socket.socket(fileno=os.dup(descriptor)).family != socket.AF_UNIX:
                    continue
            except OSError:
                continue
            header = json.dumps({"n": 1, "key": "x"}).encode()
            frames = {
                "text": b"hello, agent, this is no frame\n" * 10,
                "huge": bytes.fromhex("d3040000 7fffffff 7fffffff") + b"x" * 100,
                "json": bytes.fromhex("d3040000 00000004 00000000") + b"[1,]",
                "kind": bytes.fromhex("d3060000") + len(header).to_bytes(4, "big") + bytes(4) + header,
                "quit": bytes.fromhex("d3070000 00000002 00000000") + b"{}",
            }
            os.write(descriptor, frames[kind])
        time.sleep(1000)
        yield


LEAK: list[bytearray] = []


class Switched(Lines):
    """Faults for as long as a file exists."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._switch = Path(options["switch"])

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        if self._switch.exists():
            raise RuntimeError("switched off")
        yield from super().convert(source, context)


class WrongSniff(Lines):
    def sniff(self, head: Head) -> Match | None:
        return "yes"  # type: ignore[return-value]


class NotMineSniff(Lines):
    def sniff(self, head: Head) -> Match | None:
        raise NotMine("signalled")


class Counting(Lines):
    """Counts its uses, and faults."""

    uses = 0

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        self.uses += 1
        raise ValueError(f"use {self.uses}")


class Hungry:
    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def sniff(self, head: Head) -> Match | None:
        if head.data == b"A\n":
            raise MemoryError("while sniffing")
        return None


class Untidy:
    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        try:
            yield Report(document("broken", outcome="splendid"))
        finally:
            raise OSError("while cleaning up")


class Listing:
    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source, context: ConvertContext) -> list[Report]:
        return [Report(document("one")), Report(document("two"))]
