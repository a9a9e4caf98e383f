"""The store without an agent: reading is read-only, changing takes `owner.lock` for as long as it takes, as an agent would.

The answers are those of the API, made by the same code.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeVar

from dropmill.cli.errors import NotPermitted, UsageError
from dropmill.control import shapes, views
from dropmill.control.filters import delivery_query, file_query
from dropmill.control.queries import Queries
from dropmill.foundation.clock import SystemClock
from dropmill.queue.errors import StoreUnavailable
from dropmill.queue.reader import QueueReader

if TYPE_CHECKING:
    from dropmill.cli.session import Session
    from dropmill.config import Configuration
    from dropmill.config.settings import FolderSettings, Settings
    from dropmill.plugins import Registry
    from dropmill.queue.admission import Admission
    from dropmill.queue.store import QueueStore

__all__ = ["Local"]

T = TypeVar("T")

_WAIT = 10.0
"""Seconds to wait for another command to let go of the store."""


class Local:
    """`Backend` on the store itself."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._state = session.place.state
        self._reader = QueueReader(self._state)
        self._queries = Queries(self._reader)

    # --- reading ---------------------------------------------------------------------------------------------------------

    def status(self) -> shapes.StatusShape:
        if self._reader.exists or not self._permitted:
            return views.status(self._read(self._queries.status), None)
        return {**views.status(views.NO_STORE, None), "reason": "no agent runs, and there is no queue yet"}

    def files(self, wanted: Mapping[str, Any], after: str | None, limit: int) -> shapes.FilePage:
        return self._read(lambda: self._queries.files(file_query(wanted), after, limit))

    def file(self, file_id: str) -> shapes.FileDetailShape:
        return self._read(lambda: self._queries.file(file_id))

    def deliveries(self, wanted: Mapping[str, Any], after: str | None, limit: int) -> shapes.DeliveryPage:
        return self._read(lambda: self._queries.deliveries(delivery_query(wanted), after, limit))

    def delivery(self, delivery_id: int) -> shapes.DeliveryDetailShape:
        return self._read(lambda: self._queries.delivery(delivery_id))

    def explain(self, path: str) -> shapes.ExplanationShape:
        return self._read(lambda: self._queries.explain(path, ()))

    def _read(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except StoreUnavailable:
            if self._permitted:
                raise
            raise self._forbidden() from None

    @property
    def _permitted(self) -> bool:
        """Whether the state folder, where there is one, may be used by this user. Even a reader of the store writes to it: SQLite
        keeps what readers and the writer must know of one another in a file beside it."""
        try:
            return os.access(self._state, os.R_OK | os.W_OK | os.X_OK, effective_ids=True) or not self._state.exists()
        except OSError:
            return False

    # --- changing --------------------------------------------------------------------------------------------------------

    def submit(self, paths: Sequence[Path], folder: str | None) -> shapes.SubmittedShape:
        from dropmill.foundation.failpoints import Failpoints
        from dropmill.foundation.ids import IdSource
        from dropmill.intake.submit import Submitter

        configuration = self._configuration()
        chosen = _folder(configuration.settings, folder)

        async def act(store: QueueStore) -> shapes.SubmittedShape:
            clock = SystemClock()
            submitter = Submitter(
                self._state,
                store,
                clock=clock,
                ids=IdSource(clock, SystemRandom()),
                failpoints=Failpoints.from_environment(),
                gate=await _gate(configuration, store),
            )
            return views.submitted(await submitter.submit(paths, chosen))

        return self._change(configuration.settings, act)

    def retry(self, body: Mapping[str, Any]) -> shapes.ChangedShape:
        return self._act(lambda changing: changing.retry(body))

    def drop(self, body: Mapping[str, Any]) -> shapes.ChangedShape:
        return self._act(lambda changing: changing.drop(body))

    def _act(self, act: Callable[[Any], Awaitable[shapes.ChangedShape]]) -> shapes.ChangedShape:
        from dropmill.control.actions import Actions, Bulk

        async def with_store(store: QueueStore) -> shapes.ChangedShape:
            actions = Actions(store, self._queries, asyncio.to_thread, SystemClock())
            return await act(Bulk(actions, by="the command line"))

        return self._change(self._configuration().settings, with_store)

    def _change(self, settings: Settings, act: Callable[[QueueStore], Awaitable[T]]) -> T:
        from dropmill.cli.backend import COMMAND
        from dropmill.foundation.failpoints import Failpoints
        from dropmill.queue.sqlite import SqliteStore

        clean = self._was_clean()

        async def open_and_act() -> T:
            store = SqliteStore(
                self._state,
                settings.queue,
                clock=SystemClock(),
                failpoints=Failpoints.from_environment(),
                instance=f"{COMMAND}{os.getpid()}",
            )
            try:
                self._state.mkdir(parents=True, exist_ok=True)
                await store.open(wait=_WAIT)
            except PermissionError:
                raise self._forbidden() from None
            try:
                return await act(store)
            finally:
                await store.close(clean=clean)

        return asyncio.run(open_and_act())

    def _configuration(self) -> Configuration[Registry]:
        from dropmill.cli.config import read

        return read(self._session)

    def _was_clean(self) -> bool:
        """What an agent left to repair stays to be repaired by the next one."""
        return not self._reader.exists or bool(self._read(self._queries.status)["clean"])

    def _forbidden(self) -> NotPermitted:
        return NotPermitted(
            "the state folder may not be used by this user",
            where=str(self._state),
            todo="run the command as the user that runs the agent, or as root",
        )


async def _gate(configuration: Configuration[Registry], store: QueueStore) -> Admission:
    """The queue's door, as the agent would have it: with the configured policy."""
    from dropmill.plugins import instantiate
    from dropmill.queue.admission import Admission

    queue = configuration.settings.queue
    policy = await instantiate(configuration.catalog.policies[queue.when_full], queue.policy)
    return Admission(store, policy, queue, policy_id=queue.when_full)


def _folder(settings: Settings, name: str | None) -> FolderSettings:
    known = {folder.name: folder for folder in settings.folders}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None:
        raise UsageError("there are several folders", todo=f"name one with --folder: {', '.join(known)}")
    if name not in known:
        from dropmill.intake.errors import UnknownFolder

        raise UnknownFolder(name, known)
    return known[name]
