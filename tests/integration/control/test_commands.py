"""The commands against a running agent's API and against the store alone: same shapes, right exit codes, right streams."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dropmill.cli.root import execute
from dropmill.control.assembly import control_server
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.lock import FileLock
from integration.control.desk import Desk, write_home

from .conftest import Beats

T = TypeVar("T")


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        return json.loads(self.err)

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


class Screen(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Command:
    def __init__(self, config: Path) -> None:
        self.config = config

    def shown(self, *arguments: str, code: int | None = 0) -> str:
        """What a person sees on a terminal."""
        return self(*arguments, code=code, stream=Screen).out

    def __call__(
        self, *arguments: str, code: int | None = 0, stream: type[io.TextIOWrapper] = io.TextIOWrapper
    ) -> Ended:
        streams = [stream(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            ended = execute([*arguments, "--config", str(self.config)])
        out, err = (stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in streams)
        assert code is None or ended == code, (ended, out, err)
        return Ended(ended, out, err)

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        return self(*arguments, "--json", code=code).json


class Background:
    """A desk and its API on a loop in a thread of its own, so that commands run as they do: synchronously, on the main thread."""

    def __init__(self, home: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.desk = self.call(self._start(home))

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _start(self, home: Path) -> Desk:
        desk = Desk(home)
        await desk.open()
        server = control_server(desk, desk.state / "agent.sock", version="0.1.0", clock=desk.clock)
        self.heart = Beats()
        self.task = asyncio.ensure_future(server.run(self.heart))
        await server.listening()
        return desk

    async def _stop(self) -> None:
        self.heart.finish()
        await self.task
        self.desk.reader.close()
        await self.desk.store.close(clean=True)

    def stop(self) -> None:
        if self._thread.is_alive():
            self.call(self._stop())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)
            self.loop.close()


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Background]:
    running = Background(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def seeded(background: Background) -> dict[str, Any]:
    """A few files; the ids by name."""
    seed = background.desk.seed

    async def fill() -> dict[str, Any]:
        ids: dict[str, Any] = {
            "good": await seed.convert("good.json", lanes=["reports", "backup"], data=b"1"),
            "sent": await seed.deliver("reports", "sent"),
            "dead": await seed.deliver("backup", "dead"),
            "bad": await seed.fail("bad.json", data=b"2"),
            "parked": await seed.park("which.json", data=b"3"),
        }
        return ids

    return background.call(fill())


@pytest.fixture(params=["agent", "store"])
def command(request: pytest.FixtureRequest, background: Background, seeded: dict[str, Any]) -> Command:
    """A command with the agent running, and the same with the store alone."""
    if request.param == "store":
        background.stop()
    return Command(background.desk.config)


@pytest.fixture
def empty(tmp_path: Path) -> Command:
    """A config, and no store yet."""
    return Command(write_home(tmp_path))


@pytest.fixture
def live(background: Background, seeded: dict[str, Any]) -> Command:
    return Command(background.desk.config)


# --- reading ---------------------------------------------------------------------------------------------------------------


def test_status(command: Command, request: pytest.FixtureRequest) -> None:
    offline = "store" in request.node.name
    shape = command.json("status")
    assert shape["state"] == ("offline" if offline else "running")
    assert (shape["agent"] is None) == offline
    assert shape["files"]["failed"] == shape["files"]["parked"] == shape["files"]["converted"] == 1
    assert shape["deliveries"]["backup"]["dead"] == 1
    lines = dict(command("status").rows)
    assert lines["state"] == shape["state"]
    assert lines["deliveries.backup.dead"] == "1"


def test_status_tells_of_a_stop(live: Command, background: Background) -> None:
    background.desk.supervised["state"] = "stopping"
    background.desk.stop_progress = {"phase": "force", "left": 3.0, "waiting_for": ["x"], "in_flight": {}}
    assert dict(live("status").rows)["stopping.phase"] == "force"


def test_files(command: Command, seeded: dict[str, Any]) -> None:
    rows = command("files").rows
    assert [row[3] for row in rows] == ["which.json", "bad.json", "good.json"]
    assert rows[1][:3] == [seeded["bad"], "failed", "inbox"]
    assert {len(row) for row in rows} == {10}
    assert [one["id"] for one in command.json("files", "--state", "failed")["items"]] == [seeded["bad"]]
    assert command("files", "--state", "finished").out == ""
    assert command.json("files", "--since", "1h", "--name", "*.json")["next"] is None
    assert command.json("files", "--until", "1h")["items"] == []
    assert command("files", "--state", "done", code=2).out == ""


def test_lists_go_on(command: Command) -> None:
    first = command("files", "--limit", "2")
    assert len(first.rows) == 2
    cursor = first.err.partition("--after ")[2].partition(",")[0]
    rest = command("files", "--after", cursor)
    assert [row[3] for row in rest.rows] == ["good.json"]
    assert rest.err == ""
    shape = command.json("files", "--limit", "1")
    assert command.json("files", "--limit", "0", "--after", shape["next"])["items"][0]["name"] == "bad.json"
    assert command("files", "--after", "nonsense", code=1).err.startswith("DM-H002")


def test_deliveries(command: Command, seeded: dict[str, Any]) -> None:
    rows = command("deliveries").rows
    assert {(row[0], row[1], row[2]) for row in rows} == {
        (str(seeded["sent"]), "sent", "reports"),
        (str(seeded["dead"]), "dead", "backup"),
    }
    assert {len(row) for row in rows} == {11}
    assert [one["id"] for one in command.json("deliveries", "--state", "failed")["items"]] == [seeded["dead"]]
    assert (
        command.json("deliveries", "--destination", "reports", "--file", seeded["good"])["items"][0]["state"] == "sent"
    )


def test_explain(command: Command, seeded: dict[str, Any], tmp_path: Path) -> None:
    for argument in (seeded["bad"], str(tmp_path / "inbox" / "bad.json")):
        shape = command.json("explain", argument)
        assert (shape["state"], shape["files"][0]["id"]) == ("failed", seeded["bad"])
    text = command("explain", seeded["good"]).out
    assert "converted" in text
    assert "to reports: sent" in text
    assert "/there" in text
    assert "HTTP-400" in text
    unknown = command("explain", "/no/such/file", code=1)
    assert "unknown" in unknown.out


def test_explain_takes_a_relative_path(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "inbox")
    assert command.json("explain", "bad.json")["state"] == "failed"


def test_explain_takes_a_name_where_the_path_is_unknown(
    command: Command, seeded: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was submitted from here lies here still, and is known by its name alone."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "bad.json").write_text("")
    (elsewhere / "other.json").write_text("")
    monkeypatch.chdir(elsewhere)
    assert [file["id"] for file in command.json("explain", "bad.json")["files"]] == [seeded["bad"]]
    assert command("explain", "./bad.json", code=1).out.startswith(str(elsewhere))
    assert command("explain", "other.json", code=1).out.startswith(str(elsewhere))


def test_explain_of_what_was_not_taken(live: Command, tmp_path: Path) -> None:
    (tmp_path / "inbox" / "x.tmp").write_text("")
    shape = live.json("explain", str(tmp_path / "inbox" / "x.tmp"))
    assert (shape["state"], shape["reason"]) == ("excluded", "it matches *.tmp")
    (tmp_path / "inbox" / "y.json").write_text("")
    assert "size: 3" in live("explain", str(tmp_path / "inbox" / "y.json")).out


def test_without_a_store_there_is_nothing_to_read(empty: Command) -> None:
    ended = empty("files", "--json", code=1)
    assert ended.problem["code"] == "DM-Q003"
    assert ended.out == "", "half a document"
    shape = empty.json("status")
    assert (shape["state"], shape["files"], shape["queue"]["items"]) == ("offline", {}, 0)
    assert "no queue yet" in shape["reason"]


# --- on a terminal ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("wide")
def test_status_for_people(live: Command, background: Background) -> None:
    text = live.shown("status")
    assert text.startswith("running since ")
    assert "1 converted, 1 parked, 1 failed" in text
    assert "queue: 0 of 1000 items" in text
    assert "DM-P012: a plugin is in quarantine - look at it" in text
    assert [line.split() for line in text.splitlines() if "reports" in line] == [["reports", "0", "0", "0", "1", "0"]]
    background.desk.supervised.update(state="stopping", reason="SIGTERM")
    background.desk.stop_progress = {"phase": "force", "left": 3.0, "waiting_for": ["lane x"], "in_flight": {}}
    text = live.shown("status")
    assert "SIGTERM" in text.splitlines()[0]
    assert "stopping, phase force: waiting for lane x; 3 s at most" in text


@pytest.mark.usefixtures("wide")
def test_status_for_people_without_an_agent(background: Background, seeded: dict[str, Any], empty: Command) -> None:
    background.stop()
    assert empty.shown("status").startswith("offline: no agent runs\n")


@pytest.mark.usefixtures("wide")
def test_status_for_people_before_anything_was_queued(empty: Command) -> None:
    text = empty.shown("status")
    assert text.startswith("offline: no agent runs, and there is no queue yet\n")
    assert "files: none" in text


@pytest.mark.usefixtures("wide")
def test_lists_for_people(live: Command) -> None:
    files = live.shown("files")
    assert "1 B" in files
    assert "which.json" in files
    assert "T" not in files.split("which.json")[1].splitlines()[0].split("2026")[0]
    assert "HTTP" not in live.shown("deliveries", "--state", "sent")


@pytest.mark.usefixtures("wide")
def test_explain_for_people(live: Command, seeded: dict[str, Any]) -> None:
    assert "file.failed" in live.shown("explain", seeded["bad"])


@pytest.mark.usefixtures("wide")
def test_waiting_shows_that_it_waits(live: Command, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("a")
    assert "1 of 1 files under way" in live.shown(
        "submit", "--wait", "--timeout", "0.3", str(tmp_path / "a.json"), code=1
    )


# --- changing --------------------------------------------------------------------------------------------------------------


def test_retry_by_id(command: Command, seeded: dict[str, Any]) -> None:
    done = command.json("retry", seeded["bad"], str(seeded["dead"]))
    assert done["files"]["changed"] == done["deliveries"]["changed"] == 1
    assert command.json("files", "--state", "claimed")["items"][0]["id"] == seeded["bad"]
    assert command.json("deliveries", "--state", "pending")["items"][0]["id"] == seeded["dead"]
    again = command("retry", seeded["bad"], "--json", code=1)
    assert again.problem["code"] == "DM-H007"
    assert command("retry", "0" * 16, "--json", code=1).problem["code"] == "DM-H003"


def test_retry_by_filter(command: Command, seeded: dict[str, Any]) -> None:
    assert (
        command("retry", "--all", "--dry-run").out
        == "2 files would be tried again\n1 deliveries would be tried again\n"
    )
    assert command.json("retry", "--until", "1h")["files"]["matched"] == 0
    assert command.json("retry", "--since", "1h", "--dry-run")["files"]["matched"] == 2
    assert command.json("retry", "--name", "bad*")["files"] == {"matched": 1, "changed": 1, "dryRun": False}
    assert command.json("retry", "--destination", "backup") == {
        "files": None,
        "deliveries": {"matched": 1, "changed": 1, "dryRun": False},
    }
    assert command("retry", "--all", "--files", "--converter", "json").out == "1 files tried again\n"
    assert command("retry", "--all", "--deliveries").out == "0 deliveries tried again\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["retry"],
        ["retry", "--all", "abc"],
        ["retry", "--all", "--folder", "x"],
        ["retry", "--all", "--files", "--deliveries"],
        ["retry", "--destination", "x", "--converter", "json"],
        ["retry", "12", "--converter", "json"],
        ["drop"],
        ["drop", "x"],
        ["submit"],
        ["submit", "x", "--timeout", "3"],
        ["pause", "task", "x"],
        ["nonsense"],
        ["plugins", "nonsense"],
    ],
)
def test_usage(live: Command, arguments: list[str]) -> None:
    ended = live(*arguments, "--json", code=2)
    assert ended.out == ""
    assert ended.problem["code"] == "DM-A101"


def test_drop(command: Command, seeded: dict[str, Any]) -> None:
    assert command("drop", "--all", "--dry-run").out == "1 deliveries would be dropped\n"
    assert command("drop", str(seeded["dead"]), "--reason", "scrap").out == "1 deliveries dropped\n"
    assert command.json("deliveries", "--state", "dropped")["items"][0]["id"] == seeded["dead"]
    assert command("drop", str(seeded["sent"]), "--json", code=1).problem["code"] == "DM-H007"


def test_submit(command: Command, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    source = tmp_path / name
    source.write_text("{}")
    ended = command("submit", str(source), str(tmp_path / "none.json"), code=3)
    good, bad = ended.rows
    assert (good[0], good[2]) == (str(source), "queued")
    assert bad[1:3] == ["", "refused"]
    assert "DM-I003" in bad[3]
    assert command.json("files", "--state", "claimed")["items"][0]["id"] == good[1]
    assert source.exists()
    shape = command.json("submit", str(source), "--folder", "inbox")
    assert shape["items"][0]["state"] == "queued"
    assert command("submit", str(source), "--folder", "inbix", "--json", code=1).problem["code"] == "DM-I002"


def test_submit_into_a_store_that_does_not_exist_yet(empty: Command, tmp_path: Path) -> None:
    source = tmp_path / "x.json"
    source.write_text("{}")
    file_id = empty.json("submit", str(source))["items"][0]["fileId"]
    assert empty.json("files")["items"][0]["id"] == file_id
    assert empty.json("status")["state"] == "offline"


def test_submit_to_a_full_queue(live: Command, background: Background, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    background.desk.intake_reason = "the queue is full"
    assert live("submit", str(tmp_path / "x.json"), "--json", code=6).problem["code"] == "DM-Q001"


def test_submit_to_a_full_queue_without_an_agent(background: Background, tmp_path: Path) -> None:
    seed = background.desk.seed

    async def fill() -> None:
        for number in range(5):
            await seed.convert(f"{number}.json", data=b"%d" % number)

    background.call(fill())
    background.stop()
    write_home(tmp_path, max_items=5)
    (tmp_path / "x.json").write_text("{}")
    command = Command(background.desk.config)
    assert command("submit", str(tmp_path / "x.json"), "--json", code=6).problem["code"] == "DM-Q001"
    assert command.json("files", "--state", "claimed")["items"] == []


def test_submit_and_wait(live: Command, background: Background, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(name)
    desk = background.desk

    async def work(outcome: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        while not (found := await desk.store.next_files(1)):
            await asyncio.sleep(0.02)
        await desk.store.start_conversions([found[0].id])
        await outcome(found[0].id)

    async def refuse(file_id: str) -> None:
        await desk.store.fail_file(file_id, code="X", reason="not good", error={}, converter=None)

    async def park(file_id: str) -> None:
        await desk.store.park_file(file_id, reason="ambiguous")

    worker = asyncio.run_coroutine_threadsafe(work(refuse), background.loop)
    row = live("submit", "--wait", str(tmp_path / "a.json"), code=3).rows[0]
    worker.result(5)
    assert row[2:] == ["failed", "not good"]
    worker = asyncio.run_coroutine_threadsafe(work(park), background.loop)
    assert live.json("submit", "--wait", str(tmp_path / "b.json"), code=3)["items"][0]["state"] == "parked"
    worker.result(5)


def test_submit_gives_up_waiting(live: Command, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("a")
    ended = live("submit", "--wait", "--timeout", "0.2", str(tmp_path / "a.json"), "--json", code=1)
    assert ended.problem["code"] == "DM-A106"


def test_waiting_needs_an_agent(empty: Command, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("a")
    assert empty("submit", "--wait", str(tmp_path / "a.json"), "--json", code=5).problem["code"] == "DM-A102"
    assert not (tmp_path / "state").exists()


def test_pause_and_resume(live: Command, background: Background) -> None:
    assert live("pause", "destination", "reports").out == "destination reports paused\n"
    assert live.json("resume", "task", "lane reports") == {"done": True}
    assert live("pause", "folder", "none", "--json", code=1).problem["code"] == "DM-H003"
    assert background.desk.done == [("pause", "destination", "reports"), ("resume", "task", "lane reports")]


def test_pausing_needs_an_agent(empty: Command) -> None:
    assert empty("pause", "destination", "reports", "--json", code=5).problem["code"] == "DM-A102"


def test_what_an_agent_left_to_repair_stays_to_be_repaired(background: Background, tmp_path: Path) -> None:
    async def crash() -> None:
        await background.desk.store.close(clean=False)

    background.call(crash())
    background.stop()
    (tmp_path / "x.json").write_text("{}")
    Command(background.desk.config)("submit", str(tmp_path / "x.json"))
    assert background.desk.reader.status()["clean"] is False


# --- somebody is in the way ------------------------------------------------------------------------------------------------


def test_a_held_lock_with_a_dead_socket(empty: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dropmill.cli import backend

    monkeypatch.setattr(backend, "_GRACE", 0.2)
    (tmp_path / "state").mkdir()
    with FileLock(tmp_path / "state" / "owner.lock", instance="agent-1", clock=SystemClock()):
        for arguments in (["status"], ["files"], ["retry", "--all"], ["submit", "x"], ["pause", "folder", "inbox"]):
            problem = empty(*arguments, "--json", code=5).problem
            assert problem["code"] == "DM-A102"
            assert "agent-1" in problem["what"]


def test_a_command_that_writes_does_not_keep_others_from_reading(
    background: Background,
    seeded: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dropmill.cli import backend

    background.stop()
    monkeypatch.setattr(backend, "_GRACE", 0.2)
    command = Command(background.desk.config)
    with FileLock(tmp_path / "state" / "owner.lock", instance="command 123", clock=SystemClock()):
        assert command.json("files")["items"]
        assert command("retry", "--all", "--json", code=5).problem["code"] == "DM-A102"


def test_an_agent_that_comes_up_meanwhile_is_found(
    background: Background,
    seeded: dict[str, Any],
) -> None:
    """It has its lock, and its socket a moment later."""
    socket = background.desk.state / "agent.sock"
    hidden = socket.with_name("hidden.sock")
    socket.rename(hidden)
    threading.Timer(0.5, lambda: hidden.rename(socket)).start()
    assert Command(background.desk.config).json("status")["state"] == "running"


def test_an_agent_that_hangs_is_not_waited_for_for_ever(
    live: Command, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropmill.cli import client

    monkeypatch.setattr(client, "_ALIVE", 0.3)
    blocked = threading.Event()
    background.loop.call_soon_threadsafe(blocked.wait)
    try:
        problem = live("status", "--json", code=5).problem
    finally:
        blocked.set()
    assert (problem["code"], "in time" in problem["what"]) == ("DM-A102", True)


def test_something_else_on_the_socket(empty: Command, tmp_path: Path) -> None:
    import socket as sockets

    (tmp_path / "state").mkdir()
    with sockets.socket(sockets.AF_UNIX) as other:
        other.bind(str(tmp_path / "state" / "agent.sock"))
        other.listen()

        def speak() -> None:
            for _ in range(2):
                connection, _address = other.accept()
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
                connection.close()

        thread = threading.Thread(target=speak)
        thread.start()
        assert "not a dropmill agent" in empty("status", "--json", code=5).problem["what"]
        assert "not a dropmill agent" in empty("pause", "folder", "x", "--json", code=5).problem["what"]
        thread.join(5)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_somebody_elses_agent(live: Command, background: Background, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    background.desk.config.chmod(0o644)
    os.seteuid(65534)
    try:
        problem = live("status", "--json", code=7).problem
    finally:
        os.seteuid(0)
    assert problem["code"] == "DM-A103"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_somebody_elses_state_folder(background: Background, seeded: dict[str, Any], tmp_path: Path) -> None:
    background.stop()
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    (tmp_path / "state").chmod(0o700)
    command = Command(background.desk.config)
    (tmp_path / "x.json").write_text("{}")
    os.seteuid(65534)
    try:
        for arguments in (["status"], ["files"], ["retry", "--all"], ["submit", str(tmp_path / "x.json")]):
            assert command(*arguments, "--json", code=7).problem["code"] == "DM-A103"
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("mode", [0o700, 0o755], ids=["closed", "readable"])
def test_somebody_elses_state_folder_with_its_socket_elsewhere(
    background: Background, seeded: dict[str, Any], tmp_path: Path, mode: int
) -> None:
    background.stop()
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "state").chmod(mode)
    config = background.desk.config
    config.write_text(config.read_text() + f'[control]\nsocket = "{tmp_path / "elsewhere.sock"}"\n')
    (tmp_path / "x.json").write_text("{}")
    command = Command(config)
    os.seteuid(65534)
    try:
        for arguments in (["status"], ["files"], ["retry", "--all"], ["submit", str(tmp_path / "x.json")]):
            assert command(*arguments, "--json", code=7).problem["code"] == "DM-A103", arguments
    finally:
        os.seteuid(0)


# --- the configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["status"], ["files"], ["submit", "x"], ["retry", "--all"], ["config", "check"]])
def test_no_configuration(tmp_path: Path, arguments: list[str]) -> None:
    problem = Command(tmp_path / "none.toml")(*arguments, "--json", code=4).problem
    assert problem["problems"][0]["code"] == "DM-C001"


def test_the_environment_names_the_configuration(
    live: Command,
    background: Background,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DROPMILL_CONFIG", str(background.desk.config))
    assert execute(["status"]) == 0
    monkeypatch.chdir(background.desk.home)
    monkeypatch.delenv("DROPMILL_CONFIG")
    assert execute(["status"]) == 0


def test_reading_works_while_the_configuration_is_being_edited(live: Command, background: Background) -> None:
    background.desk.config.write_text(background.desk.config.read_text() + "\n[nonsense]\n")
    assert live.json("status")["state"] == "running"
    assert live("config", "check", code=4).out == ""
