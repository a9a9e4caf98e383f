"""What becomes of each element and attribute of JUnit XML, in its dialects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dropmill.api import BadInput, Head, Level, NotMine
from dropmill_plugins.converters.junit.converter import JUnitConverter

Run = Callable[..., Any]


def wrap(cases: str, attributes: str = "") -> str:
    return f'<testsuites><testsuite name="s"{attributes}>{cases}</testsuite></testsuites>'


def codes(result: Any) -> list[str]:
    return [warning["code"] for warning in result.warnings]


def only(result: Any) -> dict[str, Any]:
    """The single case's step."""
    (suite,) = result.reports[0]["root"]["steps"]
    (case,) = suite["steps"]
    return case


def misc(step: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry["value"] for entry in step.get("misc", ())}


def test_a_whole_report(run: Run) -> None:
    result = run(
        "junit",
        """<?xml version="1.0"?>
        <testsuites name="nightly" tests="3" failures="1" time="2.5" timestamp="2024-05-01T10:00:00Z" id="77">
          <properties><property name="branch" value="main"/></properties>
          <testsuite name="outer" hostname="ci-1" package="pkg" id="0" timestamp="2024-05-01T10:00:00Z" file="t.py" extra="e">
            <properties><property name="os" value="linux"/><property name="text">inner</property></properties>
            <testcase classname="a.B" name="one" time="0.5" file="b.py" line="12" assertions="3"/>
            <testsuite name="inner">
              <testcase name="two"><failure message="no" type="Assert">trace</failure></testcase>
            </testsuite>
            <system-out>hello</system-out><system-err>oh</system-err>
          </testsuite>
        </testsuites>""",
    )
    (report,) = result.reports
    assert (report["kind"], report["outcome"], report["start"], report["startPrecision"]) == (
        "ci", "failed", "2024-05-01T10:00:00Z", "exact",
    )  # fmt: skip
    assert (report["duration"], report["station"], report["program"]) == (2.5, {"name": "ci-1"}, {"name": "nightly"})
    assert misc(report) == {"id": "77"}
    assert report["counts"] == {"total": 2, "passed": 1, "failed": 1}
    root = report["root"]
    assert (root["name"], root["outcome"], misc(root)) == ("nightly", "failed", {"branch": "main"})
    (outer,) = root["steps"]
    assert {key: outer[key] for key in ("name", "type", "outcome", "start", "class", "id", "file", "stdout", "stderr")} == {
        "name": "outer", "type": "group", "outcome": "failed", "start": "2024-05-01T10:00:00Z", "class": "pkg", "id": "0",
        "file": "t.py", "stdout": "hello", "stderr": "oh",
    }  # fmt: skip
    assert misc(outer) == {"hostname": "ci-1", "extra": "e", "os": "linux", "text": "inner"}
    one, inner = outer["steps"]
    assert one == {
        "name": "one", "type": "test", "outcome": "passed", "class": "a.B", "file": "b.py", "line": 12, "duration": 0.5,
        "misc": [{"name": "assertions", "value": "3"}],
    }  # fmt: skip
    (two,) = inner["steps"]
    assert two == {
        "name": "two", "type": "test", "outcome": "failed", "rawOutcome": "failure", "message": "no", "trace": "trace",
        "misc": [{"name": "failure.type", "value": "Assert"}],
    }  # fmt: skip
    assert codes(result) == ["JUNIT-COUNTS"]
    assert "tests=3 (there are 2)" in result.warnings[0]["message"]
    assert result.records[0].fields == {"tests": 2, "failed": 1, "errors": 0}


def test_a_lone_suite_is_one_group(run: Run) -> None:
    result = run(
        "junit", '<testsuite name="s" time="1" hostname="h"><testcase name="a"/></testsuite>', name="TEST-s.xml"
    )
    (report,) = result.reports
    assert (report["root"]["name"], report["duration"], report["program"]) == ("TEST-s.xml", 1.0, {"name": "s"})
    assert [step["name"] for step in report["root"]["steps"]] == ["s"]
    assert report["startPrecision"] == "unknown"
    assert "start" not in report


def test_cases_may_stand_in_the_root(run: Run) -> None:
    (report,) = run(
        "junit", '<testsuites><testcase name="a"/><testsuite name="s"><testcase name="b"/></testsuite></testsuites>'
    ).reports
    assert [step["name"] for step in report["root"]["steps"]] == ["a", "s"]


