"""Finished reports as what the queue takes: each with its destinations; spooled ones give their bytes only when asked.

Making a publication of spooled reports reads the spool's headers: do it in a thread. Going through it afterwards reads nothing,
until the queue's own thread asks for a body.
"""

from __future__ import annotations

from collections.abc import Sequence

from dropmill.conversion.outcomes import StagedReport
from dropmill.conversion.staged import SpooledBody, StagedReports
from dropmill.queue.records import NewReport

__all__ = ["publication"]


def publication(reports: Sequence[StagedReport], lanes: Sequence[str]) -> Sequence[NewReport]:
    """The reports in order, each for all of `lanes`. Blocks where some are spooled (`StagedReports.spooled`)."""
    if not isinstance(reports, StagedReports) or not reports.spooled:
        return [_plain(report, ordinal, lanes) for ordinal, report in enumerate(reports)]
    made = [_plain(report, ordinal, lanes) for ordinal, report in enumerate(reports.sent)]
    for report, body in reports.bodies():
        ordinal = len(made)
        made.append(
            _plain(report, ordinal, lanes) if report.path is not None else _Spooled(report, body, ordinal, lanes)
        )
    return made


def _plain(report: StagedReport, ordinal: int, lanes: Sequence[str]) -> NewReport:
    return NewReport(
        uid=report.report_id,
        media_type=report.media_type,
        schema=report.schema,
        fields=report.fields,
        body=report.body,
        staged=report.path,
        size=report.size,
        sha256=report.sha256,
        lanes=lanes,
        ordinal=ordinal,
    )


class _Spooled(NewReport):
    """A report whose body is read from the spool each time that it is asked for."""

    _spooled: SpooledBody

    def __init__(self, report: StagedReport, body: SpooledBody, ordinal: int, lanes: Sequence[str]) -> None:
        self.__dict__.update(_plain(report, ordinal, lanes).__dict__)
        self.__dict__["_spooled"] = body

    def __getattribute__(self, name: str) -> object:
        if name == "body":
            return self._spooled.read()
        return super().__getattribute__(name)
