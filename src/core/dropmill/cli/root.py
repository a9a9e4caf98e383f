"""The command `dropmill` itself: which commands there are, and how every way of ending becomes an exit code.

Commands are imported when they are called (or when all of them are listed). Invariant: no traceback reaches a person for
anything that can be expected, and no error is told on standard output.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import click

from dropmill.cli.codes import Exit, exit_code
from dropmill.cli.errors import Refused, UsageError, as_json, as_text
from dropmill.foundation.errors import DropmillError

if TYPE_CHECKING:
    from dropmill.supervision.signals import StopSignals

__all__ = ["COMMANDS", "cli", "execute"]

COMMANDS = {
    "init": ("init:init", "Make a sample configuration and its folders."),
    "run": ("run:run", "Run the agent in the foreground."),
    "try": ("trial:trial", "Convert a file and print its reports, nothing else."),
    "submit": ("submit:submit", "Hand files to the queue."),
    "status": ("status:status", "Tell how the agent is and what is in the queue."),
    "files": ("files:files", "List files and where they stand."),
    "deliveries": ("deliveries:deliveries", "List deliveries and where they stand."),
    "explain": ("explain:explain", "Tell where a file is, what happened to it and why."),
    "retry": ("retry:retry", "Try failed files and dead deliveries again."),
    "drop": ("retry:drop", "Give dead deliveries up for good."),
    "pause": ("pause:pause", "Hold a folder, a destination or a plugin."),
    "resume": ("pause:resume", "Let go on what was paused, quarantined or given up."),
    "plugins": ("plugins:plugins", "List, show and check plugins."),
    "config": ("config:config", "Check and show the configuration."),
}
"""In the order in which help lists them: `module:attribute` below this package, and what it does."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(f"dropmill.cli.{module}"), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from dropmill import __version__

        click.echo(f"dropmill {__version__}")
        ctx.exit()


@click.group(
    cls=_Lazy, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def cli() -> None:
    """A durable drop-folder agent: files in, validated reports queued on disk, delivered once.

    \b
    dropmill init demo && dropmill run --config demo/dropmill.toml
    """


def execute(arguments: Sequence[str], signals: StopSignals | None = None) -> int:
    """Run one command line; answers with its exit code."""
    wants_json = "--json" in arguments
    try:
        code = cli.main(args=list(arguments), prog_name="dropmill", standalone_mode=False, obj=signals)
        sys.stdout.flush()
        return int(code or Exit.DONE)
    except click.exceptions.Exit as done:
        return int(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.UsageError as error:
        _tell(_as_usage_error(error), wants_json)
        return Exit.USAGE
    except DropmillError as error:
        _tell(error, wants_json)
        return exit_code(error)
    except BrokenPipeError:  # the reader has gone: nobody is left to tell, and Python must not try at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def _as_usage_error(error: click.UsageError) -> UsageError:
    command = error.ctx.command_path if error.ctx is not None else "dropmill"
    return UsageError(error.format_message(), where=command, todo=f"`{command} --help` tells what it takes")


def _tell(error: DropmillError, wants_json: bool) -> None:
    stream = sys.stderr
    if isinstance(stream, io.TextIOWrapper):  # a name in the message may hold bytes that are no text
        stream.reconfigure(errors="backslashreplace")
    text = as_json(error) if wants_json or isinstance(error, Refused) else as_text(error)
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError:
        pass  # nobody listens
