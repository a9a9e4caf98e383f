"""Questions to the store, answered in the API's shapes; also by the command line while no agent runs.

Synchronous: the API asks in threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from dropmill.control import shapes
from dropmill.control.errors import BadRequest, NotFound
from dropmill.intake.status import Sighting
from dropmill.queue.reader import DeliveryQuery, FileQuery, QueueReader

__all__ = ["Queries"]


class Queries:
    """Use from any thread."""

    def __init__(self, reader: QueueReader) -> None:
        self._reader = reader

    def status(self) -> Mapping[str, Any]:
        """`QueueReader.status()`."""
        return self._reader.status()

    def files(self, wanted: FileQuery, after: str | None, limit: int) -> shapes.FilePage:
        """A page of files, newest first."""
        return cast("shapes.FilePage", self._reader.files(wanted, after=_cursor(after), limit=limit))

    def file_ids(self, wanted: FileQuery, after: str | None, limit: int) -> tuple[Sequence[str], str | None]:
        """Ids for a bulk action, oldest first, and where to go on."""
        return self._reader.file_ids(wanted, after=_cursor(after), limit=limit)

    def count_files(self, wanted: FileQuery) -> int:
        return self._reader.count_files(wanted)

    def file(self, file_id: str) -> shapes.FileDetailShape:
        """One file with its history.

        Raises:
            NotFound
        """
        found = self._reader.file(file_id)
        if found is None:
            raise NotFound(
                "there is no such file",
                where=file_id,
                todo="`dropmill files` lists the ids; what is older than queue.retention is gone",
            )
        return cast("shapes.FileDetailShape", found)

    def deliveries(self, wanted: DeliveryQuery, after: str | None, limit: int) -> shapes.DeliveryPage:
        """A page of deliveries, newest first."""
        return cast("shapes.DeliveryPage", self._reader.deliveries(wanted, after=_cursor(after), limit=limit))

    def delivery_ids(self, wanted: DeliveryQuery, after: str | None, limit: int) -> tuple[Sequence[int], str | None]:
        """Ids for a bulk action, oldest first, and where to go on."""
        return self._reader.delivery_ids(wanted, after=_cursor(after), limit=limit)

    def count_deliveries(self, wanted: DeliveryQuery) -> int:
        return self._reader.count_deliveries(wanted)

    def delivery(self, delivery_id: int) -> shapes.DeliveryDetailShape:
        """One delivery with its attempts.

        Raises:
            NotFound
        """
        found = self._reader.delivery(delivery_id)
        if found is None:
            raise NotFound(
                "there is no such delivery", where=str(delivery_id), todo="`dropmill deliveries` lists the ids"
            )
        return cast("shapes.DeliveryDetailShape", found)

    def explain(self, text: str, sightings: Sequence[Sighting]) -> shapes.ExplanationShape:
        """What is known of a path, an id or a content: first what lies there now, then what was claimed from there."""
        details = [self._reader.file(file_id) for file_id in self._reader.find_files(text)]
        files = [cast("shapes.FileDetailShape", one) for one in details if one is not None]
        here = [one for one in sightings if one.state != "missing"]
        state, reason = "unknown", "no folder has such a file, and none was claimed within the retention time"
        if here:
            state, reason = here[0].state, here[0].reason
        elif files:
            state, reason = files[0]["state"], files[0]["reason"]
        elif sightings:
            reason = sightings[0].reason
        return {
            "path": text,
            "state": state,
            "reason": reason,
            "sightings": [
                {"folder": one.folder, "state": one.state, "reason": one.reason, "details": dict(one.details)}
                for one in (here if files else sightings)
            ],
            "files": files,
        }


def _cursor(after: str | None) -> str | None:
    """Cursors are ours to give out; anything else is refused rather than searched for."""
    if after is not None and not (after.isascii() and after.isdecimal() and len(after) <= 18):
        raise BadRequest(f"{after[:50]!r} is no cursor", where="after", todo="give the `next` of the page before")
    return after
