"""Lets a throw-away process load plugins first, so that a hang, `os._exit` or crash at import never reaches the agent.

One process loads all of them, which is cheap; only where it dies or takes long is each plugin given a process of its own, a few
at a time, to find out whose fault it is. No process outlives its limit, and neither do processes that it started.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dropmill.foundation.errors import Problem
from dropmill.plugins.discovery import Discovered

__all__ = ["Limits", "try_out"]

_START = (
    "import sys, json; request = json.load(sys.stdin); sys.path[:] = request['path']; "
    "from dropmill.plugins.probe import main; main(request)"
)
_TAIL = 8192
_MOST_ANSWERS = 4_000_000
_TICK = 0.05


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long loading may take; seconds."""

    plugin: float = 10.0
    """For one plugin: at most this long in its throw-away process, and again in the agent."""
    together: float = 4.0
    """For the one process that loads all of them; after that each gets its own."""
    width: int = 2
    """Throw-away processes at a time."""


@dataclass(kw_only=True)
class _Trial:
    """How one process ended."""

    ending: Literal["clean", "died", "hung"] = "died"
    failures: dict[str, Problem | None] = field(default_factory=dict)
    """By plugin, those that were loaded: None, or what went wrong."""
    status: str = ""
    printed: bytes = b""


def try_out(entries: Sequence[Discovered], limits: Limits) -> Mapping[str, Problem | None]:
    """Load the entry points in throw-away processes: for each name None, or why it must not be loaded here."""
    if not entries:
        return {}
    together = _run(entries, min(limits.together, limits.plugin) if len(entries) > 1 else limits.plugin)
    if together.ending == "clean" or len(entries) == 1:
        return {entry.name: _verdict(entry, together, limits.plugin) for entry in entries}
    answers: dict[str, Problem | None] = {name: why for name, why in together.failures.items() if why is not None}
    alone = [entry for entry in entries if entry.name not in answers]
    with ThreadPoolExecutor(limits.width, thread_name_prefix="plugin probation") as pool:
        trials = pool.map(lambda entry: _run([entry], limits.plugin), alone)
        answers |= {
            entry.name: _verdict(entry, trial, limits.plugin) for entry, trial in zip(alone, trials, strict=True)
        }
    return answers


def _verdict(entry: Discovered, trial: _Trial, limit: float) -> Problem | None:
    if entry.name in trial.failures:
        return trial.failures[entry.name]
    printed = trial.printed.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
    said = f"; the last it printed: {printed}" if printed else ""
    if trial.ending == "hung":
        return Problem(
            code="DM-P012",
            what=f"plugin {entry.name!r} did not finish loading within {limit:g} s{said}",
            where=str(entry),
            todo="report it to the plugin's author; importing a plugin must not wait for anything",
        )
    return Problem(
        code="DM-P011",
        what=f"plugin {entry.name!r} ended the process that loaded it ({trial.status}){said}",
        where=str(entry),
        todo="report it to the plugin's author, or take it out of plugins.enable",
    )


def _run(entries: Sequence[Discovered], limit: float) -> _Trial:
    """One process, from start to a certain end."""
    answers, writer = os.pipe()
    trial = _Trial()
    try:
        with tempfile.TemporaryFile() as request:
            request.write(
                json.dumps(
                    {
                        "path": [str(entry) for entry in sys.path],
                        "entries": [asdict(entry) for entry in entries],
                        "answers": writer,
                        "limit": limit,
                    }
                ).encode()
            )
            request.seek(0)
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _START],
                    stdin=request,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=[writer],
                    start_new_session=True,
                )
            except OSError as error:
                return _Trial(ending="clean", failures={entry.name: _untried(entry, error) for entry in entries})
        os.close(writer)
        writer = -1
        try:
            _follow(process, answers, entries, trial, time.monotonic() + limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
            process.wait()
            assert process.stderr is not None
            process.stderr.close()
    finally:
        os.close(answers)
        if writer >= 0:
            os.close(writer)
    return trial


def _follow(
    process: subprocess.Popen[bytes], answers: int, entries: Sequence[Discovered], trial: _Trial, deadline: float
) -> None:
    """Read what the process says until it has said all, died, or the deadline has come."""
    assert process.stderr is not None
    known = {entry.name: entry for entry in entries}
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(answers, selectors.EVENT_READ)
        selector.register(process.stderr.fileno(), selectors.EVENT_READ)
        while True:
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            ready = selector.select(0 if ended else min(_TICK, max(0.0, deadline - time.monotonic())))
            for key, _ in ready:
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fd)
                elif key.fd != answers:
                    trial.printed = (trial.printed + chunk)[-_TAIL:]
                elif len(text) < _MOST_ANSWERS:
                    text += chunk
            if b"\n" in text:
                lines, _, text = text.rpartition(b"\n")
                if any(_take(line, known, trial) for line in lines.split(b"\n")):
                    trial.ending = "clean"
                    return
            if ended and not ready:
                trial.status = _status(ended)
                return
            if time.monotonic() >= deadline:
                trial.ending = "hung"
                return


def _take(line: bytes, known: Mapping[str, Discovered], trial: _Trial) -> bool:
    """Take one answer in; whether it was the last."""
    try:
        answer: Any = json.loads(line)
        if answer.get("end"):
            return set(known) <= set(trial.failures)
        entry = known[answer["plugin"]]
        if "problem" in answer:
            failure: Problem | None = Problem(**answer["problem"])
        elif "error" in answer:
            failure = import_failed(entry, str(answer["error"]), str(answer["place"]))
        else:
            failure = None
        trial.failures.setdefault(entry.name, failure)
    except (ValueError, TypeError, KeyError, AttributeError):
        pass  # a plugin wrote to a descriptor that is not its own; what is missing counts as not loaded
    return False


def import_failed(entry: Discovered, error: str, place: str) -> Problem:
    """A plugin that raised while it was imported or registered."""
    return Problem(
        code="DM-P010",
        what=f"plugin {entry.name!r} cannot be loaded: {error}",
        where=place or str(entry),
        todo=f"reinstall {entry.distribution} or report it to the plugin's author; or take it out of plugins.enable",
    )


def _untried(entry: Discovered, error: OSError) -> Problem:
    return Problem(
        code="DM-P013",
        what=f"plugin {entry.name!r} was not loaded: the process to try it out in cannot be started: {error}",
        where=str(entry),
        todo="look for a limit on processes or memory, then start again",
    )


def _status(ended: os.waitid_result) -> str:
    if ended.si_code == os.CLD_EXITED:
        return f"exit code {ended.si_status}"
    try:
        return f"signal {signal.Signals(ended.si_status).name}"
    except ValueError:
        return f"signal {ended.si_status}"
