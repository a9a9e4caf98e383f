"""Converts files in worker processes: opens them, asks who reads them, has them read, and says how it ended.

It knows nothing of the queue and decides nothing about a file's future. Invariant: each `convert` ends in exactly one outcome,
and whatever it opened or staged is given back, by itself or by `discard`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from dropmill.config.settings import ConversionSettings, ConverterChoice
from dropmill.conversion.fleet import Fleet
from dropmill.conversion.handle import WorkerHandle
from dropmill.conversion.inputs import Job, Prepared, Unreadable, close_all, prepare
from dropmill.conversion.launch import Launched, LaunchPlan, launch, worker_environment
from dropmill.conversion.orphans import end_tagged, tag_of
from dropmill.conversion.outcomes import (
    Ambiguous,
    Converted,
    NoConverter,
    NotReady,
    Outcome,
    Refused,
    StagedReport,
    Waiting,
)
from dropmill.conversion.patience import HARD
from dropmill.conversion.selection import Candidate, ConverterBinding, Selector
from dropmill.conversion.staged import StagedReports
from dropmill.conversion.threads import PlaceThreads
from dropmill.conversion.ticket import Answer, Death, Ticket
from dropmill.conversion.verdicts import opinions, outcome_of, sniff_fault
from dropmill.conversion.worker.ranking import Answer as Opinion
from dropmill.conversion.worker.ranking import Broken, Nobody, Tie, decide
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints

__all__ = ["ConversionPool", "ConverterBinding", "WorkerView"]

T = TypeVar("T")

_RECYCLE_GROWTH = 268_435_456
_CLOSE_TOGETHER = 256
_CLOSE_AFTER = 0.05
_UNREADABLE_AFTER = 30.0


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """One worker process, for people to look at."""

    pid: int
    distribution: str | None
    """None: it is spare."""
    calls: int
    finished: int
    confined: Mapping[str, object]
    worn: str | None


class ConversionPool:
    """Make it, `start` it on the main thread's event loop, `close` it.

    Args:
        converters: What the loaded plugins offer, by id.
        settings: How many workers, and their limits.
        clock: For limits.
        scratch: A folder for nothing else; whatever an earlier agent left in it is removed.
        failpoints: `conversion.launch`, `conversion.open`.
        environment: The agent's; workers see the harmless part of it.
        spare: Whether to keep a process ready.
    """

    def __init__(
        self,
        converters: Mapping[str, ConverterBinding],
        settings: ConversionSettings,
        *,
        clock: Clock,
        scratch: Path,
        failpoints: Failpoints,
        environment: Mapping[str, str] = os.environ,
        spare: bool = True,
    ) -> None:
        self._converters = converters
        self._settings = settings
        self._clock = clock
        self._scratch = scratch
        self._failpoints = failpoints
        self._spare = spare
        self._instance = secrets.token_hex(8)
        self._plan = LaunchPlan(
            scratch=scratch,
            tag=tag_of(scratch, self._instance),
            environment=worker_environment(environment),
            memory_growth=settings.memory,
            recycle_growth=_RECYCLE_GROWTH,
            max_output=settings.max_output,
        )
        self._launched = 0
        self._told_confinement = False
        self._log = structlog.get_logger(__name__)
        self._held: set[Path] = set()
        """Folders with reports that somebody still needs."""
        self._to_close: dict[str, list[int]] = {}
        """By the place whose thread closes them: that may wait for a server, as opening may."""
        self._close_soon: asyncio.TimerHandle | None = None
        self._started: tuple[Fleet, PlaceThreads] | None = None

    # --- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> Sequence[int]:
        """End what a dead agent left behind, empty the scratch folder, have a worker ready. Answers the pids that were ended."""
        loop = asyncio.get_running_loop()
        threads = PlaceThreads(loop, "dropmill conversion")
        ended = await threads.submit("scratch", self._clean)
        fleet = Fleet(
            running=self._settings.workers,
            recycle_after=self._settings.recycle_after,
            memory=self._settings.memory,
            start=self._launch,
            greeted=self._greeted,
            reaped=self._reaped,
            clock=self._clock,
            loop=loop,
            spare=self._spare,
        )
        self._started = fleet, threads
        if self._spare:
            fleet.warm_up()
        return ended

    async def close(self, grace: float = 0.0) -> None:
        """End all workers, those at work after `grace` seconds; when it returns, no process is left."""
        if self._started is None:
            return
        fleet, threads = self._started
        await fleet.close(grace)
        await asyncio.sleep(0)  # what ended with the fleet has given its files back after this
        for closing in self._close_all():
            await closing
        await threads.submit("scratch", lambda: end_tagged(self._plan.tag))

    def kill(self) -> Sequence[int]:
        """Kill the process group of every worker that is left, without waiting; which those were. Safe at any time."""
        left = [worker.pid for worker in self._started[0].workers] if self._started is not None else []
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        return left

    def _clean(self) -> list[int]:
        ended = end_tagged(tag_of(self._scratch), spare=self._plan.tag)
        self._scratch.mkdir(parents=True, exist_ok=True)
        for entry in self._scratch.iterdir():
            _remove(entry)
        return ended

    def _launch(self) -> Launched:
        self._failpoints.hit("conversion.launch")
        self._launched += 1
        return launch(self._plan, self._launched)

    def _greeted(self, worker: WorkerHandle) -> None:
        """Say once where workers are tied down less than they could be."""
        if self._told_confinement:
            return
        self._told_confinement = True
        if not worker.confined.get("landlock") or not worker.confined.get("seccomp"):
            what = "workers are confined less than they could be: plugins may write files or open connections"
            self._log.warning(what, code="DM-V024", **worker.confined)

    def _reaped(self, worker: WorkerHandle) -> None:
        """Remove what the worker left in its folder, but for reports that are still needed."""
        if worker.worn not in (None, "retired"):
            self._log.info("a worker was replaced", distribution=worker.group, why=worker.worn, after=worker.finished)
        folder = self._scratch / str(worker.number)
        self._threads.submit("scratch", lambda: self._remove_folder(folder))
        if not worker.confined.get("seccomp"):  # what it started may have left its process group
            self._threads.submit("scratch", lambda: end_tagged(f"{self._plan.tag}.{worker.number}."))

    def _remove_folder(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            for entry in folder.iterdir():
                if entry not in self._held:
                    _remove(entry)
            folder.rmdir()

    @property
    def workers(self) -> Sequence[WorkerView]:
        """The processes that there are."""
        if self._started is None:
            return ()
        return [
            WorkerView(
                pid=worker.pid,
                distribution=worker.group,
                calls=len(worker.calls),
                finished=worker.finished,
                confined=worker.confined,
                worn=worker.worn,
            )
            for worker in self._started[0].workers
        ]

    # --- converting ----------------------------------------------------------------------------------------------------

    def selector(self, choices: Sequence[ConverterChoice]) -> Selector:
        """For a folder's converters; make it once and use it for all its files."""
        return Selector(choices, self._converters)

    def plugin_of(self, converter: str) -> str:
        """The plugin that offers a converter."""
        return self._converters[converter].plugin

    async def in_thread(self, call: Callable[[], T], reports: Sequence[StagedReport]) -> T:
        """Make a call that goes through reports: in a thread where that reads files, else at once."""
        if isinstance(reports, StagedReports) and reports.spooled:
            return await self._threads.submit("scratch", call)
        return call()

    def prepare(self, place: str, jobs: Sequence[Job]) -> asyncio.Future[list[Prepared | Unreadable]]:
        """Open files that lie at one place (a folder's root), in its thread; give each to `convert`, which closes it."""
        closing = self._to_close.pop(place, ())

        def work() -> list[Prepared | Unreadable]:
            close_all(closing)
            self._failpoints.hit("conversion.open")
            return prepare(jobs)

        return self._threads.submit(place, work)

    async def convert(
        self, prepared: Prepared | Unreadable, *, blocked: Callable[[str], str | None] = lambda _: None
    ) -> Outcome:
        """Convert a file.

        Args:
            prepared: From `prepare`.
            blocked: For a plugin's name, why it may not be asked now.

        Raises:
            PoolClosed, WorkersUnavailable: see there; the file is as it was.
        """
        if isinstance(prepared, Unreadable):
            return _unreadable(prepared)
        try:
            return await self._convert(prepared, blocked)
        finally:
            self._done_with(prepared)

    async def discard(self, outcome: Outcome) -> None:
        """The outcome's staged files are not needed any more; what the queue took over is gone from there already."""
        if isinstance(outcome, Converted) and isinstance(outcome.reports, StagedReports) and outcome.reports.folder:
            folder = outcome.reports.folder
            await self._threads.submit("scratch", lambda: self._discard(folder))

    def _discard(self, folder: Path) -> None:
        _remove(folder)
        self._held.discard(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # succeeds once the worker is gone and this was the last

    async def is_complete(self, job: Job) -> bool:
        """Whether the file has all that belongs to it, as far as its candidates can tell; True where none can, or on trouble,
        False while the pool is not running."""
        if self._started is None:
            return False
        (prepared,) = await self.prepare(job.folder, [job])
        if isinstance(prepared, Unreadable):
            return True
        try:
            for group in _groups(prepared.shortlist.candidates).values():
                ended = await self._call(prepared, "complete", group, ordered=True)
                if isinstance(ended, Answer) and ended.ok and ended.header.get("complete") is False:
                    return False
            return True
        finally:
            self._done_with(prepared)

    async def _convert(self, prepared: Prepared, blocked: Callable[[str], str | None]) -> Outcome:
        shortlist = prepared.shortlist
        job = prepared.job
        reasons = [blocked(candidate.binding.plugin) for candidate in shortlist.candidates]
        if not shortlist.candidates:
            if shortlist.missing:
                return _missing(shortlist.missing)
            return NoConverter(considered=shortlist.considered)
        groups = _groups(shortlist.candidates)
        if job.forced is not None:
            candidate = shortlist.candidates[0]
            if reasons[0] is not None:
                return Waiting(plugin=candidate.binding.plugin, reason=reasons[0])
            outcome = await self._outcome(prepared, "convert", [candidate], ordered=True)
        elif len(groups) == 1 and not any(reasons):
            outcome = await self._outcome(prepared, "choose", shortlist.candidates, ordered=job.selector.ordered)
        else:
            outcome = await self._elect(prepared, groups, reasons)
        if isinstance(outcome, NoConverter):
            if shortlist.missing:
                return _missing(shortlist.missing)
            return replace(outcome, considered={**shortlist.considered, **outcome.considered})
        return outcome

    async def _elect(
        self, prepared: Prepared, groups: Mapping[str, Sequence[Candidate]], reasons: Sequence[str | None]
    ) -> Outcome:
        """The candidates come from several distributions, or one may not be asked: ask each, decide here, then convert."""
        candidates = prepared.shortlist.candidates
        job = prepared.job
        answers: dict[int, Opinion] = {
            index: Opinion(None, reason, failed=True) for index, reason in enumerate(reasons) if reason is not None
        }
        asked = {
            group: [candidate for candidate in members if reasons[candidates.index(candidate)] is None]
            for group, members in groups.items()
        }
        tickets = [self._submit(prepared, "sniff", members, ordered=True) for members in asked.values() if members]
        failures: dict[int, Outcome] = {}
        try:
            for ticket in tickets:
                ended = await ticket.future
                for candidate, opinion in zip(ticket.candidates, opinions(ticket, ended), strict=True):
                    index = candidates.index(candidate)
                    answers[index] = opinion
                    if opinion.failed:
                        failures[index] = sniff_fault(job, ticket, candidate, ended, self._settings.memory)
        except BaseException:
            for ticket in tickets:
                self._fleet.cancel(ticket)
            raise
        decision = decide([answers[index] for index in range(len(candidates))], ordered=job.selector.ordered)
        if isinstance(decision, Tie):
            return Ambiguous(candidates=[candidates[index].binding.spec.id for index in decision.indices])
        if isinstance(decision, Broken):
            reason = reasons[decision.index]
            if reason is not None:
                return Waiting(plugin=candidates[decision.index].binding.plugin, reason=reason)
            return failures[decision.index]
        considered = {
            candidates[index].binding.spec.id: answer.reason for index, answer in answers.items() if not answer.accepted
        }
        for index in () if isinstance(decision, Nobody) else decision.order:
            outcome = await self._outcome(prepared, "convert", [candidates[index]], ordered=True)
            if not isinstance(outcome, NoConverter):
                return outcome
            considered.update(outcome.considered)
        return NoConverter(considered=considered)

    async def _outcome(
        self, prepared: Prepared, mode: str, candidates: Sequence[Candidate], *, ordered: bool
    ) -> Outcome:
        ticket = self._submit(prepared, mode, candidates, ordered=ordered)
        ended = await self._result(ticket)
        outcome = outcome_of(prepared.job, ticket, ended, self._settings.memory)
        if isinstance(ended, Answer) and ended.header.get("folder"):
            if isinstance(outcome, Converted):
                self._held.add(ended.folder)
            else:
                folder = ended.folder
                self._threads.submit("scratch", lambda: _remove(folder))
        return outcome

    async def _call(
        self, prepared: Prepared, mode: str, candidates: Sequence[Candidate], *, ordered: bool
    ) -> Answer | Death:
        return await self._result(self._submit(prepared, mode, candidates, ordered=ordered))

    def _submit(self, prepared: Prepared, mode: str, candidates: Sequence[Candidate], *, ordered: bool) -> Ticket:
        job = prepared.job
        ticket = Ticket(
            group=_group(candidates[0]),
            mode=mode,
            candidates=candidates,
            header={
                "mode": mode,
                "candidates": [[candidate.key, candidate.base, candidate.minimum] for candidate in candidates],
                "ordered": ordered,
                "size": job.size,
                "sha256": job.sha256,
                "modified": prepared.modified,
                "folder": job.folder,
                "occurrence": job.occurrence,
                "parts": [[part.size, part.sha256] for part, _ in job.parts],
                "cpu": int(2 * HARD * max(candidate.binding.spec.timeout for candidate in candidates)),
                "fds": len(prepared.descriptors),
            },
            body=b"\0".join(os.fsencode(name) for name in (job.name, *(part.name for part, _ in job.parts))),
            descriptors=prepared.descriptors,
            future=asyncio.get_running_loop().create_future(),
            submitted=self._clock.monotonic(),
        )
        self._fleet.submit(ticket)
        return ticket

    async def _result(self, ticket: Ticket) -> Answer | Death:
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self._fleet.cancel(ticket)
            raise

    def _done_with(self, prepared: Prepared) -> None:
        """Close its files with the next ones that are opened there, or soon where there are none.

        Not in this round of the loop: a call that was submitted and cancelled in it has yet to be sent, files and all.
        """
        asyncio.get_running_loop().call_soon(self._close_later, prepared.job.folder, prepared.descriptors)

    def _close_later(self, place: str, descriptors: Sequence[int]) -> None:
        closing = self._to_close.setdefault(place, [])
        closing.extend(descriptors)
        if len(closing) >= _CLOSE_TOGETHER:
            self._close_all()
        elif self._close_soon is None:
            self._close_soon = asyncio.get_running_loop().call_later(_CLOSE_AFTER, self._close_all)

    def _close_all(self) -> list[asyncio.Future[None]]:
        if self._close_soon is not None:
            self._close_soon.cancel()
            self._close_soon = None
        waiting, self._to_close = self._to_close, {}
        return [self._threads.submit(place, partial(close_all, descriptors)) for place, descriptors in waiting.items()]

    @property
    def _fleet(self) -> Fleet:
        assert self._started is not None, "start the pool first"
        return self._started[0]

    @property
    def _threads(self) -> PlaceThreads:
        assert self._started is not None, "start the pool first"
        return self._started[1]


def _group(candidate: Candidate) -> str:
    return candidate.binding.distribution or candidate.binding.plugin


def _groups(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(_group(candidate), []).append(candidate)
    return groups


def _missing(ids: Sequence[str]) -> Waiting:
    return Waiting(
        plugin=ids[0],
        reason=f"no loaded plugin offers the converter {ids[0]!r}, which the folder lists, and no other one reads the file",
    )


def _unreadable(found: Unreadable) -> Outcome:
    if not found.lasting:
        return NotReady(reason=found.message, after=_UNREADABLE_AFTER, code=found.code)
    job = found.job
    file = {"id": job.id, "name": job.name, "folder": job.folder, "sha256": job.sha256, "size": job.size}
    record = {"code": found.code, "outcome": "error", "message": found.message, "file": file}
    return Refused(code=found.code, message=found.message, record=record)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
