"""One call, from its frame to its answer: sniff, choose, convert, stage.

Whatever a converter does short of ending the process comes out as an answer. Whose fault something is, is decided here once: the
file's (`BadInput`, an invalid report), the plugin's (every other exception), or neither's (a disk that cannot be read or
written).
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropmill.api import BadInput, Level, Match, NotMine, Part, PluginSignal, RetryLater
from dropmill.conversion.worker.bench import Bench
from dropmill.conversion.worker.context import Context
from dropmill.conversion.worker.frames import Kind, ProtocolError, clean
from dropmill.conversion.worker.page import Cancelled, Page
from dropmill.conversion.worker.ranking import Answer, Broken, Nobody, Tie, decide
from dropmill.conversion.worker.source import FileSource
from dropmill.conversion.worker.staging import LimitExceeded, NoRoom, Staging
from dropmill.reports.compose import Composer
from dropmill.reports.errors import InvalidReport
from dropmill.reports.origin import Origin

__all__ = ["Call", "Reply", "Runner"]

_TRACEBACK = 16_384

_LEVELS = {int(level): level for level in Level}

Reply = tuple[Kind, dict[str, Any]]


@dataclass(frozen=True)
class Candidate:
    """A converter that may get the file."""

    key: str
    base: Level
    """Its level where it has no `sniff`."""
    minimum: Level | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A CALL frame, read."""

    number: int
    mode: str
    """`choose` (sniff, decide, convert), `convert` (the candidates in order, without sniffing), `sniff`, `complete`."""
    candidates: Sequence[Candidate]
    ordered: bool
    name: str
    size: int
    sha256: str
    modified: float
    folder: str
    occurrence: int
    parts: Sequence[Part]
    cpu: int
    """Seconds of processor time that the call may take."""
    descriptors: Sequence[int]

    @classmethod
    def read(cls, header: Mapping[str, Any], body: bytes, descriptors: Sequence[int]) -> Call:
        """From a frame. The body holds the names (of the file, then of its parts), which may be no UTF-8.

        Raises:
            ProtocolError: it is not one.
        """
        try:
            name, *parts = (os.fsdecode(text) for text in body.split(b"\0"))
            return cls(
                number=header["n"],
                mode=header["mode"],
                candidates=[
                    Candidate(key, _LEVELS[base], None if minimum is None else _LEVELS[minimum])
                    for key, base, minimum in header["candidates"]
                ],
                ordered=header["ordered"],
                name=name,
                size=header["size"],
                sha256=header["sha256"],
                modified=header["modified"],
                folder=header["folder"],
                occurrence=header["occurrence"],
                parts=[Part(part, size, digest) for part, (size, digest) in zip(parts, header["parts"], strict=True)],
                cpu=header["cpu"],
                descriptors=descriptors,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"a CALL frame cannot be read: {error!r}") from None


class Runner:
    """Runs calls, one after another.

    Args:
        folder: The worker's own; a call makes a folder named by its number in it, where it needs one.
        bench: The converters.
        page: The shared page.
        max_output: Bytes that the reports of one file may have.
    """

    def __init__(self, folder: Path, bench: Bench, page: Page, max_output: int) -> None:
        self._root = folder
        self._bench = bench
        self._page = page
        self._max_output = max_output

    def run(self, call: Call, send: Callable[[dict[str, Any], bytes], None]) -> Reply:
        """Work on a call; `send` takes each report's header and body for the pipe. Raises only what ends the worker."""
        self._page.begin(call.number)
        wall, cpu = time.monotonic(), time.process_time()
        task = _Task(self._root, self._bench, self._page, self._max_output, call, send)
        try:
            kind, answer = task.run()
        finally:
            self._page.end()
        answer["n"] = call.number
        answer["wall"] = round(time.monotonic() - wall, 6)
        answer["cpu"] = round(time.process_time() - cpu, 6)
        answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return kind, answer