@pytest.mark.parametrize(
    ("results", "outcome", "raw"),
    [
        ("", "passed", None),
        ("<failure/>", "failed", "failure"),
        ("<error/>", "error", "error"),
        ("<skipped/>", "skipped", "skipped"),
        ("<skipped/><failure/>", "failed", "failure"),
        ("<failure/><skipped/>", "failed", "failure"),
        ("<failure/><error/><skipped/>", "error", "error"),
    ],
)
def test_the_most_severe_result_counts(results: str, outcome: str, raw: str | None, run: Run) -> None:
    result = run("junit", wrap(f'<testcase name="a">{results}</testcase>'))
    case = only(result)
    assert (case["outcome"], case.get("rawOutcome")) == (outcome, raw)
    assert result.reports[0]["outcome"] == outcome
    assert codes(result) == (["JUNIT-SEVERAL-RESULTS"] if results.count("<") > 1 else [])


def test_further_results_are_kept(run: Run) -> None:
    case = only(
        run(
            "junit",
            wrap(
                '<testcase name="a"><failure message="1" type="T">one</failure><failure message="2">two</failure></testcase>'
            ),
        )
    )
    assert (case["message"], case["trace"]) == ("1", "one")
    assert misc(case) == {"failure.type": "T", "failure.2.message": "2", "failure.2.text": "two"}


def test_reruns_are_kept_and_decide_nothing(run: Run) -> None:
    flaky = (
        '<flakyFailure type="E" message="m"><stackTrace>at x</stackTrace><system-out>o</system-out></flakyFailure>'
        '<flakyError message="n">text</flakyError>'
    )
    case = only(run("junit", wrap(f'<testcase name="a">{flaky}</testcase>')))
    assert (case["outcome"], case["flaky"], case["attempt"]) == ("passed", True, 3)
    assert misc(case) == {
        "flakyFailure.1.type": "E",
        "flakyFailure.1.message": "m",
        "flakyFailure.1.stackTrace": "at x",
        "flakyFailure.1.system-out": "o",
        "flakyError.2.message": "n",
        "flakyError.2.text": "text",
    }
    case = only(run("junit", wrap('<testcase name="a"><failure/><rerunFailure/></testcase>')))
    assert case["outcome"] == "failed"
    assert "flaky" not in case


def test_outputs_join_and_unknown_children_stay(run: Run) -> None:
    case = only(
        run(
            "junit",
            wrap(
                '<testcase name="a"><system-out>1</system-out><system.out>2\n</system.out><system-out>3</system-out>'
                '<system-err> </system-err><attachment path="x.png"/><note>n<b>old</b></note><empty/>'
                '<properties>stray<x y="z"/></properties><!-- c --></testcase>'
            ),
        )
    )
    assert case["stdout"] == "1\n2\n3"
    assert "stderr" not in case
    assert misc(case) == {"attachment@path": "x.png", "note": "nold", "empty": None, "x@y": "z", "properties": "stray"}


def test_bad_durations_become_null_with_a_warning(run: Run) -> None:
    result = run("junit", wrap('<testcase name="a" time="-3"/>', ' time="soon"'))
    case = only(result)
    assert case["duration"] is None
    assert misc(case) == {"time": "-3"}
    assert result.reports[0]["root"]["steps"][0]["duration"] is None
    assert codes(result) == ["JUNIT-DURATION", "JUNIT-DURATION"]
    result = run("junit", wrap('<testcase name="a" time="1,234"/>'))
    assert only(result)["duration"] == 1234
    assert codes(result) == ["JUNIT-DURATION-COMMA"]
    assert "duration" not in only(run("junit", wrap('<testcase name="a" time=""/>')))


def test_times_without_offset_stay_text(run: Run) -> None:
    result = run(
        "junit",
        wrap('<testcase name="a" timestamp="2024-01-01T10:00:00"/><testcase name="b" timestamp="2024-01-01T10:00:00Z"/>'
             '<testcase name="c" timestamp="noon"/>', ' timestamp="2024-01-01T09:00:00"'),
    )  # fmt: skip
    (suite,) = result.reports[0]["root"]["steps"]
    assert misc(suite) == {"timestamp": "2024-01-01T09:00:00"}
    assert [step.get("start") for step in suite["steps"]] == [None, "2024-01-01T10:00:00Z", None]
    assert misc(suite["steps"][2]) == {"timestamp": "noon"}
    assert codes(result) == ["JUNIT-TIMESTAMP"]
    assert (result.reports[0]["start"], result.reports[0]["startPrecision"]) == (
        "2024-01-01T09:00:00",
        "local-no-offset",
    )


