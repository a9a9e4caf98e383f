"""Puts the parts of an agent together, takes them through start and stop, and answers with the exit code.

Invariants: the store is open before anything else runs and closes after everything else has ended; the end is marked as clean
only where nothing was held, no process was left and nobody was cancelled.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from dropmill import __version__
from dropmill.agent.events import Herald
from dropmill.agent.late import LateTransport
from dropmill.agent.oversight import Oversight, paused_names
from dropmill.config import Configuration, resolve
from dropmill.config.secrets import SecretError
from dropmill.config.settings import DestinationSettings, Settings
from dropmill.control.assembly import control_server
from dropmill.conversion.dispatcher import Dispatcher
from dropmill.conversion.pool import ConversionPool
from dropmill.conversion.selection import ConverterBinding
from dropmill.delivery.lane import Lane
from dropmill.delivery.scrub import secrets_of
from dropmill.foundation.clock import Clock, SystemClock
from dropmill.foundation.errors import DropmillError, Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.foundation.logs import configure
from dropmill.intake.service import Intake
from dropmill.plugins import Registry, instantiate
from dropmill.queue.admission import Admission
from dropmill.queue.reader import QueueReader
from dropmill.queue.sqlite.store import SqliteStore
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.notify import Notifier
from dropmill.supervision.shutdown import StopPlan, StopProgress, StopReport
from dropmill.supervision.signals import StopSignals
from dropmill.supervision.spec import ChildSpec, Heart
from dropmill.supervision.supervisor import Supervisor

__all__ = ["Agent", "Parts", "run_agent"]

_log = structlog.get_logger("dropmill")

_LOCK_WAIT = 10.0
"""Seconds that a starting agent waits for a command to finish with the queue."""
_KEEP_EVERY = 5.0
_STARTED_WITHIN = 10.0
_KEEPER_BEAT = 120.0
_CONTROL_BEAT = 60.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What there is once the agent has been put together."""

    configuration: Configuration[Registry]
    store: SqliteStore
    reader: QueueReader
    admission: Admission
    pool: ConversionPool
    dispatcher: Dispatcher
    intake: Intake
    lanes: Mapping[str, Lane]


class _Gate:
    """What intake asks before it claims."""

    def __init__(self, admission: Admission, supervisor: Supervisor) -> None:
        self._admission = admission
        self._supervisor = supervisor

    @property
    def intake_open(self) -> bool:
        return not self.intake_reason

    @property
    def intake_reason(self) -> str:
        if self._supervisor.stopping:
            return "the agent is stopping"
        if self._supervisor.state == "error":
            return f"the agent is in trouble: {self._supervisor.reason}"
        return self._admission.intake_reason


