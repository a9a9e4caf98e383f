"""Who may get a file, decided by its name, its size and its first bytes: the steps of the selection that run no plugin's code.

(1) The folder's converters. (2) Globs, through an index, so that a hundred patterns cost no more than the few that could fit.
(3) Size and magic bytes, on one head that is read at most once. What survives is asked by `sniff`, in a worker process.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from dropmill.api import ConverterSpec, Level
from dropmill.config.settings import ConverterChoice

__all__ = ["Candidate", "ConverterBinding", "GlobIndex", "Selector", "Shortlist"]

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class ConverterBinding:
    """A converter that can be used, and where it comes from."""

    spec: ConverterSpec
    plugin: str
    """Entry-point name: whose fault a fault is, and what `resume` takes."""
    distribution: str
    """Whose code a worker process runs: converters of one distribution may share one."""
    version: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Complete, as defaults and `[converter.ID]` have them: for a file whose folder does not list it."""

    @property
    def label(self) -> str:
        """`id version`, as it is kept with a file."""
        return f"{self.spec.id} {self.version}"


@dataclass(frozen=True)
class Candidate:
    """A converter with the options of one folder."""

    key: str
    """Names converter and options together, on the pipe to a worker."""
    binding: ConverterBinding
    choice: ConverterChoice
    base: Level = Level.POSSIBLE
    """How sure it is where it has no `sniff`."""

    @property
    def minimum(self) -> Level | None:
        return None if self.choice.min_level is None else Level[self.choice.min_level.upper()]

    def setup(self) -> dict[str, object]:
        """What a worker must know of it."""
        return {
            "key": self.key,
            "converter": self.binding.spec.id,
            "factory": self.binding.spec.factory,
            "options": dict(self.choice.options),
            "version": self.binding.version,
            "distribution": self.binding.distribution,
            "schemas": [dict(schema) for schema in self.binding.spec.schemas],
        }


@dataclass(frozen=True)
class Shortlist:
    """The candidates, in the admin's order, and why the others are none."""

    candidates: Sequence[Candidate]
    considered: Mapping[str, str]
    missing: Sequence[str] = ()
    """Converters of the folder that no loaded plugin offers."""


class GlobIndex:
    """Patterns, found by what is fixed in them: the extension, else the first character; only few have neither.

    Case and Unicode normalisation do not count.
    """

    def __init__(self, patterns: Iterable[tuple[str, int]] = ()) -> None:
        self._everything: set[int] = set()
        self._exact: defaultdict[str, set[int]] = defaultdict(set)
        self._by_extension: defaultdict[str, list[tuple[re.Pattern[str] | None, int]]] = defaultdict(list)
        self._by_start: defaultdict[str, list[tuple[re.Pattern[str], int]]] = defaultdict(list)
        self._others: list[tuple[re.Pattern[str], int]] = []
        for pattern, position in patterns:
            self.add(pattern, position)

    def add(self, pattern: str, position: int) -> None:
        """`position` is what `find` answers for names that match."""
        pattern = _fold(pattern)
        wild = list(_WILD.finditer(pattern))
        if not wild:
            self._exact[pattern].add(position)
            return
        if pattern.strip("*") == "":
            self._everything.add(position)
            return
        tail = pattern[max(pattern.rfind(character) for character in "*?]") + 1 :]  # what every match ends with
        dot = tail.rfind(".")
        compiled = re.compile(fnmatch.translate(pattern))
        if dot >= 0:
            only_extension = pattern == "*" + tail and dot == 0
            self._by_extension[tail[dot:]].append((None if only_extension else compiled, position))
        elif wild[0].start() > 0:
            self._by_start[pattern[0]].append((compiled, position))
        else:
            self._others.append((compiled, position))

    def find(self, name: str) -> set[int]:
        """The positions of all patterns that match."""
        name = _fold(name)
        found = set(self._everything)
        found |= self._exact.get(name, set())
        dot = name.rfind(".")
        if dot >= 0:
            for expression, position in self._by_extension.get(name[dot:], ()):
                if expression is None or expression.match(name):
                    found.add(position)
        for compiled, position in (*self._by_start.get(name[:1], ()), *self._others):
            if compiled.match(name):
                found.add(position)
        return found


class Selector:
    """The converters of one folder.

    Args:
        choices: What the folder lists; none: all that there are, without an order.
        converters: What the loaded plugins offer, by id.
    """

    def __init__(self, choices: Sequence[ConverterChoice], converters: Mapping[str, ConverterBinding]) -> None:
        self.ordered = bool(choices)
        self._converters = converters
        self._missing = [choice.id for choice in choices if choice.id not in converters]
        self._candidates = [
            _candidate(choice, converters[choice.id])
            for choice in (choices or [_general(converters[name]) for name in sorted(converters)])
            if choice.id in converters
        ]
        self._index = GlobIndex(
            (pattern, position)
            for position, candidate in enumerate(self._candidates)
            for pattern in candidate.binding.spec.accepts.globs
        )

    def shortlist(self, name: str, size: int, head: Callable[[], bytes]) -> Shortlist:
        """The candidates for a file; `head` is called once at most, and only where magic bytes are asked for.

        Raises:
            OSError: whatever `head` raises.
        """
        found = self._index.find(os.path.basename(name))
        considered: dict[str, str] = {}
        kept: list[Candidate] = []
        read: bytes | None = None
        for position, candidate in enumerate(self._candidates):
            accepts = candidate.binding.spec.accepts
            reason = ""
            base = Level.POSSIBLE
            if position not in found:
                reason = f"its name fits none of {', '.join(accepts.globs)}"
            elif size < accepts.min_bytes:
                reason = f"it has {size} bytes, fewer than {accepts.min_bytes}"
            elif accepts.max_bytes is not None and size > accepts.max_bytes:
                reason = f"it has {size} bytes, more than {accepts.max_bytes}"
            elif accepts.magic:
                read = head() if read is None else read
                base = Level.LIKELY
                if not any(read[m.offset : m.offset + len(m.bytes)] == m.bytes for m in accepts.magic):
                    reason = "its first bytes are not those of the format"
            if reason:
                considered[candidate.binding.spec.id] = reason
            else:
                kept.append(candidate if base is Level.POSSIBLE else _with_base(candidate, base))
        return Shortlist(kept, considered, self._missing)

    def forced(self, converter: str) -> Shortlist:
        """The one that the admin wants, with the folder's options where the folder lists it."""
        for candidate in self._candidates:
            if candidate.binding.spec.id == converter:
                return Shortlist([candidate], {})
        binding = self._converters.get(converter)
        if binding is None:
            return Shortlist([], {}, [converter])
        return Shortlist([_candidate(_general(binding), binding)], {})

    def all(self) -> Sequence[Candidate]:
        """Every converter of the folder, in its order."""
        return self._candidates


def _general(binding: ConverterBinding) -> ConverterChoice:
    return ConverterChoice(id=binding.spec.id, options=binding.options)


def _candidate(choice: ConverterChoice, binding: ConverterBinding) -> Candidate:
    text = orjson.dumps(dict(choice.options), option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(text).hexdigest()[:12]
    return Candidate(f"{choice.id}:{digest}", binding, choice)


def _with_base(candidate: Candidate, base: Level) -> Candidate:
    return Candidate(candidate.key, candidate.binding, candidate.choice, base)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
