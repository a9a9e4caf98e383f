"""Asks a queue-full policy for its decision, guarded: a policy that raises, takes too long or answers nonsense hurts only itself.

The policy runs in a thread of its own, never in the store's transaction and never on the event loop. One that does not come
back is left behind and ended where that is possible; its thread is a daemon and holds nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import queue
import threading
import time
import traceback

from dropmill.api import Decision, Evict, Offer, Pause, QueuePolicy, QueueView, Reject

__all__ = ["Judge", "PolicyFault"]

_CHANCES = 3
"""A machine that stalls as a whole is not the policy's fault: only an on-time clock may say that it is late."""


class PolicyFault(Exception):
    """What the policy did wrong, with its traceback where there is one."""

    def __init__(self, what: str, detail: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.detail = detail


_Job = tuple[Offer, QueueView, "asyncio.Future[Decision]", asyncio.AbstractEventLoop]


class Judge:
    """One policy and its thread."""

    def __init__(self, policy: QueuePolicy, *, limit: float = 0.05) -> None:
        self._policy = policy
        self._limit = limit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def decide(self, offer: Offer, view: QueueView) -> Decision:
        """The policy's decision, checked.

        Raises:
            PolicyFault: it raised, took longer than the limit, or its answer makes no sense.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="queue-policy", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Decision] = loop.create_future()
        self._jobs.put((offer, view, answer, loop))
        for _ in range(_CHANCES):
            started = time.monotonic()
            await asyncio.wait((answer,), timeout=self._limit)
            if answer.done():
                return _checked(answer.result(), view)
            if time.monotonic() - started < 2 * self._limit:
                break
        answer.cancel()
        self.close(abandon=True)
        raise PolicyFault(f"it did not decide within {self._limit * 1000:g} ms")

    def close(self, *, abandon: bool = False) -> None:
        """End the thread; `abandon` one that is stuck in the policy by raising in it."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(None)
        if abandon and thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            offer, view, answer, loop = job
            try:
                decision = self._policy.on_full(offer, view)
            except BaseException as error:  # noqa: BLE001 - SystemExit too: the policy's fault, told where it is awaited
                fault = PolicyFault(f"it raised {type(error).__name__}: {error}", traceback.format_exc())
                self._tell(loop, answer, None, fault)
            else:
                self._tell(loop, answer, decision, None)

    @staticmethod
    def _tell(
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[Decision],
        decision: Decision | None,
        fault: PolicyFault | None,
    ) -> None:
        def tell() -> None:
            if answer.done():
                return
            if fault is not None:
                answer.set_exception(fault)
            else:
                answer.set_result(decision)  # type: ignore[arg-type]  # checked by who awaits it

        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell)


def _checked(decision: object, view: QueueView) -> Decision:
    if isinstance(decision, Reject):
        return decision
    if isinstance(decision, Pause):
        below = decision.resume_below
        if below is None or (_whole(below) and below >= 0):
            return decision
    if isinstance(decision, Evict) and _whole(decision.items) and _whole(decision.bytes):
        items, size = decision.items, decision.bytes
        if items >= 0 and size >= 0 and items + size > 0:
            return Evict(min(items, view.evictable_items), min(size, view.evictable_bytes))
    raise PolicyFault(f"its answer makes no sense: {decision!r:.200}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
