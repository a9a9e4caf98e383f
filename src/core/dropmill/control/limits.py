"""The limits of the control API, as one value: what a client may take, in time, bytes and connections.

No default of a server library is relied upon: each of these is enforced by `guard`, and tests drive real slow clients
against each.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds, bytes and counts. The defaults are generous to people and stingy to stuck programs."""

    head: float = 10.0
    """From connecting (or the first byte of a later request) to the last byte of the headers."""
    head_bytes: int = 32_768
    """Request line and headers together."""
    body_stall: float = 10.0
    """Longest silence within a body."""
    body_rate: float = 500.0
    """Bytes a second that a body must come with on average, once `body_grace` is over."""
    body_grace: float = 5.0
    body_bytes: int = 1_048_576
    """A larger body is refused with 413."""
    write_stall: float = 10.0
    """Longest time in which a reader takes nothing of what waits for it."""
    send_buffer: int = 65_536
    """The kernel's send buffer (SO_SNDBUF): small, so that a reader's progress shows early."""
    request: float = 60.0
    """From the whole headers to the end of the answer, streams excepted; then 504, and the handler is cancelled."""
    keep_alive: float = 30.0
    """Silence between two requests."""
    age: float = 300.0
    """A connection's, streams excepted: then it ends after the request under way."""
    connections: int = 200
    """One more is answered 503 and closed."""
    sweep: float = 0.5
    """Between two looks at all connections: how late a limit may be noticed."""
    stop: float = 2.0
    """What requests in flight get to finish when the server stops; then they are cancelled, and connections cut."""
