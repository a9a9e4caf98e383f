"""Every route over the real socket and a real store; each answer is held to the OpenAPI document."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator

from dropmill.control import sockets
from dropmill.control.assembly import control_server
from dropmill.control.limits import Limits
from integration.control.desk import Desk

from .conftest import Beats


class Asked:
    """An answer."""

    def __init__(self, status: int, headers: Any, data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = json.loads(data) if data else None


class Http:
    """Asks as any HTTP client would, in threads, and checks what is answered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.document: dict[str, Any] = {}

    def _ask(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Asked:
        connection = http.client.HTTPConnection("dropmill", timeout=10)
        connection.sock = sockets.connect(self.path, 5)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return Asked(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    async def raw(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Asked:
        return await asyncio.to_thread(self._ask, method, target, body, headers)

    async def get(self, target: str, status: int = 200) -> Any:
        return await self._checked("GET", target, None, status)

    async def post(self, target: str, body: Any, status: int = 200) -> Any:
        return await self._checked("POST", target, json.dumps(body).encode(), status)

    async def _checked(self, method: str, target: str, body: bytes | None, status: int) -> Any:
        asked = await self.raw(method, target, body)
        assert asked.status == status, asked.body
        if not self.document:
            self.document = (await self.raw("GET", "/v1/openapi.json")).body
        path = target.partition("?")[0]
        templates = [path, *(template for template in self.document["paths"] if _fits(template, path))]
        operation = next(self.document["paths"][one] for one in templates if one in self.document["paths"])[
            method.lower()
        ]
        (media,) = operation["responses"][str(status)]["content"]
        assert asked.headers["content-type"] == media
        schema = operation["responses"][str(status)]["content"][media]["schema"]
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(asked.body)
        return asked.body


def _fits(template: str, path: str) -> bool:
    ours, theirs = template.split("/"), path.split("/")
    return len(ours) == len(theirs) and all(
        left == right or left.startswith("{") for left, right in zip(ours, theirs, strict=True)
    )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.open()
    yield desk
    desk.reader.close()
    await desk.store.close(clean=True)


@pytest.fixture
async def http_(desk: Desk, tmp_path: Path) -> AsyncIterator[Http]:
    path = desk.state / "agent.sock"
    server = control_server(desk, path, version="0.1.0", clock=desk.clock, limits=Limits(request=1.0, sweep=0.1))
    heart = Beats()
    task = asyncio.ensure_future(server.run(heart))
    await server.listening()
    yield Http(path)
    heart.finish()
    await task


async def test_status(http_: Http, desk: Desk) -> None:
    await desk.seed.convert("a.json", lanes=["reports", "backup"])
    await desk.seed.deliver("reports", "sent")
    await desk.seed.fail("b.json")
    status = await http_.get("/v1/status")
    assert (status["state"], status["agent"]["pid"]) == ("running", os.getpid())
    assert (status["files"]["converted"], status["files"]["failed"], status["files"]["claimed"]) == (1, 1, 0)
    assert status["deliveries"]["reports"]["sent"] == status["deliveries"]["backup"]["ready"] == 1
    assert status["queue"]["items"] == 1
    assert status["queue"]["maxItems"] == 1000
    assert status["problems"][0]["code"] == "DM-P012"
    assert status["stopping"] is None


async def test_status_during_a_stop(http_: Http, desk: Desk) -> None:
    desk.supervised["state"] = "stopping"
    desk.stop_progress = {"phase": "graceful", "left": 59.5, "waiting_for": ["lane reports"], "in_flight": {"sends": 2}}
    status = await http_.get("/v1/status")
    assert status["stopping"] == {
        "phase": "graceful",
        "left": 59.5,
        "waitingFor": ["lane reports"],
        "inFlight": {"sends": 2},
    }


async def test_files_in_pages(http_: Http, desk: Desk) -> None:
    ids = [await desk.seed.claim(f"{number}.json", data=b"%d" % number) for number in range(7)]
    seen: list[str] = []
    after = ""
    while True:
        page = await http_.get(f"/v1/files?limit=3{after}")
        assert len(page["items"]) <= 3
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=failed", {"f.json"}),
        ("state=failed&state=parked", {"f.json", "p.json"}),
        ("folder=other", {"o.json"}),
        ("reason=ambiguous", {"p.json"}),
        ("name=*.json&folder=other", {"o.json"}),
        ("code=XML-NOT-WELL-FORMED", {"f.json"}),
        ("converter=json", {"c.json", "f.json"}),
        ("since=2020-01-01T00:00:00Z&state=parked", {"p.json"}),
        ("until=2020-01-01T00:00:00Z", set()),
        ("folder=nowhere", set()),
    ],
)
async def test_file_filters(http_: Http, desk: Desk, query: str, names: set[str]) -> None:
    await desk.seed.convert("c.json")
    await desk.seed.fail("f.json", data=b"f")
    await desk.seed.park("p.json", data=b"p")
    await desk.seed.claim("o.json", folder="other", data=b"o")
    assert {item["name"] for item in (await http_.get(f"/v1/files?{query}"))["items"]} == names


async def test_one_file_with_its_history(http_: Http, desk: Desk) -> None:
    file_id = await desk.seed.convert("a.json", lanes=["reports", "backup"])
    await desk.seed.deliver("reports", "sent")
    await desk.seed.deliver("backup", "delayed")
    file = await http_.get(f"/v1/files/{file_id}")
    assert file["state"] == "converted"
    assert file["tags"] == {"line": "3"}
    assert file["reports"][0]["fields"].items() >= {"serial": "S1", "yield": 0.5}.items()
    by_lane = {one["destination"]: one for one in file["deliveries"]}
    assert by_lane["reports"]["state"] == "sent"
    assert by_lane["reports"]["history"][0]["answer"]["ref"] == "/there"
    assert by_lane["backup"]["state"] == "delayed"
    assert by_lane["backup"]["nextAt"] is not None
    assert file["events"]


async def test_unknown_file_and_delivery(http_: Http) -> None:
    assert (await http_.get("/v1/files/0123456789abcdef", 404))["code"] == "DM-H003"
    assert (await http_.get("/v1/deliveries/12345", 404))["code"] == "DM-H003"


async def test_deliveries(http_: Http, desk: Desk) -> None:
    await desk.seed.convert("a.json", lanes=["reports", "backup"])
    dead = await desk.seed.deliver("reports", "dead")
    everything = await http_.get("/v1/deliveries")
    assert len(everything["items"]) == 2
    assert [one["id"] for one in (await http_.get("/v1/deliveries?state=failed"))["items"]] == [dead]
    assert [one["destination"] for one in (await http_.get("/v1/deliveries?state=pending"))["items"]] == ["backup"]
    assert (await http_.get("/v1/deliveries?destination=reports&code=HTTP-400"))["items"][0]["id"] == dead
    one = await http_.get(f"/v1/deliveries/{dead}")
    assert one["history"][0]["answer"]["code"] == "HTTP-400"


async def test_numbers_that_json_has_not(http_: Http, desk: Desk) -> None:
    await desk.store.record_event(
        "reports", "lane.measured", {"rates": [float("nan"), float("inf"), -float("inf"), 1.5]}
    )
    file_id = await desk.seed.claim("a.json")
    await desk.store.record_event(file_id, "file.measured", {"rates": [float("nan"), float("inf"), -float("inf"), 1.5]})
    (event,) = [one for one in (await http_.get(f"/v1/files/{file_id}"))["events"] if one["name"] == "file.measured"]
    assert event["data"]["rates"] in (["NaN", "Infinity", "-Infinity", 1.5], [None, None, None, 1.5])


async def test_names_that_are_no_text_round_trip(http_: Http, desk: Desk) -> None:
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x93\x84.json")
    file_id = await desk.seed.claim(name)
    assert (await http_.get("/v1/files"))["items"][0]["name"] == name
    assert (await http_.get(f"/v1/files/{file_id}"))["name"] == name
    path = quote(os.fsencode(desk.home / "inbox" / name))
    assert (await http_.get(f"/v1/explain?path={path}"))["files"][0]["id"] == file_id


async def test_explain(http_: Http, desk: Desk) -> None:
    inbox = desk.home / "inbox"
    file_id = await desk.seed.fail("bad.json")
    path = quote(str(inbox / "bad.json"))
    gone = await http_.get(f"/v1/explain?path={path}")
    assert (gone["state"], gone["sightings"], gone["files"][0]["id"]) == ("failed", [], file_id)
    (inbox / "bad.json").write_text("again")
    again = await http_.get(f"/v1/explain?path={path}")
    assert (again["state"], again["reason"]) == ("waiting", "it is still being written")
    assert len(again["files"]) == 1
    assert (await http_.get(f"/v1/explain?path={file_id}"))["files"][0]["name"] == "bad.json"
    missing = await http_.get(f"/v1/explain?path={quote(str(inbox / 'none'))}")
    assert (missing["state"], missing["sightings"][0]["state"]) == ("unknown", "missing")
    assert (await http_.get("/v1/explain?path=/elsewhere"))["state"] == "unknown"


async def test_what_is_in_memory(http_: Http, desk: Desk) -> None:
    folder = (await http_.get("/v1/folders"))["items"][0]
    assert (folder["state"], folder["waiting"], folder["stuck"][0]["where"]) == ("degraded", 2, "slow.xml")
    lane = (await http_.get("/v1/destinations"))["items"][0]
    assert (lane["state"], lane["nextProbe"]) == ("waiting for destination", "2026-11-24T13:00:30.000Z")
    assert (await http_.get("/v1/plugins"))["items"][0]["state"] == "quarantined"
    assert (await http_.get("/v1/config"))["settings"]["agent"]["state"] == str(desk.state)


async def test_tasks_are_those_of_a_real_supervisor(http_: Http, desk: Desk) -> None:
    from dropmill.supervision.child import Child
    from dropmill.supervision.spec import ChildSpec, Heart

    async def run(heart: Heart) -> None:
        await heart.wait_quiesce()

    desk.children = [Child(ChildSpec(name="lane reports", run=run), desk.clock).status()]
    task = (await http_.get("/v1/tasks"))["items"][0]
    assert task["name"] == "lane reports"


async def test_health(http_: Http, desk: Desk) -> None:
    assert await http_.get("/livez") == {"live": True}
    assert await http_.get("/readyz") == {"ready": True, "checks": []}
    assert [check["name"] for check in (await http_.get("/readyz?verbose"))["checks"]] == ["store", "disk"]
    desk.ready = False
    bad = await http_.get("/readyz", 503)
    assert bad["checks"][0] == {"name": "store", "ok": False, "detail": "the disk is full"}


async def test_a_hung_part_of_the_agent_is_a_504_and_no_more(http_: Http, desk: Desk) -> None:
    desk.hang = asyncio.Event()
    assert (await http_.get("/readyz", 504))["code"] == "DM-H005"
    assert await http_.get("/livez") == {"live": True}


async def test_submit(http_: Http, desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"in\xffput.json")
    source.write_text("{}")
    done = await http_.post("/v1/submit", {"paths": [str(source), str(tmp_path / "none")], "folder": "inbox"})
    good, bad = done["items"]
    assert (await http_.get(f"/v1/files/{good['fileId']}"))["state"] == "claimed"
    assert source.exists()
    assert (bad["fileId"], bad["problem"]["code"]) == (None, "DM-I003")


async def test_submit_to_a_full_queue_says_when_to_come_back(http_: Http, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    desk.intake_reason = "the queue is full"
    asked = await http_.raw("POST", "/v1/submit", json.dumps({"paths": [str(tmp_path / "x.json")]}).encode())
    assert (asked.status, asked.body["code"], asked.headers["retry-after"]) == (429, "DM-Q001", "5")
    assert (await http_.get("/v1/files"))["items"] == []


async def test_submit_is_refused_as_it_is(http_: Http) -> None:
    assert "absolute" in (await http_.post("/v1/submit", {"paths": ["x.json"]}, 422))["what"]
    assert (await http_.post("/v1/submit", {"paths": ["/x"], "folder": "inbix"}, 422))["code"] == "DM-I002"
    assert (await http_.post("/v1/submit", {"paths": []}, 422))["problems"]
    assert (await http_.post("/v1/submit", {}, 422))["problems"]


async def test_retry_files_by_id(http_: Http, desk: Desk) -> None:
    failed, parked = await desk.seed.fail("f.json"), await desk.seed.park("p.json", data=b"p")
    fine = await desk.seed.claim("c.json", data=b"c")
    conflict = await http_.post("/v1/retry", {"what": "files", "ids": [failed, fine]}, 409)
    assert (conflict["code"], conflict["where"]) == ("DM-H007", fine)
    assert (await http_.get(f"/v1/files/{failed}"))["state"] == "failed"  # nothing was changed
    assert (await http_.post("/v1/retry", {"what": "files", "ids": [failed, "0" * 16]}, 404))["where"] == "0" * 16
    dry = await http_.post("/v1/retry", {"what": "files", "ids": [failed, parked], "dryRun": True})
    assert dry == {"matched": 2, "changed": 0, "dryRun": True, "next": None}
    done = await http_.post("/v1/retry", {"what": "files", "ids": [failed, parked], "converter": "json"})
    assert done == {"matched": 2, "changed": 2, "dryRun": False, "next": None}
    file = await http_.get(f"/v1/files/{parked}")
    assert file["state"] == "claimed"
    assert any("API" in json.dumps(event["data"]) for event in file["events"])


async def test_retry_files_by_filter(http_: Http, desk: Desk) -> None:
    for number in range(5):
        await desk.seed.fail(f"{number}.json", data=b"%d" % number)
    await desk.seed.park("p.json", data=b"p")
    await desk.seed.convert("fine.json", data=b"fine")
    narrow = {"what": "files", "filter": {"state": ["failed"], "name": "[0-9].json"}}
    broad = {"what": "files", "filter": {}}
    assert (await http_.post("/v1/retry", {**broad, "dryRun": True}))["matched"] == 6
    assert (await http_.post("/v1/retry", {"what": "files", "filter": {"name": "3.json"}}))["changed"] == 1
    assert (await http_.post("/v1/retry", {**broad, "dryRun": True}))["matched"] == 5
    assert (await http_.post("/v1/retry", broad))["changed"] == 5
    assert (await http_.get("/v1/status"))["files"]["claimed"] == 6
    assert (await http_.post("/v1/retry", narrow))["matched"] == 0


async def test_retry_of_a_converted_file_rearms_its_dead_deliveries(http_: Http, desk: Desk) -> None:
    file_id = await desk.seed.convert("a.json", lanes=["reports", "backup"])
    await desk.seed.deliver("reports", "dead")
    await desk.seed.deliver("backup", "sent")
    assert (await http_.post("/v1/retry", {"what": "files", "ids": [file_id]}))["changed"] == 1
    states = {one["destination"]: one["state"] for one in (await http_.get(f"/v1/files/{file_id}"))["deliveries"]}
    assert states == {"reports": "ready", "backup": "sent"}


async def test_retry_and_drop_deliveries(http_: Http, desk: Desk) -> None:
    dead = []
    for number in range(4):
        await desk.seed.convert(f"{number}.json", data=b"%d" % number)
        dead.append(await desk.seed.deliver("reports", "dead"))
    assert (await http_.post("/v1/retry", {"what": "deliveries", "ids": dead[:1]}))["changed"] == 1
    assert (await http_.post("/v1/retry", {"what": "deliveries", "ids": dead[:2]}, 409))["where"] == str(dead[0])
    assert (await http_.post("/v1/drop", {"ids": dead[1:2], "reason": "scrap"}))["changed"] == 1
    assert (await http_.get(f"/v1/deliveries/{dead[1]}"))["state"] == "dropped"
    rest = {"filter": {"destination": ["reports"], "code": "HTTP-400"}}
    assert (await http_.post("/v1/drop", {**rest, "dryRun": True}))["matched"] == 2
    assert (await http_.post("/v1/retry", {"what": "deliveries", **rest, "dryRun": True}))["matched"] == 2
    assert (await http_.post("/v1/retry", {"what": "deliveries", **rest}))["changed"] == 2
    assert (await http_.post("/v1/drop", rest)) == {"matched": 0, "changed": 0, "dryRun": False, "next": None}


async def test_bulk_actions_go_on_where_their_time_ran_out(
    http_: Http, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dropmill.control import actions

    monkeypatch.setattr(actions, "BATCH", 2)
    monkeypatch.setattr(actions, "BUDGET", -1.0)
    for number in range(5):
        await desk.seed.fail(f"{number}.json", data=b"%d" % number)
    body: dict[str, Any] = {"what": "files", "filter": {}}
    rounds = []
    while True:
        answer = await http_.post("/v1/retry", body)
        rounds.append(answer["changed"])
        if answer["next"] is None:
            break
        body["after"] = answer["next"]
    assert rounds == [2, 2, 1]


async def test_files_that_moved_on_meanwhile_do_not_stop_a_bulk_retry(desk: Desk) -> None:
    """Listed as failed, and converted before the batch is released."""
    from dropmill.control.actions import Actions
    from dropmill.control.queries import Queries
    from dropmill.queue.reader import FileQuery

    failed = [await desk.seed.fail(f"{number}.json", data=b"%d" % number) for number in range(3)]
    moved = failed[1]
    await desk.store.release_files([moved], reason="somebody was faster")
    await desk.store.start_conversions([moved])
    await desk.store.publish(moved, [], converter="json 1")

    class Late(Queries):
        def file_ids(self, wanted: FileQuery, after: str | None, limit: int) -> Any:
            return failed, None

    actions = Actions(desk.store, Late(desk.reader), asyncio.to_thread, desk.clock)
    done = await actions.retry_matching_files(FileQuery(), after=None, converter=None, reason="again")
    assert (done["matched"], done["changed"]) == (3, 2)
    assert {record.id for record in await desk.store.next_files(10)} == set(failed) - {moved}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"what": "files"},
        {"what": "files", "ids": []},
        {"what": "files", "ids": ["a"], "filter": {}},
        {"what": "files", "ids": [1]},
        {"what": "files", "filter": {"state": ["finished"]}},
        {"what": "files", "filter": {"destination": ["x"]}},
        {"what": "deliveries", "ids": ["a"]},
        {"what": "deliveries", "ids": [1], "converter": "x"},
        {"what": "deliveries", "filter": {"state": ["ready"]}},
        {"what": "everything", "filter": {}},
        {"what": "files", "filter": {}, "dry_run": True},
    ],
)
async def test_bad_retries_change_nothing(http_: Http, desk: Desk, body: Any) -> None:
    await desk.seed.fail("f.json")
    problem = await http_.post("/v1/retry", body, 422)
    assert problem["problems"]
    assert (await http_.get("/v1/status"))["files"]["failed"] == 1


