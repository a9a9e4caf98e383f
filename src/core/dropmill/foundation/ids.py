"""Ids that sort by the time they were made."""

from __future__ import annotations

from random import Random

from dropmill.foundation.clock import Clock

__all__ = ["IdSource"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


class IdSource:
    """Makes 16-character ids: 45 bits of milliseconds, then 35 random bits, in base 32 (safe in any file name)."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random

    def new(self) -> str:
        number = (int(self._clock.time() * 1000) << 35) | self._random.getrandbits(35)
        return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(75, -5, -5))
