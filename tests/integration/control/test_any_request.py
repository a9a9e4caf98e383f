"""Whatever is asked, the answer is one that the OpenAPI document knows, and never a failure of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dropmill.control import changing, openapi, reading
from dropmill.control.actions import Actions
from dropmill.control.api import application
from dropmill.control.queries import Queries
from integration.control.desk import Desk

ANY_TEXT = st.text(max_size=30) | st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


class Api:
    """The application itself, on a real store."""

    def __init__(self, home: Path) -> None:
        self.runner = asyncio.Runner()
        self.desk = Desk(home)
        self.runner.run(self.desk.open())
        self.runner.run(self._seed())
        threads = ThreadPoolExecutor(1)
        queries = Queries(self.desk.reader)

        def in_thread(function: Any, /, *args: Any, **named: Any) -> Any:
            return asyncio.get_running_loop().run_in_executor(threads, lambda: function(*args, **named))

        actions = Actions(self.desk.store, queries, in_thread, self.desk.clock)
        self.routes = [*reading.routes(self.desk, queries, in_thread), *changing.routes(self.desk, actions)]
        self.app = application(self.routes, version="0", stopping=lambda: False)
        self.document = openapi.document(self.routes, "0")
        self.threads = threads

    async def _seed(self) -> None:
        await self.desk.seed.convert("a.json", lanes=["reports", "backup"])
        await self.desk.seed.deliver("reports", "dead")
        await self.desk.seed.fail("b.json", data=b"b")

    def ask(self, method: str, template: str, path: str, query: str, body: bytes) -> None:
        status, headers, data = self.runner.run(self._ask(method, path, query, body))
        described = self.document["paths"][template][method.lower()]["responses"]
        assert status != 500, data
        assert str(status) in described, (status, data)
        (media,) = described[str(status)]["content"]
        assert headers[b"content-type"].decode() == media
        schema = described[str(status)]["content"][media]["schema"]
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(json.loads(data))

    async def _ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "headers": [],
            "root_path": "",
            "state": {},
        }
        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(part.get("body", b"") for part in sent[1:])

    def close(self) -> None:
        self.desk.reader.close()
        self.runner.run(self.desk.store.close(clean=True))
        self.threads.shutdown()
        self.runner.close()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    running = Api(tmp_path_factory.mktemp("api"))
    yield running
    running.close()


ASKED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def encoded(pairs: list[tuple[str, str]]) -> str:
    return "&".join(
        f"{quote(name, errors='surrogateescape')}={quote(text, errors='surrogateescape')}" for name, text in pairs
    )


@ASKED
@given(data=st.data())
def test_any_query(api: Api, data: st.DataObject) -> None:
    route = data.draw(st.sampled_from([route for route in api.routes if route.method == "GET"]), label="route")
    names = st.sampled_from([parameter.name for parameter in route.parameters] or ["none"]) | st.text(max_size=5)
    values = [st.sampled_from(list(one.choices)) for one in route.parameters if one.choices]
    values += [st.integers(-5, 10**20).map(str), ANY_TEXT, st.sampled_from(["2026-11-24T13:00:00Z", "1e308", "-1"])]
    query = encoded(data.draw(st.lists(st.tuples(names, st.one_of(values)), max_size=4), label="query"))
    given_id = data.draw(st.integers(0, 10**20).map(str) | st.text("abc019", min_size=1, max_size=20), label="id")
    api.ask("GET", route.path, route.path.replace("{id}", given_id), query, b"")


def matching(schema: Any) -> st.SearchStrategy[Any]:
    """Bodies that fit a schema more or less."""
    if schema is False or not isinstance(schema, dict):
        return ANY_JSON
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        parts = {name: matching(part) for name, part in schema["properties"].items()}
        return st.fixed_dictionaries({}, optional=parts)
    if kind == "array":
        return st.lists(matching(schema.get("items", {})), max_size=3)
    if kind in ("string", ["string"]):
        return ANY_TEXT | st.sampled_from(["/etc/hostname", "inbox", "reports", "json"])
    if kind == "integer":
        return st.integers(-1, 10**20)
    if kind == "boolean":
        return st.booleans()
    return ANY_JSON


@ASKED
@given(data=st.data())
def test_any_body(api: Api, data: st.DataObject) -> None:
    route = data.draw(st.sampled_from([route for route in api.routes if route.method == "POST"]), label="route")
    assert route.body is not None
    merged = {**route.body, "properties": {**route.body["properties"]}}
    branch = data.draw(st.sampled_from(["then", "else"]), label="branch")
    merged["properties"].update(route.body.get(branch, {}).get("properties", {}))
    body = data.draw(matching(merged) | ANY_JSON, label="body")
    api.ask("POST", route.path, route.path, "", json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/retry", {"what": "deliveries", "ids": [2**63]}),
        ("/v1/retry", {"what": "deliveries", "ids": [2**63 - 1]}),
        ("/v1/retry", {"what": "files", "ids": ["\ud800"]}),
        ("/v1/retry", {"what": "files", "ids": ["\udcff"]}),
        ("/v1/retry", {"what": "files", "filter": {"name": "\udcff["}}),
        ("/v1/retry", {"what": "files", "filter": {"code": "\udcff"}}),
        ("/v1/retry", {"what": "files", "filter": {"since": 10**400}}),
        ("/v1/drop", {"filter": {"until": 1e308}}),
        ("/v1/submit", {"paths": ["/\x00"]}),
        ("/v1/submit", {"paths": ["/\ud800"]}),
        ("/v1/submit", {"paths": ["/\udcff"]}),
        ("/v1/pause", {"kind": "folder", "name": "\udcff"}),
    ],
)
def test_numbers_and_texts_that_a_store_or_a_system_cannot_take(api: Api, path: str, body: Any) -> None:
    api.ask("POST", path, path, "", json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/files", "code=%ff"),
        ("/v1/files", "name=%ff%00"),
        ("/v1/files", "since=1e400"),
        ("/v1/files", "since=1e12"),
        ("/v1/files", "after=999999999999999999"),
        ("/v1/explain", "path=%00"),
        ("/v1/explain", "path=%ff"),
    ],
)
def test_queries_that_a_store_or_a_system_cannot_take(api: Api, path: str, query: str) -> None:
    api.ask("GET", path, path, query, b"")


@ASKED
@given(body=st.binary(max_size=200))
def test_any_bytes(api: Api, body: bytes) -> None:
    api.ask("POST", "/v1/retry", "/v1/retry", "", body)
