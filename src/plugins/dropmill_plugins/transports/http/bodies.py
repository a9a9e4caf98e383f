"""A report as a request's body: in one piece where it is small, else streamed, compressed where asked.

Made anew for every request. A streamed body knows whether its last piece was handed over, so that an answer which came before
that is not taken for a receipt.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping

from dropmill.api import Outgoing

__all__ = ["Body"]

_SMALL = 262_144
"""Bytes up to which a body is sent as one piece."""
_COMPRESSED_WHOLE = 1_048_576
"""Bytes up to which a body is compressed before it is sent, so that its length is known."""
_GZIP = 31
"""zlib's window bits for a gzip header; it holds no time, so that equal reports give equal bytes."""


class Body:
    """One report's body for one request."""

    def __init__(self, item: Outgoing, *, gzip: bool) -> None:
        self._item = item
        self._gzip = gzip
        self._streamed = item.size > (_COMPRESSED_WHOLE if gzip else _SMALL)
        self.sent_whole = not self._streamed

    @property
    def headers(self) -> Mapping[str, str]:
        """What the request must say of the body, besides its type."""
        if self._gzip:
            return {"Content-Encoding": "gzip"}
        return {"Content-Length": str(self._item.size)} if self._streamed else {}

    async def data(self) -> bytes | AsyncIterator[bytes]:
        """The body, as aiohttp takes it."""
        if self._streamed:
            return self._compressed() if self._gzip else self._plain()
        content = await self._item.read()
        return await asyncio.to_thread(zlib.compress, content, wbits=_GZIP) if self._gzip else content

    async def _plain(self) -> AsyncIterator[bytes]:
        left = self._item.size
        async for piece in self._item.chunks():
            left -= len(piece)
            # Said as the last piece is handed over: a quick answer overtakes the news that it was written.
            self.sent_whole = left <= 0
            yield piece

    async def _compressed(self) -> AsyncIterator[bytes]:
        packer = zlib.compressobj(wbits=_GZIP)
        async for piece in self._item.chunks():
            if packed := await asyncio.to_thread(packer.compress, piece):
                yield packed
        last = await asyncio.to_thread(packer.flush)
        self.sent_whole = True
        yield last
