"""Lanes for tests: a real queue, a lane on it, a transport that does as it is told, and ways to wait for what should happen."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from dropmill.api import AgentEvent, Delivered, Outcome, Outgoing, Transport, TransportCaps, TransportSpec
from dropmill.config.settings import DestinationSettings, QueueSettings
from dropmill.delivery.lane import Lane
from dropmill.foundation.clock import Clock, SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.queries import DeliveryQuery
from dropmill.queue.reader import QueueReader
from dropmill.queue.records import NewReport
from dropmill.queue.sqlite import SqliteStore
from dropmill_plugins.transports.http import SPEC
from dropmill_plugins.transports.http.transport import HttpTransport

Step = Callable[[Sequence[Outgoing]], Any]


class Heart:
    """A supervisor's heart, without a supervisor."""

    def __init__(self) -> None:
        self.beats = 0
        self._quiesce = asyncio.Event()

    def beat(self) -> None:
        self.beats += 1

    @property
    def quiescing(self) -> bool:
        return self._quiesce.is_set()

    async def wait_quiesce(self) -> None:
        await self._quiesce.wait()

    def stop(self) -> None:
        self._quiesce.set()


class Item:
    """A report to send, without a queue."""

    attempt = 1

    def __init__(
        self, key: str, body: bytes = b"{}", *, media_type: str = "application/json", piece: int = 65_536, **fields: Any
    ) -> None:
        self.key = key
        self.report_id = key.partition(".")[0]
        self.media_type = media_type
        self.size = len(body)
        self.sha256 = hashlib.sha256(body).hexdigest()
        self.fields = fields
        self._body = body
        self._piece = piece

    async def read(self) -> bytes:
        return self._body

    async def chunks(self, size: int = 262_144) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), self._piece):
            yield self._body[start : start + self._piece]


class ScriptedTransport:
    """Takes the next step of its script for every `send`, then delivers. A step is an outcome for all, an exception, a list of
    outcomes, or a function of the batch (awaited where it answers an awaitable)."""

    def __init__(self, *script: Any) -> None:
        self.script: deque[Any] = deque(script)
        self.probes: deque[Any] = deque()
        self.opens: deque[Any] = deque()
        self.batches: list[list[tuple[str, int]]] = []
        """Key and attempt of each item, for each send."""
        self.calls: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.changed = asyncio.Event()

    @property
    def keys(self) -> list[str]:
        return [key for batch in self.batches for key, _ in batch]

    @property
    def attempts(self) -> Counter[str]:
        """How often each key was sent."""
        return Counter(self.keys)

    async def open(self, context: Any) -> None:
        self.calls["open"] += 1
        await _take(self.opens, None)

    async def probe(self) -> None:
        self.calls["probe"] += 1
        self.changed.set()
        await _take(self.probes, None)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        self.batches.append([(item.key, item.attempt) for item in batch])
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.changed.set()
        try:
            answer = await _take(self.script, batch)
        finally:
            self.in_flight -= 1
        if answer is None:
            answer = Delivered()
        return answer if isinstance(answer, list) or not isinstance(answer, Outcome) else [answer] * len(batch)

    async def close(self) -> None:
        self.calls["close"] += 1


async def _take(script: deque[Any], batch: Any) -> Any:
    step = script.popleft() if script else None
    if callable(step) and not isinstance(step, type):
        step = step(batch) if batch is not None else step()
    if isinstance(step, Awaitable):
        step = await step
    if isinstance(step, BaseException):
        raise step
    return step


def report(number: int, lanes: Sequence[str] = ("d",), *, body: bytes | None = None, **fields: Any) -> NewReport:
    body = body if body is not None else json.dumps({"number": number}).encode()
    return NewReport(
        uid=f"r{number:05d}",
        media_type="application/json",
        schema=None,
        fields={"serial": f"S{number}", **fields},
        body=body,
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        lanes=lanes,
    )


