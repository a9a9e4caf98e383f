"""One folder at work: attaches its root, recovers, then looks and claims, round after round, until the agent stops.

A supervised child runs `run`. Everything that touches the root happens in the folder's own thread; here is only the order of
things, the folder's state, and what is said of it. A root that is gone, hung or not the one that it was makes the folder
*offline*: nothing in it counts as deleted, the others go on, and its return brings a recovery and a full scan.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.errors import Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.claim import Claimer
from dropmill.intake.condition import Condition
from dropmill.intake.errors import FolderOffline
from dropmill.intake.gate import IntakeGate
from dropmill.intake.inbox import Inbox
from dropmill.intake.recovery import Recovery
from dropmill.intake.root import Root
from dropmill.intake.rounds import Round, Rounds
from dropmill.intake.thread import RootThread
from dropmill.intake.watch import Hints
from dropmill.queue.errors import QueueError
from dropmill.queue.store import QueueStore
from dropmill.supervision.spec import Heart

__all__ = ["Folder", "Services"]

_log = structlog.get_logger(__name__)

BEAT = 10.0
"""Seconds after which a folder without any hint looks whether its root is still the same."""
HUNG = 15.0
"""Seconds without progress in a file-system call after which the folder is offline."""
ABANDON = 2.0
"""The same while the agent stops: nobody waits for the call any longer."""
_RETRY = (0.25, 10.0)
_CLOSED_LOOK = 1.0


@dataclass(frozen=True, kw_only=True)
class Services:
    """What every folder works with."""

    store: QueueStore
    clock: Clock
    ids: IdSource
    failpoints: Failpoints
    gate: IntakeGate
    max_claimed: int
    group_size: int
    """Files that one claim may hold open."""
    instance: str
    """Of this agent, for the root's lock."""


class _Stopping(Exception):
    """The agent stops and the file system does not answer: its call is left to itself."""


