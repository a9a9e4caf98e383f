"""What an admin may write, and what the transport makes of it without a network."""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dropmill.api import Rejected, Unavailable
from dropmill.delivery.scrub import secrets_of
from dropmill_plugins.transports.http import OPTIONS, SPEC, register_transports
from dropmill_plugins.transports.http.network import OwnResolver
from dropmill_plugins.transports.http.transport import HttpTransport

URL = "https://reports.example/api/{key}"


def descriptions(schema: Any) -> list[tuple[str, bool]]:
    found = []
    for name, part in schema.get("properties", {}).items():
        found.append((name, bool(part.get("description"))))
        found.extend(descriptions(part))
    return found


def test_the_schema_is_one_and_describes_every_option() -> None:
    Draft202012Validator.check_schema(OPTIONS)
    assert list(register_transports()) == [SPEC]
    assert [name for name, described in descriptions(OPTIONS) if not described] == []
    for part in (OPTIONS, *(OPTIONS["properties"][name] for name in ("auth", "proxy", "probe"))):
        assert part["additionalProperties"] is False


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://localhost"},
        {"url": "https://h:8443/a/{key}?serial={serial}&x={{y}}"},
        {"url": "http://[::1]:8080/"},
        {"url": URL, "auth": {"type": "bearer", "token": "t"}},
        {"url": URL, "auth": {"type": "basic", "username": "u", "password": "p"}},
        {"url": URL, "auth": {"type": "header", "name": "X-Api-Key", "value": "v"}},
        {"url": URL, "idempotency_header": "", "method": "PUT", "headers": {"X-Line": "7"}},
        {"url": URL, "duplicate_status": [409], "success_status": [201], "retry_status": [404], "reject_status": [403]},
        {"url": URL, "client_certificate": "c.pem", "client_key": "k.pem", "client_key_password": "x", "ca_file": "a"},
        {"url": URL, "proxy": {"url": "http://proxy:3128", "username": "u", "password": "p"}},
        {"url": URL, "probe": {"url": "https://reports.example/health", "method": "GET"}},
    ],
)
def test_good_options(options: dict[str, Any]) -> None:
    assert list(Draft202012Validator(OPTIONS).iter_errors(options)) == []
    HttpTransport(options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"url": "reports.example"},
        {"url": "ftp://h/"},
        {"url": "http://user:password@h/"},
        {"url": "http://{serial}/"},
        {"url": "http://h/#part"},
        {"url": "http://h/{key"},
        {"url": "http://h/a b"},
        {"url": URL, "method": "GET"},
        {"url": URL, "auth": {"type": "bearer"}},
        {"url": URL, "auth": {"type": "basic", "username": "u"}},
        {"url": URL, "auth": {"type": "basic", "username": "a:b", "password": "p"}},
        {"url": URL, "auth": {"type": "header", "name": "X Api", "value": "v"}},
        {"url": URL, "headers": {"X": "a\r\nInjected: 1"}},
        {"url": URL, "headers": {"X:": "a"}},
        {"url": URL, "success_status": [99]},
        {"url": URL, "connect_timeout": 0},
        {"url": URL, "client_key": "k.pem"},
        {"url": URL, "redirects": "always"},
        {"url": URL, "unknown": 1},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    assert not Draft202012Validator(OPTIONS).is_valid(options)


def test_secrets_are_marked() -> None:
    options = {
        "url": URL,
        "auth": {"type": "basic", "username": "u", "password": "pw-1"},
        "client_key_password": "pw-2",
        "proxy": {"url": "http://p", "username": "u", "password": "pw-3"},
    }
    assert sorted(secrets_of(OPTIONS, options)) == ["pw-1", "pw-2", "pw-3"]


def item(**fields: Any) -> Any:
    return SimpleNamespace(
        key="k/1", report_id="k", sha256="", media_type="application/json", size=2, fields=fields, attempt=1
    )


