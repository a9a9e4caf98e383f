"""Runs the agent's main coroutine and ends the process, without waiting for what would not die.

`asyncio.run` cancels the tasks that are left and waits for them for ever, so a child that swallows its cancellation would turn
exit code 11 into the hard deadline's 12. Here what is left gets a moment; then the process ends at once, after flushing what
was logged.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from dropmill.supervision.exits import ExitCode
from dropmill.supervision.stacks import format_task

__all__ = ["run_process"]

_PARTING = 0.5


def run_process(main: Callable[[], Coroutine[Any, Any, int]], *, end: Callable[[int], object] = os._exit) -> int:
    """Run `main()` on a fresh event loop, and return its exit code for `sys.exit`.

    A fatal signal (the service manager's SIGABRT, a crash in an extension) prints every stack to stderr from here on.
    Returns where nothing is left behind but, perhaps, threads of the default executor: those are waited for, which the hard
    deadline of the stop bounds. Otherwise `end` is called, with 11, or with 70 or 1 where that is what happened.

    Raises:
        BaseException: what `main` raised.
    """
    try:
        if not faulthandler.is_enabled():
            faulthandler.enable()
    except (OSError, ValueError, AttributeError, RuntimeError):
        pass  # stderr is closed or is no file
    with asyncio.Runner() as runner:
        try:
            code = runner.run(main())
        except BaseException:
            if left := runner.run(_dismiss()):
                logging.getLogger("dropmill.supervision").exception("the agent failed, and did not end")
                _leave(left, 1, end)
            raise
        left = runner.run(_dismiss())
        if left or code == ExitCode.UNDEAD:
            code = int(code if code == ExitCode.ERROR else ExitCode.UNDEAD)
            _leave(left, code, end)
        return code


async def _dismiss() -> set[asyncio.Task[Any]]:
    """Cancel all other tasks, and return those that are still there after a moment."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=_PARTING)
    return tasks


def _leave(tasks: set[asyncio.Task[Any]], code: int, end: Callable[[int], object]) -> None:
    log = logging.getLogger("dropmill.supervision")
    for task in tasks:
        log.error("DM-S005: the task %s did not end, though it was cancelled\n%s", task.get_name(), format_task(task))
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed, gone, or never there: nothing more can be said on it
    end(code)
