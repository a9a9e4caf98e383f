"""A store against a model of it that fits on two pages: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from dropmill.api import Evict
from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import ManualClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.errors import NotHeld, QueueFull, TooLarge
from dropmill.queue.records import FileIdentity, Lease, NewFile, NewReport
from dropmill.queue.sqlite import SqliteStore

T = TypeVar("T")

LANES = ("a", "b")
MAX_ITEMS = 12
MAX_BYTES = 100_000
MAX_ATTEMPTS = 3
PENDING = ("ready", "leased", "delayed")


@dataclass
class Delivery:
    order: int
    key: str
    lane: str
    size: int
    file: str | None
    state: str = "ready"
    fence: int = 0
    attempts: int = 0
    due: float = 0.0


@dataclass
class File:
    id: str
    state: str = "claimed"
    laid: str | None = None
    dropped: int = 0
    deliveries: list[Delivery] = field(default_factory=list)

    def wanted(self) -> str | None:
        """Where it is to go, if anywhere."""
        if self.state == "failed":
            return "failed" if self.laid is None else None
        states = [delivery.state for delivery in self.deliveries]
        if self.state not in ("converted", "finished") or any(state in PENDING for state in states):
            return None
        outcome = "failed" if "dead" in states or self.dropped else "done"
        return outcome if outcome != self.laid else None


class StoreMachine(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
        self.clock = ManualClock()
        self.count = 0
        self.deliveries: list[Delivery] = []
        self.files: dict[str, File] = {}
        self.payloads: dict[str, bytes] = {}
        self.store = self.opened()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 30))

    def opened(self) -> SqliteStore:
        store = SqliteStore(
            self.place / "state",
            QueueSettings(max_items=MAX_ITEMS, max_bytes=MAX_BYTES, low_water=0.75),
            clock=self.clock,
            failpoints=Failpoints(),
            instance="model",
            free_disk=lambda _: 1 << 40,
        )
        self.run(store.open())
        for lane in LANES:
            self.run(store.set_lane(lane, max_attempts=MAX_ATTEMPTS))
        return store

    def teardown(self) -> None:
        self.run(self.store.close(clean=True))
        self.loop.close()
        shutil.rmtree(self.place)

    # --- helpers ---------------------------------------------------------------------------------------------------------

    def number(self) -> int:
        self.count += 1
        return self.count

    def pending(self) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.state in PENDING]

    def of(self, lease: Lease) -> Delivery:
        return next(one for one in self.deliveries if one.key == lease.key and one.lane == lease.lane)

    def reports(self, sizes: list[int], lanes: list[str]) -> list[NewReport]:
        made = []
        for size in sizes:
            uid = f"r{self.number()}"
            body = hashlib.sha256(uid.encode()).digest() * (size // 32 + 1)
            body = body[:size]
            self.payloads[f"{uid}.1"] = body
            made.append(
                NewReport(
                    uid=uid,
                    media_type="application/octet-stream",
                    schema=None,
                    fields={},
                    body=body,
                    size=size,
                    sha256=hashlib.sha256(body).hexdigest(),
                    lanes=lanes,
                )
            )
        return made

    def room(self, reports: list[NewReport], evict: Evict | None) -> str:
        """What the store must say: `ok`, `full` or `large`; evicts in the model where that helps."""
        items = sum(len(report.lanes) for report in reports)
        size = sum(len(report.lanes) * report.size for report in reports)
        if items == 0:
            return "ok"
        if items > MAX_ITEMS or size > MAX_BYTES:
            return "large"
        held = self.pending()
        if len(held) + items <= MAX_ITEMS and sum(one.size for one in held) + size <= MAX_BYTES:
            return "ok"
        if evict is None:
            return "full"
        victims: list[Delivery] = []
        for one in sorted((one for one in held if one.state != "leased"), key=lambda one: one.order):
            if len(victims) >= evict.items and sum(victim.size for victim in victims) >= evict.bytes:
                break
            victims.append(one)
        left = [one for one in held if one not in victims]
        if len(left) + items > MAX_ITEMS or sum(one.size for one in left) + size > MAX_BYTES:
            return "full"
        for victim in victims:
            victim.state = "dead"
        return "ok"

    def queued(self, reports: list[NewReport], file: File | None) -> None:
        for report in reports:
            for lane in report.lanes:
                one = Delivery(self.number(), f"{report.uid}.1", lane, report.size, file.id if file else None)
                self.deliveries.append(one)
                if file is not None:
                    file.deliveries.append(one)

    def same(self, expected: str, call: Coroutine[Any, Any, T]) -> T | None:
        try:
            result = self.run(call)
        except QueueFull:
            assert expected == "full"
        except TooLarge:
            assert expected == "large"
        else:
            assert expected == "ok"
            return result
        return None

    # --- rules -----------------------------------------------------------------------------------------------------------

    sizes = st.lists(st.sampled_from([0, 10, 5_000, 17_000, 40_000]), min_size=1, max_size=4)
    lanes = st.lists(st.sampled_from(LANES), min_size=1, max_size=2, unique=True)
    evictions = st.none() | st.builds(Evict, st.integers(1, 4), st.sampled_from([0, 20_000]))

    @rule(sizes=sizes, lanes=lanes, evict=evictions)
    def offer(self, sizes: list[int], lanes: list[str], evict: Evict | None) -> None:
        reports = self.reports(sizes, lanes)
        expected = self.room(reports, evict)
        if self.same(expected, self.store.offer(reports, evict=evict)) is not None:
            self.queued(reports, None)
            assert self.run(self.store.offer(reports)) == ["known"] * len(reports)

    @rule()
    def claim_file(self) -> None:
        number = self.number()
        file = File(f"file{number:06d}")
        self.files[file.id] = file
        new = NewFile(
            id=file.id,
            folder=f"folder{number % 2}",
            name=file.id,
            place=f"/work/{file.id}",
            origin=f"/in/{file.id}",
            identity=FileIdentity(1, 2, 3, 4, 5),
            sha256=hashlib.sha256(file.id.encode()).hexdigest(),
        )
        self.run(self.store.add_files([new]))
        self.run(self.store.confirm_files([file.id]))

    def in_state(self, *states: str) -> list[File]:
        return [file for file in self.files.values() if file.state in states]

    @precondition(lambda self: self.in_state("claimed"))
    @rule(data=st.data())
    def convert(self, data: Any) -> None:
        file = data.draw(st.sampled_from(self.in_state("claimed")), label="file")
        self.run(self.store.start_conversions([file.id]))
        file.state = "converting"

    @precondition(lambda self: self.in_state("converting"))
    @rule(data=st.data(), sizes=sizes | st.just([]), lanes=lanes, evict=evictions)
    def publish(self, data: Any, sizes: list[int], lanes: list[str], evict: Evict | None) -> None:
        file = data.draw(st.sampled_from(self.in_state("converting")), label="file")
        reports = self.reports(sizes, lanes)
        expected = self.room(reports, evict)
        published = self.same(expected, self.store.publish(file.id, reports, converter="c 1", evict=evict))
        if published is not None:
            self.queued(reports, file)
            file.state = "converted"
            assert published.deliveries == len(reports) * len(lanes)

    @precondition(lambda self: self.in_state("converting"))
    @rule(data=st.data())
    def fail_file(self, data: Any) -> None:
        file = data.draw(st.sampled_from(self.in_state("converting")), label="file")
        self.run(self.store.fail_file(file.id, code="X", reason="x", error={}, converter=None))
        file.state, file.laid = "failed", None

    @precondition(lambda self: self.in_state("converting", "failed"))
    @rule(data=st.data())
    def release_file(self, data: Any) -> None:
        file = data.draw(st.sampled_from(self.in_state("converting", "failed")), label="file")
        self.run(self.store.release_files([file.id], reason="again"))
        file.state = "claimed"

    @rule()
    def dispose(self) -> None:
        found = self.run(self.store.next_disposals(1000))
        expected = {file.id: file.wanted() for file in self.files.values() if file.wanted() is not None}
        assert {one.file.id: one.outcome for one in found} == expected
        if found:
            places = {one.file.id: f"/{one.outcome}/{one.file.id}" for one in found}
            self.run(self.store.plan_disposals(places))
            self.run(self.store.finish_disposals(places))
        for one in found:
            file = self.files[one.file.id]
            file.laid = one.outcome
            file.state = "failed" if file.state == "failed" else "finished"

    @rule(target=leases, lane=st.sampled_from(LANES), limit=st.integers(1, 4), ordered=st.booleans())
    def claim(self, lane: str, limit: int, ordered: bool) -> Any:
        now = self.clock.time()
        mine = sorted((one for one in self.pending() if one.lane == lane), key=lambda one: one.order)
        for one in mine:
            if one.state == "delayed" and one.due <= now:
                one.state = "ready"
        before = min((one.order for one in mine if one.state != "ready"), default=1 << 60) if ordered else 1 << 60
        expected = [one for one in mine if one.state == "ready" and one.order < before][:limit]
        claimed = self.run(self.store.claim(lane, limit, ordered=ordered))
        assert [lease.key for lease in claimed.leases] == [one.key for one in expected]
        due = min((one.due for one in mine if one.state == "delayed"), default=None)
        assert claimed.next_at is None or claimed.next_at > now
        assert due is None or (claimed.next_at is not None and claimed.next_at <= due)
        for one, lease in zip(expected, claimed.leases, strict=True):
            one.state, one.fence, one.attempts = "leased", one.fence + 1, one.attempts + 1
            assert (lease.fence, lease.attempt) == (one.fence, one.attempts)
            assert lease.body == self.payloads[lease.key]
        return multiple(*claimed.leases)

    def held(self, lease: Lease) -> Delivery | None:
        one = self.of(lease)
        return one if one.state == "leased" and one.fence == lease.fence else None

    @rule(lease=leases)
    def acknowledge(self, lease: Lease) -> None:
        one = self.held(lease)
        (answer,) = self.run(self.store.acknowledge([lease], [{"ref": "x"}]))
        assert answer.counted == (one is not None)
        if one is not None:
            one.state = "sent"

    @rule(lease=leases, delay=st.sampled_from([None, 0.0, 5.0, 60.0]), permanent=st.booleans())
    def fail(self, lease: Lease, delay: float | None, permanent: bool) -> None:
        one = self.held(lease)
        answer = self.run(self.store.fail(lease, error={"code": "E"}, delay=delay, permanent=permanent))
        assert answer.counted == (one is not None)
        if one is None:
            return
        if permanent or one.attempts >= MAX_ATTEMPTS:
            one.state = "dead"
        else:
            self.aside(one, delay or 0.0)

    def aside(self, one: Delivery, delay: float) -> None:
        one.state = "delayed" if delay else "ready"
        one.due = self.clock.time() + delay

    @rule(lease=leases, delay=st.sampled_from([0.0, 7.0]))
    def snooze(self, lease: Lease, delay: float) -> None:
        one = self.held(lease)
        self.run(self.store.snooze([lease], delay=delay, reason="x"))
        if one is not None:
            one.attempts -= 1
            self.aside(one, delay)

    def letting_go(self, lane: str | None = None) -> None:
        for one in self.pending():
            if one.state == "leased" and lane in (None, one.lane):
                one.state, one.attempts = "ready", one.attempts - 1

    @rule(lane=st.sampled_from(LANES))
    def release_lane(self, lane: str) -> None:
        count = sum(one.lane == lane and one.state == "leased" for one in self.deliveries)
        assert self.run(self.store.release_lane(lane, reason="restarted")) == count
        self.letting_go(lane)

    @rule(lease=leases)
    def retry(self, lease: Lease) -> None:
        one = self.of(lease)
        held = self.pending()
        fits = len(held) < MAX_ITEMS and sum(other.size for other in held) + one.size <= MAX_BYTES
        changed = self.run(self.store.retry([lease.id]))
        assert changed == (one.state == "dead" and fits)
        if changed:
            one.state, one.attempts = "ready", 0

    @rule(lease=leases)
    def drop(self, lease: Lease) -> None:
        one = self.of(lease)
        changed = self.run(self.store.drop([lease.id], reason="not needed"))
        assert changed == (one.state == "dead")
        if changed:
            one.state = "dropped"
            if one.file is not None:
                self.files[one.file].dropped += 1

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def step_clock(self, seconds: float) -> None:
        self.clock.step(seconds)
        for one in self.pending():
            if one.state == "delayed":
                one.due += seconds
        self.run(self.store.view())

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        self.run(self.store.close(clean=clean))
        self.letting_go()
        for file in self.in_state("converting"):
            file.state = "claimed"
        self.store = self.opened()

    @rule()
    def maintain(self) -> None:
        self.run(self.store.maintain())

    # --- invariants ------------------------------------------------------------------------------------------------------

    @invariant()
    def counts_agree(self) -> None:
        gauges = self.store.gauges
        held = self.pending()
        assert gauges.items == len(held) <= MAX_ITEMS
        assert gauges.bytes == sum(one.size for one in held) <= MAX_BYTES
        assert gauges.leased == sum(one.state == "leased" for one in held)
        assert gauges.dead == sum(one.state == "dead" for one in self.deliveries)
        assert gauges.claimed == len(self.in_state("claimed"))
        assert gauges.converting == len(self.in_state("converting"))

    @precondition(lambda self: self.in_state("converted", "finished", "failed"))
    @rule(data=st.data())
    def nobody_publishes_what_he_does_not_hold(self, data: Any) -> None:
        file = data.draw(st.sampled_from(self.in_state("converted", "finished", "failed")), label="file")
        try:
            self.run(self.store.publish(file.id, [], converter="c"))
        except NotHeld:
            pass
        else:
            raise AssertionError(f"{file.id} was published from {file.state}")


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=int(os.environ.get("DROPMILL_MODEL_EXAMPLES", "15")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
