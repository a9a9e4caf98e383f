"""Shows a configuration as it takes effect: every setting with its default filled in, where it comes from, and no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill.config.configuration import Configuration
from dropmill.config.positions import KeyPath
from dropmill.config.secrets import SecretReference
from dropmill.config.wording import REDACTED

__all__ = ["effective_settings"]


def effective_settings(configuration: Configuration[Any]) -> dict[str, Any]:
    """JSON-able: `{file, settings, origins, warnings}`.

    `settings` has the shape of the file, with durations in seconds, sizes in bytes and absolute paths; references to secrets
    stand as they were written.
    `origins` says for each key path (`folder[0].settle`) where its value comes from: `default` or `FILE:LINE`.
    """
    return {
        "file": str(configuration.settings.file),
        "settings": _shown(configuration.effective, (), configuration.hidden),
        "origins": dict(configuration.origins),
        "warnings": [problem.as_dict() for problem in configuration.warnings],
    }


def _shown(value: Any, path: KeyPath, hidden: frozenset[KeyPath]) -> Any:
    if path in hidden:
        return REDACTED
    if isinstance(value, SecretReference):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {key: _shown(item, (*path, key), hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item, (*path, number), hidden) for number, item in enumerate(value)]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)
