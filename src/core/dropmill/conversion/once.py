"""Converts one file without queue or agent, as `dropmill try` does: the same selection, the same worker, the same limits."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dropmill.config.settings import ConversionSettings, ConverterChoice, FolderSettings
from dropmill.conversion.inputs import Job, Unreadable
from dropmill.conversion.outcomes import Outcome
from dropmill.conversion.pool import ConversionPool, ConverterBinding
from dropmill.foundation.clock import Clock, SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.records import FileIdentity

__all__ = ["convert_once"]

_CHUNK = 1_048_576


async def convert_once(
    path: Path,
    converters: Mapping[str, ConverterBinding],
    *,
    scratch: Path,
    folder: FolderSettings | None = None,
    choices: Sequence[ConverterChoice] = (),
    converter: str | None = None,
    settings: ConversionSettings | None = None,
    clock: Clock | None = None,
    failpoints: Failpoints | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Outcome:
    """Convert a file where it lies; it is only read.

    Args:
        path: The file.
        converters: What the loaded plugins offer, by id.
        scratch: An empty folder for nothing else. It holds the staged reports: the caller removes it when done with them.
        folder: Whose converters, options and name to use.
        choices: The candidates where there is no folder; none: all, without an order.
        converter: The only one to use.
        settings: The limits; one worker is used in any case.

    Raises:
        OSError: the file cannot be read.
        WorkersUnavailable: no worker process starts.
    """
    clock = clock or SystemClock()
    pool = ConversionPool(
        converters,
        replace(settings or ConversionSettings(), workers=1),
        clock=clock,
        scratch=scratch,
        failpoints=failpoints or Failpoints(),
        environment=environment,
        spare=False,
    )
    place, sha256, identity = await asyncio.to_thread(_look_at, path)
    await pool.start()
    try:
        job = Job(
            id=path.name,
            place=place,
            name=path.name,
            size=identity.size,
            sha256=sha256,
            folder="" if folder is None else folder.name,
            selector=pool.selector(choices if folder is None else folder.converters),
            forced=converter,
            identity=identity,
        )
        (prepared,) = await pool.prepare("try", [job])
        if isinstance(prepared, Unreadable) and not prepared.lasting:
            raise OSError(prepared.message)
        return await pool.convert(prepared)
    finally:
        await pool.close()


def _look_at(path: Path) -> tuple[str, str, FileIdentity]:
    """Where it really lies, the sha256 of its content, what it is."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
        found = os.fstat(stream.fileno())
    identity = FileIdentity(
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        device=found.st_dev,
        inode=found.st_ino,
    )
    return os.path.realpath(path), digest.hexdigest(), identity
