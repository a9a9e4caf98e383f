"""One transport at work: opened, asked, given batches and closed, each within a time limit, whatever it raises.

It never decides when to send and never settles a lease: it answers how a call ended. Only our own cancellation leaves it as an
exception; `SystemExit` from a plugin does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog

from dropmill.api import Transport
from dropmill.delivery.outgoing import LeasedItem, OpenContext
from dropmill.delivery.verdicts import Ending, Judge, Refusing, TimedOut
from dropmill.queue.records import Lease
from dropmill.queue.store import QueueStore

__all__ = ["Courier"]

_CLOSE_LIMIT = 10.0

T = TypeVar("T")


class Courier:
    """Carries the batches of one lane."""

    def __init__(self, transport: Transport, context: OpenContext, store: QueueStore, judge: Judge) -> None:
        self._transport = transport
        self._context = context
        self._store = store
        self._judge = judge
        self._log = structlog.get_logger().bind(destination=context.destination)
        self._opened = False
        self._broken = False

    @property
    def ready(self) -> bool:
        """Whether the transport is open and has not faulted since."""
        return self._opened and not self._broken

    async def prepare(self, *, ask: bool, anew: bool = False) -> Refusing | None:
        """Open the transport where it is not open (after a fault, or `anew`, close it first); with `ask`, probe the destination.

        Returns why the destination cannot be used; None: it can.
        """
        try:
            if self._broken or anew:
                await self.close()
            if not self._opened:
                self._broken = True  # until `open` has returned, there may be something half made to close
                await _limited(self._transport.open(self._context), self._context.timeout)
                self._opened, self._broken = True, False
            if ask:
                await _limited(self._transport.probe(), self._context.timeout)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
            self._broken = self._broken or self._judge.refusal(error) is None
            return self._judge.unusable(error)
        return None

    async def send(self, batch: Sequence[Lease]) -> Ending:
        """Hand over a batch; how it ended."""
        items = [LeasedItem(lease, self._store) for lease in batch]
        try:
            answer = await _limited(self._transport.send(items), self._context.timeout)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
            ending = self._judge.exception(batch, error)
        else:
            ending = self._judge.outcomes(batch, answer)
        damage = [item.damage for item in items]
        if any(damage):
            return self._judge.damaged(batch, damage, ending)
        self._broken = self._broken or ending.fault
        return ending

    async def close(self) -> None:
        """Close the transport where it was opened, or half opened. Raises nothing of the transport's."""
        if not self._opened and not self._broken:
            return
        whole = self._opened
        self._opened = self._broken = False
        try:
            await _limited(self._transport.close(), _CLOSE_LIMIT)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything
            if whole:
                self._log.warning("a transport did not close cleanly", error=self._judge.describe(error))


async def _limited(call: Awaitable[T], seconds: float) -> T:
    """Await a plugin's call for at most `seconds`.

    Raises:
        TimedOut: the time is over.
        RuntimeError: the call cancelled itself, which must not pass for a cancellation of ours.
    """
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await call
    except TimeoutError:
        if timer.expired():
            raise TimedOut(seconds) from None
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("the call ended as if it had been cancelled, but nobody did") from error
