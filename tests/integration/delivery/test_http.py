"""The HTTP transport alone against real servers: what it sends, what it follows, what it never does."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dropmill.api import AuthRejected, Delivered, Rejected, Retry, Unavailable
from dropmill_plugins.transports.http.transport import HttpTransport
from support.lanes import Item
from support.servers import Nginx, Reply, ScriptedServer, Silence


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport({"url": url, **options})
    await transport.open(SimpleNamespace(destination="d", base=".", timeout=5.0))
    try:
        yield transport
    finally:
        await transport.close()


async def test_what_is_sent() -> None:
    async with (
        ScriptedServer() as server,
        opened(server.url + "/in/{partNumber}?serial={serial}", headers={"X-Line": "7"}) as transport,
    ):
        await transport.send([Item("k.1", b"body", serial="S 1", partNumber="P/7")])
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/in/P%2F7?serial=S%201", b"body")
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("dropmill/")
    assert headers.pop("host") == f"127.0.0.1:{server.port}"
    assert headers == {
        "content-type": "application/json",
        "content-length": "4",
        "idempotency-key": "k.1",
        "x-line": "7",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": " t0ken\n"}, "authorization", "Bearer t0ken"),
        (
            {"type": "basic", "username": "jörg", "password": "pä:ss\n"},
            "authorization",
            "Basic " + base64.b64encode("jörg:pä:ss".encode()).decode(),
        ),
        ({"type": "header", "name": "X-Api-Key", "value": "k3y"}, "x-api-key", "k3y"),
    ],
)
async def test_authentication(auth: dict[str, str], header: str, value: str) -> None:
    async with ScriptedServer() as server, opened(server.url, auth=auth) as transport:
        await transport.send([Item("k.1")])
    assert server.requests[0].headers[header] == value


async def test_an_echoed_secret_is_masked() -> None:
    token = "t0ken-t0ken"
    pair = base64.b64encode(b"me:pass-word").decode()
    for auth, echo in (
        ({"type": "bearer", "token": token}, token),
        ({"type": "basic", "username": "me", "password": "pass-word"}, f"{pair} pass-word"),
    ):
        async with (
            ScriptedServer(Reply(body=echo.encode()), Reply(status=400, body=echo.encode())) as server,
            opened(server.url, auth=auth) as transport,
        ):
            delivered, refused = [(await transport.send([Item("k.1")]))[0] for _ in range(2)]
        assert isinstance(delivered, Delivered) and isinstance(refused, Rejected)
        for secret in echo.split():
            assert secret not in str(delivered) + str(refused)


async def test_the_key_header_may_have_another_name_or_none() -> None:
    async with ScriptedServer() as server, opened(server.url, idempotency_header="X-Message-Id") as transport:
        await transport.send([Item("k.1")])
        async with opened(server.url, idempotency_header="", content_type="text/x-acme") as transport:
            await transport.send([Item("k.1")])
    first, second = (request.headers for request in server.requests)
    assert first["x-message-id"] == "k.1" and "idempotency-key" not in first
    assert "idempotency-key" not in second and second["content-type"] == "text/x-acme"


async def test_keys_and_types_that_no_header_can_carry_are_encoded() -> None:
    async with ScriptedServer() as server, opened(server.url) as transport:
        (outcome,) = await transport.send([Item("kä\r\nX: 1", media_type="text/plain\r\nEvil: 1")])
    assert isinstance(outcome, Delivered)
    headers = server.requests[0].headers
    assert headers["idempotency-key"] == "k%C3%A4%0D%0AX%3A 1".replace("%3A", "%3A")
    assert headers["content-type"] == "text/plain%0D%0AEvil%3A 1"
    assert "evil" not in headers and "x" not in headers


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 3_000_000])
async def test_bodies_have_their_length(size: int) -> None:
    body = os.urandom(size)
    async with ScriptedServer() as server, opened(server.url, method="PUT") as transport:
        (outcome,) = await transport.send([Item("k.1", body)])
    assert isinstance(outcome, Delivered)
    assert server.requests[0].body == body
    assert server.requests[0].headers["content-length"] == str(size)
    assert "transfer-encoding" not in server.requests[0].headers


@pytest.mark.parametrize("size", [0, 1000, 1_048_576, 3_000_000])
async def test_compressed_bodies(size: int) -> None:
    body = (b"0123456789" * (size // 10 + 1))[:size]
    async with ScriptedServer() as server, opened(server.url, gzip=True) as transport:
        for _ in range(2):
            (outcome,) = await transport.send([Item("k.1", body)])
            assert isinstance(outcome, Delivered)
    first, second = server.requests
    assert gzip.decompress(first.body) == body and first.headers["content-encoding"] == "gzip"
    assert first.body == second.body, "equal reports give equal bytes"
    assert ("content-length" in first.headers) == (size <= 1_048_576)


async def test_a_connection_is_kept_and_one_session_serves_all() -> None:
    async with ScriptedServer() as server, opened(server.url) as transport:
        for number in range(10):
            await transport.send([Item(f"k{number}.1")])
        assert server.connections == 1
        async with opened(server.url) as transport:
            await asyncio.gather(*(transport.send([Item(f"k{number}.1")]) for number in range(10)))
        assert server.connections <= 11


async def test_an_idle_connection_is_given_up_before_the_server_does() -> None:
    async with ScriptedServer() as server, opened(server.url, keep_alive=0.05) as transport:
        await transport.send([Item("k1.1")])
        await asyncio.sleep(0.1)
        await transport.send([Item("k2.1")])
        assert server.connections == 2


async def test_no_cookie_is_kept_and_no_environment_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with ScriptedServer(Reply(headers={"Set-Cookie": "session=1"})) as server, opened(server.url) as transport:
        for _ in range(2):
            (outcome,) = await transport.send([Item("k.1")])
            assert isinstance(outcome, Delivered)
    assert "cookie" not in server.requests[1].headers


# --- redirects -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_refused_unless_allowed(status: int) -> None:
    async with (
        ScriptedServer(otherwise=Reply(status=status, headers={"Location": "/elsewhere"})) as server,
        opened(server.url) as transport,
    ):
        with pytest.raises(Unavailable, match="/elsewhere"):
            await transport.send([Item("k.1")])
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("size", [10, 500_000])
async def test_redirects_on_the_same_host_keep_method_body_and_secrets(status: int, size: int) -> None:
    body = os.urandom(size)
    async with (
        ScriptedServer(Reply(status=status, headers={"Location": "../other?x=1"})) as server,
        opened(server.url + "/a/b", redirects="same_host", auth={"type": "bearer", "token": "t0ken"}) as transport,
    ):
        (outcome,) = await transport.send([Item("k.1", body)])
    assert isinstance(outcome, Delivered)
    first, second = server.requests
    assert (second.method, second.target, second.body) == ("POST", "/other?x=1", body)
    assert second.headers["authorization"] == first.headers["authorization"] == "Bearer t0ken"
    assert second.headers["idempotency-key"] == "k.1"


async def test_another_host_is_not_followed_where_only_the_same_is_allowed() -> None:
    async with ScriptedServer() as elsewhere, ScriptedServer() as server:
        server.otherwise = Reply(status=307, headers={"Location": elsewhere.url + "/x"})
        async with opened(server.url, redirects="same_host") as transport:
            with pytest.raises(Unavailable):
                await transport.send([Item("k.1")])
        assert not elsewhere.requests


async def test_secrets_do_not_follow_to_another_host_and_do_not_come_back() -> None:
    async with ScriptedServer() as elsewhere, ScriptedServer() as server:
        server.script.append(Reply(status=307, headers={"Location": f"http://u:p@127.0.0.1:{elsewhere.port}/x"}))
        elsewhere.script.append(Reply(status=307, headers={"Location": f"http://127.0.0.1:{server.port}/back"}))
        async with opened(
            server.url,
            redirects="any",
            auth={"type": "header", "name": "X-Api-Key", "value": "k3y-k3y"},
            headers={"X-Tenant": "acme"},
        ) as transport:
            (outcome,) = await transport.send([Item("k.1", b"body")])
    assert isinstance(outcome, Delivered)
    first, back = server.requests
    (away,) = elsewhere.requests
    assert first.headers["x-api-key"] == "k3y-k3y"
    for request in (away, back):
        assert not {"x-api-key", "x-tenant", "authorization"} & set(request.headers)
        assert request.body == b"body" and request.headers["idempotency-key"] == "k.1"


@pytest.mark.parametrize("location", ["", "ftp://h/x", "mailto:a@b", "http://[", "//", "https:"])
async def test_addresses_that_lead_nowhere(location: str) -> None:
    async with (
        ScriptedServer(otherwise=Reply(status=307, headers={"Location": location})) as server,
        opened(server.url, redirects="any") as transport,
    ):
        with pytest.raises(Unavailable):
            await transport.send([Item("k.1")])
    assert len(server.requests) <= 5


async def test_a_circle_of_redirects_ends() -> None:
    async with (
        ScriptedServer(otherwise=Reply(status=308, headers={"Location": "/again"})) as server,
        opened(server.url, redirects="same_host") as transport,
    ):
        with pytest.raises(Unavailable, match="circle"):
            await transport.send([Item("k.1")])
    assert len(server.requests) == 5


async def test_303_is_never_followed() -> None:
    async with (
        ScriptedServer(otherwise=Reply(status=303, headers={"Location": "/thanks"})) as server,
        opened(server.url, redirects="any") as transport,
    ):
        with pytest.raises(Unavailable):
            await transport.send([Item("k.1")])
        async with opened(server.url, redirects="any", success_status=[303]) as transport:
            (outcome,) = await transport.send([Item("k.1")])
            assert isinstance(outcome, Delivered)


# --- probes ----------------------------------------------------------------------------------------------------------------


async def test_a_probe_without_an_address_only_connects() -> None:
    async with ScriptedServer() as server, opened(server.url + "/{key}") as transport:
        await transport.probe()
        assert not server.requests
        await server.stop()
        async with opened(server.url + "/{key}") as transport:
            with pytest.raises(Unavailable, match=r"refused|connect"):
                await transport.probe()
        await server.start()


async def test_a_probe_with_an_address() -> None:
    async with (
        ScriptedServer(
            Reply(),
            Reply(status=404),
            Reply(status=401),
            Reply(status=503, headers={"Retry-After": "7"}),
            Silence(end="close"),
        ) as server,
        opened(
            server.url, probe={"url": server.url + "/health"}, auth={"type": "bearer", "token": "t0ken"}
        ) as transport,
    ):
        await transport.probe()
        await transport.probe()
        with pytest.raises(AuthRejected):
            await transport.probe()
        with pytest.raises(Unavailable) as raised:
            await transport.probe()
        assert raised.value.after == 7
        with pytest.raises(Unavailable, match="closed"):
            await transport.probe()
    assert {request.method for request in server.requests} == {"HEAD"}
    assert all(request.headers["authorization"] == "Bearer t0ken" for request in server.requests)


async def test_a_probe_elsewhere_goes_without_secrets() -> None:
    async with (
        ScriptedServer() as server,
        ScriptedServer() as elsewhere,
        opened(
            server.url,
            probe={"url": elsewhere.url + "/health", "method": "OPTIONS"},
            auth={"type": "bearer", "token": "t0ken"},
        ) as transport,
    ):
        await transport.probe()
    assert elsewhere.requests[0].method == "OPTIONS" and "authorization" not in elsewhere.requests[0].headers


# --- proxies ---------------------------------------------------------------------------------------------------------------


async def test_a_proxy_is_used_where_configured() -> None:
    async with (
        ScriptedServer(Reply(status=201), Reply(status=407)) as proxy,
        opened(
            "http://reports.invalid/{key}", proxy={"url": proxy.url, "username": "u", "password": "p:w"}
        ) as transport,
    ):
        (outcome,) = await transport.send([Item("k.1")])
        assert isinstance(outcome, Delivered)
        with pytest.raises(AuthRejected):
            await transport.send([Item("k.1")])
        await transport.probe()
    request = proxy.requests[0]
    assert request.target == "http://reports.invalid/k.1"
    assert request.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"u:p:w").decode()


@pytest.mark.parametrize(("status", "raised"), [(407, AuthRejected), (502, Unavailable)])
async def test_a_proxy_that_does_not_let_us_through(status: int, raised: type[Exception]) -> None:
    async with (
        ScriptedServer(otherwise=Reply(status=status)) as proxy,
        opened("https://reports.invalid/", proxy={"url": proxy.url}) as transport,
    ):
        with pytest.raises(raised, match=str(status)):
            await transport.send([Item("k.1")])


async def test_a_proxy_that_is_away() -> None:
    proxy = ScriptedServer()
    await proxy.start()
    await proxy.stop()
    async with opened("http://reports.invalid/", proxy={"url": proxy.url}) as transport:
        with pytest.raises(Unavailable):
            await transport.send([Item("k.1")])
        with pytest.raises(Unavailable):
            await transport.probe()


# --- failures --------------------------------------------------------------------------------------------------------------


async def test_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as full:  # a backlog that is full: connecting hangs
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with opened(f"http://127.0.0.1:{port}/", connect_timeout=0.3) as transport:
            with pytest.raises(Unavailable, match="connect_timeout"):
                await transport.send([Item("k.1")])
            with pytest.raises(Unavailable, match="within"):
                await transport.probe()
        for filler in fillers:
            filler.close()


async def test_a_payload_that_cannot_be_read_is_no_delivery() -> None:
    class Broken(Item):
        async def chunks(self, size: int = 262_144) -> AsyncIterator[bytes]:
            yield b"x" * 10
            raise RuntimeError("damaged")

    async with ScriptedServer() as server, opened(server.url) as transport:
        (outcome,) = await transport.send([Broken("k.1", b"x" * 1_000_000)])
    assert isinstance(outcome, Retry)
    assert not server.requests


async def test_a_cancelled_send_gives_its_connection_up() -> None:
    async with ScriptedServer(Silence(), Reply()) as server, opened(server.url) as transport:
        task = asyncio.ensure_future(transport.send([Item("k1.1")]))
        await server.wait_for(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (outcome,) = await transport.send([Item("k2.1")])
    assert isinstance(outcome, Delivered)
    assert server.connections == 2


async def test_what_is_no_trouble_of_the_network_comes_out() -> None:
    class Broken(Item):
        async def read(self) -> bytes:
            raise LookupError("a bug")

    async with ScriptedServer() as server, opened(server.url) as transport:
        with pytest.raises(LookupError):
            await transport.send([Broken("k.1")])


async def test_nginx_takes_puts_as_files(tmp_path: Path) -> None:
    body = os.urandom(5_000_000)
    with Nginx(tmp_path / "nginx", max_body="6m") as nginx:
        async with opened(nginx.url + "/in/{serial}/{key}", method="PUT") as transport:
            outcomes = [
                (await transport.send([item]))[0]
                for item in (
                    Item("a.1", b"small", serial="S1"),
                    Item("b.1", body, serial="S2"),
                    Item("a.1", b"small", serial="S1"),
                )
            ]
            assert [(type(outcome), outcome.details["status"]) for outcome in outcomes] == [
                (Delivered, 201),
                (Delivered, 201),
                (Delivered, 204),
            ]
            (large,) = await transport.send([Item("c.1", body + body, serial="S3")])
            assert isinstance(large, Rejected) and large.code == "HTTP-413"
        async with opened(nginx.url + "/in/S1/a.1", method="POST") as transport:
            (outcome,) = await transport.send([Item("d.1")])
            assert isinstance(outcome, Rejected) and outcome.code == "HTTP-405"
        assert nginx.files() == {"in/S1/a.1": b"small", "in/S2/b.1": body}
