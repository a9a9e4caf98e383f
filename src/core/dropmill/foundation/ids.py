"""Ids that sort by the time they were made."""

from __future__ import annotations

from random import Random

from dropmill.foundation.clock import Clock

__all__ = ["IdSource"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = tuple(range(70, -10, -10))


class IdSource:
    """Makes 16-character ids: 45 bits of milliseconds, then 35 random bits, in base 32 (safe in any file name)."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random

    def new(self) -> str:
        number = (int(self._clock.time() * 1000) << 35) | self._random.getrandbits(35)
        return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])
