"""A base class for transports whose client library blocks: each destination gets threads of its own, the event loop none of it.

Only what blocks is written by the author. The threads belong to one destination, so a client that hangs holds up nobody else.
A send whose time is over is given up by the core, but no thread can be ended from outside: it runs on until its client returns,
and what it asks for meanwhile is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from dropmill.api._delivery import Outcome, Outgoing, TransportContext

if TYPE_CHECKING:  # at run time where it is used: every worker process imports this package, and none needs asyncio
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from dropmill.api._bridge import Bridge as _Bridge

__all__ = ["BlockingItem", "BlockingTransport"]

T = TypeVar("T")


class BlockingItem:
    """`Outgoing` for a thread: the same attributes; `read` and `chunks` block. Valid until `deliver` returns."""

    def __init__(self, item: Outgoing, bridge: _Bridge) -> None:
        self.key: str = item.key
        self.report_id: str = item.report_id
        self.media_type: str = item.media_type
        self.size: int = item.size
        self.sha256: str = item.sha256
        self.fields: Mapping[str, Any] = item.fields
        self.attempt: int = item.attempt
        self._item = item
        self._bridge = bridge

    def read(self) -> bytes:
        """The whole payload."""
        return self._bridge.ask(self._item.read)

    def chunks(self, size: int = 262_144) -> Iterator[bytes]:
        """The payload in pieces; every call starts anew."""
        pieces = self._item.chunks(size)

        async def following() -> bytes | None:
            return await anext(pieces, None)

        while (piece := self._bridge.ask(following)) is not None:
            yield piece


class BlockingTransport:
    """A transport made of blocking methods: override `deliver`, and the others as needed.

    class FtpTransport(BlockingTransport):
        def connect(self, context):
            self._ftp = ftplib.FTP_TLS(self.options["host"], timeout=context.timeout)

        def deliver(self, batch):
            return [self._store(item) for item in batch]
    """

    threads: ClassVar[int] = 4
    """Calls at the same time; `TransportCaps.max_in_flight` should not be more."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self._pool: ThreadPoolExecutor | None = None

    def connect(self, context: TransportContext) -> None:
        """See `Transport.open`."""

    def check(self) -> None:
        """See `Transport.probe`."""

    def deliver(self, batch: Sequence[BlockingItem]) -> Sequence[Outcome]:
        """See `Transport.send`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to deliver")

    def disconnect(self) -> None:
        """See `Transport.close`."""

    # --- dropmill.api.Transport ------------------------------------------------------------------------------------------

    async def open(self, context: TransportContext) -> None:
        """Make the threads, then `connect` in one of them."""
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix=f"deliver {context.destination}")
        await self._in_thread(lambda: self.connect(context))

    async def probe(self) -> None:
        """`check` in a thread."""
        await self._in_thread(self.check)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        """`deliver` in a thread, which gets the payloads from here as it asks for them."""
        from dropmill.api._bridge import Bridge

        bridge = Bridge()
        items = [BlockingItem(item, bridge) for item in batch]
        return await bridge.serve(self._start(lambda: self.deliver(items)))

    async def close(self) -> None:
        """`disconnect` in a thread, then let the threads go; one that hangs is not waited for."""
        pool = self._pool
        if pool is None:
            return
        try:
            await self._in_thread(self.disconnect)
        finally:
            self._pool = None
            pool.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._start(work)

    def _start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._pool is None:
            raise RuntimeError("the transport is not open")
        import asyncio

        return asyncio.get_running_loop().run_in_executor(self._pool, work)