@pytest.mark.parametrize(("option", "outcome"), [("as-written", "passed"), ("skipped", "skipped")])
def test_a_status_without_a_result_element(option: str, outcome: str, run: Run) -> None:
    result = run("junit", wrap('<testcase name="a" status="notrun"/>'), {"not_run": option})
    assert (only(result)["outcome"], only(result)["rawOutcome"]) == (outcome, "notrun")
    assert codes(result) == (["JUNIT-NOT-RUN"] if option == "as-written" else [])
    case = only(run("junit", wrap('<testcase name="a" status="run" result="completed"/>')))
    assert (case["outcome"], case["rawOutcome"]) == ("passed", "completed")


def test_a_class_by_any_of_its_names(run: Run) -> None:
    assert only(run("junit", wrap('<testcase name="a" class="K"/>')))["class"] == "K"
    case = only(run("junit", wrap('<testcase name="a" classname="N" class="K"/>')))
    assert (case["class"], misc(case)) == ("N", {"class": "K"})
    assert "class" not in only(run("junit", wrap('<testcase name="a"/>')))
    assert only(run("junit", wrap('<testcase name="a"/>'), {"suite_names": True}))["class"] == "s"


def test_lines_and_files_by_any_of_their_names(run: Run) -> None:
    case = only(run("junit", wrap('<testcase name="a" filepath="f.rb" lineno="7"/>')))
    assert (case["file"], case["line"], misc(case)) == ("f.rb", 7, {})
    case = only(run("junit", wrap('<testcase name="a" line="about 7"/>')))
    assert "line" not in case
    assert misc(case) == {"line": "about 7"}


def test_an_error_of_a_suite_is_not_lost(run: Run) -> None:
    result = run("junit", '<testsuite name="s"><error message="m" type="T">trace</error></testsuite>')
    (report,) = result.reports
    (suite,) = report["root"]["steps"]
    assert (report["outcome"], suite["outcome"], suite["message"], suite["trace"]) == ("error", "error", "m", "trace")
    assert misc(suite) == {"error.type": "T"}
    assert codes(result) == ["JUNIT-SUITE-ERROR", "JUNIT-NO-CASES"]
    result = run("junit", '<testsuite name="s"><skipped message="why"/></testsuite>')
    assert result.reports[0]["root"]["steps"][0]["outcome"] == "skipped"


def test_a_case_within_something_else_is_counted_nowhere(run: Run) -> None:
    (report,) = run("junit", wrap('<wrapper><testcase name="a"/></wrapper><testcase name="b"/>')).reports
    assert report["counts"]["total"] == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings(encoding: str, run: Run) -> None:
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?>' + wrap('<testcase name="Größe"/>')
    result = run("junit", text.encode(encoding))
    assert only(result)["name"] == "Größe"
    assert codes(result) == []


def test_a_declaration_that_cannot_be_true(run: Run) -> None:
    result = run("junit", ('<?xml version="1.0" encoding="utf-16"?>' + wrap('<testcase name="Größe"/>')).encode())
    assert only(result)["name"] == "Größe"
    assert codes(result) == ["XML-ENCODING"]


def test_a_namespace_changes_nothing(run: Run) -> None:
    text = (
        '<j:testsuites xmlns:j="urn:j"><j:testsuite name="s"><j:testcase name="a"><j:failure/></j:testcase>'
        "</j:testsuite></j:testsuites>"
    )
    assert only(run("junit", text))["outcome"] == "failed"


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("<testsuites>\n<testsuite>\n", "XML-NOT-WELL-FORMED", 3),
        ("<testsuites></testsuite>", "XML-NOT-WELL-FORMED", 1),
        ("<testsuites>\x01</testsuites>", "XML-NOT-WELL-FORMED", 1),
        ("<testsuites>\n&nbsp;</testsuites>", "XML-NOT-WELL-FORMED", 2),
        ("<testsuites/><testsuites/>", "XML-NOT-WELL-FORMED", 1),
        ("<testsuites name='a' name='b'/>", "XML-NOT-WELL-FORMED", 1),
        ("<?xml version='1.0'?>\n<!-- a", "XML-NOT-WELL-FORMED", 2),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_line(text: str, code: str, line: int, run: Run) -> None:
    with pytest.raises((BadInput, NotMine)) as caught:
        run("junit", text)
    if isinstance(caught.value, BadInput):
        assert (caught.value.code, caught.value.line) == (code, line)
    else:
        assert text.startswith("<?xml")  # nothing shows yet whose it is


