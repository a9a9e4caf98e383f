"""Secrets: settings hold references alone; the value is fetched when its owner is made, and handed to nobody else.

A reference may be logged and shown: it says where the secret is kept, not what it is. `resolve` reads the environment or the file
anew at every call, so that a rotated secret is taken up by the next start of its owner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropmill.foundation.errors import DropmillError
from dropmill.foundation.guard import Raised, Returned, run_guarded
from dropmill.foundation.regular import read_regular

__all__ = ["MOST_BYTES", "SecretError", "SecretReference", "fetch", "resolve"]

MOST_BYTES = 65_536
"""A file that is larger holds no secret."""

_LIMIT = 5.0


class SecretError(DropmillError):
    """A secret is not where its reference says; the message never holds any of it."""

    default_code = "DM-C033"


@dataclass(frozen=True, kw_only=True)
class SecretReference:
    """Where a secret is kept: exactly one of the two."""

    env: str | None = None
    """An environment variable."""
    file: Path | None = None
    """Absolute."""

    def __str__(self) -> str:
        return f"environment variable {self.env}" if self.env is not None else f"file {self.file}"

    def as_dict(self) -> dict[str, str]:
        """As it stands in the configuration."""
        return {"env": self.env} if self.env is not None else {"file": str(self.file)}


def fetch(reference: SecretReference, environment: Mapping[str, str] = os.environ) -> str:
    """The secret. Blocks on the disk, for some seconds at most.

    Raises:
        SecretError: it is missing, empty or unreadable.
    """
    if reference.env is not None:
        value = environment.get(reference.env, "")
        if not value:
            state = "is empty" if reference.env in environment else "is not set"
            raise SecretError(
                f"the environment variable {reference.env} {state}",
                where=str(reference),
                todo="set it for the agent (systemd: Environment= or EnvironmentFile=), then start again",
            )
        return value
    assert reference.file is not None, "a reference names one of the two"
    file = reference.file
    outcome = run_guarded(lambda: _read(file), limit=_LIMIT, name="read secret")
    if isinstance(outcome, Returned) and outcome.value:
        return outcome.value
    if isinstance(outcome, Returned):
        what = "is empty"
    elif isinstance(outcome, Raised):
        error = outcome.error
        what = f"cannot be read: {error.strerror or error}" if isinstance(error, OSError) else "is not UTF-8 text"
    else:
        what = f"could not be read within {_LIMIT:g} s"
    raise SecretError(
        f"the file {file}, where the secret should be, {what}",
        where=str(file),
        todo="let it hold the secret alone, readable by the agent's user and nobody else",
    )


def resolve(options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Options with every reference replaced by its secret: for the plugin's constructor, never for a log.

    Raises:
        SecretError: as `fetch`.
    """
    return {key: _resolve(value, environment) for key, value in options.items()}


def _resolve(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, SecretReference):
        return fetch(value, environment)
    if isinstance(value, Mapping):
        return resolve(value, environment)
    if isinstance(value, list | tuple):
        return [_resolve(item, environment) for item in value]
    return value


def _read(file: Path) -> str:
    return read_regular(file, MOST_BYTES).decode("utf-8").removesuffix("\n").removesuffix("\r")
