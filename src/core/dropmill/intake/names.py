"""Which names are candidates, and how a name is changed where it is taken; pure, on names alone.

Names are `str` with undecodable bytes as surrogate escapes, so that any name round-trips. A pattern with a slash is matched
against the path relative to the folder, any other against the file's own name; case counts, except in the built-in excludes.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence

from dropmill.foundation.clock import utc_iso

__all__ = ["BUILT_IN_EXCLUDES", "HOME", "NameFilter", "printable", "with_suffix"]

HOME = ".dropmill"
"""The folder of ours inside a root."""

BUILT_IN_EXCLUDES = (
    ".*",
    "~$*",
    "*.tmp",
    "*.part",
    "*.filepart",
    "*.crdownload",
    "Thumbs.db",
    "desktop.ini",
    "@eaDir",
)
"""Never candidates: hidden files (`._*` among them), what programs write under on the way, what systems leave behind."""

_NAME_MAX = 255


class _Patterns:
    """Matches names against glob patterns; the usual ones (`x*`, `*.x`, plain names) without a regular expression."""

    def __init__(self, patterns: Iterable[str], *, fold: bool = False) -> None:
        heads, tails, names, others = [], [], set(), []
        for pattern in (pattern.lower() if fold else pattern for pattern in patterns):
            bare = pattern.strip("*")
            if any(sign in bare for sign in "*?[") or pattern not in (bare, f"{bare}*", f"*{bare}"):
                others.append(fnmatch.translate(pattern))
            elif pattern == bare:
                names.add(bare)
            elif pattern == f"{bare}*":
                heads.append(bare)
            else:
                tails.append(bare)
        self._fold = fold
        self._heads = tuple(heads)
        self._tails = tuple(tails)
        self._names = names
        self._others = re.compile("|".join(others)) if others else None

    def match(self, name: str) -> bool:
        if self._fold:
            name = name.lower()
        return (
            (bool(self._heads) and name.startswith(self._heads))
            or (bool(self._tails) and name.endswith(self._tails))
            or name in self._names
            or (self._others is not None and self._others.match(name) is not None)
        )


class NameFilter:
    """Says of a name whether it is a candidate, and if not, why not."""

    def __init__(
        self,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        *,
        own: Iterable[str] = (),
        marker_suffixes: Sequence[str] = (),
    ) -> None:
        """`own` are relative paths of our folders inside the root (`done`, `failed`), which are never looked into."""
        self._include = include
        self._exclude = exclude
        self._own = {HOME, *own}
        self._markers = tuple(marker_suffixes)
        self._built_in = _Patterns(BUILT_IN_EXCLUDES, fold=True)
        self._take_all = "*" in include
        self._include_names, self._include_paths = _split(include)
        self._exclude_names, self._exclude_paths = _split(exclude)
        self._plain = self._take_all and not exclude and not self._markers

    def takes(self, name: str, path: str) -> bool:
        """Whether the file `name` at the relative `path` is a candidate; called for every entry of every scan."""
        if self._built_in.match(name):
            return False
        if self._plain:
            return True
        if self._markers and name.endswith(self._markers):
            return False
        if self._exclude_names.match(name) or self._exclude_paths.match(path):
            return False
        return self._take_all or self._include_names.match(name) or self._include_paths.match(path)

    def enters(self, name: str, path: str) -> bool:
        """Whether the folder at the relative `path` is looked into."""
        if path in self._own or self._built_in.match(name):
            return False
        return not (self._exclude_names.match(name) or self._exclude_paths.match(path))

    @property
    def wants_markers(self) -> bool:
        """Whether a file is taken only once a marker says so."""
        return bool(self._markers)

    def is_marker(self, name: str) -> bool:
        """Whether the file says that others are ready."""
        return bool(self._markers) and name.endswith(self._markers) and not name.startswith(".")

    def marked(self, name: str) -> str:
        """The name that a marker speaks of: a whole file name, or the stem of several."""
        return next(name.removesuffix(suffix) for suffix in self._markers if name.endswith(suffix))

    def why_not(self, path: str) -> str | None:
        """Why the file at the relative `path` is no candidate, in words; None: it is one."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in self._own:
                return f"{folder}/ belongs to dropmill"
            if reason := self._excluded(parts[depth - 1], folder):
                return f"its folder {folder}/ is left out: {reason}"
        if reason := self._excluded(parts[-1], path):
            return reason
        if self.is_marker(parts[-1]):
            return "it is a marker for another file"
        return None if self.takes(parts[-1], path) else f"no include pattern matches: {', '.join(self._include)}"

    def _excluded(self, name: str, path: str) -> str | None:
        for pattern in BUILT_IN_EXCLUDES:
            if fnmatch.fnmatchcase(name.lower(), pattern.lower()):
                return f"the built-in exclude {pattern!r} matches"
        for pattern in self._exclude:
            if fnmatch.fnmatchcase(path if "/" in pattern else name, pattern):
                return f"the exclude pattern {pattern!r} matches"
        return None


def _split(patterns: Iterable[str]) -> tuple[_Patterns, _Patterns]:
    """Those for names, and those for paths."""
    listed = list(patterns)
    return (
        _Patterns(pattern for pattern in listed if "/" not in pattern),
        _Patterns(pattern for pattern in listed if "/" in pattern),
    )


def with_suffix(name: str, now: float, sha256: str, *, number: int = 0) -> str:
    """Another name for a file whose own is taken: `-<utc>-<hash8>` before the extension, cut to 255 bytes.

    `number` > 0 is added where that name is taken too.
    """
    stamp = re.sub(r"[-:.]", "", utc_iso(now))
    addition = f"-{stamp}-{sha256[:8]}" + (f"-{number}" if number else "")
    stem, extension = os.path.splitext(name)
    tail = os.fsencode(addition + extension)
    if len(tail) > _NAME_MAX - 1:  # an "extension" as long as the name
        stem, tail = name, os.fsencode(addition)
    while len(os.fsencode(stem)) + len(tail) > _NAME_MAX:
        stem = stem[:-1]  # whole characters, never a part of one
    return stem + os.fsdecode(tail)


def printable(name: str) -> str:
    """The name for people and JSON: undecodable bytes as `\\xNN`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
