"""Who gets a file: the last step of the selection, from the candidates' own answers. Pure; used on both sides of the pipe.

The highest level wins, the admin's order decides between equals, and without an order equals are a tie that nobody breaks.
A candidate that failed to answer might be the file's owner: only one that is certain may have the file instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dropmill.api import Level

__all__ = ["Answer", "Broken", "Decision", "Nobody", "Tie", "Winners", "decide"]


@dataclass(frozen=True)
class Answer:
    """What one candidate said, in the admin's order of candidates."""

    level: Level | None
    """None: not its file, or (`failed`) no answer."""
    reason: str = ""
    failed: bool = False
    minimum: Level | None = None
    """What the admin asks of it in this folder."""

    @property
    def accepted(self) -> bool:
        return self.level is not None and (self.minimum is None or self.level >= self.minimum)


@dataclass(frozen=True)
class Winners:
    """Candidates by index, the best first; the next one is asked only where one says `NotMine` after all."""

    order: tuple[int, ...]


@dataclass(frozen=True)
class Tie:
    """Several are equally sure, and there is no order."""

    indices: tuple[int, ...]


@dataclass(frozen=True)
class Broken:
    """This one failed to answer, and none of the others is certain."""

    index: int


@dataclass(frozen=True)
class Nobody:
    """It is no candidate's file."""


Decision = Winners | Tie | Broken | Nobody


def decide(answers: Sequence[Answer], *, ordered: bool) -> Decision:
    """Rank the candidates.

    Args:
        answers: One for each candidate, in the admin's order.
        ordered: Whether that order is the admin's will; else equals tie.
    """
    accepted = [index for index, answer in enumerate(answers) if answer.accepted]
    accepted.sort(key=lambda index: -(answers[index].level or 0))
    failed = next((index for index, answer in enumerate(answers) if answer.failed), None)
    if failed is not None:
        accepted = [index for index in accepted if answers[index].level == Level.CERTAIN]
        if not accepted:
            return Broken(failed)
    if not accepted:
        return Nobody()
    best = [index for index in accepted if answers[index].level == answers[accepted[0]].level]
    if len(best) > 1 and not ordered:
        return Tie(tuple(best))
    return Winners(tuple(accepted))
