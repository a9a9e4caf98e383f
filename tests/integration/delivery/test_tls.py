"""TLS for real: an authority of our own, client certificates, wrong names, what must not be trusted."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dropmill.api import Delivered, Unavailable
from dropmill.delivery.status import LaneState
from dropmill_plugins.transports.http.transport import HttpTransport
from support.lanes import Item, Site, http_lane
from support.servers import Authority, Nginx, Reply, ScriptedServer

NAMES = ("DNS:localhost", "IP:127.0.0.1")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def ends_waiting(queue: Site, url: str, options: dict[str, Any]) -> str:
    """Offer a report: the lane must wait without charging it. Why it waits."""
    await queue.offer(1)
    lane = http_lane(queue, url, options=options)
    async with queue.running(lane):
        await queue.until(lambda: "waiting for destination" in queue.states())
        reason = lane.status().reason
        assert lane.status().state is LaneState.WAITING
    assert queue.deliveries() == {"r00001": ("ready", 0)}
    return reason


async def test_a_custom_authority(queue: Site, authority: Authority, tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", certificate=authority.issue("localhost", *NAMES)) as nginx:
        await queue.offer(1)
        lane = http_lane(queue, nginx.url, options={"ca_file": str(authority.certificate)})
        async with queue.running(lane):
            await queue.until(lambda: queue.deliveries() == {"r00001": ("sent", 1)})
            lane.probe_now()
            async with asyncio.timeout(10):
                while lane.status().last_probe is None:
                    await asyncio.sleep(0.01)
            assert lane.status().last_probe.error == ""  # type: ignore[union-attr]
        assert nginx.files() == {"r00001.1": b'{"number": 1}'}


async def test_an_unknown_authority_is_not_trusted(queue: Site, authority: Authority, tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", certificate=authority.issue("localhost", *NAMES)) as nginx:
        reason = await ends_waiting(queue, nginx.url, {})
        assert "certificate" in reason and "issuer" in reason
        assert nginx.files() == {}


async def test_a_certificate_for_another_name_is_not_trusted(queue: Site, authority: Authority, tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", certificate=authority.issue("other", "DNS:other.example")) as nginx:
        reason = await ends_waiting(queue, nginx.url, {"ca_file": str(authority.certificate)})
        assert "127.0.0.1" in reason and "atch" in reason
        assert nginx.files() == {}


async def test_verification_can_be_switched_off(queue: Site, authority: Authority, tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", certificate=authority.issue("other", "DNS:other.example")) as nginx:
        await queue.offer(1)
        async with queue.running(http_lane(queue, nginx.url, options={"verify": False})):
            await queue.until(lambda: queue.deliveries() == {"r00001": ("sent", 1)})


async def test_plain_http_where_tls_is_expected(queue: Site) -> None:
    async with ScriptedServer() as server:
        reason = await ends_waiting(queue, server.url.replace("http:", "https:"), {})
    assert "SSL" in reason or "TLS" in reason or "onnect" in reason


async def test_tls_where_plain_http_is_expected(queue: Site, authority: Authority, tmp_path: Path) -> None:
    certificate = authority.issue("localhost", *NAMES)
    async with ScriptedServer(tls=certificate.server_context()) as server:
        await queue.offer(1)
        lane = http_lane(queue, server.url.replace("https:", "http:"), retries=0)
        async with queue.running(lane):
            await queue.until(lambda: queue.names("delivery.dead") == ["r00001.1"])


@pytest.mark.parametrize("password", [None, "key-password"])
async def test_a_client_certificate(queue: Site, authority: Authority, tmp_path: Path, password: str | None) -> None:
    ours = authority.issue("dropmill", password=password)
    options = {
        "ca_file": str(authority.certificate),
        "client_certificate": str(ours.certificate),
        "client_key": str(ours.key),
        **({"client_key_password": password} if password else {}),
    }
    server = authority.issue("localhost", *NAMES)
    with Nginx(tmp_path / "nginx", certificate=server, clients=authority.certificate) as nginx:
        await queue.offer(1)
        async with queue.running(http_lane(queue, nginx.url, options=options)):
            await queue.until(lambda: queue.deliveries() == {"r00001": ("sent", 1)})
        assert list(nginx.files()) == ["r00001.1"]


async def test_without_a_client_certificate_nginx_answers_400_and_nothing_is_lost(
    queue: Site, authority: Authority, tmp_path: Path
) -> None:
    server = authority.issue("localhost", *NAMES)
    with Nginx(tmp_path / "nginx", certificate=server, clients=authority.certificate) as nginx:
        reason = await ends_waiting(queue, nginx.url, {"ca_file": str(authority.certificate)})
    assert "client certificate" in reason


async def test_without_a_client_certificate_others_end_tls(queue: Site, authority: Authority, free_port: int) -> None:
    """With TLS 1.3 the refusal comes after the handshake, when the request is under way."""
    ours = authority.issue("localhost", *NAMES)
    command = ("s_server", "-accept", free_port, "-cert", ours.certificate, "-key", ours.key, "-www", "-quiet")
    demand = ("-CAfile", authority.certificate, "-Verify", "1", "-verify_return_error")
    server = subprocess.Popen(
        ["openssl", *map(str, (*command, *demand))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await listening(free_port)
        reason = await ends_waiting(queue, f"https://127.0.0.1:{free_port}", {"ca_file": str(authority.certificate)})
    finally:
        server.kill()
        server.wait()
    assert "refuses the credentials" in reason and "CERTIFICATE_REQUIRED" in reason


async def test_a_wrong_key_password_is_told_without_it(queue: Site, authority: Authority) -> None:
    ours = authority.issue("dropmill", password="right-password")
    options = {
        "client_certificate": str(ours.certificate),
        "client_key": str(ours.key),
        "client_key_password": "wrong-password",
    }
    reason = await ends_waiting(queue, "https://127.0.0.1:9", options)
    assert "TLS settings" in reason and "wrong-password" not in reason


async def test_a_certificate_is_not_shown_to_another_host(authority: Authority, tmp_path: Path) -> None:
    """A redirect elsewhere is followed without our certificate and without our secrets."""
    ours = authority.issue("dropmill")
    elsewhere_tls = authority.issue("localhost", *NAMES).server_context()
    elsewhere_tls.load_verify_locations(authority.certificate)
    elsewhere_tls.verify_mode = ssl.CERT_OPTIONAL
    shown: list[Any] = []

    class Watching(ScriptedServer):
        async def _serve(self, reader: Any, writer: Any) -> None:
            shown.append(writer.get_extra_info("ssl_object").getpeercert())
            await super()._serve(reader, writer)

    first_tls = authority.issue("localhost", *NAMES).server_context(clients=authority.certificate)
    async with Watching(tls=elsewhere_tls) as elsewhere, Watching(tls=first_tls) as first:
        first.otherwise = Reply(status=307, headers={"Location": f"https://localhost:{elsewhere.port}/there"})
        transport = HttpTransport(
            {
                "url": first.url + "/{key}",
                "redirects": "any",
                "ca_file": str(authority.certificate),
                "client_certificate": str(ours.certificate),
                "client_key": str(ours.key),
                "auth": {"type": "bearer", "token": "the-token"},
                "headers": {"X-Tenant": "acme"},
            }
        )
        await transport.open(SimpleNamespace(destination="d", base=".", timeout=5))
        (outcome,) = await transport.send([Item("k.1")])
        await transport.close()
    assert isinstance(outcome, Delivered)
    assert shown[0] and shown[1] in ({}, None), shown
    assert "authorization" in first.requests[0].headers
    assert not {"authorization", "x-tenant"} & set(elsewhere.requests[0].headers)
    assert elsewhere.requests[0].headers["idempotency-key"] == "k.1"


async def test_probing_makes_tls(authority: Authority, tmp_path: Path) -> None:
    certificate = authority.issue("localhost", *NAMES)
    async with ScriptedServer(tls=certificate.server_context()) as server:
        good = HttpTransport({"url": server.url, "ca_file": str(authority.certificate)})
        bad = HttpTransport({"url": server.url})
        for transport in (good, bad):
            await transport.open(SimpleNamespace(destination="d", base=".", timeout=5))
        await good.probe()
        with pytest.raises(Unavailable, match="issuer"):
            await bad.probe()
        for transport in (good, bad):
            await transport.close()
        assert server.requests == [], "nothing was asked"
