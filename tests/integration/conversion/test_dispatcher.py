"""The dispatcher on a real queue, with real workers: what becomes of each file, and that none is lost or held."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import ConversionSettings, ConverterChoice, FolderSettings, QueueSettings
from dropmill.conversion.breaker import Breakers
from dropmill.conversion.dispatcher import Dispatcher
from dropmill.conversion.pool import ConversionPool
from dropmill.conversion.selection import ConverterBinding
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.admission import Admission
from dropmill.queue.errors import StoreClosed, StoreUnavailable
from dropmill.queue.records import FileIdentity, FileRecord, NewFile
from dropmill.queue.sqlite import SqliteStore
from dropmill_plugins.policies.reject import RejectPolicy
from support.conversions import ENVIRONMENT, bind, bindings

PATIENCE = 30.0


class Heart:
    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1

    @property
    def quiescing(self) -> bool:
        return self._stop.is_set()

    async def wait_quiesce(self) -> None:
        await self._stop.wait()

    async def sleep(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return not self.quiescing

    def stop(self) -> None:
        self._stop.set()


class Site:
    """A queue, a folder and a dispatcher, with a way to drop files and to see what became of them."""

    def __init__(
        self,
        root: Path,
        converters: Mapping[str, ConverterBinding],
        *,
        choices: Sequence[str | ConverterChoice] = ("lines", "faulty"),
        queue: QueueSettings | None = None,
        breakers: Breakers | None = None,
        failpoints: str = "",
        **settings: Any,
    ) -> None:
        self.root = root
        self.clock = SystemClock()
        self.events: list[tuple[str, str, Mapping[str, Any]]] = []
        queue = queue or QueueSettings(min_free_disk=0)
        self.store = SqliteStore(
            root / "state",
            queue,
            clock=self.clock,
            failpoints=Failpoints(),
            instance="test",
            on_event=lambda name, subject, data: self.events.append((subject, name, data)),
        )
        self.admission = Admission(self.store, RejectPolicy({}), queue, policy_id="reject")
        self.scratch = root / "scratch"
        self.pool = ConversionPool(
            converters,
            ConversionSettings(**settings),
            clock=self.clock,
            scratch=self.scratch,
            failpoints=Failpoints(),
            environment=ENVIRONMENT,
        )
        chosen = [
            choice if isinstance(choice, ConverterChoice) else ConverterChoice(id=choice, options={})
            for choice in choices
        ]
        folder = FolderSettings(
            name="inbox",
            path=root / "inbox",
            converters=chosen,
            destinations=["a", "b"],
            done=root / "inbox/done",
            failed=root / "inbox/failed",
        )
        self.dispatcher = Dispatcher(
            self.store,
            self.admission,
            self.pool,
            {"inbox": folder},
            workers=2,
            clock=self.clock,
            failpoints=Failpoints(failpoints),
            breakers=breakers,
        )
        self.heart = Heart()
        self._task: asyncio.Task[None] | None = None
        self._number = 0

    async def open(self) -> None:
        await self.store.open()
        for lane in ("a", "b"):
            await self.store.set_lane(lane, max_attempts=3)

    def start(self) -> asyncio.Task[None]:
        self.heart = Heart()
        self._task = asyncio.get_running_loop().create_task(self.dispatcher.run(self.heart))
        return self._task

    async def stop(self) -> None:
        if self._task is not None:
            self.heart.stop()
            self.dispatcher.child().quiesce()  # type: ignore[misc]
            task, self._task = self._task, None
            await task

    async def close(self) -> None:
        await self.stop()
        self.admission.close()
        await self.store.close(clean=True)

    async def drop(self, *files: tuple[str, str], folder: str = "inbox") -> list[str]:
        made = []
        for name, content in files:
            self._number += 1
            place = self.root / "work" / f"{self._number}-{name}"
            place.parent.mkdir(exist_ok=True)
            place.write_text(content)
            found = place.stat()
            identity = FileIdentity(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino)
            made.append(
                NewFile(
                    id=f"f{self._number:05d}",
                    folder=folder,
                    name=name,
                    place=str(place),
                    origin=str(place),
                    identity=identity,
                    sha256=hashlib.sha256(content.encode()).hexdigest(),
                )
            )
        await self.store.add_files(made)
        await self.store.confirm_files([file.id for file in made])
        return [file.id for file in made]

    async def files(self) -> dict[str, FileRecord]:
        found = {}
        for folder in ("inbox", "gone"):
            found.update({file.id: file for file in await self.store.live_files(folder)})
        return found

    async def until(self, condition: Callable[[dict[str, FileRecord]], bool]) -> dict[str, FileRecord]:
        async with asyncio.timeout(PATIENCE):
            while True:
                files = await self.files()
                if condition(files):
                    return files
                await asyncio.sleep(0.02)

    async def settled(self, *ids: str) -> list[FileRecord]:
        files = await self.until(lambda files: all(files[file].state not in ("claimed", "converting") for file in ids))
        return [files[file] for file in ids]

    async def bodies(self, lane: str = "a", limit: int = 10_000) -> list[dict]:
        leases = (await self.store.claim(lane, limit)).leases
        found = []
        for lease in leases:
            body = (
                lease.body
                if lease.body is not None
                else b"".join([piece async for piece in self.store.read(lease, 65_536)])
            )
            assert hashlib.sha256(body).hexdigest() == lease.sha256
            found.append(json.loads(body))
        return found


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    sites: list[Site] = []

    async def make_site(converters: Mapping[str, ConverterBinding] | None = None, **more: Any) -> Site:
        site = Site(tmp_path / f"site{len(sites)}", bindings() if converters is None else converters, **more)
        site.root.mkdir()
        sites.append(site)
        await site.open()
        return site

    yield make_site
    for site in sites:
        await site.close()


async def test_each_outcome_is_one_transition(make: Callable[..., Any]) -> None:
    site = await make()
    ids = await site.drop(
        ("good.txt", "A\nB\n"),
        ("refused.faulty", "bad_input\n"),
        ("nobody.xyz", "?"),
        ("invalid.faulty", "invalid\n"),
        ("large.faulty", "bytes 300000\n"),
        ("many.faulty", "many 2500\n"),
    )
    site.start()
    good, refused, nobody, invalid, large, many = await site.settled(*ids)

    assert (good.state, good.converter, good.pending) == ("converted", "lines 1.2.3", 4)
    assert (refused.state, refused.reason, refused.converter) == ("failed", "the header is missing", "faulty 1.2.3")
    assert refused.error is not None
    assert refused.error["code"] == "NO-HEADER"
    assert refused.error["line"] == 3
    assert refused.error["attempt"] == 1
    assert refused.error["next"] == f"dropmill retry {refused.id}"
    assert nobody.state == "failed"
    assert nobody.error is not None
    assert nobody.error["code"] == "DM-V001"
    assert set(nobody.error["considered"]) == {"lines", "faulty"}
    assert invalid.state == "failed"
    assert large.state == "converted"
    assert (many.state, many.pending) == ("converted", 5000)

    await site.stop()
    assert list(site.scratch.iterdir()) == []
    reports = list((await site.store.claim("a", 10_000)).leases)
    assert len(reports) == 2 + 1 + 2500
    assert [lease.fields["serial"] for lease in reports if lease.fields["file"] == "good.txt"] == ["A", "B"]
    for lease in reports[-3:]:
        body = lease.body or b"".join([piece async for piece in site.store.read(lease, 65_536)])
        assert hashlib.sha256(body).hexdigest() == lease.sha256


async def test_a_fault_is_tried_once_more_and_then_poison(make: Callable[..., Any]) -> None:
    site = await make()
    poisoned, fine = await site.drop(("a.faulty", "os_exit 3\n"), ("b.txt", "B\n"))
    site.start()
    bad, good = await site.settled(poisoned, fine)

    assert (bad.state, bad.reason, bad.attempts) == ("parked", "poison", 1)
    assert bad.error is not None
    assert bad.error["attempt"] == 2
    assert bad.error["exitCode"] == 3
    assert bad.error["plugin"] == "faulty"
    assert "dropmill retry" in bad.error["next"]
    assert good.state == "converted"
    faulted = [data for subject, name, data in site.events if name == "conversion.faulted"]
    assert [data["attempt"] for data in faulted] == [1]


async def test_retry_later_and_not_ready_come_again(make: Callable[..., Any]) -> None:
    site = await make()
    (later,) = await site.drop(("a.faulty", "later\n"))
    site.start()
    files = await site.until(lambda files: files[later].reason == "not ready")

    assert files[later].state == "claimed"
    assert files[later].attempts == 0
    assert 5 < files[later].not_before - site.clock.time() <= 12.5
    (event,) = [data for _, name, data in site.events if name == "file.put_off"]
    assert event["reason"] == "the licence server is away"


async def test_ambiguous_files_are_parked_and_forced_ones_are_not(make: Callable[..., Any]) -> None:
    twin = bind("twin", "Lines", ["*.txt"])
    site = await make({"lines": bindings()["lines"], "twin": twin}, choices=())
    (file,) = await site.drop(("a.txt", "A\n"))
    site.start()
    (parked,) = await site.settled(file)
    assert (parked.state, parked.reason) == ("parked", "ambiguous")
    assert parked.error is not None
    assert parked.error["candidates"] == ["lines", "twin"]

    await site.store.release_files([file], reason="retry", converter="twin")
    (done,) = await site.settled(file)
    assert (done.state, done.converter) == ("converted", "twin 1.2.3")


async def test_a_plugin_that_faults_on_three_files_is_left_alone_then_tried(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    switch = tmp_path / "broken"
    switch.write_text("")
    breaking = bind("switched", "Switched", ["*.sw"])
    choices = [ConverterChoice(id="switched", options={"switch": str(switch)}), "lines"]
    site = await make(
        {"switched": breaking, "lines": bindings()["lines"]}, choices=choices, breakers=Breakers(rest=1.5)
    )
    site.start()
    first = await site.drop(*((f"{number}.sw", f"{number}\n") for number in range(3)))
    await site.until(lambda files: site.dispatcher.breakers != [])
    more = await site.drop(*((f"{number}.sw", f"{number}\n") for number in range(3, 8)), ("a.txt", "A\n"))
    waiting = await site.until(
        lambda files: (
            all(files[file].reason in ("waiting for plugin", "poison") for file in [*first, *more[:5]])
            and files[more[5]].state == "converted"
        )
    )
    assert all(waiting[file].reason == "waiting for plugin" for file in more[:5])
    error = waiting[more[0]].error
    assert error is not None
    assert (error["code"], error["plugin"]) == ("DM-V023", "switched")

    switch.unlink()
    files = await site.until(lambda files: all(files[file].state == "converted" for file in more))
    assert site.dispatcher.breakers == []
    assert [files[file].attempts for file in more] == [0] * 6


async def test_a_plugin_is_resumed_by_hand(make: Callable[..., Any], tmp_path: Path) -> None:
    switch = tmp_path / "broken"
    switch.write_text("")
    choices = [ConverterChoice(id="switched", options={"switch": str(switch)})]
    site = await make(
        {"switched": bind("switched", "Switched", ["*.sw"])}, choices=choices, breakers=Breakers(rest=600.0)
    )
    site.start()
    await site.drop(*((f"{number}.sw", f"{number}\n") for number in range(3)))
    await site.until(lambda files: site.dispatcher.breakers != [])
    (late,) = await site.drop(("late.sw", "x\n"))
    await site.until(lambda files: files[late].reason == "waiting for plugin")
    switch.unlink()

    assert await site.dispatcher.resume("switched") >= 1
    await site.until(lambda files: files[late].state == "converted")


async def test_files_wait_for_a_plugin_over_a_restart(make: Callable[..., Any]) -> None:
    site = await make(choices=("gone", "faulty"))
    (file,) = await site.drop(("a.txt", "A\n"))
    site.start()
    (waiting,) = await site.settled(file)
    assert (waiting.state, waiting.reason) == ("parked", "waiting for plugin")
    assert waiting.error is not None
    assert waiting.error["plugin"] == "gone"
    await site.stop()

    site.start()
    await site.until(lambda files: len([1 for _, name, _ in site.events if name == "file.parked"]) == 2)


async def test_a_folder_that_is_not_configured_any_more(make: Callable[..., Any]) -> None:
    site = await make()
    (file,) = await site.drop(("a.txt", "A\n"), folder="gone")
    site.start()
    (waiting,) = await site.settled(file)
    assert waiting.error is not None
    assert "'gone' is not configured" in waiting.error["message"]


async def test_a_full_queue_keeps_the_file_and_takes_it_again(make: Callable[..., Any]) -> None:
    site = await make(queue=QueueSettings(max_items=10, min_free_disk=0))
    ids = await site.drop(*((f"{number}.txt", f"{number}A\n{number}B\n{number}C\n") for number in range(3)))
    site.start()
    files = await site.until(lambda files: sum(file.state == "converted" for file in files.values()) == 1)
    files = await site.until(lambda files: sum(file.reason == "queue full" for file in files.values()) >= 1)
    assert all(files[file].attempts == 0 for file in ids)

    async def deliver() -> None:
        while True:
            for lane in ("a", "b"):
                leases = (await site.store.claim(lane, 10)).leases
                await site.store.acknowledge(leases, [{}] * len(leases))
            await asyncio.sleep(0.02)

    courier = asyncio.get_running_loop().create_task(deliver())
    await site.until(lambda files: all(files[file].state == "converted" for file in ids if file in files))
    courier.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await courier


async def test_what_the_whole_queue_cannot_hold_is_parked(make: Callable[..., Any]) -> None:
    site = await make(queue=QueueSettings(max_items=10, min_free_disk=0))
    small, spooled = await site.drop(("a.txt", "\n".join("ABCDEFGH") + "\n"), ("b.faulty", "many 1500\n"))
    site.start()
    for file in await site.settled(small, spooled):
        assert (file.state, file.reason) == ("parked", "too large")
        assert file.error is not None
        assert file.error["code"] == "DM-Q002"
    await site.stop()
    assert list(site.scratch.iterdir()) == []


async def test_a_claimed_file_that_vanished_or_changed_fails(make: Callable[..., Any]) -> None:
    site = await make()
    gone, changed = await site.drop(("a.txt", "A\n"), ("b.txt", "B\n"))
    files = await site.files()
    Path(files[gone].place).unlink()
    Path(files[changed].place).write_text("other content\n")
    site.start()
    for file, code in zip(await site.settled(gone, changed), ("DM-V030", "DM-V033"), strict=True):
        assert file.state == "failed"
        assert file.error is not None
        assert file.error["code"] == code


async def test_a_stop_lets_files_under_way_finish_and_takes_no_more(make: Callable[..., Any]) -> None:
    site = await make()
    (slow,) = await site.drop(("a.faulty", "sleep 0.6\n"))
    site.start()
    await site.until(lambda files: files[slow].state == "converting")
    site.heart.stop()
    site.dispatcher.child().quiesce()  # type: ignore[misc]
    (late,) = await site.drop(("b.txt", "B\n"))
    await site.stop()
    files = await site.files()
    assert files[slow].state == "converted"
    assert files[late].state == "claimed"


async def test_an_idle_stop_is_quick(make: Callable[..., Any]) -> None:
    site = await make()
    (file,) = await site.drop(("a.txt", "A\n"))
    site.start()
    await site.settled(file)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await site.stop()
    assert loop.time() - start < 2.0


async def test_a_cancelled_dispatcher_gives_all_files_back_uncharged(make: Callable[..., Any]) -> None:
    site = await make(bindings(timeout=30.0))
    ids = await site.drop(("a.faulty", "hang\n"), ("b.faulty", "sleep 30\n"), ("c.faulty", "fork_and_hang\n"))
    task = site.start()
    await site.until(lambda files: all(files[file].state == "converting" for file in ids))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    site._task = None
    files = await site.files()
    assert [(files[file].state, files[file].attempts) for file in ids] == [("claimed", 0)] * 3
    assert site.pool.workers == []


async def test_a_dispatcher_that_is_restarted_takes_its_files_again(make: Callable[..., Any]) -> None:
    site = await make()
    (file,) = await site.drop(("a.txt", "A\n"))
    await site.store.start_conversions([file])
    site.start()
    (done,) = await site.settled(file)
    assert done.state == "converted"


async def test_an_error_of_our_own_is_charged_to_the_file(make: Callable[..., Any]) -> None:
    site = await make(failpoints="conversion.converted=error:EIO@1+")
    (file,) = await site.drop(("a.txt", "A\n"))
    site.start()
    (parked,) = await site.settled(file)
    assert (parked.state, parked.reason) == ("parked", "poison")
    assert parked.error is not None
    assert parked.error["code"] == "DM-V019"


async def test_a_queue_that_cannot_be_written_is_asked_again(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await make()
    (good, bad) = await site.drop(("a.txt", "A\n"), ("b.faulty", "bad_input\n"))
    failing = {"publish": 2, "fail_file": 1, "next_files": 1}
    for name in failing:
        real = getattr(site.store, name)

        def call(*args: Any, _name: str = name, _real: Any = real, **named: Any) -> Any:
            failing[_name] -= 1
            if failing[_name] >= 0:
                raise StoreUnavailable("the disk is full")
            return _real(*args, **named)

        monkeypatch.setattr(site.store, name, call)
    monkeypatch.setattr("dropmill.conversion.desk._FULL_AGAIN", 0.1)
    site.start()
    one, other = await site.settled(good, bad)
    assert (one.state, other.state) == ("converted", "failed")
    assert max(failing.values()) < 0


async def test_a_file_that_is_taken_away_meanwhile_is_let_go(make: Callable[..., Any]) -> None:
    site = await make()
    ids = await site.drop(("a.faulty", "sleep 0.4\n"), ("b.txt", "B\n"))
    site.start()
    await site.until(lambda files: files[ids[0]].state == "converting")
    await site.store.remove_files([ids[0]], "dropped by an operator")
    await site.until(lambda files: ids[0] not in files and not site.dispatcher.in_flight)
    assert (await site.files())[ids[1]].state == "converted"


async def test_hundreds_of_files_at_once(make: Callable[..., Any]) -> None:
    site = await make()
    ids = await site.drop(*((f"{number}.txt", f"{number}\n") for number in range(400)))
    site.start()
    files = await site.until(lambda files: all(file.state == "converted" for file in files.values()))
    assert set(files) == set(ids)
    serials = {report["unit"]["serial"] for report in await site.bodies()}
    assert serials == {str(number) for number in range(400)}
    assert os.listdir(site.scratch) != []


async def test_a_folder_whose_disk_hangs_is_put_off_and_tried_with_one_file(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that hangs cannot be had here, so the call that opens a file waits instead."""
    monkeypatch.setattr("dropmill.conversion.dispatcher._OPEN_TIMEOUT", 0.3)
    monkeypatch.setattr("dropmill.conversion.dispatcher._HANG", 1.0)
    site = await make()
    release = threading.Event()
    real, opened = os.open, []

    def slow_open(path: Any, *more: Any) -> int:
        if "hung" in str(path) and not release.is_set():
            opened.append(path)
            release.wait(20)
        return real(path, *more)

    monkeypatch.setattr("dropmill.conversion.inputs.os.open", slow_open)
    hung = await site.drop(*((f"hung{number}.txt", f"{number}\n") for number in range(5)), folder="inbox")
    site.start()
    files = await site.until(lambda files: all(files[file].reason == "not ready" for file in hung))
    assert all(files[file].attempts == 0 for file in hung)
    assert len(opened) == 1
    late = await site.drop(*((f"hung{number}.txt", f"{number}\n") for number in range(5, 8)))
    await site.until(lambda files: all(files[file].reason == "not ready" for file in late))
    release.set()
    await site.until(lambda files: all(files[file].state == "converted" for file in [*hung, *late]))


