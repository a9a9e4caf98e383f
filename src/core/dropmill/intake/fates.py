"""What becomes of a file whose content the folder has seen before: `duplicates = process | skip | quarantine`.

Identity is the content. A file that failed, or has a delivery that was refused for good, is no earlier copy: dropping it again
is how people retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dropmill.config.settings import FolderSettings
from dropmill.intake.names import printable
from dropmill.queue.records import FileRecord, FileState
from dropmill.queue.store import QueueStore

__all__ = ["DUPLICATE", "EMPTY", "Fate", "carry_out", "decide", "earlier"]

DUPLICATE = "DM-I020"
EMPTY = "DM-I021"


@dataclass(frozen=True)
class Fate:
    """What to do with a claimed file."""

    kind: Literal["process", "skip", "quarantine", "later"] = "process"
    """`later`: the same content is being claimed at this moment; decide once that has come about, or not."""
    code: str = ""
    reason: str = ""
    original: str | None = None
    """Id of the file that had the same content."""


def earlier(known: Sequence[FileRecord]) -> FileRecord | None:
    """The newest file of the same content that did not fail."""
    return next((file for file in known if file.state is not FileState.FAILED and not file.dead), None)


async def decide(settings: FolderSettings, store: QueueStore, sha256: str, size: int, group: set[str]) -> Fate:
    """The fate of a file that has no row yet; `group` collects the contents of those that are claimed together with it.

    Decided before the row is written, so that of two files that are taken at the same moment not each is the other's copy.
    """
    if size == 0 and settings.zero_byte == "quarantine":
        return Fate("quarantine", EMPTY, "the file is empty")
    if settings.duplicates == "process":
        return Fate()
    if sha256 in group:
        return Fate(
            settings.duplicates, DUPLICATE, "another file that was dropped together with it has the same content"
        )
    group.add(sha256)
    known = earlier(await store.known_content(settings.name, sha256))
    if known is None:
        return Fate()
    reason = f"the same content was taken before as {printable(known.name)} ({known.id})"
    return Fate(settings.duplicates, DUPLICATE, reason, known.id)


async def carry_out(store: QueueStore, file_id: str, fate: Fate) -> None:
    """Settle a claimed file that is not to be converted."""
    detail: dict[str, Any] = {"code": fate.code, "message": fate.reason}
    if fate.original is not None:
        detail["original"] = fate.original
    if fate.kind == "skip":
        await store.publish(file_id, [], converter="", warnings=[detail])
    else:
        await store.fail_file(file_id, code=fate.code, reason=fate.reason, error=detail, converter=None)
