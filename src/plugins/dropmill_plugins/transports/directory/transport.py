"""The transport `directory`: renders names, reads payloads, and leaves everything that blocks to threads of its own.

Its threads are its own so that a folder on a hung share holds up nobody else. A send that is cancelled may still be finished by
its thread; the repeated delivery then finds the file there.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from dropmill.api import Outcome, Outgoing, TransportContext, Unavailable
from dropmill_plugins.transports.directory.depot import Depot, Parcel, outcome_of
from dropmill_plugins.transports.directory.names import clean, component, with_suffix
from dropmill_plugins.transports.templates import Template, values_of

__all__ = ["DirectoryTransport"]

_THREADS = 4
_SMALL = 1_048_576
"""Bytes up to which a payload is handled as one piece."""

T = TypeVar("T")


class DirectoryTransport:
    """Reports as files in a folder; see `docs/transports.md`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: a template has a stray brace, or the name's a separator.
        """
        if "/" in (options.get("name") or ""):
            raise ValueError("`name` names a file: put subfolders into `folder`")
        self._options = options
        self._name = Template(options.get("name") or "{key}{suffix}")
        self._folder = Template(options.get("folder") or "")
        self._missing: str = options.get("missing") or "unknown"
        # A name that holds the key is this report's alone: what lies there with other content is not to be written beside.
        self._beside = options.get("collision", "suffix") == "suffix" and "key" not in self._name.names
        self._pool: ThreadPoolExecutor | None = None
        self._depot: Depot | None = None

    async def open(self, context: TransportContext) -> None:
        """Find or make the folder.

        Raises:
            Unavailable: it is not there.
        """
        mode = self._options.get("mode")
        root = _absolute(context.base, self._options["path"])
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"directory {context.destination}")
        self._depot = Depot(root, create=self._options.get("create", True), mode=int(mode, 8) if mode else None)
        await self._in_thread(self._depot.prepare)

    async def probe(self) -> None:
        """Whether a file could be written, without a trace.

        Raises:
            Unavailable: it could not.
        """
        await self._in_thread(self._opened().probe)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """Put all reports down; one sync of each folder serves them all.

        Raises:
            Unavailable: nothing can be written now (no space, no permission, no folder).
        """
        depot = self._opened()
        parcels: list[Parcel] = []
        outcomes: dict[int, Outcome] = {}
        try:
            for number, item in enumerate(batch):
                parcel = self._parcel(item)
                if item.size <= _SMALL:
                    parcel.body = await item.read()
                else:
                    outcome = await self._stream(depot, parcel, item)
                    if outcome is not None:
                        outcomes[number] = outcome
                        continue
                parcels.append(parcel)
        except BaseException:
            for parcel in parcels:
                self._discard(parcel)
            raise
        put = iter(await self._in_thread(lambda: depot.put(parcels)) if parcels else ())
        return [outcomes[number] if number in outcomes else next(put) for number in range(len(batch))]

    async def close(self) -> None:
        """Let the threads go; one that hangs in the file system is not waited for."""
        pool, self._pool, self._depot = self._pool, None, None
        if pool is not None:
            # What is still queued removes parts, and must be done; sends that were cancelled are out of the queue already.
            pool.shutdown(wait=False)

    def _parcel(self, item: Outgoing) -> Parcel:
        values = values_of(item)

        def value(name: str) -> str:
            found = values(name) or self._missing
            return found if name == "suffix" else clean(found)

        pieces = self._folder.render(value, str).split("/")
        folder = PurePosixPath(*(component(piece) for piece in pieces if piece.strip()))
        name = component(self._name.render(value, str))
        names = [name, with_suffix(name, item.key)] if self._beside else [name]
        return Parcel(folder=folder, names=names, size=item.size, sha256=item.sha256)

    async def _stream(self, depot: Depot, parcel: Parcel, item: Outgoing) -> Outcome | None:
        """Write a large payload piece by piece; an outcome where that failed for this item alone."""
        try:
            parcel.part = part = await self._in_thread(lambda: depot.begin(parcel.folder))
            async for piece in item.chunks(_SMALL):
                await self._in_thread(functools.partial(part.write, piece))
            part.flush()
        except OSError as error:
            self._discard(parcel)
            outcome = outcome_of(error)
            if isinstance(outcome, Unavailable):
                raise outcome from error
            return outcome
        except BaseException:
            self._discard(parcel)
            raise
        return None

    def _discard(self, parcel: Parcel) -> None:
        """Remove a part without waiting for it."""
        if parcel.part is not None and self._pool is not None:
            self._pool.submit(parcel.part.discard)

    def _opened(self) -> Depot:
        if self._depot is None:
            raise RuntimeError("the transport is not open")
        return self._depot

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._pool is None:
            raise RuntimeError("the transport is not open")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _absolute(base: str, path: str) -> Path:
    return Path(os.path.abspath(os.path.join(base, path)))
