"""The reports of a finished conversion, wherever they wait: in memory, in files of their own, or in the task's spool file.

A sequence, so that three hundred thousand of them cost no memory: spooled ones are read when they are asked for. Reading blocks;
whoever goes through a long sequence does it in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import orjson

from dropmill.conversion.outcomes import StagedReport
from dropmill.conversion.worker.staging import RECORD, SPOOL

__all__ = ["StagedReports"]


class StagedReports(Sequence[StagedReport]):
    """In the order in which the converter yielded them.

    Args:
        sent: Headers and bodies that came over the pipe.
        folder: The task's; None: it has none, nothing is in files.
        count: All of them; those beyond `sent` are spooled.
        size: Bytes of all payloads together.
    """

    def __init__(
        self, sent: Sequence[tuple[Mapping[str, Any], bytes]], folder: Path | None, count: int, size: int
    ) -> None:
        self.folder = folder
        self.size = size
        self._sent = [_report(header, body, folder) for header, body in sent]
        self._count = count
        self._offsets: list[int] = []

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StagedReport]:
        yield from self._sent
        if self._count > len(self._sent):
            yield from self._spooled(0)

    @overload
    def __getitem__(self, index: int) -> StagedReport: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[StagedReport]: ...

    def __getitem__(self, index: int | slice) -> StagedReport | Sequence[StagedReport]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self._count))]
        position = index + self._count if index < 0 else index
        if not 0 <= position < self._count:
            raise IndexError(index)
        if position < len(self._sent):
            return self._sent[position]
        return next(self._spooled(self._offset(position - len(self._sent))))

    def _offset(self, position: int) -> int:
        """Where the `position`-th spooled report begins; the first call goes through the file once."""
        if not self._offsets:
            with self._spool.open("rb") as stream:
                offset = 0
                while prefix := stream.read(RECORD.size):
                    self._offsets.append(offset)
                    offset = stream.seek(sum(RECORD.unpack(prefix)), 1)
        return self._offsets[position]

    def _spooled(self, offset: int) -> Iterator[StagedReport]:
        with self._spool.open("rb") as stream:
            stream.seek(offset)
            while prefix := stream.read(RECORD.size):
                header, body = RECORD.unpack(prefix)
                yield _report(orjson.loads(stream.read(header)), stream.read(body), self.folder)

    @property
    def _spool(self) -> Path:
        assert self.folder is not None
        return self.folder / SPOOL


def _report(header: Mapping[str, Any], body: bytes, folder: Path | None) -> StagedReport:
    name = header.get("file")
    if name is not None and (folder is None or Path(name).name != name):
        raise ValueError(f"a staged report lies at {name!r}, outside its task's folder")
    return StagedReport(
        report_id=header["id"],
        key=header["key"],
        media_type=header["type"],
        schema=header["schema"],
        fields=header["fields"],
        size=header["size"],
        sha256=header["sha256"],
        body=body if name is None else None,
        path=None if name is None or folder is None else str(folder / name),
    )
