"""The report fields that a declared mapping may fill, and how a text becomes the value of each.

A rule either gives a value that fits the schema, or raises `FieldError` with a sentence that says what is wrong with the text:
nothing is coerced into something that the file did not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dropmill_plugins.converters.common.numbers import parse_duration, parse_number
from dropmill_plugins.converters.common.timestamps import parse_timestamp
from dropmill_plugins.converters.common.vocabulary import OUTCOMES

__all__ = ["OUTCOME_WORDS", "FieldError", "FieldRule", "Options", "place"]

Options = Mapping[str, Any]

OUTCOME_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("pass", "passed", "ok", "p", "good"), "passed"),
    **dict.fromkeys(("fail", "failed", "nok", "ng", "f", "bad", "not ok"), "failed"),
    **dict.fromkeys(("error", "e", "errored"), "error"),
    **dict.fromkeys(("skip", "skipped", "s", "not run"), "skipped"),
    **dict.fromkeys(("abort", "aborted", "terminated", "t"), "aborted"),
    "unknown": "unknown",
}
"""What a text means where the mapping declares no `values`; upper and lower case are the same."""


class FieldError(ValueError):
    """The text cannot be this field's value; `code` is the last part of the refusal's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class FieldRule:
    """How one field is read."""

    target: str
    """Of the vocabulary's `REPORT_FIELDS` or `STEP_FIELDS`."""
    format: str | None = None
    """For `start`: a strptime pattern; None: ISO 8601 and its like."""
    values: Mapping[str, str] = field(default_factory=lambda: OUTCOME_WORDS)
    """For `outcome`: text in lower case to outcome."""

    @classmethod
    def of(cls, target: str, options: Options) -> FieldRule:
        """From a mapping's table for one field."""
        values = options.get("values")
        return cls(
            target,
            options.get("format"),
            OUTCOME_WORDS if values is None else {str(text).lower(): outcome for text, outcome in values.items()},
        )

    def read(self, text: str) -> Any:
        """The value for a text that is not empty.

        Raises:
            FieldError: The text is none.
        """
        if self.target == "outcome":
            outcome = self.values.get(text.strip().lower())
            if outcome not in OUTCOMES:
                raise FieldError("OUTCOME", f"the outcome {text[:60]!r} is not among the declared values")
            return outcome
        if self.target == "start":
            found = parse_timestamp(text, self.format)
            if found is None:
                wanted = f"the format {self.format!r}" if self.format else "an ISO 8601 time"
                raise FieldError("START", f"the start {text[:60]!r} is not {wanted}")
            return found
        if self.target == "duration":
            seconds = parse_duration(text)
            if seconds is None:
                raise FieldError("DURATION", f"the duration {text[:60]!r} is no number of seconds from 0")
            return seconds[0]
        if self.target == "process.code":
            number = parse_number(text)
            return number if isinstance(number, int) and str(number) == text.strip() else text
        return text


def place(document: dict[str, Any], target: str, value: Any) -> None:
    """Set a field of a report or a step; a start also tells its precision."""
    if target == "start":
        document["start"], document["startPrecision"] = value.text, value.precision
        return
    head, _, tail = target.partition(".")
    if tail:
        document.setdefault(head, {})[tail] = value
    else:
        document[head] = value
