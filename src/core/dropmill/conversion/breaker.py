"""Which plugins may be asked: one that faults on several files in a short time is left alone, then tried with a single file.

Pure: told of time and of what happened, it answers. A plugin is *closed* (works), *open* (not asked until a time), or *half-open*
(the next file may ask it, and only that one until it has ended).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["BreakerView", "Breakers"]

_FILES = 3
_WINDOW = 600.0
_REST = 60.0
_REST_CAP = 3_600.0


@dataclass(frozen=True, kw_only=True)
class BreakerView:
    """An open or half-open breaker, for people to look at."""

    plugin: str
    reason: str
    retry_at: float
    """When one file tries it, in the time that the breakers are told."""
    trying: str | None
    """The file that tries it now."""


@dataclass
class _Plugin:
    faults: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=100))
    open: bool = False
    reason: str = ""
    rest: float = _REST
    retry_at: float = 0.0
    trying: str | None = None


class Breakers:
    """One for each plugin that ever faulted.

    Args:
        files: Distinct files with faults that open it.
        window: Seconds within which they count.
        rest: Seconds until the first trial; doubles with each trial that fails, up to an hour.
    """

    def __init__(self, *, files: int = _FILES, window: float = _WINDOW, rest: float = _REST) -> None:
        self._files = files
        self._window = window
        self._rest = rest
        self._plugins: dict[str, _Plugin] = {}

    def ask(self, plugin: str, file: str, now: float) -> str | None:
        """May `file` be given to `plugin`? None: it may (and tries it, where that was open); else why not."""
        state = self._plugins.get(plugin)
        if state is None or not state.open or state.trying == file:
            return None
        if state.trying is None and now >= state.retry_at:
            state.trying = file
            return None
        return state.reason

    def faulted(self, plugin: str, file: str, what: str, now: float) -> bool:
        """The plugin faulted on a file; True: its breaker has just opened."""
        state = self._plugins.setdefault(plugin, _Plugin(rest=self._rest))
        state.faults.append((now, file))
        if state.open:
            if state.trying == file:
                state.trying = None
                state.rest = min(state.rest * 2, _REST_CAP)
                state.retry_at = now + state.rest
            return False
        while state.faults and state.faults[0][0] <= now - self._window:
            state.faults.popleft()
        distinct = {name for _, name in state.faults}
        if len(distinct) < self._files:
            return False
        state.open = True
        state.reason = (
            f"it faulted on {len(distinct)} files within {self._window / 60:g} minutes, last with: {what[:200]}"
        )
        state.retry_at = now + state.rest
        return True

    def reason(self, plugin: str) -> str | None:
        """Why it is left alone; None: it is not."""
        state = self._plugins.get(plugin)
        return state.reason if state is not None and state.open else None

    def worked(self, plugin: str, file: str) -> bool:
        """The plugin ended its work on a file without a fault; True: that closed its breaker."""
        state = self._plugins.get(plugin)
        if state is None or not state.open or state.trying != file:
            return False
        del self._plugins[plugin]
        return True

    def left(self, file: str) -> None:
        """A file is done with, whatever came of it: if it tried a plugin and nothing was learnt, the next file may."""
        for state in self._plugins.values():
            if state.trying == file:
                state.trying = None

    def reset(self, plugin: str) -> bool:
        """Somebody says that the plugin works again; whether its breaker was open."""
        state = self._plugins.pop(plugin, None)
        return state is not None and state.open

    def due(self, now: float) -> Sequence[str]:
        """Plugins that wait for a file to try them."""
        return [
            name
            for name, state in self._plugins.items()
            if state.open and state.trying is None and now >= state.retry_at
        ]

    def next_due(self) -> float | None:
        """When the next plugin may be tried."""
        times = [state.retry_at for state in self._plugins.values() if state.open and state.trying is None]
        return min(times, default=None)

    @property
    def views(self) -> Sequence[BreakerView]:
        """Those that are not closed."""
        return [
            BreakerView(plugin=name, reason=state.reason, retry_at=state.retry_at, trying=state.trying)
            for name, state in self._plugins.items()
            if state.open
        ]