class _Task:
    def __init__(
        self,
        folder: Path,
        bench: Bench,
        page: Page,
        max_output: int,
        call: Call,
        send: Callable[[dict[str, Any], bytes], None],
    ) -> None:
        self._root = folder
        self._made: Path | None = None
        self._bench = bench
        self._page = page
        self._max_output = max_output
        self._call = call
        self._send = send
        self._key = call.candidates[0].key if call.candidates else ""
        self._considered: dict[str, str] = {}
        self._failures: dict[int, dict[str, Any]] = {}
        self._source = FileSource(
            name=call.name,
            size=call.size,
            sha256=call.sha256,
            modified=call.modified,
            parts=call.parts,
            descriptors=call.descriptors,
            page=page,
            folder=self._folder,
        )

    def run(self) -> Reply:
        try:
            kind, answer = self._run()
        except ProtocolError:
            raise
        except Cancelled:
            kind, answer = Kind.OK, {"result": "cancelled"}
        except NoRoom as error:
            kind, answer = Kind.OK, {"result": "trouble", "code": "DM-V032", "message": clean(error)}
        except LimitExceeded as error:
            kind, answer = Kind.ERROR, {"kind": "limit", "message": clean(error)}
        except MemoryError as error:
            kind, answer = Kind.ERROR, {"kind": "oom", "message": f"out of memory: {clean(error)}".rstrip(": ")}
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt too: a plugin must not end its worker
            kind, answer = Kind.ERROR, _fault(error)
        if (trouble := self._source.trouble) is not None and answer.get("result") != "cancelled":
            message = f"reading failed: {trouble.strerror}"
            kind, answer = Kind.OK, {"result": "trouble", "code": "DM-V031", "message": message}
        if kind is Kind.ERROR:
            self._bench.forget(self._key)
        self._source.close()
        answer["key"] = self._key
        answer["folder"] = self._made is not None
        if self._considered:
            answer["considered"] = self._considered
        if self._failures:
            keys = [candidate.key for candidate in self._call.candidates]
            answer["failed"] = {keys[index]: fault["message"] for index, fault in self._failures.items()}
        return kind, answer

    def _run(self) -> Reply:
        call = self._call
        self._page.beat()  # a call that was cancelled while it waited does not begin
        if call.mode == "sniff":
            return Kind.OK, {"result": "answers", "answers": self._answers()}
        if call.mode == "complete":
            return Kind.OK, {"result": "complete", "complete": self._complete()}
        order = list(range(len(call.candidates)))
        if call.mode == "choose":
            answers = self._sniff()
            decision = decide(answers, ordered=call.ordered)
            if isinstance(decision, Nobody):
                self._note(answers)
                return Kind.OK, {"result": "nobody"}
            if isinstance(decision, Tie):
                return Kind.OK, {"result": "tie", "keys": [call.candidates[index].key for index in decision.indices]}
            if isinstance(decision, Broken):
                self._select(decision.index)
                return Kind.ERROR, self._failures[decision.index]
            order = list(decision.order)
            if len(answers) > 1:
                self._note(answers)
        elif call.mode != "convert":
            raise ProtocolError(f"a call of the unknown mode {call.mode!r}")
        for index in order:
            self._select(index)
            reply = self._convert()
            if reply is not None:
                return reply
        return Kind.OK, {"result": "nobody"}

    # --- sniffing ------------------------------------------------------------------------------------------------------

    def _sniff(self) -> list[Answer]:
        head = None
        answers = []
        for index, candidate in enumerate(self._call.candidates):
            self._select(index)
            try:
                sniff = getattr(self._bench.instance(candidate.key), "sniff", None)
                if sniff is None:
                    answers.append(Answer(candidate.base, "its name fits", minimum=candidate.minimum))
                    continue
                head = head or self._source.head()
                answers.append(_answer(sniff(head), candidate.minimum))
            except NotMine as signal:
                answers.append(Answer(None, clean(signal) or "not its file", minimum=candidate.minimum))
            except (Cancelled, ProtocolError, MemoryError):
                raise
            except BaseException as error:
                if self._source.trouble is not None:
                    raise
                self._failures[index] = fault = _fault(error)
                self._bench.forget(candidate.key)
                answers.append(Answer(None, f"failed: {fault['message']}", failed=True, minimum=candidate.minimum))
        return answers

    def _answers(self) -> list[list[Any]]:
        """Level, reason and failure of each candidate."""
        return [[answer.level, answer.reason, self._failures.get(index)] for index, answer in enumerate(self._sniff())]

    def _note(self, answers: Sequence[Answer]) -> None:
        for candidate, answer in zip(self._call.candidates, answers, strict=True):
            if answer.level is None:
                text = answer.reason
            elif answer.accepted:
                text = f"{answer.level.name.lower()}: {answer.reason}"
            else:
                assert answer.minimum is not None
                text = f"{answer.level.name.lower()}, below the folder's {answer.minimum.name.lower()}: {answer.reason}"
            self._considered[candidate.key] = clean(text, 300)

    def _complete(self) -> bool:
        """Whether every candidate that can tell says that the file has all that belongs to it."""
        for index, candidate in enumerate(self._call.candidates):
            self._select(index)
            ask = getattr(self._bench.instance(candidate.key), "is_complete", None)
            if ask is not None and not ask(self._source):
                return False
        return True

    # --- converting ----------------------------------------------------------------------------------------------------

    def _convert(self) -> Reply | None:
        """Convert with the selected candidate; None: it says `NotMine`."""
        tool = self._bench.tool(self._key)
        call = self._call
        context = Context(call.folder, self._page)
        staging = Staging(self._folder, self._max_output, self._send, lambda: context.warnings, self._page.beat)
        origin = Origin(
            name=call.name,
            size=call.size,
            sha256=call.sha256,
            modified=call.modified,
            folder=call.folder,
            occurrence=call.occurrence,
            converter=tool.converter,
            version=tool.version,
            distribution=tool.distribution,
            parts=call.parts,
        )
        try:
            composer = Composer(origin, self._bench.schemas(self._key), staging.create)
            reports = iter(self._bench.instance(self._key).convert(self._source, context))
            try:
                for report in reports:
                    self._page.beat()
                    staging.add(composer.draft(report))
            finally:
                close = getattr(reports, "close", None)
                if close is not None:
                    with contextlib.suppress(
                        Exception
                    ):  # what made it end comes out, not what its clean-up raises then
                        close()
        except NotMine as signal:
            if staging.count:
                raise RuntimeError(f"NotMine was raised after {staging.count} reports: {signal}") from signal
            self._considered[self._key] = clean(signal, 300) or "not its file"
            return None
        except BadInput as signal:
            return Kind.OK, {
                "result": "refused",
                "code": clean(signal.code, 100),
                "message": clean(signal.message),
                "line": signal.line if isinstance(signal.line, int) else None,
                "warnings": context.warnings,
            }
        except RetryLater as signal:
            return Kind.OK, {"result": "later", "reason": clean(signal.reason), "after": float(signal.after)}
        except InvalidReport as error:
            problem = error.problem
            return Kind.OK, {
                "result": "refused",
                "code": problem.code,
                "message": clean(f"report {staging.count}: {problem.what} ({problem.where})"),
                "line": None,
                "path": clean(error.path),
                "value": clean(error.value),
                "warnings": context.warnings,
            }
        return self._converted(staging, context)

    def _converted(self, staging: Staging, context: Context) -> Reply:
        if self._source.trouble is None and self._source.changed():
            return Kind.OK, {
                "result": "refused",
                "code": "DM-V033",
                "message": "the file was changed after it was claimed: what was read is not what was claimed; drop it again",
                "line": None,
            }
        if not staging.count:
            return Kind.OK, {
                "result": "refused",
                "code": "DM-V002",
                "message": "the converter accepted the file, made no report of it and did not say why",
                "line": None,
                "warnings": context.warnings,
            }
        staging.finish()
        return Kind.OK, {
            "result": "converted",
            "reports": staging.count,
            "bytes": staging.size,
            "spooled": staging.spooled,
            "warnings": context.warnings,
        }

    def _select(self, index: int) -> None:
        self._page.candidate(index)
        self._key = self._call.candidates[index].key

    def _folder(self) -> Path:
        if self._made is None:
            path = self._root / str(self._call.number)
            try:
                path.mkdir(0o700)
            except OSError as error:
                raise NoRoom(f"{error.strerror} ({error.filename})") from error
            self._made = path
        return self._made


def _answer(match: Any, minimum: Level | None) -> Answer:
    if match is None:
        return Answer(None, "not its file", minimum=minimum)
    if not isinstance(match, Match):
        raise TypeError(f"sniff answered a {type(match).__name__}, not a Match or None")
    return Answer(Level(match.level), clean(match.reason, 300), minimum=minimum)


def _fault(error: BaseException) -> dict[str, Any]:
    import traceback  # half a megabyte that most workers never need

    signal = isinstance(error, PluginSignal)
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    message = f"{name}: {clean(error)}" + (", which no converter may raise" if signal else "")
    text = "".join(traceback.format_exception(error, limit=-40))
    if len(text) > _TRACEBACK:
        text = f"{text[:2_000]}\n...\n{text[-(_TRACEBACK - 2_000) :]}"
    return {
        "kind": "error",
        "message": clean(message),
        "exception": {"type": clean(name, 200), "message": clean(error), "traceback": clean(text, _TRACEBACK + 100)},
    }