async def test_pause_resume_rescan_stop(http_: Http, desk: Desk) -> None:
    for verb in ("pause", "resume"):
        assert await http_.post(f"/v1/{verb}", {"kind": "destination", "name": "reports"}) == {"done": True}
        assert (await http_.post(f"/v1/{verb}", {"kind": "folder", "name": "none"}, 404))["code"] == "DM-H003"
        assert (await http_.post(f"/v1/{verb}", {"kind": "agent", "name": "x"}, 422))["problems"]
    await http_.post("/v1/resume", {"kind": "task", "name": "lane reports"})
    assert "cannot be paused" in (await http_.post("/v1/pause", {"kind": "task", "name": "lane reports"}, 422))["what"]
    await http_.post("/v1/rescan", {})
    await http_.post("/v1/rescan", {"folder": "inbox"})
    await http_.post("/v1/stop", {})
    assert desk.done == [
        ("pause", "destination", "reports"),
        ("resume", "destination", "reports"),
        ("resume", "task", "lane reports"),
        ("rescan", "*"),
        ("rescan", "inbox"),
        ("stop",),
    ]


async def test_nothing_new_is_started_during_a_stop(http_: Http, desk: Desk) -> None:
    failed = await desk.seed.fail("f.json")
    desk.supervised["state"] = "stopping"
    asked = await http_.raw("POST", "/v1/retry", json.dumps({"what": "files", "ids": [failed]}).encode())
    assert (asked.status, asked.body["code"], asked.headers["retry-after"]) == (503, "DM-H004", "5")
    assert (await http_.get(f"/v1/files/{failed}"))["state"] == "failed"
    await http_.post("/v1/stop", {})


