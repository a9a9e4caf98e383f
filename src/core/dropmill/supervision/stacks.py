"""What every thread and every task is doing, as text: for stuck children, a blocked loop and a stop that ran out of time.

Callable from any thread. Never raises for what another thread does in the meantime.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback

__all__ = ["format_task", "format_tasks", "format_thread", "format_threads"]

_FRAMES = 40


def format_thread(ident: int) -> str:
    """The Python stack of one thread, most recent call last; empty where there is no such thread."""
    frame = sys._current_frames().get(ident)
    return "" if frame is None else "".join(traceback.format_stack(frame, limit=_FRAMES))


def format_threads() -> str:
    """All threads, by name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "".join(
        f"Thread {names.get(ident, '?')} ({ident}):\n{''.join(traceback.format_stack(frame, limit=_FRAMES))}\n"
        for ident, frame in sys._current_frames().items()
    )


def format_task(task: asyncio.Task[object]) -> str:
    """Where a task stands: the chain of coroutines from its own down to the one that waits, most recent call last."""
    lines: list[str] = []
    step: object = task.get_coro()
    for _ in range(_FRAMES):
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is None:
            break
        lines += traceback.format_list(traceback.extract_stack(frame, limit=1))
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    waiting_for = getattr(task, "_fut_waiter", None)
    if waiting_for is not None:
        lines.append(f"  waiting for {waiting_for!r}"[:500] + "\n")
    return "".join(lines)


def format_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """All tasks of a loop that have not ended, by name."""
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # they change faster than they can be listed
        return "(the tasks could not be listed)\n"
    return "".join(
        f"Task {task.get_name()}:\n{format_task(task)}\n" for task in sorted(tasks, key=lambda task: task.get_name())
    )
