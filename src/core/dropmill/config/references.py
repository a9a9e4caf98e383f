"""Checks that what the file names exists, once: plugins, converters, transports, policies, destinations.

What an enabled plugin cannot offer because of a fault of its own is no error of the file: files and deliveries wait for it. That
is a warning here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.config.catalog import KINDS, PLURALS, Catalog, Kind, offers
from dropmill.config.document import Document
from dropmill.config.normalization import get
from dropmill.config.options import uses
from dropmill.config.positions import KeyPath
from dropmill.config.problems import ConfigProblem
from dropmill.config.settings import PluginPin
from dropmill.config.wording import alternatives, render
from dropmill.foundation.errors import Problem
from dropmill.foundation.similar import closest

__all__ = ["References", "pins"]


def pins(data: Mapping[str, Any]) -> list[PluginPin]:
    """What `[plugins] enable` lists, as far as it can be read, each name once."""
    found: dict[str, PluginPin] = {}
    entries = get(data, ("plugins", "enable"))
    for entry in entries if isinstance(entries, list) else ():
        table = {"name": entry} if isinstance(entry, str) else entry
        if isinstance(table, dict) and isinstance(table.get("name"), str) and table["name"]:
            pinned = {key: value for key in ("distribution", "version") if isinstance(value := table.get(key), str)}
            found.setdefault(table["name"], PluginPin(name=table["name"], **pinned))
    return list(found.values())


class References:
    """Looks at a document, as far as it is well-formed, with what plugins offer."""

    def __init__(self, document: Document, data: Mapping[str, Any], catalog: Catalog) -> None:
        self._document = document
        self._data = data
        self._catalog = catalog
        self._enabled = {pin.name for pin in pins(data)}

    def problems(self) -> Iterator[ConfigProblem]:
        """Errors."""
        yield from self._plugins()
        for use in uses(self._data):
            if use.id not in offers(self._catalog, use.kind) and not self._catalog.faults:
                yield self._unknown(use.kind, use.id, use.entry)
        for kind in KINDS:
            for id_ in self._unclaimed(kind):
                if id_ not in self._catalog.installed and not self._catalog.faults:
                    yield self._unknown(kind, id_, (kind, id_), at_key=True)
        yield from self._repeated("folder", "name")
        yield from self._repeated("destination", "name")
        yield from self._folders()

    def warnings(self) -> Iterator[ConfigProblem]:
        """What is odd and may be meant."""
        if get(self._data, ("plugins", "on_error")) != "fail":
            yield from self._faults()
        if self._catalog.faults:
            faulty = alternatives(render(name) for name in self._catalog.faults)
            for use in uses(self._data):
                if use.id not in offers(self._catalog, use.kind):
                    yield self._document.problem(
                        use.entry,
                        "DM-C050",
                        f"no loaded plugin offers the {use.kind} {render(use.id)}; what needs it waits",
                        f"it may be one of {faulty}, which cannot be loaded as it should: see the problem of that plugin",
                        value=render(use.id),
                    )
        for kind in KINDS:
            for id_ in self._unclaimed(kind):
                if id_ in self._catalog.installed or self._catalog.faults:
                    yield self._document.problem(
                        (kind, id_),
                        "DM-C051",
                        f"these are options of a {kind} that no loaded plugin offers; they have no effect",
                        "enable its plugin, or take them out",
                        at_key=True,
                    )
        named = {name for folder in self._tables("folder") for name in folder.get("destinations") or ()}
        for number, destination in enumerate(get(self._data, ("destination",)) or ()):
            name = get(destination, ("name",))
            if isinstance(name, str) and name not in named:
                yield self._document.problem(
                    ("destination", number, "name"),
                    "DM-C052",
                    "no folder delivers to this destination",
                    "name it in a folder's destinations, or take it out",
                    value=render(name),
                )

    def _tables(self, section: str) -> list[dict[str, Any]]:
        return [entry for entry in get(self._data, (section,)) or () if isinstance(entry, dict)]

    def _unclaimed(self, kind: Kind) -> list[str]:
        """Ids that have options in `[KIND.ID]` and that nobody offers."""
        return [id_ for id_ in get(self._data, (kind,)) or {} if id_ not in offers(self._catalog, kind)]

    def _plugins(self) -> Iterator[ConfigProblem]:
        seen: set[str] = set()
        for path, name in self._entries():
            if name in seen:
                yield self._document.problem(
                    path, "DM-C020", "is enabled twice", "take one of the two entries out", value=render(name)
                )
            elif name in self._catalog.refusals:
                yield self._passed_on(path, name, self._catalog.refusals[name])
            seen.add(name)
        if get(self._data, ("plugins", "on_error")) == "fail":
            yield from self._faults()

    def _entries(self) -> Iterator[tuple[KeyPath, str]]:
        for number, entry in enumerate(get(self._data, ("plugins", "enable")) or ()):
            name = entry if isinstance(entry, str) else get(entry, ("name",))
            if isinstance(name, str):
                yield ("plugins", "enable", number), name

    def _faults(self) -> Iterator[ConfigProblem]:
        for path, name in self._entries():
            for problem in self._catalog.faults.get(name, ()):
                yield self._passed_on(path, name, problem)

    def _passed_on(self, path: KeyPath, name: str, problem: Problem) -> ConfigProblem:
        return self._document.problem(path, problem.code, problem.what, problem.todo, value=render(name))

    def _unknown(self, kind: Kind, id_: str, path: KeyPath, *, at_key: bool = False) -> ConfigProblem:
        offered = offers(self._catalog, kind)
        guess = closest(id_, offered)
        elsewhere = [other for other in KINDS if other != kind and id_ in offers(self._catalog, other)]
        of_plugin = sorted(name for name, each in offered.items() if each.plugin == id_)
        what = f"no enabled plugin offers a {kind} of this name"
        if id_ in self._catalog.installed and id_ not in self._enabled:
            todo = f"the plugin {id_} is installed but not enabled: add it to plugins.enable"
            guess = ""
        elif elsewhere:
            todo = f"{id_} is a {elsewhere[0]}, not a {kind}"
        elif of_plugin:
            todo = f"the plugin {id_} offers the {PLURALS[kind]} {', '.join(of_plugin)}"
        elif guess:
            todo = f"did you mean {guess}?"
        elif offered:
            todo = f"enabled plugins offer {', '.join(sorted(offered)[:10])}; `dropmill plugins list` shows what is installed"
        else:
            todo = f"no enabled plugin offers any {kind}: add one to plugins.enable"
        return self._document.problem(path, "DM-C021", what, todo, value=render(id_), suggestion=guess, at_key=at_key)

    def _repeated(self, section: str, key: str) -> Iterator[ConfigProblem]:
        first: dict[str, int] = {}
        for number, entry in enumerate(get(self._data, (section,)) or ()):
            name = get(entry, (key,))
            if not isinstance(name, str):
                continue
            if name in first:
                yield self._document.problem(
                    (section, number, key),
                    "DM-C020",
                    f"is the name of {section}[{first[name]}] too",
                    f"give every {section} a name of its own",
                    value=render(name),
                )
            first.setdefault(name, number)

    def _folders(self) -> Iterator[ConfigProblem]:
        written = get(self._document.data, ("destination",))
        known = [
            name
            for entry in (written if isinstance(written, list) else ())
            if isinstance(name := get(entry, ("name",)), str)
        ]
        for number, folder in enumerate(get(self._data, ("folder",)) or ()):
            ids = [
                entry if isinstance(entry, str) else get(entry, ("id",)) for entry in get(folder, ("converters",)) or ()
            ]
            yield from self._twice(("folder", number, "converters"), ids)
            names = get(folder, ("destinations",)) or ()
            yield from self._twice(("folder", number, "destinations"), names)
            for place, name in enumerate(names):
                if isinstance(name, str) and name not in known:
                    guess = closest(name, known)
                    yield self._document.problem(
                        ("folder", number, "destinations", place),
                        "DM-C022",
                        "there is no destination of this name",
                        f"did you mean {guess}?"
                        if guess
                        else f"add a [[destination]] of this name{', or use ' + alternatives(known) if known else ''}",
                        value=render(name),
                        suggestion=guess,
                    )

    def _twice(self, path: KeyPath, names: Any) -> Iterator[ConfigProblem]:
        seen: set[str] = set()
        for place, name in enumerate(names):
            if isinstance(name, str):
                if name in seen:
                    yield self._document.problem(
                        (*path, place), "DM-C020", "is listed twice", "take one of the two out", value=render(name)
                    )
                seen.add(name)
