"""dropmill: a durable drop-folder agent.

Plugin authors import `dropmill.api` (and `dropmill.testing` in tests); everything else is private to the agent.
"""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("dropmill")
