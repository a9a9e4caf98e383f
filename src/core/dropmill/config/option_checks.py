"""Checks the options of plugins as they come together from their layers, and their secrets.

Single options have been held to their schema where they stand; here the whole is: what is missing, what does not go together,
which secret is not there. Secrets are fetched to see whether they exist and fit, and forgotten at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dropmill.config.annotations import visit
from dropmill.config.catalog import Catalog, offers
from dropmill.config.composition import definition
from dropmill.config.document import Document
from dropmill.config.normalization import get, put
from dropmill.config.options import Merged, Use, merge
from dropmill.config.places import Place
from dropmill.config.positions import KeyPath, spell
from dropmill.config.problems import ConfigProblem
from dropmill.config.secrets import SecretError, SecretReference, fetch, resolve
from dropmill.config.translation import Translator
from dropmill.config.validation import Finding, findings
from dropmill.config.vocabulary import Schema
from dropmill.config.wording import PASSWORD_IN_URL, REDACTED, password_in_url, render
from dropmill.foundation.similar import closest

__all__ = ["OptionChecks"]


class OptionChecks:
    """Collects, use by use: `problems`, `merged` options with references to secrets, `places`, `hidden` paths.

    Args:
        document: The file.
        data: Its values, as far as they are well-formed.
        schema: Of the whole file.
        catalog: What plugins offer.
        translator: Words for findings.
        earlier: What has been found already.
        environment: Where secrets may be.
    """

    def __init__(
        self,
        document: Document,
        data: Mapping[str, Any],
        schema: Schema,
        catalog: Catalog,
        translator: Translator,
        earlier: Sequence[Finding],
        environment: Mapping[str, str],
    ) -> None:
        self._document = document
        self._data = data
        self._schema = schema
        self._catalog = catalog
        self._translator = translator
        self._earlier = earlier
        self._environment = environment
        self._seen: set[tuple[KeyPath, str]] = set()
        self.problems: list[ConfigProblem] = []
        self.merged: dict[Use, Merged] = {}
        self.places: list[Place] = []
        self.hidden: set[KeyPath] = set()
        """Paths within complete options (`use.place` and what follows) whose values are never shown."""

    def check(self, use: Use) -> None:
        """Put the options of a use together and look at them."""
        merged = merge(use, self._data, self._schema)
        self.merged[use] = merged
        offered = offers(self._catalog, use.kind).get(use.id)
        if offered is None:
            return
        whole: Schema = {"$ref": f"#/$defs/{definition(use.kind, use.id)}"}
        for finding in findings(whole, merged.options, self._schema):
            path = merged.source(finding.path, use)
            if not self._known(finding, path, use):
                self._add(path, finding.keyword, self._translator.problem(replace(finding, path=path)))
        visits = list(visit(whole, merged.options, self._schema))
        for path, part, value in visits:
            if isinstance(value, str) and part.get("format") in ("uri", "uri-template") and password_in_url(value):
                self._add(merged.source(path, use), "password", self._password(merged.source(path, use)))
            if part.get("x-path") is True and isinstance(value, str):
                self._place(merged.source(path, use), value, use)
            if part.get("writeOnly") is True and not isinstance(value, dict):
                self.hidden.add((*use.place, *path))
        references = {
            path: reference
            for path, part, value in visits
            if part.get("writeOnly") is True and (reference := self._reference(value)) is not None
        }
        for path, reference in references.items():
            put(merged.options, path, reference)
        self._secrets(use, merged, references, offered.spec.options_schema)

    def _known(self, finding: Finding, path: KeyPath, use: Use) -> bool:
        """Whether a finding only follows from another, or has been told."""
        if any(path[: len(each.path)] == each.path for each in self._earlier):
            return True
        within = [each for each in self._earlier if any(each.path[: len(layer)] == layer for layer in use.layers)]
        if finding.keyword != "required":
            return any(not finding.path or each.path[: len(path)] == path for each in within)
        key = str(finding.argument)
        parent = finding.path[:-1]
        return any(get(self._document.data, (*layer, *parent, key)) is not None for layer in use.layers) or any(
            each.keyword == "additionalProperties"
            and closest(str(each.argument), each.schema.get("properties", {})) == key
            for each in within
        )

    def _add(self, path: KeyPath, keyword: str, problem: ConfigProblem) -> None:
        if (path, keyword) not in self._seen:
            self._seen.add((path, keyword))
            self.problems.append(problem)

    def _password(self, path: KeyPath) -> ConfigProblem:
        what, todo = PASSWORD_IN_URL
        return self._document.problem(path, "DM-C032", what, todo, value=REDACTED)

    def _place(self, path: KeyPath, written: str, use: Use) -> None:
        fixed = Path(written.partition("{")[0]) if "{" in written else Path(written)
        if "{" in written and not written.partition("{")[0].endswith("/"):
            fixed = fixed.parent
        if get(self._document.data, path) is None or not written or "\0" in written:
            return
        if any(place.key == path for place in self.places):
            return
        if written.startswith("~"):
            self._add(
                path,
                "pattern",
                self._document.problem(
                    path,
                    "DM-C015",
                    "begins with ~, which only shells know",
                    "write the path in full",
                    value=render(written),
                ),
            )
            return
        self.places.append(Place(path, written, self._document.base / fixed, f"the path of {use.kind} {use.id!r}"))

    def _reference(self, value: Any) -> SecretReference | None:
        if not isinstance(value, dict) or len(value) != 1:
            return None
        if isinstance(env := value.get("env"), str):
            return SecretReference(env=env)
        if isinstance(file := value.get("file"), str):
            return SecretReference(file=self._document.base / file)
        return None

    def _secrets(
        self, use: Use, merged: Merged, references: Mapping[KeyPath, SecretReference], schema: Mapping[str, Any]
    ) -> None:
        found = True
        for path, reference in references.items():
            source = merged.source(path, use)
            try:
                fetch(reference, self._environment)
            except SecretError as error:
                found = False
                problem = self._document.problem(
                    source, error.code, error.problem.what, error.problem.todo, value=self._written(source)
                )
                self._add(source, "secret", problem)
        if found and references:
            for path in self._misfits(merged, references, schema):
                source = merged.source(path, use)
                problem = self._document.problem(
                    source,
                    "DM-C034",
                    f"the secret kept there does not have the form that {spell(path)} needs",
                    "look at what it holds: a line end too many, quotes around it, or another secret",
                    value=self._written(source),
                )
                self._add(source, "secret", problem)

    def _written(self, source: KeyPath) -> str:
        """A reference to a secret as the file has it."""
        key, value = next(iter(get(self._document.data, source).items()))
        return f"{{ {key} = {render(value)} }}"

    def _misfits(
        self, merged: Merged, references: Mapping[KeyPath, SecretReference], schema: Mapping[str, Any]
    ) -> Iterator[KeyPath]:
        original = dict(schema)
        resolved = resolve(merged.options, self._environment)
        for finding in findings(original, resolved, original):
            if finding.path in references:
                yield finding.path