class Folder:
    """A configured folder; `run` is its child's life, everything else answers at once."""

    def __init__(self, settings: FolderSettings, services: Services) -> None:
        self.settings = settings
        self._services = services
        self._clock = services.clock
        self._store = services.store
        self.root = Root(str(settings.path), instance=services.instance, clock=services.clock)
        self._thread = RootThread(f"intake {settings.name}", services.clock, on_silence=self._silent)
        self._wakeup = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hints = Hints(self._wake_from_thread)
        self._inbox: Inbox | None = None
        self.condition = Condition(settings, services.clock)
        self._heart: Heart | None = None
        self.moving = asyncio.Lock()
        """Held while files are moved out of work/, and while the folder recovers."""
        self.attachment = 0
        """Counts how often the root was attached and recovered."""
        self._device: int | None = None
        self._accept = False

    @property
    def available(self) -> bool:
        """Whether files can be moved in it: it is attached, recovered, and answers."""
        return self.condition.available

    async def _show(self) -> None:
        """Log and record a change of state."""
        if self.condition.note_change():
            state, problem = self.condition.current()
            await self._record(f"folder.{state.value}", problem)

    async def _record(self, event: str, problem: Problem | None) -> None:
        with contextlib.suppress(QueueError):  # the log has it
            await self._store.record_event(self.settings.name, event, problem.as_dict() if problem is not None else {})

    # --- steering ------------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look again now."""
        self._wakeup.set()

    def _wake_from_thread(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is to be woken
                self._loop.call_soon_threadsafe(self._wakeup.set)

    def pause(self) -> None:
        """Claim nothing until `resume`; what is claimed goes on."""
        self.condition.paused = True
        self.wake()

    def resume(self) -> None:
        """Lift a pause; take up a root again that was refused because it is on another device."""
        condition = self.condition
        condition.paused = False
        condition.trouble = None
        self._accept = condition.offline is not None and condition.offline.code == "DM-I006"
        self.wake()

    def rescan(self) -> None:
        """Look at everything now."""
        self.condition.trouble = None
        if self._inbox is not None:
            self._inbox.ask_scan()
        self.wake()

    def close(self) -> None:
        """The agent has stopped: let the thread end."""
        self._thread.close()

    @property
    def inbox(self) -> Inbox | None:
        """What waits, while the folder is attached."""
        return self._inbox

    # --- the child -----------------------------------------------------------------------------------------------------------

    async def run(self, heart: Heart) -> None:
        """Work until the agent stops."""
        self._loop = asyncio.get_running_loop()
        self._heart = heart
        pause = _RETRY[0]
        try:
            while not heart.quiescing:
                heart.beat()
                started = self._clock.monotonic()
                try:
                    await self._attend(heart)
                    return
                except (FolderOffline, OSError, QueueError) as error:
                    self.condition.offline = _problem_of(error, str(self.settings.path))
                except _Stopping:
                    return
                await self._detach()
                await self._show()
                if self._clock.monotonic() - started > 2 * pause:
                    pause = _RETRY[0]
                await self._wait(heart, pause)
                pause = min(2 * pause, _RETRY[1])
        except _Stopping:
            return
        finally:
            self.condition.ready = False
            self._thread.submit(self._let_go)

    async def _attend(self, heart: Heart) -> None:
        """Attach the root and work in it until it is gone or the agent stops."""
        self._hints = Hints(self._wake_from_thread)
        await self._thread.call(self.root.find)
        recovery = Recovery(
            self.settings,
            self.root,
            self._store,
            self._thread,
            clock=self._clock,
            failpoints=self._services.failpoints,
        )
        if not self._accept:
            await recovery.check_known(self._device)
        await self._thread.call(self.root.occupy)
        inbox = Inbox(self.settings, self.root, self._hints, clock=self._clock, sign=self._thread.sign)
        await self._stop_moves(heart)
        try:
            self.condition.found = (await recovery.run()).problems
        finally:
            self.moving.release()
        await self._thread.call(inbox.start)
        self._inbox = inbox
        self._device = self.root.device
        self.attachment += 1
        self._accept = False
        self.condition.offline = self.condition.hung = None
        self.condition.ready = True
        self._store.wakeups.notify("disposals")  # what could not be moved while it was away
        await self._show()
        claimer = Claimer(
            self.settings,
            self.root,
            inbox.tracker,
            ids=self._services.ids,
            clock=self._clock,
            failpoints=self._services.failpoints,
            sign=self._thread.sign,
            stopping=lambda: heart.quiescing,
        )
        rounds = Rounds(
            self.settings,
            inbox,
            claimer,
            self._store,
            self._thread,
            clock=self._clock,
            failpoints=self._services.failpoints,
        )
        try:
            while not heart.quiescing or rounds.pending:
                turn = await rounds.turn(0 if heart.quiescing else self._allowance())
                await self._took(turn)
                if heart.quiescing and turn.problem is not None:
                    break  # the next start resolves it
                await self._wait(heart, self._pause(turn))
        finally:
            rounds.abandon()

    def _pause(self, turn: Round) -> float:
        """Seconds until the next round, if no hint comes."""
        pause = turn.next_look - self._clock.monotonic()
        if self.condition.waits:
            pause = min(pause, self.condition.waits)
        return min(pause, _CLOSED_LOOK) if self.condition.holding else pause

    async def _took(self, turn: Round) -> None:
        """Take over what a round brought."""
        if self.condition.hung is not None:
            self.condition.hung = None
            self.rescan()
        self.condition.took(turn)
        for problem in turn.outlook.reports:
            _log.warning("a file is not taken", folder=self.settings.name, code=problem.code, problem=str(problem))
            await self._record("folder.file_stuck", problem)
        await self._show()

    async def _stop_moves(self, heart: Heart) -> None:
        """Take the right to move files; one move that hangs is waited for."""
        while True:
            try:
                async with asyncio.timeout(1.0):
                    await self.moving.acquire()
                return
            except TimeoutError:
                heart.beat()
                if heart.quiescing:
                    raise _Stopping from None

    async def _detach(self) -> None:
        self.condition.ready = False
        await self._thread.call(self._let_go)

    def _let_go(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()
        self.root.detach()

    async def _wait(self, heart: Heart, seconds: float) -> None:
        """Wait for a hint, an order or the time."""
        heart.beat()
        if heart.quiescing:
            return
        try:
            async with asyncio.timeout(max(0.0, min(seconds, BEAT))):
                await self._wakeup.wait()
        except TimeoutError:
            pass
        self._wakeup.clear()

    def _silent(self, seconds: float) -> None:
        """A call takes long; called every second of it."""
        heart = self._heart
        if heart is None:
            return
        heart.beat()  # it is the file system that does not answer, and starting anew would not help
        if heart.quiescing and seconds > ABANDON:
            raise _Stopping
        if seconds > HUNG and self.condition.hung is None:
            self.condition.hung = Problem(
                code="DM-I004",
                what=f"the file system has not answered for {seconds:.0f} s",
                where=str(self.settings.path),
                todo="see that the share's server is up; the folder goes on by itself once it answers",
            )
            self.condition.note_change()

    def _allowance(self) -> int:
        """How many files may be claimed now; where none for the queue's sake, the condition says why."""
        services, condition = self._services, self.condition
        condition.holding = ""
        if condition.paused or condition.waits:
            return 0
        if not services.gate.intake_open:
            condition.holding = services.gate.intake_reason or "the queue takes nothing now"
            return 0
        gauges = self._store.gauges
        room = services.max_claimed - gauges.claimed - gauges.converting
        if room <= 0:
            condition.holding = f"{services.max_claimed} files are claimed and not converted yet (queue.max_claimed)"
            return 0
        return min(services.group_size, room)


def _problem_of(error: FolderOffline | OSError | QueueError, path: str) -> Problem:
    """What keeps the folder offline."""
    if isinstance(error, FolderOffline):
        return error.problem
    if isinstance(error, OSError):
        what = f"the folder cannot be used: {error.strerror or error}"
        return Problem(code="DM-I001", what=what, where=path, todo="see that its file system is mounted and answers")
    what = f"the folder cannot be put right: {error.problem.what}"
    return Problem(code="DM-I008", what=what, where=path, todo=error.problem.todo or "nothing: it is tried again")
