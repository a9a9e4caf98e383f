"""`dropmill try`: convert one file and print its reports, without queue or agent."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from dropmill.cli.errors import CommandError, NotPermitted, Refused
from dropmill.cli.session import Session, with_session

if TYPE_CHECKING:
    from dropmill.config.settings import FolderSettings, Settings
    from dropmill.conversion.outcomes import Converted, Outcome, StagedReport

__all__ = ["trial"]

_CHUNK = 262_144


@click.command("try")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--converter", metavar="ID", help="Use this converter, and no other.")
@click.option("--folder", metavar="NAME", help="Use the converters and options of this folder.")
@with_session
def trial(session: Session, file: Path, converter: str | None, folder: str | None) -> None:
    """Convert FILE where it lies and print its reports on standard output, one a line, as JSON; nothing is queued or moved.

    A report that is no JSON is printed as {"mediaType", "base64"}. Without --folder it is the only folder, or the one that FILE
    lies in, or all converters that the configuration enables. Warnings go to standard error.

    The exit code is 3 where the file cannot be converted; the reason is printed as JSON on standard error.
    """
    from dropmill.cli.config import read
    from dropmill.conversion.once import convert_once
    from dropmill.conversion.selection import ConverterBinding

    configuration = read(session)
    settings = configuration.settings
    bindings = {
        name: ConverterBinding(
            spec=loaded.spec,
            plugin=loaded.plugin,
            distribution=loaded.distribution,
            version=loaded.version,
            options=configuration.general[name],
        )
        for name, loaded in configuration.catalog.converters.items()
    }
    if converter is not None and converter not in bindings:
        raise CommandError(
            f"no enabled plugin offers the converter {converter!r}",
            todo=f"there are: {', '.join(sorted(bindings)) or 'none'}; enable its plugin in plugins.enable",
            code="DM-A109",
        )
    chosen = _folder(settings, folder, file)
    scratch = Path(tempfile.mkdtemp(prefix="dropmill-try-"))
    try:
        outcome = asyncio.run(
            convert_once(
                file,
                bindings,
                scratch=scratch / "work",
                folder=chosen,
                converter=converter,
                settings=settings.conversion,
            )
        )
        _tell(session, file, outcome)
    except PermissionError:
        raise NotPermitted("the file may not be read by this user", where=str(file)) from None
    except OSError as error:
        raise Refused(
            f"the file cannot be read: {error.strerror or error}",
            where=str(file),
            code="DM-A110",
            details={"outcome": "Unreadable"},
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _folder(settings: Settings, name: str | None, file: Path) -> FolderSettings | None:
    if name is not None:
        for folder in settings.folders:
            if folder.name == name:
                return folder
        from dropmill.intake.errors import UnknownFolder

        raise UnknownFolder(name, [folder.name for folder in settings.folders])
    if len(settings.folders) == 1:
        return settings.folders[0]
    return next((folder for folder in settings.folders if file.absolute().is_relative_to(folder.path)), None)


def _tell(session: Session, file: Path, outcome: Outcome) -> None:
    from dropmill.conversion.outcomes import Converted

    if not isinstance(outcome, Converted):
        raise _refusal(file, outcome)
    for warning in outcome.warnings:
        click.echo(json.dumps({"warning": warning}) if session.output.as_json else _warning(warning), err=True)
    _print(outcome)


def _warning(warning: Mapping[str, Any]) -> str:
    line = f" (line {warning['line']})" if warning.get("line") is not None else ""
    return f"warning: {warning.get('code', '')}: {warning.get('message', '')}{line}"


def _print(outcome: Converted) -> None:
    out = sys.stdout.buffer
    for report in outcome.reports:
        if _is_json(report.media_type):
            for piece in _pieces(report):
                out.write(
                    piece.replace(b"\n", b" ").replace(b"\r", b" ")
                )  # white space between tokens, never within a text
        else:
            out.write(b'{"mediaType": ' + json.dumps(report.media_type).encode() + b', "base64": "')
            _write_base64(report, out)
            out.write(b'"}')
        out.write(b"\n")
    out.flush()


def _is_json(media_type: str) -> bool:
    essence = media_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def _pieces(report: StagedReport) -> Iterator[bytes]:
    if report.body is not None:
        yield report.body
        return
    assert report.path is not None
    with Path(report.path).open("rb") as stream:
        while piece := stream.read(_CHUNK):
            yield piece


def _write_base64(report: StagedReport, out: BinaryIO) -> None:
    rest = b""
    for piece in _pieces(report):
        data = rest + piece
        whole = len(data) - len(data) % 3
        out.write(base64.b64encode(data[:whole]))
        rest = data[whole:]
    out.write(base64.b64encode(rest))


def _refusal(file: Path, outcome: Outcome) -> Refused:
    """What the converter, or the choice among converters, said instead of reports; the codes are those of a dropped file."""
    from dropmill.conversion import outcomes

    where, todo, details = str(file), "", asdict(outcome)
    match outcome:
        case outcomes.Refused():
            what, code = outcome.message, outcome.code
            if outcome.line is not None:
                where = f"{where}:{outcome.line}"
        case outcomes.Fault():
            what, code = f"the converter {outcome.converter} {outcome.version} failed: {outcome.message}", outcome.code
            todo = f"it is the fault of the plugin {outcome.plugin}, not of the file: report it to its author"
        case outcomes.NotReady():
            what, code = f"it cannot be converted now: {outcome.reason}", outcome.code or "DM-V034"
            todo = f"try again in {outcome.after:g} s"
        case outcomes.NoConverter():
            what, code = "no converter reads this file", "DM-V001"
            todo = "`considered` has each one's reason; enable another plugin, or force one with --converter"
        case outcomes.Ambiguous():
            what, code = f"several converters are equally sure of it: {', '.join(outcome.candidates)}", "DM-V003"
            todo = "name one with --converter, or list the folder's converters in order"
        case outcomes.Waiting():
            what, code = f"the converter that it is for cannot be asked: {outcome.reason}", "DM-V023"
            todo = f"`dropmill plugins check {outcome.plugin}` tells why"
        case _:
            raise AssertionError(outcome)
    return Refused(what, where=where, todo=todo, code=code, details={"outcome": type(outcome).__name__, **details})
