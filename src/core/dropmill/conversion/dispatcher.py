"""The supervised child that takes claimed files from the queue, has them converted, and turns each outcome into one transition.

It holds no file back and loses none: what it took is published, failed, parked or given back, also when it is cancelled, and what
an earlier run left converting is given back before it takes anything new. A plugin's fault is charged to the file and to the
plugin; a full queue or a disk that cannot be read to nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from dropmill.config.settings import FolderSettings
from dropmill.conversion.breaker import Breakers, BreakerView
from dropmill.conversion.decisions import Transition, decide, homeless, our_own_fault, put_off
from dropmill.conversion.desk import Desk, Publisher
from dropmill.conversion.errors import PoolClosed, WorkersUnavailable
from dropmill.conversion.inputs import Job
from dropmill.conversion.opening import Opening
from dropmill.conversion.outcomes import Converted, Fault, Outcome, Refused
from dropmill.conversion.pool import ConversionPool
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.errors import NotHeld, StoreUnavailable
from dropmill.queue.records import FileRecord, ParkReason
from dropmill.queue.store import QueueStore
from dropmill.supervision.crew import Crew
from dropmill.supervision.spec import ChildSpec, Heart

__all__ = ["Dispatcher"]

_BEAT = 5.0
_HEARTBEAT = 120.0
_PER_WORKER = 16
"""Files under way for each worker: enough for eight to wait before it, and as many to be opened or published."""
_OPEN_TIMEOUT = 10.0
_HANG = 60.0
_UNAVAILABLE = 30.0
_STORE_AGAIN = 1.0


@dataclass
class _Hang:
    """A folder whose disk did not answer."""

    until: float
    trying: bool = False


class Dispatcher:
    """Give its `child()` to the supervisor.

    Args:
        store: Where files come from and go back to.
        admission: Takes finished reports.
        pool: Converts; it is started and closed here.
        folders: By name.
        workers: Of the pool.
        clock: For when to try again.
        failpoints: `conversion.taken`, `conversion.converted`, `conversion.settled`, each hit once a file.
    """

    def __init__(
        self,
        store: QueueStore,
        admission: Publisher,
        pool: ConversionPool,
        folders: Mapping[str, FolderSettings],
        *,
        workers: int,
        clock: Clock,
        failpoints: Failpoints,
        breakers: Breakers | None = None,
        paused: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._pool = pool
        self._desk = Desk(store, admission, pool, clock)
        self._folders = folders
        self._clock = clock
        self._failpoints = failpoints
        self._breakers = breakers or Breakers()
        self._paused = dict(paused or {})
        self._limit = workers * _PER_WORKER
        self._selectors = {name: pool.selector(folder.converters) for name, folder in folders.items()}
        self._active: dict[str, FileRecord] = {}
        self._hangs: dict[str, _Hang] = {}
        self._recovered: set[str] = set()
        """Plugins that work again and whose files are still to be released."""
        self._log = structlog.get_logger(__name__)

    def child(self) -> ChildSpec:
        """How the supervisor runs it."""
        return ChildSpec(name="conversion", run=self.run, critical=True, heartbeat=_HEARTBEAT, quiesce=self._wake)

    @property
    def in_flight(self) -> Sequence[FileRecord]:
        """Files under way."""
        return list(self._active.values())

    @property
    def breakers(self) -> Sequence[BreakerView]:
        """Plugins that are left alone at present."""
        return self._breakers.views

    def pause(self, plugin: str, reason: str) -> None:
        """Ask a plugin nothing from now on: its files park as waiting for it, until `resume`."""
        self._paused[plugin] = reason or "it is paused"

    async def resume(self, plugin: str) -> int:
        """Ask a plugin again: lift a pause, close its breaker, release the files that wait for it; how many those are."""
        self._paused.pop(plugin, None)
        self._breakers.reset(plugin)
        return await self._release_waiting(plugin, f"the plugin {plugin} was resumed")

    # --- taking files --------------------------------------------------------------------------------------------------

    async def run(self, heart: Heart) -> None:
        """Convert until the agent stops; files under way are finished first."""
        if ended := await self._pool.start():
            self._log.warning("ended processes that an earlier run left behind", code="DM-V018", pids=list(ended))
        try:
            self._active.clear()
            await self._store.release_conversions(reason="given back by a dispatcher that ended")
            for parked in (ParkReason.WAITING_FOR_PLUGIN, ParkReason.AMBIGUOUS):
                await self._desk.release_parked(parked, None, reason="the agent was started")
            async with Crew("conversion", self._limit + 1) as crew:
                while not heart.quiescing:
                    heart.beat()
                    await self._round(crew)
        finally:
            await self._pool.close()

    async def _round(self, crew: Crew) -> None:
        """Take what there is room for, then wait for more of either."""
        seen = self._store.wakeups.count("files")
        room = self._limit - len(self._active)
        worth = room >= self._limit // 2  # taking many at a time costs the queue less
        taken: Sequence[FileRecord] = ()
        try:
            for plugin in list(self._recovered):
                await self._release_waiting(plugin, f"the plugin {plugin} works again")
                self._recovered.discard(plugin)
            for plugin in self._breakers.due(self._clock.monotonic()):
                await self._release_waiting(plugin, "to try the plugin", most=1)
            if worth:
                taken = await self._store.next_files(room)
                await self._begin(taken, crew)
        except StoreUnavailable as error:
            self._log.warning("the queue gives no files", code=error.code, what=error.problem.what)
            await self._store.wakeups.wait("files", seen, _STORE_AGAIN)
            return
        if not worth or len(taken) < room:
            await self._store.wakeups.wait("files", seen, _BEAT)

    async def _begin(self, files: Sequence[FileRecord], crew: Crew) -> None:
        by_folder: dict[str, list[FileRecord]] = {}
        for file in await self._start(await self._leave_out_hung(files)):
            self._active[file.id] = file
            by_folder.setdefault(file.folder, []).append(file)
        for name, members in by_folder.items():
            folder = self._folders.get(name)
            if folder is None:
                for file in members:
                    await crew.start(self._park_homeless(file))
                continue
            opening = Opening(self._pool.prepare(name, [self._job(file) for file in members]))
            for index, file in enumerate(members):
                await crew.start(self._convert(file, folder.destinations, opening, index))

    async def _start(self, files: Sequence[FileRecord]) -> Sequence[FileRecord]:
        """Mark them as converting; one that somebody took away meanwhile is left out."""
        try:
            if files:
                await self._store.start_conversions([file.id for file in files])
            return files
        except NotHeld:
            started = []
            for file in files:
                try:
                    await self._store.start_conversions([file.id])
                    started.append(file)
                except NotHeld:
                    continue
            return started

    async def _leave_out_hung(self, files: Sequence[FileRecord]) -> Sequence[FileRecord]:
        """Put off files of folders whose disk does not answer, but for one that finds out whether it does again."""
        if not self._hangs:
            return files
        now = self._clock.monotonic()
        kept, held = [], []
        for file in files:
            hang = self._hangs.get(file.folder)
            if hang is None or (now >= hang.until and not hang.trying):
                kept.append(file)
                if hang is not None:
                    hang.trying = True
            else:
                held.append(file.id)
        if held:
            until = self._clock.time() + _HANG
            await self._store.release_files(held, reason=ParkReason.NOT_READY, not_before=until)
        return kept

    def _job(self, file: FileRecord) -> Job:
        return Job(
            id=file.id,
            place=file.place,
            name=file.name,
            size=file.size,
            sha256=file.sha256,
            folder=file.folder,
            occurrence=file.occurrence,
            selector=self._selectors[file.folder],
            forced=file.forced_converter,
            identity=file.identity,
        )

    async def _release_waiting(self, plugin: str, reason: str, *, most: int = 100_000) -> int:
        return await self._desk.release_parked(ParkReason.WAITING_FOR_PLUGIN, plugin, reason=reason, most=most)

    def _wake(self) -> None:
        self._store.wakeups.notify("files")

    # --- one file ------------------------------------------------------------------------------------------------------

    async def _convert(self, file: FileRecord, lanes: Sequence[str], opening: Opening, index: int) -> None:
        try:
            self._failpoints.hit("conversion.taken")
            transition = await self._work(file, opening, index)
            self._failpoints.hit("conversion.converted")
            await self._desk.settle(file, transition, lanes)
            self._failpoints.hit("conversion.settled")
        except asyncio.CancelledError:
            await self._desk.give_back(file, "shutdown")
            raise
        except PoolClosed:
            await self._desk.give_back(file, "shutdown")
        except Exception as error:  # noqa: BLE001 - an error of ours on one file must not keep all others from being converted
            self._log.exception("the agent itself failed on a file", code="DM-V019", file=file.id)
            await self._desk.settle(file, our_own_fault(file, error), lanes)
        finally:
            self._ended(file)

    async def _work(self, file: FileRecord, opening: Opening, index: int) -> Transition:
        try:
            prepared = await opening.take(index, _OPEN_TIMEOUT)
        except TimeoutError:
            self._hangs[file.folder] = _Hang(self._clock.monotonic() + _HANG)
            return put_off(f"the folder's disk did not answer within {_OPEN_TIMEOUT:g} s", _HANG, "DM-V031")
        self._hangs.pop(file.folder, None)

        def blocked(plugin: str) -> str | None:
            return self._paused.get(plugin) or self._breakers.ask(plugin, file.id, self._clock.monotonic())

        try:
            outcome = await self._pool.convert(prepared, blocked=blocked)
        except WorkersUnavailable as error:
            self._log.error("conversion is not possible", code=error.code, what=error.problem.what)
            return put_off(error.problem.what, _UNAVAILABLE, error.code)
        left_alone = self._learn(file, outcome)
        return decide(file, outcome, left_alone=left_alone)

    def _learn(self, file: FileRecord, outcome: Outcome) -> str | None:
        """Tell the breakers how a plugin fared; why it is left alone from now on, if it is."""
        if isinstance(outcome, Fault) and outcome.kind != "cancelled":
            plugin = outcome.plugin
            self._log.warning(
                "a plugin faulted", code=outcome.code, plugin=plugin, file=file.id, name=file.name, what=outcome.message
            )
            if self._breakers.faulted(plugin, file.id, outcome.message, self._clock.monotonic()):
                self._log.error("a plugin is left alone", code="DM-V022", plugin=plugin, what=outcome.message)
            return self._breakers.reason(plugin)
        if isinstance(outcome, (Converted, Refused)) and outcome.converter is not None:
            plugin = self._pool.plugin_of(outcome.converter)
            if self._breakers.worked(plugin, file.id):
                self._log.info("a plugin works again", code="DM-V022", plugin=plugin)
                self._recovered.add(plugin)
                self._wake()
        return None

    async def _park_homeless(self, file: FileRecord) -> None:
        """Its folder is not in the configuration any more."""
        try:
            why = f"the folder {file.folder!r} is not configured any more; restore it and start the agent again"
            await self._desk.settle(file, homeless(why), ())
        except asyncio.CancelledError:
            await self._desk.give_back(file, "shutdown")
            raise
        finally:
            self._ended(file)

    def _ended(self, file: FileRecord) -> None:
        self._breakers.left(file.id)
        self._active.pop(file.id, None)
        if len(self._active) <= self._limit // 2:
            self._wake()
