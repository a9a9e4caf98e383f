"""Damaged, cut, random and malicious input: refused or read, never another exception, never a claim on what is not one's own."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.api import BadInput, Head, NotMine
from dropmill.testing import convert
from dropmill_plugins.converters.csv.converter import CsvConverter
from dropmill_plugins.converters.json.converter import JsonConverter
from dropmill_plugins.converters.junit.converter import JUnitConverter
from dropmill_plugins.converters.wsjf.converter import WsjfConverter
from support.expectations import EXPECTED, Expectation

BUNDLED = [one for one in EXPECTED if one.converter != "xlsx"]
SNIFFERS = [JUnitConverter({}), CsvConverter({}), JsonConverter({}), WsjfConverter({})]
WITH_END = ("junit", "json", "wsjf")
"""Formats that show where they end, so that a part is never taken for the whole; a delimited text does not."""


def ids(one: Expectation) -> str:
    return one.file


@pytest.mark.parametrize("one", BUNDLED, ids=ids)
def test_a_part_of_a_file_is_refused(one: Expectation, tmp_path: Path) -> None:
    whole = one.path.read_bytes()
    text = whole.rstrip()
    lines = one.converter == "json" and one.file.endswith(".ndjson")
    scalar = one.format == "json-hostile" and text[:1] not in (b"{", b"[", b'"')  # 12 is a part of 123, and whole
    shows_its_end = one.readable and one.converter in WITH_END and not lines and not scalar
    rng = random.Random(zlib.crc32(one.file.encode()))
    for length in sorted({0, 1, *(rng.randrange(len(text)) for _ in range(6 if text else 0))}):
        path = tmp_path / one.path.name
        path.write_bytes(text[:length])
        try:
            convert(one.converter, path)
        except (BadInput, NotMine):
            continue
        assert not shows_its_end, f"a part of {length} bytes was read"


@pytest.mark.parametrize("one", BUNDLED[::4], ids=ids)
def test_damage_is_refused_or_read(one: Expectation, tmp_path: Path) -> None:
    rng = random.Random(zlib.crc32(one.file.encode()) + 1)
    for _ in range(4):
        data = bytearray(one.path.read_bytes())
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / one.path.name
        path.write_bytes(data)
        try:
            convert(one.converter, path)
        except (BadInput, NotMine):
            pass


@pytest.mark.parametrize("one", EXPECTED, ids=ids)
def test_no_sniff_raises_on_any_head(one: Expectation) -> None:
    data = one.path.read_bytes()
    for length in (0, 1, 2, 3, 7, 63, 64, 65, 500, 4_095, 65_536):
        for name in (one.path.name, "x.xml", "x.csv", "x.json", "x"):
            for sniffer in SNIFFERS:
                sniffer.sniff(Head(name, len(data), data[:length]))


@given(
    st.binary(max_size=300),
    st.integers(0, 100_000),
    st.sampled_from(["a.xml", "a.csv", "a.txt", "a.json", "\udcff.json"]),
)
def test_no_sniff_raises_on_random_heads(data: bytes, more: int, name: str) -> None:
    for sniffer in SNIFFERS:
        sniffer.sniff(Head(name, len(data) + more, data))


@pytest.mark.parametrize("one", EXPECTED, ids=ids)
def test_junit_claims_junit_alone(one: Expectation) -> None:
    data = one.path.read_bytes()
    match = SNIFFERS[0].sniff(Head(one.path.name, len(data), data[:65_536]))
    if one.converter != "junit":
        assert match is None


# --- documents that are written to do harm --------------------------------------------------------------------------------

BOMB = '<!DOCTYPE testsuites [<!ENTITY a "{}"><!ENTITY b "{}"><!ENTITY c "{}">]><testsuites name="&c;"/>'.format(
    "x" * 1000, "&a;" * 1000, "&b;" * 1000
)
HARMFUL = {
    "entities": BOMB,
    "external": '<!DOCTYPE testsuites SYSTEM "file:///etc/passwd"><testsuites/>',
    "parameter": '<!DOCTYPE t [<!ENTITY % p SYSTEM "http://192.0.2.1/x">%p;]><testsuites/>',
    "behind-comments": "<!-- a --><?pi?>\n<!-- b -->" + BOMB,
    "lower-case": "<!doctype testsuites><testsuites/>",
}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7"]
)
@pytest.mark.parametrize("kind", HARMFUL)
def test_a_doctype_never_reaches_the_parser(kind: str, encoding: str, run: Callable[..., Any]) -> None:
    plain = encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be")
    declaration = "" if plain else f'<?xml version="1.0" encoding="{encoding}"?>'
    with pytest.raises(BadInput) as caught:
        run("junit", declaration.encode("ascii") + HARMFUL[kind].encode(encoding))
    assert caught.value.code == "XML-DOCTYPE"


def test_a_doctype_behind_a_long_prolog_is_found(run: Callable[..., Any]) -> None:
    with pytest.raises(BadInput) as caught:
        run("junit", "<!--" + "x" * 300_000 + "-->\n<!DOCTYPE t><testsuites/>")
    assert (caught.value.code, caught.value.line) == ("XML-DOCTYPE", 2)
    with pytest.raises(BadInput) as caught:
        run("junit", "<!--" + "x" * 2_000_000 + "--><testsuites/>")
    assert caught.value.code == "XML-NO-ROOT"


def test_an_encoding_that_nobody_knows_is_refused(run: Callable[..., Any]) -> None:
    with pytest.raises(BadInput) as caught:
        run("junit", '<?xml version="1.0" encoding="x-secret"?><testsuites/>')
    assert caught.value.code == "XML-ENCODING"


def test_nesting_is_bounded(run: Callable[..., Any]) -> None:
    with pytest.raises(BadInput) as caught:
        run("junit", "<testsuites>" + "<testsuite>" * 60 + "</testsuite>" * 60 + "</testsuites>")
    assert caught.value.code == "JUNIT-TOO-DEEP"
    with pytest.raises(BadInput):
        run("junit", "<testsuite><testcase>" + "<a>" * 100_000)
    with pytest.raises(BadInput) as caught:
        run("json", "[" * 100_000 + "]" * 100_000)
    assert caught.value.code == "JSON-TOO-DEEP"
    with pytest.raises(BadInput) as caught:
        run("json", '{"a":' * 700 + "1" + "}" * 700)
    assert caught.value.code == "JSON-TOO-DEEP"


# --- memory ----------------------------------------------------------------------------------------------------------------

MEASURE = """
import importlib, resource, sys, tempfile
from pathlib import Path
from dropmill.reports.compose import Composer
from dropmill.reports.schema import Schemas
from dropmill.testing.converting import FileSource, RecordingContext, _Files, _origin, find_spec, with_defaults

