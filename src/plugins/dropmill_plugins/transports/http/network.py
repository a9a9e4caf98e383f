"""Names and TLS for the HTTP transport.

What blocks (resolving, reading certificates) is left to threads of the destination's own: a name server or a share that does not
answer holds up nobody else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from dropmill.api import Unavailable

__all__ = ["OwnResolver", "connect", "tls_context"]


class OwnResolver(AbstractResolver):
    """getaddrinfo(3) in the threads that it is given."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The host's addresses.

        Raises:
            OSError: it has none, or nobody says.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, _resolve, host, port, family)

    async def close(self) -> None:
        """Nothing: the threads belong to the transport."""


def _resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror:  # a machine with nothing but its loopback interface has no address "configured"
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
    results: list[ResolveResult] = []
    for kind, _, protocol, _, address in found:
        numeric, number = str(address[0]), str(address[1])
        if kind == socket.AF_INET6 and len(address) > 3 and address[3]:
            # Link-local: only with its zone does the address say which way to go.
            flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            numeric, number = socket.getnameinfo(address, flags)
        results.append(
            ResolveResult(
                hostname=host,
                host=numeric,
                port=int(number),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        )
    return results


def tls_context(options: Mapping[str, Any], *, certificate: bool = True) -> ssl.SSLContext:
    """The TLS settings of a destination; reads files. Without `certificate` ours is left out.

    Raises:
        OSError: a file cannot be read, or does not hold what it should.
    """
    context = ssl.create_default_context(cafile=options.get("ca_file"))
    if not options.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate and options.get("client_certificate"):
        password = options.get("client_key_password")
        # With no password, OpenSSL would ask on the terminal for one.
        context.load_cert_chain(options["client_certificate"], options.get("client_key"), lambda: password or "")
    return context


async def connect(target: URL, resolver: AbstractResolver, tls: ssl.SSLContext | None, timeout: float) -> None:
    """Connect, make TLS where a context is given, and hang up.

    Raises:
        Unavailable: none of the host's addresses lets us.
    """
    host, port = target.host or "", target.port or 0
    trouble = f"the name {host} does not resolve"
    try:
        async with asyncio.timeout(timeout):
            for address in await resolver.resolve(host, port, socket.AF_UNSPEC):
                try:
                    _, writer = await asyncio.open_connection(
                        address["host"], address["port"], ssl=tls, server_hostname=host if tls else None
                    )
                except OSError as error:  # ssl.SSLError is one
                    trouble = f"no connection to {host}:{port}: {_told(error)}"
                else:
                    writer.transport.abort()
                    return
    except TimeoutError:
        raise Unavailable(f"no connection to {host}:{port} within {timeout:g} s") from None
    except OSError as error:
        raise Unavailable(f"{trouble}: {_told(error)}") from error
    raise Unavailable(trouble)


def _told(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or str(error)