async def test_files_that_are_gone_when_their_turn_comes_are_left_out(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await make()
    kept, gone = await site.drop(("a.txt", "A\n"), ("b.txt", "B\n"))
    real = site.store.next_files

    async def stale(limit: int) -> Sequence[FileRecord]:
        found = await real(limit)
        if any(file.id == gone for file in found):
            await site.store.remove_files([gone], "dropped meanwhile")
        return found

    monkeypatch.setattr(site.store, "next_files", stale)
    site.start()
    (done,) = await site.settled(kept)
    assert done.state == "converted"
    assert gone not in await site.files()


async def test_a_paused_plugin(make: Callable[..., Any]) -> None:
    site = await make()
    site.dispatcher.pause("lines", "")
    (file,) = await site.drop(("a.txt", "A\n"))
    site.start()
    (waiting,) = await site.settled(file)
    assert waiting.reason == "waiting for plugin"
    assert waiting.error is not None
    assert waiting.error["message"] == "it is paused"
    assert await site.dispatcher.resume("other") == 0
    assert await site.dispatcher.resume("lines") == 1
    (done,) = await site.settled(file)
    assert done.state == "converted"


async def test_workers_that_do_not_start_put_files_off(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await make()
    monkeypatch.setattr("dropmill.conversion.launch.sys.executable", "/nonexistent/python")
    (file,) = await site.drop(("a.txt", "A\n"))
    site.start()
    files = await site.until(lambda files: files[file].reason == "not ready")
    assert files[file].attempts == 0
    assert any(data.get("code") == "DM-V020" for _, name, data in site.events if name == "file.put_off")


async def test_a_stop_that_cannot_write_gives_nothing_back_and_ends(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await make(bindings(timeout=30.0))
    (file,) = await site.drop(("a.faulty", "hang\n"))
    task = site.start()
    await site.until(lambda files: files[file].state == "converting")

    async def refuse(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(site.store, "release_files", refuse)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    site._task = None
    assert (await site.files())[file].state == "converting"


async def test_parked_files_that_go_meanwhile_do_not_hold_up_the_others(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await make()
    site.dispatcher.pause("lines", "no")
    ids = await site.drop(*((f"{number}.txt", f"{number}\n") for number in range(4)))
    site.start()
    await site.settled(*ids)
    real = site.store.parked_files

    async def stale(reason: str, limit: int = 1000) -> Sequence[FileRecord]:
        found = await real(reason, limit)
        if found:
            await site.store.remove_files([ids[1]], "dropped meanwhile")
        return found

    monkeypatch.setattr(site.store, "parked_files", stale)
    assert await site.dispatcher.resume("lines") == 3
    await site.until(lambda files: all(files[file].state == "converted" for file in files))


async def test_an_error_while_a_file_is_handed_back_is_not_the_end(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store closes under it: the file goes back when that is done, and nobody insists."""
    site = await make()

    async def closed(*_: Any, **__: Any) -> None:
        raise StoreClosed("the queue is closing")

    (file,) = await site.drop(("a.faulty", "bad_input\n"))
    monkeypatch.setattr(site.store, "fail_file", closed)
    site.start()
    await site.until(lambda files: files[file].state == "converting" and not site.dispatcher.in_flight)
