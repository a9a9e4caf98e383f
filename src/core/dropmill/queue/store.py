"""The store protocol: every engine keeps these promises, and one conformance suite holds each to them.

An awaited call that returns has been committed and synced (except `start_conversions` and `claim`, whose loss in a power cut
only makes work be done again). A call that raises has changed nothing. Calls may be made concurrently from one event loop;
engines group what arrives together into one commit. Every method that changes something records an event with the file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Protocol

from dropmill.api import Evict, QueueView
from dropmill.queue.records import (
    Acknowledged,
    Claimed,
    Disposal,
    FileRecord,
    Gauges,
    Lease,
    NewFile,
    NewReport,
    Published,
)
from dropmill.queue.wakeups import Wakeups

__all__ = ["QueueStore"]


class QueueStore(Protocol):
    """Files on their way in, reports, and deliveries on their way out."""

    wakeups: Wakeups
    """Notified after the commit: `files` (something to convert, or due now), `disposals`, `lane:NAME` (an item is ready or due
    earlier), `capacity` (something ended, so that there may be room for more)."""

    @property
    def gauges(self) -> Gauges:
        """What is in the store as of the last commit, for decisions on the event loop that must not wait."""
        ...

    async def open(self, *, wait: float = 0.0) -> None:
        """Take the lock (trying for `wait` seconds), open, recover: what a dead instance held goes back (leased to ready,
        converting to claimed, without being charged), counters are rebuilt, a damaged database is salvaged.

        Raises:
            StoreBusy: another process owns it.
        """
        ...

    async def close(self, *, clean: bool) -> None:
        """Finish what was accepted, give back this instance's leases, checkpoint, mark the end as `clean`, let the lock go."""
        ...

    # --- files ---------------------------------------------------------------------------------------------------------

    async def add_files(self, files: Sequence[NewFile]) -> Sequence[FileRecord]:
        """The claim's row: committed before the file is moved. State `claimed`, held back until `confirm_files`."""
        ...

    async def confirm_files(self, ids: Sequence[str]) -> None:
        """The move is on disk: the files may be converted."""
        ...

    async def remove_files(self, ids: Sequence[str], reason: str) -> None:
        """The claim did not come about (the file changed, vanished or was put back): the rows go, the event stays."""
        ...

    async def unconfirmed_files(self) -> Sequence[FileRecord]:
        """Claims cut short by a crash, for intake to resolve."""
        ...

    async def live_files(self, folder: str, after: str = "", limit: int = 1000) -> Sequence[FileRecord]:
        """Files of a folder that should lie in work/ (claimed, converting, converted, parked, or being moved), by id."""
        ...

    async def known_content(self, folder: str, sha256: str) -> Sequence[FileRecord]:
        """Earlier files of the folder with this content, newest first, within the retention time."""
        ...

    async def next_files(self, limit: int) -> Sequence[FileRecord]:
        """Confirmed, claimed files that are due, by priority and age, which no conversion holds."""
        ...

    async def claimed_files(self) -> int:
        """Files that are claimed or converting, all folders: what `max_claimed` bounds. From a counter, without the disk."""
        ...

    async def start_conversions(self, ids: Sequence[str]) -> None:
        """claimed -> converting."""
        ...

    async def publish(
        self,
        file_id: str,
        reports: Sequence[NewReport],
        *,
        converter: str,
        warnings: Sequence[Mapping[str, Any]] = (),
        evict: Evict | None = None,
    ) -> Published:
        """converting -> converted: the file, its reports and their deliveries in one transaction. A file that intake settles
        itself (a duplicate that is skipped: no reports) comes straight from claimed, confirmed or not, and is confirmed by it.

        With `evict`, room is made in the same transaction. A report id that exists with equal bytes is not queued again; with
        other bytes (a replay) its revision rises.

        Raises:
            QueueFull, TooLarge, StoreUnavailable: nothing changed.
        """
        ...

    async def fail_file(
        self, file_id: str, *, code: str, reason: str, error: Mapping[str, Any], converter: str | None
    ) -> None:
        """converting -> failed, with the failure's record; a disposal to `failed` follows. A file that intake settles itself
        (a duplicate or an empty file in quarantine) comes straight from claimed, confirmed or not, and is confirmed by it."""
        ...

    async def park_file(
        self, file_id: str, *, reason: str, error: Mapping[str, Any] | None = None, converter: str | None = None
    ) -> None:
        """converting -> parked, until something or somebody releases it."""
        ...

    async def release_files(
        self,
        ids: Sequence[str],
        *,
        reason: str,
        not_before: float = 0.0,
        charge: bool = False,
        converter: str | None = None,
    ) -> None:
        """converting, parked or failed -> claimed. `charge` counts a plugin fault against the file; `converter` forces one."""
        ...

    async def release_conversions(self, *, reason: str) -> int:
        """converting -> claimed for every file that is converting, not charged: what a dispatcher that is gone was working on;
        how many there were."""
        ...

    async def parked_files(self, reason: str, limit: int = 1000) -> Sequence[FileRecord]:
        """Files parked for a reason, oldest first."""
        ...

    async def next_disposals(self, limit: int, *, skip_folders: Collection[str] = ()) -> Sequence[Disposal]:
        """Files whose fate is settled and for which no disposal is planned, oldest first: failed ones, converted ones without
        pending deliveries, finished ones that moved from `failed/` to `done/` in effect (their last dead letter was sent).
        Files of `skip_folders` (offline ones) are left out, so that they never stand before those of others."""
        ...

    async def plan_disposals(self, targets: Mapping[str, str]) -> None:
        """Record where each file (by id) is about to be moved; committed before the move. A new target replaces an earlier
        one; an empty target takes the plan back (the file then comes from `next_disposals` again)."""
        ...

    async def finish_disposals(self, places: Mapping[str, str]) -> None:
        """The moves are on disk: each file lies at its place (empty: removed on request) and is `finished` or `failed`."""
        ...

    async def relocate_file(self, file_id: str, place: str) -> None:
        """The file was found, whole, at another place (recovery)."""
        ...

    async def record_event(self, subject: str, name: str, data: Mapping[str, Any]) -> None:
        """Something worth explaining that no transition records; `subject` is a file's id, a folder's or a destination's name."""
        ...

    # --- deliveries ----------------------------------------------------------------------------------------------------

    async def offer(self, reports: Sequence[NewReport], *, evict: Evict | None = None) -> Sequence[str]:
        """Queue reports that have no file. Answers `queued` or `known` (same uid and bytes) for each; all or none.

        Raises:
            QueueFull, TooLarge, StoreUnavailable: nothing changed.
        """
        ...

    async def claim(self, lane: str, limit: int, *, max_bytes: int | None = None, ordered: bool = False) -> Claimed:
        """ready -> leased for up to `limit` items, oldest first; due delayed ones become ready first. With `ordered`, nothing is
        handed out behind an item that is leased or delayed."""
        ...

    def read(self, lease: Lease, size: int) -> AsyncIterator[bytes]:
        """The payload of a leased item in pieces of `size` bytes; its checksum is verified.

        Raises:
            StoreUnavailable: it cannot be read, or is damaged.
        """
        ...

    async def acknowledge(
        self, leases: Sequence[Lease], receipts: Sequence[Mapping[str, Any]]
    ) -> Sequence[Acknowledged]:
        """leased -> sent, with the destination's receipts."""
        ...

    async def fail(
        self, lease: Lease, *, error: Mapping[str, Any], delay: float | None, permanent: bool = False
    ) -> Acknowledged:
        """leased -> delayed by `delay` seconds, or -> dead where `permanent` or when attempts are used up."""
        ...

    async def snooze(self, leases: Sequence[Lease], *, delay: float, reason: str) -> None:
        """leased -> ready or delayed without charging the attempt (lane paused, breaker open, shutdown)."""
        ...

    async def release_lane(self, lane: str, *, reason: str) -> int:
        """leased -> ready for everything that an earlier incarnation of the lane still holds, not charged; its late answers are
        stale. How many there were."""
        ...

    async def set_lane(self, lane: str, *, max_attempts: int) -> None:
        """Define or change a lane."""
        ...

    async def retry(self, delivery_ids: Sequence[int]) -> int:
        """dead -> ready with fresh attempts; the number that changed."""
        ...

    async def drop(self, delivery_ids: Sequence[int], *, reason: str) -> int:
        """dead -> dropped for good, on record; the number that changed."""
        ...

    async def view(self) -> QueueView:
        """Counters and marks, exact, without touching the disk."""
        ...

    async def flags(self) -> Mapping[str, Mapping[str, Any]]:
        """What was set by `set_flag`, each with `since`."""
        ...

    async def set_flag(self, name: str, value: Mapping[str, Any] | None) -> None:
        """Keep a small fact over restarts (`lane:NAME` is paused, by whom, why); None takes it back."""
        ...

    async def maintain(self) -> bool:
        """One small batch of retention, checkpointing and recycling; True: more is left to do."""
        ...
