"""What this package raises.

DropmillError
└── PluginError          a plugin did not do what it was asked to; names the plugin, never ends the agent
"""

from __future__ import annotations

from dropmill.foundation.errors import DropmillError

__all__ = ["PluginError"]


class PluginError(DropmillError):
    """A plugin's factory cannot be imported, raised, or made something unusable."""

    default_code = "DM-P000"

    def __init__(self, plugin: str, what: str, *, code: str, where: str = "", todo: str = "") -> None:
        super().__init__(what, where=where, todo=todo, code=code)
        self.plugin = plugin
        """The entry-point name of the plugin at fault."""
