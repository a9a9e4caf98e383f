"""The transport `http`: one request for each report, sent once; whether it is sent again is the queue's business.

One session with keep-alive connections for each destination. It never follows a redirect unasked, never takes a secret to another
host, keeps no cookies, ignores the environment's proxies, and reads no more of an answer than it keeps.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from dropmill.api import AuthRejected, Outcome, Outgoing, Rejected, Retry, TransportContext, Unavailable
from dropmill_plugins.transports.http.answers import Answer, Rules
from dropmill_plugins.transports.http.bodies import Body
from dropmill_plugins.transports.http.network import OwnResolver, connect, tls_context
from dropmill_plugins.transports.http.troubles import BrokenOff, outcome_of
from dropmill_plugins.transports.templates import MissingValue, Template, values_of

__all__ = ["HttpTransport"]

_ANSWER = 65_536
"""Bytes of an answer's body that are read; of a longer one the connection is closed."""
_KEPT = 4_096
_HOPS = 5
_FOLLOWED = frozenset({301, 302, 307, 308})
_MASK = b"***"
_THREADS = 2

T = TypeVar("T")


class HttpTransport:
    """Reports to an HTTP(S) server; see `docs/transports.md`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """
        Raises:
            ValueError: the URL's template has a stray brace.
        """
        self._options = options
        self._url = Template(options["url"])
        self._fixed = URL(options["url"], encoded=True) if not self._url.names and "{" not in options["url"] else None
        self._method: str = options.get("method") or "POST"
        self._key_header: str = options.get("idempotency_header", "Idempotency-Key")
        self._redirects: str = options.get("redirects") or "refuse"
        self._gzip: bool = options.get("gzip", False)
        self._rules = Rules(
            reject=frozenset(options.get("reject_status", ())),
            unavailable=frozenset(options.get("unavailable_status", ())),
            duplicate=frozenset(options.get("duplicate_status", ())),
            success=frozenset(options.get("success_status", ())),
            retry=frozenset(options.get("retry_status", ())),
            secured=options["url"].lower().startswith("https:"),
        )
        self._secret_headers, self._masked = _authentication(options.get("auth"))
        self._headers: dict[str, str] = {**options.get("headers", {}), **self._secret_headers}
        self._origin = URL(options["url"].partition("{")[0], encoded=True).origin()
        self._proxy = _proxy(options.get("proxy"))
        self._session: aiohttp.ClientSession | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._resolver: OwnResolver | None = None
        self._tls = self._tls_elsewhere = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def open(self, context: TransportContext) -> None:
        """Read certificates and make the session; nothing is connected yet.

        Raises:
            Unavailable: a certificate cannot be read.
        """
        options = _based(self._options, context.base)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"http {context.destination}")
        self._resolver = OwnResolver(self._pool)
        try:
            self._tls = await self._in_thread(lambda: tls_context(options))
            self._tls_elsewhere = await self._in_thread(lambda: tls_context(options, certificate=False))
        except (OSError, ValueError) as error:
            raise Unavailable(f"the TLS settings cannot be used: {error}") from error
        agent = await self._in_thread(_user_agent)
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls,
            resolver=self._resolver,
            ttl_dns_cache=30,
            keepalive_timeout=options.get("keep_alive", 15.0),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=options.get("total_timeout"),
                connect=options.get("connect_timeout", 10.0),
                sock_read=options.get("read_timeout", 30.0),
            ),
            trust_env=False,
            middlewares=(_only_once,),
            proxy=self._proxy,
        )

    async def probe(self) -> None:
        """Ask the configured address, or only connect.

        Raises:
            Unavailable, AuthRejected: no report would get through.
        """
        asked = self._options.get("probe")
        try:
            if asked is None:
                await self._connect()
                return
            url = URL(asked["url"], encoded=True)
            headers = self._headers if _same_place(url, self._origin) else {}
            tls = self._tls if _same_place(url, self._origin) else self._tls_elsewhere
            answer = await self._exchange(asked.get("method", "HEAD"), url, headers, None, tls)
        except (Unavailable, AuthRejected):
            raise
        except Exception as error:
            outcome = outcome_of(error)
            raise Unavailable(outcome.reason if isinstance(outcome, Retry | Rejected) else str(error)) from error
        self._rules.probe(answer, datetime.now(UTC))

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """One request for the one report.

        Raises:
            Unavailable, AuthRejected: no report would get through.
        """
        return [await self._send(item) for item in batch]

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        pool, self._pool, self._resolver = self._pool, None, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if session is not None:
            await session.close()

    # --- one report ------------------------------------------------------------------------------------------------------

    async def _send(self, item: Outgoing) -> Outcome:
        try:
            url = self._fixed or self._address(item)
        except MissingValue as error:
            return Rejected("HTTP-URL", f"the address cannot be made: {error}")
        headers = {**self._headers, "Content-Type": _line(self._options.get("content_type") or item.media_type)}
        if self._key_header:
            headers[self._key_header] = _line(item.key)
        tls = self._tls
        for _ in range(_HOPS):
            body = Body(item, gzip=self._gzip)
            try:
                answer = await self._exchange(self._method, url, {**headers, **body.headers}, body, tls)
            except Exception as error:  # noqa: BLE001 - sorted there; what is not the network's comes out again
                return outcome_of(error)
            target = self._next_hop(answer, url)
            if target is None:
                return self._rules.judge(answer, datetime.now(UTC))
            if not _same_place(target, url):
                headers = {name: headers[name] for name in ("Content-Type", self._key_header) if name in headers}
                tls = self._tls_elsewhere
            url = target
        raise Unavailable(f"the server redirects in a circle: more than {_HOPS} times")

    def _address(self, item: Outgoing) -> URL:
        value = values_of(item)

        def usable(name: str) -> str | None:
            found = value(name)
            # Nothing but dots would climb, where it is a whole segment of the path.
            return None if found is not None and not found.strip(".") else found

        return URL(self._url.render(usable, _quoted), encoded=True)

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: Body | None, tls: ssl.SSLContext
    ) -> Answer:
        if self._session is None:
            raise RuntimeError("the transport is not open")
        data = None if body is None else await body.data()
        async with self._session.request(
            method, url, data=data, headers=headers, ssl=tls, allow_redirects=False
        ) as response:
            content, complete = await _read(response)
            for secret in self._masked:
                content = content.replace(secret, _MASK)
            return Answer(
                status=response.status,
                headers=response.headers,
                body=content,
                complete=complete,
                sent_whole=body is None or body.sent_whole,
            )

    def _next_hop(self, answer: Answer, url: URL) -> URL | None:
        """Where to go on; None: nowhere, the answer stands as it is."""
        location = answer.headers.get("Location")
        if self._redirects == "refuse" or answer.status not in _FOLLOWED or not location:
            return None
        try:
            target = url.join(URL(location)).with_user(None).with_fragment(None)
        except ValueError:
            return None
        if target.scheme not in ("http", "https") or not target.host:
            return None
        if url.scheme == "https" and target.scheme == "http":
            return None
        return target if self._redirects == "any" or _same_place(target, url) else None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _connect(self) -> None:
        if self._resolver is None:
            raise RuntimeError("the transport is not open")
        target = self._proxy or self._origin
        tls = self._tls if target.scheme == "https" else None
        await connect(target, self._resolver, tls, self._options.get("connect_timeout", 10.0))


async def _only_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """aiohttp repeats PUT by itself when a connection breaks: an attempt that nobody counts. Not here."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # it does not repeat these
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenOff(error) from error


