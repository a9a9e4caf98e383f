"""Prints the command line's reference (docs/command-line.md) from the commands themselves."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator

import click

from dropmill.cli.codes import Exit
from dropmill.cli.root import cli
from dropmill.supervision.exits import ExitCode

HEAD = """# The command line

This page is written by `docs/commands.py` from the commands themselves. What they are for in an operator's day is in
[operating.md](operating.md).

## What holds for every command

- **`--config FILE`**, or the environment variable `DROPMILL_CONFIG`, or `./dropmill.toml`, says which agent is meant:
  its state folder and control socket stand there. Commands that only ask read these two keys alone, and so work while
  the file is edited.
- **A running agent** is asked through its control socket ([api.md](api.md)). **Without one**, `status`, `files`,
  `deliveries` and `explain` read the store read-only, and `submit`, `retry` and `drop` take its lock for as long as
  they need it. `pause`, `resume` and `submit --wait` need an agent. Where the store's lock is held and nobody answers
  on the socket, the exit code is 5.
- **On a terminal**: tables, colour, local times; control characters in names are shown, not obeyed. **In a pipe**:
  one line a row, cells separated by tabs, nothing cut, no header, times in UTC, sizes in bytes; a tab, line end or
  backslash in a value is written `\\\\t`, `\\\\n`, `\\\\\\\\`. A byte of a name that is no text stays that byte.
  **With `--json`**: one JSON document, whose shape is given below and to which fields are only ever added.
- **Errors** go to standard error: code, what, where and what to do ([errors.md](errors.md) explains the codes); with
  `--json` as `{"code", "what", "where", "todo"}`, and `"problems"`, a list of the same, where several things are
  wrong.
- **Times** (`--since`, `--until`) are `90m`, `2h`, `3d`, `1w` ago, or ISO 8601 with an offset, or seconds since the
  epoch.
- **Lists** end after `--limit` rows; that there are more is said on standard error, or by `next` in JSON: give it as
  `--after`.

## Exit codes

| code | meaning |
|---|---|
"""

MEANINGS = {
    Exit.DONE: "done",
    Exit.FAILED: "it failed; the message says why",
    Exit.USAGE: "wrong usage",
    Exit.REFUSED: "the input is not what it should be: it cannot be read or converted",
    Exit.BAD_CONFIG: "the configuration is wrong",
    Exit.UNREACHABLE: "no agent answers where one is needed, or one is there and does not answer",
    Exit.QUEUE_FULL: "the queue is full",
    Exit.NOT_PERMITTED: "the operating system does not permit it",
    ExitCode.CANCELLED: "`run`: work was cancelled; it was given back and is done again",
    ExitCode.UNDEAD: "`run`: something would not end, or the disk could not be verified; the next start repairs it",
    ExitCode.DEADLINE: "`run`: the hard deadline ended the process; the next start repairs it",
    ExitCode.ERROR: "`run`: a part failed for good",
    130: "interrupted (Ctrl-C)",
}

SHAPES = {
    "init": '{"config": "demo/dropmill.toml", "inbox": "demo/inbox", "reports": "demo/reports"}',
    "run": '{"config": "/srv/demo/dropmill.toml", "state": "/srv/demo/state", "socket": "/srv/demo/state/agent.sock", '
    '"folders": {"inbox": "/srv/demo/inbox"}, "destinations": {"reports": "/srv/demo/reports"}}',
    "submit": '{"items": [{"path": "/tmp/a.xml", "fileId": "1m86xd5tae0778bg", "state": "queued", "reason": "", '
    '"problem": null}]}',
    "status": "[Status](api.md#status)",
    "files": "[FilePage](api.md#filepage)",
    "deliveries": "[DeliveryPage](api.md#deliverypage)",
    "explain": "[Explanation](api.md#explanation)",
    "retry": '{"files": {"matched": 2, "changed": 2, "dryRun": false}, "deliveries": null}',
    "drop": '{"deliveries": {"matched": 1, "changed": 1, "dryRun": false}}',
    "pause": "[Done](api.md#done)",
    "resume": "[Done](api.md#done)",
    "plugins list": '{"items": [{"name": "csv", "enabled": true, "distribution": "dropmill", "version": "0.1.0", "api": "v1", '
    '"problems": []}], "missing": []}',
    "plugins show": '{"name": "csv", "distribution": "dropmill", "version": "0.1.0", "state": "loaded", "problems": [], '
    '"converters": [{"id": "csv", "summary": "...", "factory": "...", "optionsSchema": {}, "accepts": {"globs": ["*.csv"], '
    '"magic": [], "minBytes": 0, "maxBytes": null}, "atomic": true, "timeout": 60.0}], "transports": [], "policies": []}',
    "plugins check": 'as `plugins show`, in a list: `{"items": [...]}`',
    "config check": '{"file": "/srv/demo/dropmill.toml", "valid": true, "warnings": []}',
    "config show": "[Config](api.md#config)",
    "config schema": "the schema",
    "try": 'the same lines; warnings on standard error as `{"warning": {...}}`',
}
"""What `--json` prints: an example, or a link to a shape, or words."""


def main() -> None:
    lines = [HEAD.replace("\\\\", "\\").rstrip("\n")]
    lines += [f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()]
    leaves = list(_leaves(cli, ""))
    lines += ["", "## Commands", "", "| command | what it does |", "|---|---|"]
    for path, command in leaves:
        lines.append(f"| [`dropmill {path}`](#dropmill-{path.replace(' ', '-')}) | {_sentence(command)} |")
    for path, command in leaves:
        lines += ["", f"### dropmill {path}", "", "```console", f"$ dropmill {path}{_arguments(command)}", "```", ""]
        lines += [*_prose(command), "", "| option | what |", "|---|---|", *_options(command), ""]
        shape = SHAPES[path]
        lines += [f"With `--json`: `{shape}`." if shape.startswith("{") else f"With `--json`: {shape}."]
    sys.stdout.write("\n".join(lines) + "\n")


def _leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(click.Context(command)):
        found = command.get_command(click.Context(command), name)
        assert found is not None
        yield from _leaves(found, f"{path} {name}".strip())


def _sentence(command: click.Command) -> str:
    return (command.help or "").partition("\n\n")[0].replace("\n", " ")


def _prose(command: click.Command) -> Iterator[str]:
    for number, paragraph in enumerate((command.help or "").split("\n\n")):
        if number:
            yield ""
        yield from textwrap.wrap(" ".join(paragraph.split()), 118, break_on_hyphens=False)


def _arguments(command: click.Command) -> str:
    words = [part.make_metavar(click.Context(command)) for part in command.params if isinstance(part, click.Argument)]
    return "".join(f" {word}" for word in words)


def _options(command: click.Command) -> Iterator[str]:
    for part in command.params:
        if not isinstance(part, click.Option):
            continue
        value = "" if part.is_flag else f" {_value(part)}"
        words = re.sub(r"\s+", " ", part.help or "")
        if part.show_default and part.default is not None:
            words += f" Default: `{part.default}`."
        yield f"| `{', '.join(part.opts)}{value}` | {words} |"


def _value(part: click.Option) -> str:
    if isinstance(part.type, click.Choice):
        return "[" + "\\|".join(str(choice) for choice in part.type.choices) + "]"
    return part.metavar or {"integer range": "N", "integer": "N"}.get(part.type.name, part.type.name.upper())


main()
