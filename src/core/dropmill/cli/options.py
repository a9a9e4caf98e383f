"""Options that several commands share: filters made from the API's own parameters, pages, times as people write them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

from dropmill.control.routes import Parameter, read_time

__all__ = ["filter_options", "page_options", "pages", "without_empty"]

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PAGE = 500


class _Moment(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers only, in older versions
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", str(value)):
            return round(time.time() - float(match[1]) * _UNITS[match[2]], 3)
        try:
            return read_time(str(value))
        except ValueError as error:
            self.fail(f"{error}; or write 90m, 2h, 3d, 1w for that long ago", param, ctx)


def filter_options(parameters: Sequence[Parameter], *, but: Sequence[str] = ()) -> Callable[[F], F]:
    """One option for each parameter of the API's filter."""

    def decorate(function: F) -> F:
        for parameter in reversed(parameters):
            if parameter.name in but:
                continue
            kind: Any = str
            if parameter.choices:
                kind = click.Choice(list(parameter.choices))
            elif parameter.kind == "time":
                kind = _Moment()
            many = " May be repeated." if parameter.many else ""
            function = click.option(
                f"--{parameter.name}",
                f"filter_{parameter.name}",
                multiple=parameter.many,
                type=kind,
                metavar=None if parameter.choices else ("WHEN" if parameter.kind == "time" else "TEXT"),
                help=f"{parameter.summary[:1].upper()}{parameter.summary[1:]}.{many}",
            )(function)
        return function

    return decorate


def without_empty(options: Mapping[str, Any]) -> dict[str, Any]:
    """The filter that the options of `filter_options` say; options left out are not in it."""
    return {
        name.removeprefix("filter_"): list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if name.startswith("filter_") and value not in (None, ())
    }


def page_options(function: F) -> F:
    """`--limit` and `--after`."""
    function = click.option("--after", metavar="CURSOR", help="Go on after the `next` of an earlier list.")(function)
    return click.option(
        "--limit",
        type=click.IntRange(0),
        default=100,
        show_default=True,
        help="Most rows; 0 for all.",
    )(function)


def pages(
    fetch: Callable[[str | None, int], Mapping[str, Any]], *, after: str | None, limit: int
) -> Iterator[Mapping[str, Any]]:
    """Fetch pages until `limit` rows are there (0: until there are no more)."""
    left = limit
    while True:
        page = fetch(after, min(_PAGE, left) if limit else _PAGE)
        yield page
        after = page["next"]
        left -= len(page["items"])
        if after is None or (limit and left <= 0):
            return
