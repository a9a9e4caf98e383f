"""Reads a configuration: from a path to frozen settings, or to everything that is wrong with it at once.

The only place that knows the order: TOML, the enabled plugins, one schema for the whole file, what the schema cannot say
(references, relations, places, secrets), then the settings. It blocks on the disk and on loading plugins: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dropmill.config import document as files
from dropmill.config import places, relations
from dropmill.config.annotations import visit
from dropmill.config.building import build, effective
from dropmill.config.catalog import Catalog
from dropmill.config.composition import compose
from dropmill.config.document import Document
from dropmill.config.normalization import get, normalized, not_finite, remove
from dropmill.config.option_checks import OptionChecks
from dropmill.config.options import Use, merge, uses
from dropmill.config.positions import KeyPath
from dropmill.config.problems import ConfigError, ConfigProblem
from dropmill.config.references import References, pins
from dropmill.config.settings import PluginPin, Settings
from dropmill.config.translation import Translator
from dropmill.config.validation import Finding, findings
from dropmill.config.vocabulary import Schema
from dropmill.config.wording import render

__all__ = ["MOST_PROBLEMS", "Configuration", "load", "read", "read_pins"]

MOST_PROBLEMS = 200
"""More than these are counted, not listed."""

CatalogT = TypeVar("CatalogT", bound=Catalog)


@dataclass(frozen=True, kw_only=True)
class Configuration(Generic[CatalogT]):
    """A valid configuration and what is known about it."""

    settings: Settings
    catalog: CatalogT
    """What `load_plugins` answered."""
    schema: Schema
    """Of the whole file, with these plugins."""
    effective: Mapping[str, Any]
    """Every setting in the shape of the file; options hold references to secrets."""
    origins: Mapping[str, str]
    """By key path: `default`, or `FILE:LINE`."""
    hidden: frozenset[KeyPath]
    """Paths in `effective` whose values are never shown."""
    warnings: Sequence[ConfigProblem]
    """What is odd and may be meant."""
    general: Mapping[str, Mapping[str, Any]]
    """Options of every loaded converter as defaults and `[converter.ID]` have them, for where no folder lists it."""


def load(
    path: str | os.PathLike[str],
    load_plugins: Callable[[Sequence[PluginPin]], Catalog],
    *,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings alone; see `read`."""
    return read(path, load_plugins, environment=environment).settings


def read(
    path: str | os.PathLike[str],
    load_plugins: Callable[[Sequence[PluginPin]], CatalogT],
    *,
    environment: Mapping[str, str] = os.environ,
) -> Configuration[CatalogT]:
    """Read and check a configuration.

    Args:
        path: The TOML file.
        load_plugins: Called once with what the file enables, however broken the rest of the file is.
        environment: Where secrets may be.

    Raises:
        ConfigError: with every problem, in the file's order.
    """
    document = files.read(path)
    catalog = load_plugins(pins(document.data))
    schema = compose(catalog)
    data = normalized(document.data, schema)
    hidden = {where for where, part, value in visit(schema, data, schema) if _secret(part, value)}
    translator = Translator(document, hidden)
    found = findings(schema, data, schema)
    problems = list(
        {
            (finding.path, problem.code): problem for finding in found for problem in [translator.problem(finding)]
        }.values()
    )
    problems += _not_finite(document, found)
    sound = _sound(data, found)
    references = References(document, sound, catalog)
    problems += references.problems()
    problems += relations.problems(document, sound)
    options = OptionChecks(document, sound, schema, catalog, translator, found, environment)
    for use in uses(sound):
        options.check(use)
    problems += options.problems
    warnings = list(references.warnings())
    problems += _places(document, sound, options.places, warnings)
    if problems:
        raise ConfigError(document.path, _limited(document, sorted(problems, key=_order)))
    whole = effective(document, sound, options.merged)
    return Configuration(
        settings=build(document, whole.data),
        catalog=catalog,
        schema=schema,
        effective=whole.data,
        origins=whole.origins,
        hidden=frozenset(options.hidden),
        warnings=tuple(sorted(warnings, key=_order)),
        general={name: merge(_section(name), sound, schema).options for name in catalog.converters},
    )


def read_pins(path: str | os.PathLike[str]) -> Sequence[PluginPin]:
    """What a file enables, whatever else is wrong with it.

    Raises:
        ConfigError: it cannot be read or is not TOML.
    """
    return pins(files.read(path).data)


def _section(converter: str) -> Use:
    """The use of a converter by its section alone."""
    place: KeyPath = ("converter", converter)
    return Use("converter", converter, place, place)


def _secret(part: Schema, value: Any) -> bool:
    return part.get("writeOnly") is True and not isinstance(value, dict)


def _sound(data: dict[str, Any], found: Sequence[Finding]) -> dict[str, Any]:
    """A copy without what is malformed, so that later checks see well-formed values alone."""
    copy = deepcopy(data)
    for path in [*(finding.path for finding in found), *not_finite(data)]:
        remove(copy, path)
    return copy


def _not_finite(document: Document, found: Sequence[Finding]) -> Iterator[ConfigProblem]:
    told = {finding.path for finding in found}
    for path in not_finite(document.data):
        if not any(path[:length] in told for length in range(len(path) + 1)):
            what, todo = "must be a finite number", "write a number"
            yield document.problem(path, "DM-C012", what, todo, value=render(get(document.data, path)))


def _places(
    document: Document, data: Mapping[str, Any], in_options: Sequence[places.Place], warnings: list[ConfigProblem]
) -> Iterator[ConfigProblem]:
    """Look at every path that the file names."""

    def place(key: KeyPath, label: str, default: str | None = None) -> places.Place | None:
        written = get(data, key)
        if written is None and get(document.data, key) is None:
            written = default
        return places.Place(key, written, document.base / written, label) if isinstance(written, str) else None

    state = place(("agent", "state"), "the agent's state folder", "state")
    socket = place(("control", "socket"), "the control socket")
    folders = []
    for number, folder in enumerate(get(data, ("folder",)) or ()):
        name = get(folder, ("name",))
        if found := place(("folder", number, "path"), f"folder {render(name)}" if name else f"folder[{number}]"):
            folders.append(found)
    ours = [found for found in (state, socket, *in_options) if found is not None]
    looked = places.survey([document.path, *(found.path for found in (*folders, *ours))])
    yield from places.problems(document, looked, folders, ours, state)
    warnings.extend(
        document.problem(
            found.key,
            "DM-C053",
            "the file system did not answer in time; whether it lies apart from the others was judged by its name",
            "look at whether the share is mounted and answers",
            value=render(found.written),
        )
        for found in (*folders, *ours)
        if found.path in looked.unanswered
    )


def _limited(document: Document, problems: Sequence[ConfigProblem]) -> Sequence[ConfigProblem]:
    if len(problems) <= MOST_PROBLEMS:
        return problems
    rest = len(problems) - MOST_PROBLEMS
    last = document.problem((), "DM-C004", f"{rest} further problems are not listed", "correct these first")
    return [*problems[:MOST_PROBLEMS], last]


def _order(problem: ConfigProblem) -> tuple[int, int, str]:
    return problem.line or 0, problem.column or 0, problem.key
