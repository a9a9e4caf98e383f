"""Named places where a test can make the agent die, fail or wait; off (one dictionary look-up) in normal use.

`DROPMILL_FAILPOINTS="claim.renamed=kill@3,queue.commit=error:ENOSPC"` arms them for a process: `kill` is SIGKILL to the
process itself, `error:NAME` raises that `OSError`, `delay:SECONDS` blocks the calling thread, `exit` is `os._exit(1)`;
`@N` (default 1) is the N-th time that the point is reached, `@N+` every time from the N-th on.
A failpoint is hit only in threads, never on the event loop, except where the loop itself does the step.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Mapping

__all__ = ["VARIABLE", "FailpointError", "Failpoints"]

VARIABLE = "DROPMILL_FAILPOINTS"

_RULE = re.compile(
    r"(?P<name>[\w.-]+)=(?P<action>kill|exit|error:(?P<errno>E\w+)|delay:(?P<delay>[\d.]+))(@(?P<nth>\d+)(?P<on>\+)?)?"
)


class FailpointError(ValueError):
    """`DROPMILL_FAILPOINTS` holds a rule that cannot be read."""


class Failpoints:
    """The armed failpoints of one process; pass it to whatever has steps worth breaking."""

    def __init__(self, rules: str = "") -> None:
        self._armed: dict[str, tuple[str, int, bool]] = {}
        self._hits: dict[str, int] = {}
        self._lock = threading.Lock()
        for text in filter(None, (part.strip() for part in rules.split(","))):
            match = _RULE.fullmatch(text)
            if match is None:
                raise FailpointError(
                    f"cannot read the failpoint {text!r}: expected name=kill|exit|error:ENAME|delay:S, then @N or @N+"
                )
            self._armed[match["name"]] = (match["action"], int(match["nth"] or 1), match["on"] is not None)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Failpoints:
        return cls(environment.get(VARIABLE, ""))

    def hit(self, name: str) -> None:
        """Do what is armed for `name`, if anything is.

        Raises:
            OSError: where the rule says `error:NAME`.
        """
        rule = self._armed.get(name)
        if rule is None:
            return
        action, nth, onwards = rule
        with self._lock:
            self._hits[name] = count = self._hits.get(name, 0) + 1
        if count < nth or (count > nth and not onwards):
            return
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "exit":
            os._exit(1)
        elif action.startswith("delay:"):
            time.sleep(float(action[6:]))
        else:
            number = getattr(errno, action[6:])
            raise OSError(number, os.strerror(number), name)
