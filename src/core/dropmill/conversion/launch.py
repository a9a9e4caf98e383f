"""Starts a worker process: what it inherits, what it is told, and the ends of its pipes.

Called on the event loop's thread, which must be the main one: the kernel ends a worker with the *thread* that started it. There
is no preexec_fn, so that the child is made by vfork, in a millisecond however large the agent is.
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from dropmill.conversion.worker.page import SIZE

__all__ = ["TAG", "LaunchPlan", "Launched", "launch", "worker_environment"]

TAG = "DROPMILL_WORKER"
"""In the environment of a worker and whatever it starts: whose it is."""

_KEPT = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TZDIR"})
_KEPT_STARTS = ("LC_", "LD_", "PYTHON", "VIRTUAL_ENV", "MALLOC_")


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """What all workers of a fleet have in common."""

    scratch: Path
    """Each worker has a folder of its own in it, named by its number."""
    tag: str
    environment: Mapping[str, str]
    memory_growth: int
    """Bytes of address space that a worker may map above what it starts with."""
    recycle_growth: int
    """Bytes of resident memory above that at the start which wear it out."""
    max_output: int


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A process that was started, and the agent's ends of what connects the two. Whoever gets it closes them."""

    number: int
    process: subprocess.Popen[bytes]
    pidfd: int
    channel: socket.socket
    output: int
    """Read end of what the process prints; non-blocking."""
    memory: int
    """Descriptor of the shared file: the page, then the stacks of a hang or crash."""
    mapping: mmap.mmap
    folder: Path


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a worker may see of the agent's environment: no variable that might be somebody's secret."""
    return {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_STARTS)}


def launch(plan: LaunchPlan, number: int) -> Launched:
    """Start the worker `number`.

    Raises:
        OSError: no process, descriptor or folder could be had; nothing is left behind.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("workers are started from the main thread alone: they end with the thread that started them")
    folder = plan.scratch / str(number)
    made: list[int] = []
    ours = theirs = process = None
    try:
        (folder / "tmp").mkdir(parents=True, mode=0o700)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        memory = os.memfd_create(f"dropmill-worker-{number}", os.MFD_CLOEXEC)
        made.append(memory)
        os.ftruncate(memory, SIZE)
        output, printed = os.pipe2(os.O_CLOEXEC)
        made += [output, printed]
        os.set_blocking(output, False)
        config = {
            "channel": theirs.fileno(),
            "memory": memory,
            "folder": os.fspath(folder),
            "parent": os.getpid(),
            "memory_growth": plan.memory_growth,
            "recycle_growth": plan.recycle_growth,
            "max_output": plan.max_output,
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dropmill.conversion.worker", orjson.dumps(config).decode()],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=(theirs.fileno(), memory),
            start_new_session=True,
            env={**plan.environment, TAG: f"{plan.tag}.{number}."},
            cwd=os.fspath(plan.scratch),
        )
        made.remove(printed)
        os.close(printed)
        theirs.close()
        return Launched(
            number=number,
            process=process,
            pidfd=os.pidfd_open(process.pid),
            channel=ours,
            output=output,
            memory=memory,
            mapping=mmap.mmap(memory, SIZE),
            folder=folder,
        )
    except BaseException:
        if process is not None:
            process.kill()
            process.wait()
        for descriptor in made:
            os.close(descriptor)
        for end in (ours, theirs):
            if end is not None:
                end.close()
        raise