@pytest.mark.parametrize(
    "text", ["<html/>", "no xml", "<suites><suite/></suites>", "\ufeff", "<", '{"a": 1}', "<testsuitesx/>"]
)
def test_what_is_not_junit_is_not_ours(text: str, run: Run) -> None:
    with pytest.raises(NotMine):
        run("junit", text)


def test_sniffing() -> None:
    def level(data: bytes, size: int | None = None) -> Level | None:
        match = JUnitConverter({}).sniff(Head("a.xml", len(data) if size is None else size, data))
        return None if match is None else match.level

    assert level(b"<testsuite/>") == Level.LIKELY
    assert level(b"<!-- a --><testsuites ") == Level.LIKELY
    assert level(b"<!DOCTYPE x>") == Level.POSSIBLE
    assert level(b"<!-- long", 1_000_000) == Level.POSSIBLE
    assert level(b"<!-- long") is None
    assert level(b"<testsui", 1_000_000) == Level.POSSIBLE
    assert level(b"") is None
    assert level(b'<?xml version="1.0" encoding="klingon"?><testsuites/>') == Level.POSSIBLE


def test_many_warnings_stay_readable(run: Run) -> None:
    result = run("junit", wrap("".join(f'<testcase name="{n}" time="x"/>' for n in range(50))))
    assert codes(result).count("JUNIT-DURATION") == 9
    assert result.warnings[-1]["message"] == "the same 42 more times"


def test_a_large_file_comes_in_slices_that_lose_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = "".join(f'<testcase name="{n}">{"<failure/>" if n == 7 else ""}</testcase>' for n in range(10))
    text = (
        '<testsuites name="all"><properties><property name="p" value="v"/></properties>'
        f'<testsuite name="big" tests="10"><properties><property name="q" value="w"/></properties>{cases}'
        "<system-out>end</system-out></testsuite>"
        f'<testsuite name="outer"><testsuite name="inner">{cases}</testsuite></testsuite><testcase name="alone"/></testsuites>'
    )
    (whole,) = run("junit", text).reports
    monkeypatch.setattr(JUnitConverter, "streams_above", 0)
    monkeypatch.setattr(JUnitConverter, "slice_cases", 4)
    monkeypatch.setattr("dropmill_plugins.converters.junit.elements.CHUNK", 64)
    monkeypatch.setattr("dropmill_plugins.converters.junit.prolog._PIECE", 64)
    (sliced,) = run("junit", text).reports

    def names(step: dict[str, Any]) -> list[str]:
        return [name for part in step["steps"] for name in ([part["name"]] if part["type"] == "test" else names(part))]

    assert names(sliced["root"]) == names(whole["root"])
    assert {key: sliced[key] for key in ("outcome", "counts", "program")} == {
        key: whole[key] for key in ("outcome", "counts", "program")
    }
    assert misc(sliced["root"]) == {"p": "v"}
    big = [step for step in sliced["root"]["steps"] if step["name"] == "big"]
    assert [part["loop"]["index"] for part in big] == [1, 2, 3]
    assert [part["outcome"] for part in big] == ["passed", "failed", "passed"]
    assert (misc(big[2]), big[2]["stdout"]) == ({"q": "w"}, "end")
    outer = [step for step in sliced["root"]["steps"] if step["name"] == "outer"]
    assert [part["steps"][0]["loop"]["index"] for part in outer] == [1, 2, 3]
    even = text.replace(f"{cases}<system-out>", "".join(f'<testcase name="{n}"/>' for n in range(8)) + "<system-out>")
    (report,) = run("junit", even).reports
    big = [step for step in report["root"]["steps"] if step["name"] == "big"]
    assert [(len(part["steps"]), part["outcome"]) for part in big] == [(4, "passed"), (4, "passed"), (0, "passed")]


def test_a_large_file_that_breaks_off_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JUnitConverter, "streams_above", 0)
    with pytest.raises(BadInput):
        run("junit", '<testsuites><testsuite name="s"><testcase name="a"/>')
