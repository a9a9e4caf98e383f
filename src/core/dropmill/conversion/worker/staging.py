"""Where a task's finished reports wait for the agent: small ones on the pipe, large ones in files, very many in one spool file.

What a task may hold in memory, here and in the agent, is bounded: a window of drafts, then a mebibyte or a thousand reports on
the pipe, then disk. Invariant: reports reach the agent in the order in which they were yielded, the spooled ones last.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from dropmill.conversion.worker.frames import INLINE
from dropmill.foundation.files import write_all
from dropmill.reports.compose import Draft, Payload

__all__ = ["RECORD", "SPOOL", "LimitExceeded", "NoRoom", "Staging"]

SPOOL = "reports.spool"
RECORD = struct.Struct("!II")
"""Before each spooled report: the lengths of its header (JSON) and of its body."""

_HELD = 64
_HELD_BYTES = 262_144
_SENT = 1_000
_SENT_BYTES = 1_048_576
_BUFFER = 262_144


class NoRoom(Exception):
    """The task's folder cannot be written: nobody's fault here, and worth another try later."""


class LimitExceeded(Exception):
    """The reports are more than a file may become."""


class Staging:
    """The reports of one task.

    Args:
        folder: Makes and answers the task's folder.
        limit: Bytes that all reports together may have.
        send: Takes a report's header and body for the pipe.
        warnings: The file's warnings so far.
        beat: Called for every piece of output: it is progress, and where a cancelled task ends.
    """

    def __init__(
        self,
        folder: Callable[[], Path],
        limit: int,
        send: Callable[[dict[str, Any], bytes], None],
        warnings: Callable[[], Sequence[Mapping[str, Any]]],
        beat: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._send = send
        self._warnings = warnings
        self._beat = beat
        self._held: list[Draft] = []
        self._held_bytes = 0
        self._total_unknown = False
        self._spool: StagedFile | None = None
        self._files = 0
        self._sent_bytes = 0
        self.count = 0
        self.size = 0

    def create(self) -> StagedFile:
        """A new file in the task's folder."""
        self._files += 1
        return StagedFile(self._folder() / f"report-{self._files:06d}", self._account)

    def add(self, draft: Draft) -> None:
        """Take over a draft.

        Raises:
            LimitExceeded, NoRoom: see there.
        """
        self.count += 1
        if self._total_unknown:
            self._emit(draft, None)
            return
        self._held.append(draft)
        self._held_bytes += draft.held
        if len(self._held) > 1 and (len(self._held) > _HELD or self._held_bytes > _HELD_BYTES):
            self._total_unknown = True
            self._release(None)

    def finish(self) -> None:
        """All reports are here: hand over what is held."""
        self._release(None if self._total_unknown else self.count)
        if self._spool is not None:
            self._spool.close()

    @property
    def spooled(self) -> bool:
        return self._spool is not None

    def _release(self, of: int | None) -> None:
        held, self._held = self._held, []
        for draft in held:
            self._emit(draft, of)

    def _emit(self, draft: Draft, of: int | None) -> None:
        payload = draft.finish(of, self._warnings())
        header = {
            "id": draft.report_id,
            "key": draft.key,
            "type": draft.media_type,
            "schema": draft.schema,
            "fields": draft.fields,
            "size": payload.size,
            "sha256": payload.sha256,
        }
        body = payload.body
        if body is None or len(body) > INLINE:
            header["file"] = self._to_file(payload)
            body = b""
        else:
            self._account(len(body))
        sent = self._sent_bytes + len(body)
        if self._spool is None and sent <= _SENT_BYTES and self.count <= _SENT:
            self._sent_bytes = sent
            self._send(header, body)
        else:
            self._to_spool(header, body)

    def _to_file(self, payload: Payload) -> str:
        if payload.body is None:
            assert payload.path is not None
            return payload.path.name
        file = self.create()
        file.write(payload.body)
        file.close()
        return file.path.name

    def _to_spool(self, header: dict[str, Any], body: bytes) -> None:
        if self._spool is None:
            self._spool = StagedFile(self._folder() / SPOOL, lambda _: None, buffer=_BUFFER)
        text = orjson.dumps(header)
        self._spool.write(b"".join((RECORD.pack(len(text), len(body)), text, body)))

    def _account(self, size: int) -> None:
        self._beat()
        self.size += size
        if self.size > self._limit:
            raise LimitExceeded(f"the reports are more than the {self._limit} bytes that one file may become")


class StagedFile:
    """A file being written; short writes and a full disk are noticed, and every byte is counted before it is written."""

    def __init__(self, path: Path, account: Callable[[int], None], *, buffer: int = 0) -> None:
        self.path = path
        self._account = account
        self._limit = buffer
        self._buffer = bytearray()
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _trouble(error) from error

    def write(self, data: bytes) -> None:
        self._account(len(data))
        if not self._limit:
            self._put(data)
            return
        self._buffer += data
        if len(self._buffer) >= self._limit:
            self._drain()

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        self._descriptor = descriptor
        try:
            self._drain()
        finally:
            self._descriptor = -1
            os.close(descriptor)

    def _drain(self) -> None:
        if self._buffer:
            self._put(self._buffer)
            self._buffer.clear()

    def _put(self, data: bytes | bytearray) -> None:
        try:
            write_all(self._descriptor, memoryview(data).toreadonly())
        except OSError as error:
            raise _trouble(error) from error


def _trouble(error: OSError) -> Exception:
    if error.errno == errno.EFBIG:
        return LimitExceeded("a report is larger than one file may become")
    return NoRoom(f"{error.strerror} ({error.filename or 'the scratch folder'})")