@pytest.mark.parametrize(
    ("url", "fields", "address"),
    [
        ("http://h/a", {}, "http://h/a"),
        ("http://h/{key}", {}, "http://h/k%2F1"),
        ("http://h/{serial}/x?q={partNumber}", {"serial": "ä b/.."}, None),
        (
            "http://h/{serial}/x?q={partNumber}",
            {"serial": "ä b/..", "partNumber": "a&b=c"},
            "http://h/%C3%A4%20b%2F../x?q=a%26b%3Dc",
        ),
        ("http://h/{serial}", {"serial": ".."}, None),
        ("http://h/{serial}", {"serial": "%2e%2e"}, "http://h/%252e%252e"),
        ("http://h/{{x}}/{serial}", {"serial": "S"}, "http://h/{x}/S"),
        ("http://h/a{{b}}", {}, "http://h/a{b}"),
        ("http://h/{serial}", {"serial": "\udcff"}, "http://h/%FF"),
    ],
)
async def test_addresses(url: str, fields: dict[str, Any], address: str | None) -> None:
    transport = HttpTransport({"url": url})
    asked: list[str] = []

    async def exchange(method: str, url: Any, *rest: Any) -> Any:
        asked.append(str(url))
        raise LookupError

    transport._exchange = exchange  # type: ignore[method-assign]
    if address is None:
        (outcome,) = await transport.send([item(**fields)])
        assert isinstance(outcome, Rejected) and outcome.code == "HTTP-URL"
    else:
        with pytest.raises(LookupError):
            await transport.send([item(**fields)])
    assert asked == ([] if address is None else [address])


async def test_certificates_that_cannot_be_read_are_waited_for(tmp_path: Any) -> None:
    (tmp_path / "bad.pem").write_text("not a certificate")
    for options in ({"ca_file": "missing.pem"}, {"ca_file": "bad.pem"}, {"client_certificate": "bad.pem"}):
        transport = HttpTransport({"url": URL, **options})
        with pytest.raises(Unavailable, match="TLS settings"):
            await transport.open(SimpleNamespace(destination="d", base=str(tmp_path), timeout=1))
        await transport.close()


async def test_used_before_it_is_open() -> None:
    transport = HttpTransport({"url": URL})
    for call in (transport.probe(), transport.send([item()])):
        with pytest.raises(RuntimeError, match="not open"):
            await call
    await transport.close()


async def test_names_resolve_in_a_thread_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket
    import threading

    threads = []
    original = socket.getaddrinfo

    def spy(*arguments: Any, **named: Any) -> Any:
        threads.append(threading.current_thread().name)
        if named.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "no address is configured")
        return original(*arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", spy)
    pool = ThreadPoolExecutor(1, thread_name_prefix="resolve reports")
    resolver = OwnResolver(pool)
    found = await resolver.resolve("localhost", 80)
    assert {each["host"] for each in found} & {"127.0.0.1", "::1"}
    assert all(name.startswith("resolve reports") for name in threads)
    await resolver.close()
    pool.shutdown()


async def test_a_link_local_address_keeps_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET6, 1, 6, "", ("fe80::1", 80, 0, 1))])
    with ThreadPoolExecutor(1) as pool:
        (found,) = await OwnResolver(pool).resolve("printer", 80)
    assert found["host"].startswith("fe80::1%")


async def test_a_hanging_name_server_ends_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver_hangs = asyncio.Event()

    async def resolve(self: Any, *_: Any) -> Any:
        resolver_hangs.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(OwnResolver, "resolve", resolve)
    transport = HttpTransport({"url": URL, "connect_timeout": 0.05})
    await transport.open(SimpleNamespace(destination="d", base=".", timeout=1))
    with pytest.raises(Unavailable, match=r"within 0\.05 s"):
        await transport.probe()
    assert resolver_hangs.is_set()
    await transport.close()


def test_without_verification_nothing_is_checked() -> None:
    from dropmill_plugins.transports.http.network import tls_context

    assert tls_context({}).verify_mode is ssl.CERT_REQUIRED
    loose = tls_context({"verify": False})
    assert loose.verify_mode is ssl.CERT_NONE and not loose.check_hostname
