"""What tests of conversion share: bindings of the converters beside this file, a pool on them, files to convert."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dropmill.api import Accepts, ConverterSpec, Magic
from dropmill.config.settings import ConversionSettings, ConverterChoice
from dropmill.conversion.inputs import Job
from dropmill.conversion.outcomes import Outcome
from dropmill.conversion.pool import ConversionPool
from dropmill.conversion.selection import ConverterBinding
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints

PLUGINS = Path(__file__).parent / "conversion_plugins"
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PLUGINS), "HOME": "/nonexistent", "LANG": "C.UTF-8"}

WEATHER = {
    "$id": "urn:test:weather:1",
    "type": "object",
    "properties": {"temperature": {"type": "number", "maximum": 60}},
    "required": ["temperature"],
    "additionalProperties": False,
}


def bind(
    name: str, factory: str, globs: Sequence[str], *, distribution: str = "acme", plugin: str | None = None, **more: Any
) -> ConverterBinding:
    accepts = Accepts(tuple(globs), magic=more.pop("magic", ()), **more.pop("sizes", {}))
    spec = ConverterSpec(name, f"faulty_converters:{factory}", accepts, **more)
    return ConverterBinding(spec, plugin or name, distribution, "1.2.3")


def bindings(timeout: float = 20.0) -> dict[str, ConverterBinding]:
    made = [
        bind("lines", "Lines", ["*.txt"]),
        bind("faulty", "Faulty", ["*.faulty"], timeout=timeout),
        bind("bystander", "Lines", ["*.by"], distribution="other"),
        bind("nosniff", "NoSniff", ["*.ns"]),
        bind("complete", "Complete", ["*.end"]),
        bind("badsniff", "BadSniff", ["*.txt", "*.bad"]),
        bind("unmakeable", "Unmakeable", ["*.um"]),
        bind("weather", "Own", ["*.weather"], schemas=(WEATHER,)),
        bind("magic", "Lines", ["*.bin"], magic=(Magic(b"MAGIC", 2),)),
    ]
    return {binding.spec.id: binding for binding in made}


@contextlib.asynccontextmanager
async def running_pool(
    scratch: Path,
    converters: Mapping[str, ConverterBinding] | None = None,
    *,
    spare: bool = True,
    environment: Mapping[str, str] = ENVIRONMENT,
    **settings: Any,
) -> AsyncIterator[ConversionPool]:
    pool = ConversionPool(
        bindings() if converters is None else converters,
        ConversionSettings(**settings),
        clock=SystemClock(),
        scratch=scratch,
        failpoints=Failpoints(),
        environment=environment,
        spare=spare,
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


class Inbox:
    """Makes files, and the jobs to convert them."""

    def __init__(self, folder: Path, pool: ConversionPool) -> None:
        self._folder = folder
        self._pool = pool
        self._numbers = itertools.count()

    def job(self, name: str, content: bytes | str, *choices: str | ConverterChoice, **more: Any) -> Job:
        content = content.encode() if isinstance(content, str) else content
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(parents=True)
        path = folder / os.path.basename(name)
        path.write_bytes(content)
        chosen = [
            choice if isinstance(choice, ConverterChoice) else ConverterChoice(id=choice, options={})
            for choice in choices
        ]
        return Job(
            id=f"file-{next(self._numbers)}",
            place=str(path),
            name=name,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            folder="inbox",
            selector=self._pool.selector(chosen),
            **more,
        )

    async def convert(self, name: str, content: bytes | str, *choices: str | ConverterChoice, **more: Any) -> Outcome:
        return await self.run(self.job(name, content, *choices, **more))

    async def run(self, job: Job, **named: Any) -> Outcome:
        (prepared,) = await self._pool.prepare(job.folder, [job])
        return await self._pool.convert(prepared, **named)

    async def fault(self, text: str) -> Outcome:
        """What comes of a file that makes the faulty converter do `text`."""
        return await self.convert("x.faulty", text + "\n", "faulty")