class Site:
    """A queue in a folder, with lanes."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self.home = home
        self.clock = clock
        self.store = self._make()
        self.reader = QueueReader(home / "state", clock=clock)
        self.events: list[AgentEvent] = []
        self._heard = asyncio.Event()

    def _make(self) -> SqliteStore:
        return SqliteStore(
            self.home / "state", QueueSettings(), clock=self.clock, failpoints=Failpoints(), instance="test"
        )

    async def reopen(self, *, clean: bool = True) -> None:
        await self.store.close(clean=clean)
        self.store = self._make()
        await self.store.open()

    async def offer(self, *numbers: int, lanes: Sequence[str] = ("d",), body: bytes | None = None) -> None:
        reports = [report(number, lanes, body=body) for number in numbers]
        for start in range(0, len(reports), 256):
            await self.store.offer(reports[start : start + 256])

    def on_event(self, event: AgentEvent) -> None:
        self.events.append(event)
        self._heard.set()

    async def until(self, condition: Callable[[], bool], what: str = "", timeout: float = 20) -> None:
        """Until the condition holds, looked at whenever a lane tells of something."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            told = [(event.name, event.subject, dict(event.data)) for event in self.events[-20:]]
            raise AssertionError(f"waited {timeout} s for {what or condition}; {self.deliveries()}; {told}") from None

    def names(self, name: str) -> list[str]:
        """The subjects of the events of this name, in order."""
        return [event.subject for event in self.events if event.name == name]

    def states(self, lane: str = "d") -> list[str]:
        """The states that a lane went through."""
        return [event.data["to"] for event in self.events if event.name == "lane.state" and event.subject == lane]

    def deliveries(self, lane: str = "d") -> dict[str, tuple[str, int]]:
        """State and charged attempts of each delivery, by report."""
        return {row["reportId"]: (row["state"], row["attempts"]) for row in self.rows(lane)}

    def rows(self, lane: str = "d") -> list[dict[str, Any]]:
        """Its deliveries, oldest first, as people see them."""
        found: list[dict[str, Any]] = []
        after = None
        while True:
            page = self.reader.deliveries(DeliveryQuery(lane=[lane]), after=after, limit=1000)
            found += page["items"]
            after = page["next"]
            if after is None:
                return found[::-1]

    def due_in(self, lane: str = "d") -> float:
        """Seconds until its one delayed delivery is due."""
        (row,) = self.rows(lane)
        assert row["state"] == "delayed"
        return datetime.fromisoformat(row["nextAt"]).timestamp() - self.clock.time()

    def answers(self, uid: str, lane: str = "d") -> list[tuple[str, Mapping[str, Any]]]:
        """The history of a delivery: how each attempt ended, and the answer."""
        (number,) = [row["id"] for row in self.rows(lane) if row["reportId"] == uid]
        delivery = self.reader.delivery(number)
        assert delivery is not None
        return [(attempt["outcome"], attempt["answer"]) for attempt in delivery["history"]]

    def told(self, subject: str, name: str) -> list[Mapping[str, Any]]:
        """The data of the events that the queue keeps about a subject."""
        events = self.reader.events(limit=10_000)
        return [event["data"] for event in events if (event["subject"], event["name"]) == (subject, name)]

    def lane(
        self,
        transport: Transport,
        *,
        name: str = "d",
        caps: TransportCaps | None = None,
        spec: TransportSpec | None = None,
        seed: int = 1,
        secrets: Sequence[str] = (),
        threshold: int = 5,
        paused: str = "",
        **settings: Any,
    ) -> Lane:
        spec = spec or TransportSpec("scripted", "", caps or TransportCaps())
        quick = {"backoff": 0.02, "backoff_cap": 0.1, "probe_every": 0.1, "timeout": 20.0}
        destination = DestinationSettings(name=name, transport=spec.id, options={}, **{**quick, **settings})
        return Lane(
            destination,
            transport,
            spec,
            self.store,
            clock=self.clock,
            random=Random(seed),
            base=str(self.home),
            secrets=secrets,
            threshold=threshold,
            paused=paused,
            on_event=self.on_event,
        )

    @asynccontextmanager
    async def running(self, *lanes: Lane) -> AsyncIterator[list[Heart]]:
        """The lanes at work; they are stopped at the end as the supervisor does, and must have ended well."""
        hearts = [Heart() for _ in lanes]
        tasks = [asyncio.create_task(lane.run(heart)) for lane, heart in zip(lanes, hearts, strict=True)]
        try:
            yield hearts
        finally:
            for heart in hearts:
                heart.stop()
            async with asyncio.timeout(20):
                await asyncio.gather(*tasks)


@asynccontextmanager
async def site(home: Path, clock: Clock | None = None) -> AsyncIterator[Site]:
    """An open queue; afterwards no lease may be left behind."""
    made = Site(home, clock or SystemClock())
    await made.store.open()
    try:
        yield made
        assert made.store.gauges.leased == 0, made.rows()
    finally:
        made.reader.close()
        await made.store.close(clean=True)


def http_lane(
    queue: Site, url: str, *, options: dict[str, Any] | None = None, name: str = "d", **settings: Any
) -> Lane:
    """A lane that PUTs to a server."""
    transport = HttpTransport(
        {"url": url + "/{key}", "method": "PUT", "read_timeout": 10.0, "connect_timeout": 10.0, **(options or {})}
    )
    return queue.lane(transport, spec=SPEC, name=name, **settings)
