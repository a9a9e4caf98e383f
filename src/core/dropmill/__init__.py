"""dropmill: a durable drop-folder agent.

Plugin authors import `dropmill.api` (and `dropmill.testing` in tests); everything else is private to the agent.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """`__version__`, looked up when it is asked for: that costs as much as all else that `dropmill status` imports."""
    if name == "__version__":
        from importlib.metadata import version

        return version("dropmill")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
