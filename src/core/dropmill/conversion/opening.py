"""Files that are being opened, several by one blocking call; each is taken, or given up, by the job that wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dropmill.conversion.inputs import Prepared, Unreadable, close_all

__all__ = ["Opening"]


class Opening:
    """Invariant: every descriptor is taken by one job or closed."""

    def __init__(self, future: asyncio.Future[list[Prepared | Unreadable]]) -> None:
        self._future = future

    async def take(self, index: int, timeout: float) -> Prepared | Unreadable:
        """The `index`-th file.

        Raises:
            TimeoutError: it was not open after `timeout` seconds; should it open after all, it is closed.
        """
        if not self._future.done():
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self._future)
            except (TimeoutError, asyncio.CancelledError):
                self._give_up(index)
                raise
        return self._future.result()[index]

    def _give_up(self, index: int) -> None:
        def close(future: asyncio.Future[list[Prepared | Unreadable]]) -> None:
            if not future.cancelled() and future.exception() is None:
                found: Sequence[Prepared | Unreadable] = future.result()
                if isinstance(opened := found[index], Prepared):
                    close_all(opened.descriptors)

        self._future.add_done_callback(close)
