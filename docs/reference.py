"""Prints the configuration reference (docs/configuration.md) from the schemas of the core and the bundled plugins."""

from __future__ import annotations

import sys

from dropmill.config.reference import reference
from dropmill.config.sample import BUNDLED
from dropmill.config.settings import PluginPin
from dropmill.plugins import load

registry = load([PluginPin(name=name, distribution="dropmill") for name in BUNDLED])
faults = [problem for state in registry.states.values() if state.name in BUNDLED for problem in state.problems]
if faults:
    sys.exit("\n".join(str(problem) for problem in faults))
sys.stdout.write(reference(registry))
