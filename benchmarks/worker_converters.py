"""Converters for `bench_worker`: they do next to nothing, so that what is measured is everything else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.api import ConvertContext, Report, Source


class Copy:
    """The file is the report."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        with source.open() as stream:
            yield Report(stream.read(), media_type="application/octet-stream", schema=None)


class Read:
    """Reads the file to its end in pieces."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        size = 0
        with source.open() as stream:
            while piece := stream.read(1_048_576):
                size += len(piece)
        yield Report(b"%d" % size, media_type="text/plain", schema=None)


class Measure:
    """A validated report with a step for each line."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        limits = [{"comparator": "GELE", "low": 1.0, "high": 2.0}]
        measurement = {"name": "u", "value": 1.5, "unit": "V", "limits": limits, "status": "passed"}
        with source.open() as stream:
            steps = [
                {"name": line.decode().strip(), "type": "test", "outcome": "passed", "measurements": [measurement]}
                for line in stream
            ]
        root = {"name": "unit", "type": "group", "outcome": "passed", "steps": steps}
        yield Report({"kind": "test", "outcome": "passed", "root": root})


class Crash:
    """Takes its process with it."""

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        os._exit(1)
        yield