async def _read(response: ClientResponse) -> tuple[bytes, bool]:
    """The start of the body, and whether the answer ended as it should (one that is too long is cut, and counts as whole)."""
    pieces: list[bytes] = []
    total = 0
    try:
        while piece := await response.content.readany():
            if total < _KEPT:
                pieces.append(piece[: _KEPT - total])
            total += len(piece)
            if total > _ANSWER:
                response.close()
                break
    except (aiohttp.ClientError, OSError):  # TimeoutError is one
        return b"".join(pieces), False
    return b"".join(pieces), True


def _authentication(auth: Mapping[str, Any] | None) -> tuple[Mapping[str, str], Sequence[bytes]]:
    """The headers that carry secrets, and what must not be seen of them in an answer that echoes them."""
    if not auth:
        return {}, ()
    match auth["type"]:
        case "bearer":
            token = auth["token"].strip()
            return {"Authorization": f"Bearer {token}"}, [token.encode()]
        case "basic":
            password = auth["password"].rstrip("\r\n")
            pair = base64.b64encode(f"{auth['username']}:{password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}, [pair.encode(), password.encode()]
        case _:
            value = auth["value"].strip()
            return {auth["name"]: value}, [value.encode()]


def _proxy(proxy: Mapping[str, Any] | None) -> URL | None:
    if not proxy:
        return None
    url = URL(proxy["url"])
    if "username" in proxy:
        url = url.with_user(proxy["username"]).with_password(proxy.get("password", ""))
    return url


def _same_place(target: URL, url: URL) -> bool:
    """The same host and port, or the same host by https instead of http."""
    if target.host != url.host:
        return False
    if (target.scheme, target.port) == (url.scheme, url.port):
        return True
    return url.scheme == "http" and target.scheme == "https" and url.is_default_port() and target.is_default_port()


def _based(options: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The options, with file names made absolute."""
    files = ("ca_file", "client_certificate", "client_key")
    return {
        **options,
        **{name: os.path.join(base, options[name]) for name in files if options.get(name)},
    }


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _line(text: str) -> str:
    """A text as a header may carry it."""
    return (
        text if text.isascii() and text.isprintable() else quote(text.encode("utf-8", "surrogateescape"), safe="/;=+ ")
    )


def _user_agent() -> str:
    try:
        return f"dropmill/{version('dropmill')}"
    except PackageNotFoundError:
        return "dropmill"
