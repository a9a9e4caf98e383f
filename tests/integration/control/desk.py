"""An agent's desk without the agent: a real store with files and deliveries in every state, real submission, and the API over it.

What is in memory in a real agent (lanes, folders, tasks) is written down here; everything on disk is real.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from dropmill.config.settings import FolderSettings, QueueSettings
from dropmill.control.agent_view import AgentFacts, Check, PluginView
from dropmill.control.errors import NotFound
from dropmill.delivery.status import LaneState, LaneStatus
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.errors import Problem
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.errors import UnknownFolder
from dropmill.intake.status import FolderState, FolderStatus, Sighting
from dropmill.intake.submit import Submission, Submitter
from dropmill.queue.reader import QueueReader
from dropmill.queue.records import FileIdentity, NewFile, NewReport
from dropmill.queue.sqlite import SqliteStore

CONFIG = """\
[agent]
state = "state"
[plugins]
enable = ["json", "directory", "reject"]
[queue]
max_items = {max_items}
[[folder]]
name = "inbox"
path = "inbox"
converters = ["json"]
destinations = ["reports"]
[[destination]]
name = "reports"
transport = "directory"
options = {{ path = "reports" }}
"""


def write_home(home: Path, *, max_items: int = 1000) -> Path:
    """A config and its folders; the config's path."""
    (home / "inbox").mkdir(parents=True, exist_ok=True)
    config = home / "dropmill.toml"
    config.write_text(CONFIG.format(max_items=max_items))
    return config


class Seed:
    """Puts files into a store by the transitions that an agent makes."""

    def __init__(self, store: SqliteStore, home: Path) -> None:
        self.store = store
        self.home = home
        self.ids = IdSource(SystemClock(), Random(7))

    async def claim(self, name: str, *, folder: str = "inbox", data: bytes = b"x") -> str:
        file_id = self.ids.new()
        row = NewFile(
            id=file_id,
            folder=folder,
            name=name,
            place=str(self.home / folder / ".dropmill" / "work" / file_id / name),
            origin=str(self.home / folder / name),
            identity=FileIdentity(len(data), 1, 1, 1, 1),
            sha256=hashlib.sha256(data).hexdigest(),
            tags={"line": "3"},
        )
        await self.store.add_files([row])
        await self.store.confirm_files([file_id])
        return file_id

    async def convert(self, name: str, *, lanes: Sequence[str] = ("reports",), **more: Any) -> str:
        file_id = await self.claim(name, **more)
        await self.store.start_conversions([file_id])
        body = json.dumps({"name": os.fsencode(name).hex()}).encode()
        report = NewReport(
            uid=f"uid-{file_id}",
            media_type="application/json",
            schema=None,
            fields={"serial": "S1", "yield": 0.5},
            body=body,
            size=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            lanes=lanes,
        )
        await self.store.publish(file_id, [report], converter="json 0.1.0", warnings=[{"code": "W", "message": "odd"}])
        return file_id

    async def fail(self, name: str, **more: Any) -> str:
        file_id = await self.claim(name, **more)
        await self.store.start_conversions([file_id])
        await self.store.fail_file(
            file_id, code="XML-NOT-WELL-FORMED", reason="not XML", error={"line": 3}, converter="json 0.1.0"
        )
        return file_id

    async def park(self, name: str, reason: str = "ambiguous", **more: Any) -> str:
        file_id = await self.claim(name, **more)
        await self.store.start_conversions([file_id])
        await self.store.park_file(file_id, reason=reason, error={"candidates": ["a", "b"]})
        return file_id

    async def deliver(self, lane: str, outcome: str) -> int:
        (lease,) = (await self.store.claim(lane, 1)).leases
        if outcome == "sent":
            await self.store.acknowledge([lease], [{"ref": "/there"}])
        elif outcome == "dead":
            await self.store.fail(lease, error={"code": "HTTP-400", "reason": "no"}, delay=None, permanent=True)
        else:
            await self.store.fail(lease, error={"code": "HTTP-503", "reason": "later"}, delay=3600.0)
        return lease.id


