"""What lets a thread of a blocking transport await what lives on the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Bridge"]

T = TypeVar("T")


class Bridge:
    """Answers on the event loop what one thread asks for, for as long as its call lasts."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: deque[tuple[Callable[[], Awaitable[Any]], Future[Any]]] = deque()
        self._changed = asyncio.Event()
        self._over = False

    def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """In the thread: await `call` on the loop.

        Raises:
            RuntimeError: the send is over.
        """
        answer: Future[T] = Future()
        self._loop.call_soon_threadsafe(self._push, call, answer)
        return answer.result()

    async def serve(self, work: asyncio.Future[T]) -> T:
        """On the loop: answer until the work is done; its result."""
        work.add_done_callback(lambda _: self._changed.set())
        try:
            while not work.done():
                await self._changed.wait()
                self._changed.clear()
                while self._asked:
                    call, answer = self._asked.popleft()
                    try:
                        answer.set_result(await call())
                    except BaseException as error:
                        answer.set_exception(_refusal() if isinstance(error, asyncio.CancelledError) else error)
                        if not isinstance(error, Exception):
                            raise
            return work.result()
        finally:
            self._over = True
            work.cancel()
            for _, answer in self._asked:
                answer.set_exception(_refusal())

    def _push(self, call: Callable[[], Awaitable[Any]], answer: Future[Any]) -> None:
        if self._over:
            answer.set_exception(_refusal())
        else:
            self._asked.append((call, answer))
            self._changed.set()


def _refusal() -> RuntimeError:
    return RuntimeError("the send is over: its time was up, or the agent stops")
