"""What runs in the throw-away process: it loads entry points and calls their registration hooks, and lives or dies of it.

The request comes as JSON on standard input. One JSON line a plugin goes to the given file descriptor: `{"plugin": name}` with
`"error"` or `"problem"` where it failed; `{"end": true}` is the last. Whatever plugins print goes to standard error. The process
never outlives its limit: the kernel's alarm ends it even where the agent that started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from dropmill.foundation.guard import describe, place
from dropmill.plugins.discovery import Discovered
from dropmill.plugins.hooks import REGISTRATIONS, HookError, import_hooks

__all__ = ["main"]


def main(request: dict[str, Any]) -> None:
    """Load what the request lists, one after the other, and end this process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(request["limit"]) + 5)
    descriptor: int = request["answers"]
    os.set_inheritable(descriptor, False)
    os.dup2(2, 1)
    for entry in request["entries"]:
        os.write(descriptor, json.dumps(_load(Discovered(**entry))).encode() + b"\n")
    os.write(descriptor, b'{"end": true}\n')
    sys.stderr.flush()
    os._exit(0)  # threads and exit handlers that plugins left behind have no say


def _load(entry: Discovered) -> dict[str, Any]:
    try:
        hooks = import_hooks(entry)
        for hook in REGISTRATIONS:
            hooks.records(hook)
    except HookError as error:
        return {"plugin": entry.name, "problem": error.problem.as_dict()}
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are a plugin's faults here
        return {"plugin": entry.name, "error": describe(error), "place": place(error)}
    return {"plugin": entry.name}