class Desk:
    """`AgentView` over a real store."""

    def __init__(self, home: Path, *, max_items: int = 1000) -> None:
        self.home = home
        self.config = write_home(home, max_items=max_items)
        self.state = home / "state"
        self.clock = SystemClock()
        self.store = SqliteStore(
            self.state,
            QueueSettings(max_items=max_items),
            clock=self.clock,
            failpoints=Failpoints(),
            instance="desk",
        )
        self.reader = QueueReader(self.state)
        self.folder = FolderSettings(
            name="inbox",
            path=home / "inbox",
            converters=(),
            destinations=("reports",),
            done=home / "inbox" / "done",
            failed=home / "inbox" / "failed",
        )
        self.submitter = Submitter(
            self.state,
            self.store,
            clock=self.clock,
            ids=IdSource(self.clock, Random(1)),
            failpoints=Failpoints(),
            gate=self,
        )
        self.intake_reason = ""
        self.children: list[dict[str, Any]] = []
        self.stop_progress: dict[str, Any] | None = None
        self.supervised = {"state": "running", "reason": "", "since": "2026-11-24T13:00:00.000Z"}
        self.done: list[tuple[str, ...]] = []
        self.ready = True
        self.hang: asyncio.Event | None = None
        self.seed = Seed(self.store, home)

    async def open(self) -> None:
        await self.store.open()
        for lane in ("reports", "backup"):
            await self.store.set_lane(lane, max_attempts=5)

    @property
    def intake_open(self) -> bool:
        return not self.intake_reason

    def facts(self) -> AgentFacts:
        return AgentFacts(
            name="dropmill",
            instance="desk",
            pid=os.getpid(),
            version="0.1.0",
            config=self.config,
            started_at=1_795_525_200.0,
            problems=(Problem(code="DM-P012", what="a plugin is in quarantine", where="csv", todo="look at it"),),
        )

    def supervision(self) -> Mapping[str, Any]:
        return {**self.supervised, "children": self.children, "stop": self.stop_progress, "conditions": {}}

    def folders(self) -> Sequence[FolderStatus]:
        return [
            FolderStatus(
                name="inbox",
                path=self.home / "inbox",
                state=FolderState.DEGRADED,
                reason="polling",
                since=1_795_525_200.0,
                watching="polling",
                waiting=2,
                reasons={"still being written": 2},
                holding="",
                claimed=7,
                last_scan=1_795_525_201.0,
                problem=Problem(code="DM-I008", what="no watches left"),
                stuck=(Problem(code="DM-I010", what="kept changing", where="slow.xml"),),
            )
        ]

    def lanes(self) -> Sequence[LaneStatus]:
        return [
            LaneStatus(
                name="reports",
                transport="directory",
                state=LaneState.WAITING,
                reason="no route to host",
                since=1_795_525_200.0,
                in_flight=1,
                oldest_send=None,
                leased=2,
                next_probe=1_795_525_230.0,
                failures=3,
                last_receipt={"key": "a.1", "at": 1.0},
                last_error=None,
                last_probe=None,
                trouble="",
                counts={"sent": 4},
            )
        ]

    def plugins(self) -> Sequence[PluginView]:
        return [
            PluginView(
                name="csv",
                distribution="dropmill",
                version="0.1.0",
                state="quarantined",
                problems=(Problem(code="DM-P012", what="it raised"),),
                converters=("csv",),
            )
        ]

    def settings_shown(self) -> Mapping[str, Any]:
        from dropmill.config import effective_settings, read
        from dropmill.plugins import load

        return effective_settings(read(self.config, load))

    async def checks(self) -> Sequence[Check]:
        if self.hang is not None:
            await self.hang.wait()
        return [
            Check(name="store", ok=self.ready, detail="" if self.ready else "the disk is full"),
            Check(name="disk", ok=True),
        ]

    async def submit(self, paths: Sequence[Path], folder: str | None) -> Sequence[Submission]:
        if folder not in (None, "inbox"):
            raise UnknownFolder(folder, ["inbox"])
        return await self.submitter.submit(paths, self.folder)

    async def explain(self, path: Path) -> Sequence[Sighting]:
        if path.parent != self.home / "inbox":
            return []
        if not path.exists():
            return [Sighting(folder="inbox", state="missing", reason="there is no such file")]
        if path.suffix == ".tmp":
            return [Sighting(folder="inbox", state="excluded", reason="it matches *.tmp")]
        return [Sighting(folder="inbox", state="waiting", reason="it is still being written", details={"size": 3})]

    async def pause(self, kind: str, name: str) -> None:
        self._known(name)
        self.done.append(("pause", kind, name))

    async def resume(self, kind: str, name: str) -> None:
        self._known(name)
        self.done.append(("resume", kind, name))

    async def rescan(self, folder: str | None) -> None:
        self.done.append(("rescan", folder or "*"))

    def stop(self) -> None:
        self.done.append(("stop",))

    def _known(self, name: str) -> None:
        if name not in ("inbox", "reports", "csv", "lane reports"):
            raise NotFound(f"there is no {name!r}", todo="see `dropmill status`")