spec = find_spec(sys.argv[1])
module, _, name = spec.factory.partition(":")
converter = getattr(importlib.import_module(module), name)(with_defaults(spec.options_schema, eval(sys.argv[3])))
source, context = FileSource.of(sys.argv[2]), RecordingContext()
for report in converter.convert(FileSource.of(sys.argv[4]), context):
    pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with tempfile.TemporaryDirectory() as folder:
    composer = Composer(_origin(spec, source, context), Schemas(), _Files(Path(folder)).create)
    for report in converter.convert(source, context):
        composer.draft(report)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
CASE = '<testcase classname="a.B" name="t{0}" time="0.1"><system-out>some output of case {0}</system-out></testcase>\n'
LARGE: dict[str, tuple[str, str, int, str, str, str]] = {
    "junit.xml": ("junit", "{}", 100, '<testsuites><testsuite name="one">', CASE, "</testsuite></testsuites>"),
    "data.csv": ("csv", "{}", 250, "id,name,value\n", '{0},"name, {0}",{0}.5\n', ""),
    "rows.csv": ("csv", "{'columns': {'unit.serial': 'id'}}", 30, "id,name,value\n", '{0},"name, {0}",{0}.5\n', ""),
    "lines.ndjson": ("json", "{}", 30, "", '{{"id": {0}, "values": [1, 2, 3], "name": "name of {0}"}}\n', ""),
    "array.json": ("json", "{}", 60, "[0\n", ', {{"id": {0}, "values": [1, 2, 3], "name": "name of {0}"}}\n', "]"),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_file_takes_little_memory(name: str, tmp_path: Path) -> None:
    converter, options, thousands, head, row, tail = LARGE[name]
    for file, batches in ((f"small-{name}", 1), (name, thousands)):
        with (tmp_path / file).open("w") as stream:
            stream.write(head)
            for batch in range(batches):
                stream.write("".join(row.format(batch * 1_000 + one) for one in range(1_000)))
            stream.write(tail)
    arguments = [converter, str(tmp_path / name), options, str(tmp_path / f"small-{name}")]
    grown = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 25  # MiB beyond what a thousand entries take
