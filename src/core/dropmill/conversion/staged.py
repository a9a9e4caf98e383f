"""The reports of a finished conversion, wherever they wait: in memory, in files of their own, or in the task's spool file.

A sequence, so that a hundred thousand of them cost little memory: spooled ones are read when they are asked for. Reading blocks;
whoever goes through spooled reports does it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import orjson

from dropmill.conversion.outcomes import StagedReport
from dropmill.conversion.worker.staging import RECORD, SPOOL

__all__ = ["SpooledBody", "StagedReports"]

_AHEAD = 1_048_576


@dataclass(frozen=True)
class SpooledBody:
    """A payload in a spool file."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """All of it.

        Raises:
            OSError: it cannot be read, or the file has been cut short.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, self.size, self.offset)
        finally:
            os.close(descriptor)
        if len(data) != self.size:
            raise OSError(f"{self.path} has been cut short")
        return data


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
        self.sent: Sequence[StagedReport] = [_report(header, body, folder) for header, body in sent]
        """The first ones, in memory."""
        self._count = count
        self._offsets: list[int] = []

    @property
    def spooled(self) -> bool:
        """Whether there are more than `sent`."""
        return self._count > len(self.sent)

    def bodies(self) -> Iterator[tuple[StagedReport, SpooledBody]]:
        """The spooled reports, each without its body and where that lies."""
        assert self.folder is not None
        path = self.folder / SPOOL
        with path.open("rb", buffering=_AHEAD) as stream:
            offset = 0
            while prefix := stream.read(RECORD.size):
                header, body = RECORD.unpack(prefix)
                text = stream.read(header)
                start = offset + RECORD.size + header
                yield _report(orjson.loads(text), b"", self.folder), SpooledBody(path, start, body)
                offset = stream.seek(start + body)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StagedReport]:
        yield from self.sent
        if self.spooled:
            yield from (_with_body(report, body) for report, body in self.bodies())

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
        if position < len(self.sent):
            return self.sent[position]
        return self._spooled(position - len(self.sent))

    def _spooled(self, position: int) -> StagedReport:
        assert self.folder is not None
        with (self.folder / SPOOL).open("rb") as stream:
            if not self._offsets:  # once through the file
                offset = 0
                while prefix := stream.read(RECORD.size):
                    self._offsets.append(offset)
                    offset = stream.seek(sum(RECORD.unpack(prefix)), os.SEEK_CUR)
            stream.seek(self._offsets[position])
            header, body = RECORD.unpack(stream.read(RECORD.size))
            return _report(orjson.loads(stream.read(header)), stream.read(body), self.folder)


def _with_body(report: StagedReport, body: SpooledBody) -> StagedReport:
    return report if report.path is not None else replace(report, body=body.read())


def _report(header: Mapping[str, Any], body: bytes, folder: Path | None) -> StagedReport:
    name = header.get("file")
    if name is not None and (folder is None or Path(name).name != name or name == ".."):
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
