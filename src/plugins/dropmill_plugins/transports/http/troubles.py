"""What goes wrong on the way to a server, sorted: it cannot be reached (nobody is charged), or this request failed (try again).

Refused connections, names that do not resolve, TLS that does not come about and proxies that are away concern every report alike.
What happens after the request was begun may have to do with this report (a proxy that drops large bodies, say), so it counts.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

import aiohttp

from dropmill.api import AuthRejected, Outcome, Rejected, Retry, Unavailable

__all__ = ["BrokenOff", "outcome_of"]


class BrokenOff(Exception):
    """The connection broke after the request was begun. Not an `OSError`: aiohttp would send the request again by itself."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of a request that ended without an answer; what is none of the network's is raised again.

    Raises:
        Unavailable, AuthRejected: nothing would get through.
    """
    if isinstance(error, BrokenOff):
        error = error.cause
    match error:
        case aiohttp.ClientHttpProxyError(status=407):
            raise AuthRejected("the proxy answered 407 Proxy Authentication Required") from error
        case aiohttp.ClientHttpProxyError():
            raise Unavailable(f"the proxy answered {error.status} {error.message}") from error
        case aiohttp.ConnectionTimeoutError():
            raise Unavailable("no connection within `connect_timeout`") from error
        case aiohttp.ClientConnectorDNSError():
            raise Unavailable(
                f"the name {error.host} does not resolve: {error.os_error.strerror or error.os_error}"
            ) from error
        case aiohttp.ClientConnectorCertificateError():
            raise Unavailable(f"TLS with {error.host}: {_tls(error.certificate_error)}") from error
        case aiohttp.ClientConnectorError():
            raise Unavailable(f"no connection to {error.host}:{error.port}: {_cause(error.os_error)}") from error
        case aiohttp.ServerFingerprintMismatch():
            raise Unavailable("the server's certificate is not the expected one") from error
        case TimeoutError():
            return Retry("the server stopped answering", code="HTTP-TIMEOUT")
        case aiohttp.ServerDisconnectedError():
            return Retry("the server closed the connection without an answer", code="HTTP-DISCONNECTED")
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return Retry(f"the server's answer cannot be read: {_short(error)}", code="HTTP-PROTOCOL")
        case aiohttp.InvalidURL():
            return Rejected("HTTP-URL", "the address made from `url` and the report's fields is not valid")
        case OSError() if _is_alert(error):
            raise AuthRejected(f"the server ended TLS: {_tls(error)}") from error
        case OSError() | aiohttp.ClientConnectionError():
            return Retry(f"the connection broke: {_short(error)}", code="HTTP-BROKEN")
    raise error


def _is_alert(error: OSError) -> bool:
    """With TLS 1.3 a server refuses a client's certificate only after the handshake."""
    text = str(error)
    return "ALERT_CERTIFICATE" in text or "ALERT_BAD_CERTIFICATE" in text or "ALERT_UNKNOWN_CA" in text


def _tls(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message or str(error)
    return _short(error)


def _cause(error: BaseException) -> str:
    return _tls(error) if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or _short(error)


def _short(error: BaseException) -> str:
    with suppress(Exception):
        return (str(error) or type(error).__name__)[:300]
    return type(error).__name__
