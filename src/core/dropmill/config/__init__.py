"""The configuration: TOML in, frozen settings out, or everything that is wrong at once.

    load(path, load_plugins) -> Settings             what the agent needs
    read(path, load_plugins) -> Configuration        the same, with origins, warnings and the schema: for the command line
    read_pins(path)                                  what a file enables, however broken the rest is
    compose(catalog)                                 the JSON Schema of the whole file
    effective_settings(configuration)                all settings and where each comes from, redacted, JSON-able
    sample_config(catalog)                           what `dropmill init` writes
    resolve(options)                                 options with their secrets, for a plugin's constructor alone

`dropmill.config.settings` is imported by its own name, and pulls none of this in.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropmill.config.catalog import Catalog, Offered
    from dropmill.config.composition import compose
    from dropmill.config.configuration import Configuration, load, read, read_pins
    from dropmill.config.problems import ConfigError, ConfigProblem
    from dropmill.config.sample import sample_config
    from dropmill.config.secrets import SecretError, SecretReference, resolve
    from dropmill.config.show import effective_settings

__all__ = [
    "Catalog",
    "ConfigError",
    "ConfigProblem",
    "Configuration",
    "Offered",
    "SecretError",
    "SecretReference",
    "compose",
    "effective_settings",
    "load",
    "read",
    "read_pins",
    "resolve",
    "sample_config",
]

_HOMES = {
    "Catalog": "catalog",
    "ConfigError": "problems",
    "ConfigProblem": "problems",
    "Configuration": "configuration",
    "Offered": "catalog",
    "SecretError": "secrets",
    "SecretReference": "secrets",
    "compose": "composition",
    "effective_settings": "show",
    "load": "configuration",
    "read": "configuration",
    "read_pins": "configuration",
    "resolve": "secrets",
    "sample_config": "sample",
}


def __getattr__(name: str) -> Any:
    """Imported when first used: the validator takes a tenth of a second, which `dropmill.config.settings` need not cost."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