async def test_what_does_not_exist(http_: Http) -> None:
    nothing = await http_.raw("GET", "/v2/nothing")
    assert (nothing.status, nothing.body["code"]) == (404, "DM-H003")
    wrong = await http_.raw("DELETE", "/v1/files")
    assert (wrong.status, wrong.body["code"]) == (405, "DM-H003")
    assert "GET" in wrong.headers["allow"]


async def test_head_has_no_body(http_: Http) -> None:
    asked = await http_.raw("HEAD", "/v1/status")
    assert (asked.status, asked.body) == (200, None)


async def test_bodies_that_are_not_taken(http_: Http) -> None:
    form = await http_.raw("POST", "/v1/retry", b"a=1", **{"content-type": "application/x-www-form-urlencoded"})
    assert (form.status, form.body["code"]) == (415, "DM-H002")
    large = await http_.raw("POST", "/v1/retry", b'{"what": "' + b"x" * 2_000_000 + b'"}')
    assert (large.status, large.body["code"]) == (413, "DM-H002")


async def test_cursors_are_only_ours(http_: Http) -> None:
    for cursor in ("x", "-1", "9" * 30, "1.5"):
        assert (await http_.get(f"/v1/files?after={cursor}", 422))["where"] == "after"


async def test_a_store_that_cannot_be_read_is_said_so(http_: Http, desk: Desk) -> None:
    (desk.state / "queue.db").rename(desk.state / "moved.db")
    problem = await http_.get("/v1/status", 503)
    assert problem["code"].startswith("DM-Q")
    (desk.state / "moved.db").rename(desk.state / "queue.db")
    assert (await http_.get("/v1/status"))["state"] == "running"


async def test_everything_declared_is_in_the_document(http_: Http) -> None:
    document = (await http_.raw("GET", "/v1/openapi.json")).body
    assert document["openapi"] == "3.1.0"
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations) >= 20
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
