"""Tells the service manager how the agent is: the sd_notify(3) protocol, datagrams to the socket named in NOTIFY_SOCKET.

Never blocks and never raises: a service manager that does not listen is no reason to stop working. A state that could not be
sent because the socket's buffer was full is kept and sent first next time; a WATCHDOG is not, as it would be stale by then.
Without NOTIFY_SOCKET every call does nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, MutableMapping

__all__ = ["Notifier"]

_KEPT = 16
_STATUS_LIMIT = 400


class Notifier:
    """One service manager's socket; `Notifier(None)` has none.

    Args:
        address: A path, or `@name` for an abstract socket.
        watchdog_interval: Seconds within which the service manager wants a WATCHDOG; None: it does not.
    """

    def __init__(
        self,
        address: str | None,
        *,
        watchdog_interval: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self._monotonic = monotonic
        self._socket: socket.socket | None = None
        self._kept: deque[bytes] = deque(maxlen=_KEPT)
        self._status = ""
        self.watchdog_interval = watchdog_interval if address is not None else None
        self.lost = 0
        """Messages that were refused for another reason than a full buffer."""

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """As NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say; they are removed, so that no worker process inherits them."""
        address = environment.pop("NOTIFY_SOCKET", None)
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        if address is None or not address.startswith(("/", "@")):
            return cls(None)
        ours = not pid or pid == str(os.getpid())
        interval = int(microseconds) / 1e6 if ours and microseconds.isdecimal() and int(microseconds) > 0 else None
        return cls(address, watchdog_interval=interval)

    @property
    def enabled(self) -> bool:
        """Whether there is anybody to tell."""
        return self._address is not None

    def ready(self) -> None:
        """The start is over, or a reload is."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._monotonic() * 1e6)}")

    def stopping(self) -> None:
        """A stop has begun; told only when it is one."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for people; the same line is not sent twice running."""
        line = " ".join(text.split())[:_STATUS_LIMIT]
        if line != self._status:
            self._status = line
            for earlier in [message for message in self._kept if message.startswith(b"STATUS=")]:
                self._kept.remove(earlier)
            self._send(f"STATUS={line}")

    def watchdog(self) -> None:
        """The event loop turns and makes progress."""
        self._send("WATCHDOG=1", keep=False)

    def extend(self, seconds: float) -> None:
        """Starting or stopping goes on: do not end it within `seconds`, in which another of these follows."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}", keep=False)

    def close(self) -> None:
        """Let the socket go; later calls open it anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str, *, keep: bool = True) -> None:
        if self._address is None:
            return
        if keep:
            self._kept.append(message.encode())
        while self._kept:
            if not self._try(self._kept[0]):
                return
            self._kept.popleft()
        if not keep:
            self._try(message.encode())

    def _try(self, message: bytes) -> bool:
        """False: the buffer is full, try again later."""
        assert self._address is not None
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendto(message, self._address)
        except BlockingIOError:
            return False
        except OSError:
            self.lost += 1
        return True
