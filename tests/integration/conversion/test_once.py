from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from dropmill.config.settings import ConversionSettings, ConverterChoice, FolderSettings
from dropmill.conversion.once import convert_once
from dropmill.conversion.outcomes import Ambiguous, Converted, NoConverter, Outcome, Refused, StagedReport
from support.conversions import ENVIRONMENT, bindings


async def once(path: Path, scratch: Path, **more: object) -> Outcome:
    more.setdefault("choices", [ConverterChoice(id="lines", options={}), ConverterChoice(id="faulty", options={})])
    return await convert_once(path, bindings(), scratch=scratch, environment=ENVIRONMENT, **more)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "a.txt"
    made.write_text("A\nB\n")
    return made


async def test_one_file_is_converted_where_it_lies(file: Path, scratch: Path) -> None:
    before = file.stat()
    outcome = await once(file, scratch)
    assert isinstance(outcome, Converted)
    assert [json.loads(report.body or b"")["unit"]["serial"] for report in outcome.reports] == ["A", "B"]
    assert file.stat() == before


async def test_staged_reports_stay_readable(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "a.faulty"
    path.write_text("many 1200 70000\n")
    outcome = await once(path, scratch, settings=ConversionSettings(max_output=10**9))
    assert isinstance(outcome, Converted)
    reports: list[StagedReport] = list(outcome.reports)
    assert len(reports) == 1200
    last = reports[-1]
    assert last.path is not None
    assert json.loads(Path(last.path).read_bytes())["unit"]["serial"] == "S1199"


async def test_a_folders_converters_and_name(file: Path, scratch: Path, tmp_path: Path) -> None:
    choices = [ConverterChoice(id="lines", options={"prefix": "Z"})]
    folder = FolderSettings(
        name="inbox",
        path=tmp_path,
        converters=choices,
        destinations=[],
        done=tmp_path / "done",
        failed=tmp_path / "failed",
    )
    assert isinstance(await once(file, scratch, folder=folder), NoConverter)


async def test_a_forced_converter_and_none_at_all(file: Path, scratch: Path, tmp_path: Path) -> None:
    outcome = await once(file, scratch, converter="nosniff")
    assert isinstance(outcome, Converted)
    assert outcome.converter == "nosniff"

    everybody = dict(bindings())
    del everybody["badsniff"]
    everybody["twin"] = type(everybody["lines"])(
        everybody["lines"].spec.__class__("twin", "faulty_converters:Lines", everybody["lines"].spec.accepts),
        "twin",
        "acme",
        "1",
    )
    outcome = await convert_once(file, everybody, scratch=tmp_path / "scratch2", environment=ENVIRONMENT)
    assert isinstance(outcome, Ambiguous)


async def test_a_link_is_followed_here(file: Path, scratch: Path) -> None:
    link = file.with_name("link.txt")
    link.symlink_to(file)
    outcome = await once(link, scratch)
    assert isinstance(outcome, Converted)
    assert json.loads(outcome.reports[0].body or b"")["source"]["path"] == "link.txt"


async def test_what_cannot_be_read(tmp_path: Path, scratch: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        await once(tmp_path / "gone.txt", scratch)

    real = asyncio.to_thread

    async def then_remove(*arguments: object) -> object:
        found = await real(*arguments)  # type: ignore[arg-type]
        os.unlink(file)
        return found

    monkeypatch.setattr("dropmill.conversion.once.asyncio.to_thread", then_remove)
    outcome = await once(file, scratch)
    assert isinstance(outcome, Refused)
    assert outcome.code == "DM-V030"
