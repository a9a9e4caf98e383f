"""The author's test kit: run a plugin in a test as the agent would, without an agent.

    from dropmill.testing import convert

    def test_reads_a_unit():
        result = convert("acme", "tests/golden/unit-42.acme")
        assert result.reports[0]["unit"]["serial"] == "42"

A plugin's tests import this module and `dropmill.api`, nothing else of dropmill.
"""

from __future__ import annotations

from dropmill.testing.converting import Conversion, FileSource, InvalidReport, RecordingContext, convert

__all__ = ["Conversion", "FileSource", "InvalidReport", "RecordingContext", "convert"]
