"""What every benchmark gives back, and how it is shown.

A benchmark is a module of this package with a function `figures(scratch: Path) -> Iterable[Figure]`. A figure is a value with
what it is held against in the same run (the machine's limit, a bare loop, a peer), as a ratio: machines differ, ratios travel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

__all__ = ["Figure", "fdatasync_seconds", "percentile", "show", "stopwatch"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value."""

    name: str
    value: float
    unit: str
    against: str = ""
    """What it is compared with: a limit of the machine, or a peer."""
    reference: float | None = None
    """That one's value in the same unit."""
    target: float | None = None
    """For the ratio where there is a reference, else for the value; None: shown for information."""
    at_least: bool = False
    """Whether more is better."""

    @property
    def ratio(self) -> float | None:
        return None if not self.reference else self.value / self.reference

    @property
    def met(self) -> bool | None:
        measured = self.value if self.ratio is None else self.ratio
        if self.target is None:
            return None
        return measured >= self.target if self.at_least else measured <= self.target


def show(figures: Iterable[Figure]) -> bool:
    """Print the table; whether every target was met."""
    console = Console(width=max(120, Console().width))
    table = Table(title="benchmarks")
    for heading in ("figure", "value", "limit or peer", "its value", "ratio", "target", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "limit or peer", "") else "right")
    good = True
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        met = {True: "met", False: "MISSED", None: ""}[figure.met]
        good &= figure.met is not False
        table.add_row(
            figure.name,
            f"{figure.value:,.4g} {figure.unit}",
            figure.against,
            "" if figure.reference is None else f"{figure.reference:,.4g} {figure.unit}",
            "" if figure.ratio is None else f"{figure.ratio:.3g}",
            "" if figure.target is None else f"{sign} {figure.target:g}",
            met,
        )
    console.print(table)
    return good


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """`with stopwatch() as spent: ...`, then `spent[0]` is seconds."""
    spent = [0.0]
    start = time.perf_counter()
    try:
        yield spent
    finally:
        spent[0] = time.perf_counter() - start


def fdatasync_seconds(scratch: Path, size: int = 1024, rounds: int = 200) -> float:
    """Median seconds of one write of `size` bytes and fdatasync: the physical limit of one durable operation at a time."""
    path = scratch / "fdatasync"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    data = os.urandom(size)
    times = []
    try:
        for _ in range(rounds):
            start = time.perf_counter()
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            times.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return percentile(times, 50)


def percentile(values: list[float], nth: int) -> float:
    """The nth percentile, 1 to 99."""
    return quantiles(values, n=100, method="inclusive")[nth - 1]
