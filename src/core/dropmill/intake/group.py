"""A group of files on their way into work/, as a value that each step of a claim hands to the next."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from dropmill.foundation.files import rename_no_replace
from dropmill.intake.fates import Fate
from dropmill.intake.names import with_suffix
from dropmill.intake.probe import Held

__all__ = ["Claiming", "Group", "Words", "put_back"]

_PROCESS = Fate()


@dataclass(slots=True)
class Claiming:
    """One file of a group."""

    held: Held
    id: str
    entry: str
    """Its path below work/."""
    fate: Fate = _PROCESS
    undone: str = ""
    """Why the claim did not come about; empty: it did."""
    marker: str | None = None


@dataclass
class Words:
    """What the journal must still be told of a moved group."""

    confirm: list[str] = field(default_factory=list)
    settle: list[tuple[str, Fate]] = field(default_factory=list)
    """Files that are not to be converted."""
    remove: dict[str, list[str]] = field(default_factory=dict)
    """Claims that did not come about, by reason."""

    def say(self, file: Claiming) -> None:
        """What has become of a file."""
        if file.undone:
            self.remove.setdefault(file.undone, []).append(file.id)
        elif file.fate.kind == "process":
            self.confirm.append(file.id)
        else:
            self.settle.append((file.id, file.fate))


@dataclass
class Group:
    """Files that are claimed together."""

    files: list[Claiming] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)
    """Open descriptors of the folders that the files lie in (not of the root itself)."""
    moved: bool = False
    words: Words = field(default_factory=Words)
    trouble: OSError | None = None
    """The first error that concerns the whole folder."""

    def close(self) -> None:
        for file in self.files:
            file.held.close()
        for descriptor in self.folders.values():
            os.close(descriptor)
        self.folders.clear()


def put_back(entry: str, work: int, name: str, folder: int, sha256: str, now: float) -> str:
    """Move an entry of the open `work` back into the open `folder`, under `name` or, where that is taken, beside it.

    Returns the name that it has now.
    """
    for number in range(100):
        target = name if number == 0 else with_suffix(name, now, sha256, number=number - 1)
        try:
            rename_no_replace(entry, target, source_folder=work, target_folder=folder)
        except FileExistsError:
            continue
        return target
    raise FileExistsError(errno.EEXIST, "no free name was found beside it", name)
