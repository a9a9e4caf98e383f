"""A transport that is made when its lane opens it, and made anew each time: its class is imported, its secrets are read then.

A plugin that cannot make its transport, or a secret that is away, keeps one lane waiting, with the reason, and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from dropmill.api import Outcome, Outgoing, Transport, TransportContext, TransportSpec, Unavailable
from dropmill.config import resolve
from dropmill.config.secrets import SecretError
from dropmill.delivery.scrub import secrets_of
from dropmill.plugins import Loaded, PluginError, instantiate

__all__ = ["LateTransport"]

Make = Callable[[Loaded[TransportSpec], Mapping[str, Any]], Awaitable[Any]]


def _nothing_to_hide(secrets: Sequence[str]) -> None: ...


class LateTransport:
    """A `Transport` that stands before the plugin's own.

    Args:
        loaded: What to make.
        options: Complete and validated; secrets are references.
    """

    def __init__(self, loaded: Loaded[TransportSpec], options: Mapping[str, Any], *, make: Make = instantiate) -> None:
        self._loaded = loaded
        self._options = options
        self._make = make
        self.hide: Callable[[Sequence[str]], None] = _nothing_to_hide
        """Told the secrets as they were read, so that a replaced one stays out of receipts and logs too."""
        self._made: Transport | None = None

    async def open(self, context: TransportContext) -> None:
        """Read the secrets, make the plugin's transport, open it.

        Raises:
            Unavailable: it cannot be made now.
        """
        try:
            options = await asyncio.to_thread(resolve, self._options)
            self.hide(secrets_of(self._loaded.spec.options_schema, options))
            made = cast("Transport", await self._make(self._loaded, options))
        except (SecretError, PluginError) as error:
            raise Unavailable(str(error)) from error
        self._made = made
        await made.open(context)

    async def probe(self) -> None:
        await self._open.probe()

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        return await self._open.send(batch)

    async def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    @property
    def _open(self) -> Transport:
        if self._made is None:
            raise Unavailable("the transport is not open")
        return self._made
