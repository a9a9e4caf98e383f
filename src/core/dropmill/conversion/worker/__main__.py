"""`python -m dropmill.conversion.worker CONFIG`: started by the agent's pool, never by a person."""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import orjson

from dropmill.conversion.worker.bench import Bench
from dropmill.conversion.worker.confine import confine, die_with_parent
from dropmill.conversion.worker.frames import ProtocolError
from dropmill.conversion.worker.page import SIZE, STACK_OFFSET, Page
from dropmill.conversion.worker.session import Session, resident
from dropmill.conversion.worker.task import Runner

_LOST = 3
"""Exit code: the agent hung up in the middle, or sent what is no frame."""


def main(argument: str) -> None:
    """Set the process up and serve; never returns."""
    config = orjson.loads(argument)
    die_with_parent(config["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ctrl-C is the agent's to handle
    channel, memory = config["channel"], config["memory"]
    os.set_inheritable(channel, False)
    os.set_inheritable(memory, False)
    os.lseek(memory, STACK_OFFSET, os.SEEK_SET)
    faulthandler.enable(memory)
    faulthandler.register(signal.SIGUSR1, memory, all_threads=True)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    page = Page(memoryview(mmap.mmap(memory, SIZE)))
    folder = Path(config["folder"])
    home = folder / "tmp"
    os.chdir(home)
    os.environ["TMPDIR"] = tempfile.tempdir = os.fspath(home)
    bench = Bench()
    runner = Runner(folder, bench, page, config["max_output"])
    facts = confine(folder, memory=config["memory_growth"], file_size=config["max_output"])
    session = Session(socket.socket(fileno=channel), runner, bench, home, config["recycle_growth"])
    try:
        session.serve({"pid": os.getpid(), "confined": facts, "resident": resident()})
    except (ProtocolError, OSError) as error:
        os.write(2, f"worker: {error!r}\n".encode("utf-8", "backslashreplace"))
        os._exit(_LOST)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
