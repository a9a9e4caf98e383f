"""The thread that owns the store: takes what has been submitted, carries it out as one group, answers with one call.

A group is whatever has come in while the one before was being synced, up to 64 operations or 4 MB; it never waits for more.
When there is nothing to do it copies the write-ahead log into the database.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog

from dropmill.queue.errors import StoreClosed, StoreUnavailable
from dropmill.queue.sqlite.engine import Engine
from dropmill.queue.sqlite.operation import Group, Operation
from dropmill.queue.sqlite.transaction import Notice

__all__ = ["Writer"]

_log = structlog.get_logger(__name__)

_MOST_OPERATIONS = 64
_MOST_BYTES = 4 * 1024 * 1024
_QUIET = 0.05
"""Seconds without work after which a log with much in it is copied."""
_LONG_QUIET = 2.0
"""Seconds without work after which whatever is in the log is copied."""
_MUCH = 64
"""Commits."""

Opened = Sequence[Notice]
Answer = Callable[[Sequence[Operation], Group], None]


class Writer:
    """Runs an engine in a thread of its own. `answer` is called in that thread, once for each group."""

    def __init__(self, engine: Engine, answer: Answer, *, name: str) -> None:
        self._engine = engine
        self._answer = answer
        self._inbox: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._opened: Future[Opened] = Future()
        self._closed = False
        self._clean = False
        self.problem: Exception | None = None
        """Why the engine could not be closed properly."""
        self._lock = threading.Lock()

    def start(self, opened: Future[Opened]) -> None:
        """Start the thread; it opens the engine first and says so, or why it could not, and then ends."""
        self._opened = opened
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Queue an operation, from any thread. After `stop` it is answered with `StoreClosed`."""
        with self._lock:
            if not self._closed:
                self._inbox.put(operation)
                return
        operation.error = StoreClosed("the queue is closed")
        if operation.ended is not None:
            operation.ended()
        self._answer((operation,), Group())

    def stop(self, *, clean: bool = True) -> None:
        """Nothing more is taken; once what was taken is answered the engine is closed and the thread ends."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._clean = clean
                self._inbox.put(None)

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread's end; whether it ended (or never began)."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            notices = self._engine.open()
        except BaseException as error:  # noqa: BLE001 - it is raised where the opening is awaited
            self._opened.set_exception(error)
            return
        self._opened.set_result(notices)
        self._serve()
        try:
            self._engine.close(clean=self._clean)
        except Exception as error:  # noqa: BLE001 - it is raised where the closing is awaited
            self.problem = error

    def _serve(self) -> None:
        going = True
        while going:
            first = self._next()
            if first is None:
                return
            operations = [first]
            size = first.size
            while len(operations) < _MOST_OPERATIONS and size < _MOST_BYTES:
                try:
                    more = self._inbox.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    going = False
                    break
                operations.append(more)
                size += more.size
            self._answer(operations, self._carry_out(operations))
            if self._engine.checkpoint_due():
                self._engine.checkpoint()

    def _carry_out(self, operations: Sequence[Operation]) -> Group:
        """Run a group; whatever goes wrong, each operation is answered and the thread goes on."""
        group = Group()
        try:
            group = self._engine.run(operations)
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            _log.exception("a group of queue operations broke off", operations=len(operations))
            for operation in operations:
                if operation.error is None:
                    operation.error = StoreUnavailable(f"the queue broke off: {error!r}")
        for operation in operations:
            if operation.ended is not None:
                operation.ended()
        return group

    def _next(self) -> Operation | None:
        """The next operation; meanwhile, upkeep. None: the end."""
        engine = self._engine
        try:
            return self._inbox.get_nowait()
        except queue.Empty:
            pass
        if engine.wrote:
            try:
                return self._inbox.get(timeout=_QUIET)
            except queue.Empty:
                if engine.commits >= _MUCH:
                    engine.checkpoint()
                engine.grow_log()
        if engine.wrote:
            try:
                return self._inbox.get(timeout=_LONG_QUIET)
            except queue.Empty:
                engine.checkpoint()
        return self._inbox.get()
