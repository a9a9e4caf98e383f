"""What a plugin raises to say how a call ended.

    PluginSignal
    ├── BadInput        the file is at fault: it fails, with this reason
    ├── RetryLater      nothing is wrong with the file, try again after a while
    ├── NotMine         another converter may have it (only before the first report)
    ├── Unavailable     the destination is down: the lane pauses, no attempt is spent
    └── AuthRejected    the destination refuses our credentials: the lane pauses, no attempt is spent

Any other exception is a *plugin fault*: the plugin's name goes on record with the traceback.
"""

from __future__ import annotations

__all__ = ["AuthRejected", "BadInput", "NotMine", "PluginSignal", "RetryLater", "Unavailable"]


class PluginSignal(Exception):
    """Base of the exceptions by which a plugin answers; never raised itself."""


class BadInput(PluginSignal):
    """The file cannot be converted and never will: it is moved to `failed/` beside its reason.

    Args:
        code: Short and stable, upper case with dashes (`XML-NOT-WELL-FORMED`): people search for it.
        message: What is wrong, for the person who dropped the file.
        line: 1-based line in the file, where one is known.
    """

    def __init__(self, code: str, message: str, *, line: int | None = None) -> None:
        super().__init__(message if line is None else f"{message} (line {line})")
        self.code = code
        self.message = message
        self.line = line


class RetryLater(PluginSignal):
    """The file may be convertible later (a companion is missing, a licence server is away).

    Args:
        reason: Shown to operators.
        after: Seconds to wait at least.
    """

    def __init__(self, reason: str, after: float = 60.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class NotMine(PluginSignal):
    """This converter does not read this file after all; the next candidate is asked. Valid before the first report only."""


class Unavailable(PluginSignal):
    """The destination as a whole cannot be reached: the lane pauses and probes; no item is charged an attempt.

    Args:
        reason: Shown to operators; without secrets.
        after: Seconds until the next probe, where the destination named them (Retry-After).
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class AuthRejected(PluginSignal):
    """The destination refuses the credentials: the lane pauses until they change or a probe succeeds.

    Args:
        reason: Shown to operators; without secrets.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
