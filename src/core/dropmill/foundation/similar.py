"""Guesses what was meant by a word that is not known, for "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

__all__ = ["closest"]

_CUTOFF = 0.6
_LONGEST = 64
_MOST = 1000


def closest(word: str, candidates: Iterable[str]) -> str:
    """The candidate most like `word`, or an empty text where none is. Case, `-` and `_` make no difference."""
    plain = _plain(word)
    best, similarity = "", _CUTOFF
    for candidate in sorted(candidates)[:_MOST]:
        other = _plain(candidate)
        found = 0.95 if plain and other.startswith(plain) and len(plain) > 2 else 0.0
        ratio = max(SequenceMatcher(None, plain, other).ratio(), found)
        if ratio > similarity or (ratio == similarity and not best):
            best, similarity = candidate, ratio
    return best


def _plain(word: str) -> str:
    return word[:_LONGEST].casefold().replace("-", "").replace("_", "")
