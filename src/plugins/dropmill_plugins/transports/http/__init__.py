"""Registers `http`: reports to an HTTP(S) server. The class lives in `transport`, which imports aiohttp."""

from __future__ import annotations

from collections.abc import Iterable

from dropmill.api import TransportCaps, TransportSpec, hookimpl
from dropmill_plugins.transports.http.schema import OPTIONS

__all__ = ["OPTIONS", "SPEC", "register_transports"]

SPEC = TransportSpec(
    id="http",
    factory="dropmill_plugins.transports.http.transport:HttpTransport",
    caps=TransportCaps(max_batch=1, idempotency="key"),
    options_schema=OPTIONS,
    summary="one HTTP(S) request for each report, with an idempotency key",
)


@hookimpl
def register_transports() -> Iterable[TransportSpec]:
    """The transport `http`."""
    return [SPEC]
