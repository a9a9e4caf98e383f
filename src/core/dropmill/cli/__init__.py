"""The command line: one module a command group, each thin over the control API and the queue.

Nothing heavy is imported before a command needs it: `dropmill --help` and `dropmill status` answer in the time that Python takes
to start. The one exception to the order of things is `run`: its stop signals are noticed from the first moment.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The entry point `dropmill`; ends the process with the command's exit code."""
    import sys

    signals = None
    if sys.argv[1:2] == ["run"]:
        from dropmill.supervision.signals import StopSignals

        signals = StopSignals()
        signals.install()
    from dropmill.cli.root import execute

    sys.exit(execute(sys.argv[1:], signals))