class Agent:
    """One run of one agent."""

    def __init__(
        self,
        configuration: Configuration[Registry],
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        environment: MutableMapping[str, str] = os.environ,
    ) -> None:
        self._configuration = configuration
        self._clock = SystemClock() if clock is None else clock
        self._random = Random() if random is None else random  # noqa: S311 - jitter and ids, no secrets
        self._failpoints = Failpoints.from_environment(environment)
        self._environment = environment
        self._instance = f"{configuration.settings.agent.name}-{secrets.token_hex(4)}"
        self._herald = Herald(self._clock, tuple(configuration.catalog.listeners))
        self._parts: Parts | None = None
        self._store = SqliteStore(
            self._settings.agent.state,
            self._settings.queue,
            clock=self._clock,
            failpoints=self._failpoints,
            instance=self._instance,
            on_event=self._herald.tell,
        )
        shutdown = self._settings.shutdown
        self._supervisor = Supervisor(
            clock=self._clock,
            random=self._random,
            on_event=self._herald.tell_supervision,
            notify=Notifier.from_environment(environment),
            plan=StopPlan(
                graceful=shutdown.graceful,
                force=shutdown.force,
                in_flight=self._in_flight,
                kill=self._kill_workers,
                verify=self._verify,
                progress=self._show_stop,
            ),
        )

    @property
    def _settings(self) -> Settings:
        return self._configuration.settings

    # --- life ------------------------------------------------------------------------------------------------------------

    async def run(self, signals: StopSignals | None = None) -> ExitCode:
        """From start to the end of the stop.

        Raises:
            StoreBusy: another process has the state folder.
            DropmillError: the start failed; nothing was taken in.
        """
        self._herald.start()
        code: ExitCode | None = None
        try:
            code = await self._supervisor.run(signals=signals, prepare=self._prepare)
        finally:
            parts = self._parts
            if parts is not None:
                parts.intake.close()
                await asyncio.to_thread(parts.reader.close)
            await self._store.close(clean=code is ExitCode.CLEAN)
            self._herald.stop()
        _log.info("stopped", exit_code=int(code))
        return code

    async def _prepare(self) -> None:
        """Open, recover, and add the children."""
        await self._store.open(wait=_LOCK_WAIT)
        parts = self._parts = await self._put_together()
        await parts.intake.recover()
        for name, problems in self._configuration.catalog.faults.items():
            for problem in problems:
                self._herald.tell_problem(problem)
            self._supervisor.set_condition(f"plugin {name}", f"plugin {name}: {problems[0].what}")
        for spec in self._children(parts):
            self._supervisor.add(spec)

    async def _put_together(self) -> Parts:
        settings, catalog, store = self._settings, self._configuration.catalog, self._store
        flags = await store.flags()
        policy = await instantiate(catalog.policies[settings.queue.when_full], settings.queue.policy)
        admission = Admission(
            store,
            policy,
            settings.queue,
            policy_id=settings.queue.when_full,
            on_problem=self._herald.tell_problem,
        )
        pool = ConversionPool(
            {
                name: ConverterBinding(
                    spec=loaded.spec,
                    plugin=loaded.plugin,
                    distribution=loaded.distribution,
                    version=loaded.version,
                    options=self._configuration.general[name],
                )
                for name, loaded in catalog.converters.items()
            },
            settings.conversion,
            clock=self._clock,
            scratch=settings.agent.state / "scratch",
            failpoints=self._failpoints,
            environment=self._environment,
        )
        intake = Intake(
            settings.folders,
            store,
            state=settings.agent.state,
            clock=self._clock,
            ids=IdSource(self._clock, self._random),
            failpoints=self._failpoints,
            gate=_Gate(admission, self._supervisor),
            max_claimed=settings.queue.max_claimed,
            instance=self._instance,
        )
        dispatcher = Dispatcher(
            store,
            admission,
            pool,
            {folder.name: folder for folder in settings.folders},
            workers=settings.conversion.workers,
            clock=self._clock,
            failpoints=self._failpoints,
            paused=paused_names(flags, "plugin"),
        )
        paused = paused_names(flags, "destination")
        return Parts(
            configuration=self._configuration,
            store=store,
            reader=QueueReader(settings.agent.state, clock=self._clock),
            admission=admission,
            pool=pool,
            dispatcher=dispatcher,
            intake=intake,
            lanes={one.name: self._lane(one, paused.get(one.name, "")) for one in settings.destinations},
        )

    def _lane(self, destination: DestinationSettings, paused: str) -> Lane:
        loaded = self._configuration.catalog.transports[destination.transport]
        try:
            known = secrets_of(loaded.spec.options_schema, resolve(destination.options, self._environment))
        except SecretError:
            known = []  # it cannot be read, so it cannot be told either; the transport says so when it opens
        transport = LateTransport(loaded, destination.options)
        lane = Lane(
            destination,
            transport,
            loaded.spec,
            self._store,
            clock=self._clock,
            random=self._random,
            base=str(self._settings.base),
            secrets=known,
            paused=paused,
            on_event=self._herald.tell_event,
        )
        transport.hide = lane.hide
        return lane

    def _children(self, parts: Parts) -> Iterable[ChildSpec]:
        oversight = Oversight(
            self._the_parts,
            self._supervisor,
            instance=self._instance,
            started_at=self._clock.time(),
            problems=self._problems,
        )
        server = control_server(oversight, self._settings.control.socket, version=__version__, clock=self._clock)
        yield ChildSpec(name="control", run=server.run, stop="last", heartbeat=_CONTROL_BEAT)
        yield ChildSpec(name="queue keeper", run=self._keep_queue, heartbeat=_KEEPER_BEAT)
        yield ChildSpec(name="admission", run=self._watch_admission, stop="cancel")
        yield from (lane.child() for lane in parts.lanes.values())
        yield parts.dispatcher.child()
        yield from parts.intake.children()

    # --- children that belong to nobody else -----------------------------------------------------------------------------

    async def _keep_queue(self, heart: Heart) -> None:
        """Retention, checkpoints, recycling: in small batches, so that nobody waits for them."""
        while not heart.quiescing:
            heart.beat()
            more = await self._store.maintain()
            await heart.sleep(0.05 if more else _KEEP_EVERY)

    async def _watch_admission(self, heart: Heart) -> None:
        heart.beat()
        await self._the_parts().admission.watch()

    # --- the stop --------------------------------------------------------------------------------------------------------

    def _in_flight(self) -> Mapping[str, Any]:
        parts = self._parts
        if parts is None:
            return {}
        return {
            "conversions": len(parts.dispatcher.in_flight),
            "uploads": sum(lane.status().in_flight for lane in parts.lanes.values()),
        }

    def _kill_workers(self) -> None:
        if self._parts is not None:
            self._parts.pool.kill()

    def _verify(self, report: StopReport) -> Sequence[Problem]:
        if self._parts is None:
            return ()  # stopped while it started: nothing was begun
        left = self._parts.pool.kill()
        problems = [
            Problem(code="DM-A002", what="a worker process had to be ended by force", where=f"pid {pid}")
            for pid in left
        ]
        audit = self._store.verify_clean(timeout=4.0)
        if audit.problem:
            problems.append(
                Problem(
                    code="DM-A003",
                    what=f"the queue could not be verified: {audit.problem}",
                    where=str(self._settings.agent.state),
                    todo="the next start repairs it",
                )
            )
        elif not audit.clean and not report.cancelled:
            problems.append(
                Problem(
                    code="DM-A004",
                    what=f"{audit.files} conversions and {audit.deliveries} deliveries were still held, and given back",
                )
            )
        return problems

    def _show_stop(self, progress: StopProgress) -> None:
        _log.info(str(progress))

    # --- what needs attention --------------------------------------------------------------------------------------------

    def _problems(self) -> Sequence[Problem]:
        parts = self._the_parts()
        problems = [problem for faults in self._configuration.catalog.faults.values() for problem in faults]
        if parts.admission.quarantined is not None:
            problems.append(parts.admission.quarantined)
        return [*problems, *parts.intake.problems()]

    def _the_parts(self) -> Parts:
        if self._parts is None:
            raise DropmillError("the agent is still being put together", code="DM-A001", todo="try again in a moment")
        return self._parts


async def run_agent(
    configuration: Configuration[Registry],
    *,
    signals: StopSignals | None = None,
    environment: MutableMapping[str, str] = os.environ,
) -> int:
    """Run an agent until it is told to stop; the exit code.

    Raises:
        DropmillError: the start failed.
    """
    log = configuration.settings.log
    writer = configure(log.level, log.format)
    try:
        return int(await Agent(configuration, environment=environment).run(signals))
    finally:
        await asyncio.to_thread(writer.close)
