"""The commands that need no agent and no store: init, config, plugins, try; and the ways in which any command ends."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from dropmill.cli import root
from dropmill.cli.codes import Exit, exit_code
from dropmill.cli.errors import Answered, Refused, UsageError, as_json, as_text
from dropmill.foundation.errors import DropmillError, Problem

Run = Callable[..., Any]

JUNIT = '<testsuite name="S"><testcase classname="a" name="b" time="0.5"/></testsuite>'


# --- init ------------------------------------------------------------------------------------------------------------------


def test_init_makes_what_run_needs(tmp_path: Path, run: Run) -> None:
    ended = run("init", str(tmp_path / "new" / "demo"))
    assert str(tmp_path / "new" / "demo" / "inbox") in ended.out
    assert sorted(path.name for path in (tmp_path / "new" / "demo").iterdir()) == ["dropmill.toml", "inbox", "reports"]
    assert run("config", "check", "--config", str(tmp_path / "new" / "demo" / "dropmill.toml")).code == 0


def test_init_in_the_current_folder(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "--json").json == {"config": "dropmill.toml", "inbox": "inbox", "reports": "reports"}
    assert (tmp_path / "dropmill.toml").exists()


def test_init_overwrites_nothing(tmp_path: Path, run: Run) -> None:
    config = tmp_path / "dropmill.toml"
    config.write_text("precious")
    problem = run("init", str(tmp_path), "--json", code=1).problem
    assert (problem["code"], problem["where"]) == ("DM-A107", str(config))
    assert config.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [config]


def test_init_keeps_folders_that_are_there(tmp_path: Path, run: Run) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "waiting.xml").write_text("x")
    run("init", str(tmp_path))
    assert (tmp_path / "inbox" / "waiting.xml").exists()


def test_init_where_it_cannot(tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("")
    assert run("init", str(tmp_path / "file" / "demo"), "--json", code=1).problem["code"] == "DM-A108"
    assert run("init", str(tmp_path / "file"), "--json", code=2).problem["code"] == "DM-A101"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_init_where_it_may_not(tmp_path: Path, run: Run) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    os.seteuid(65534)
    try:
        assert run("init", str(tmp_path / "demo"), "--json", code=7).problem["code"] == "DM-A103"
    finally:
        os.seteuid(0)


# --- config ----------------------------------------------------------------------------------------------------------------


def test_config_check(home: Path, run: Run) -> None:
    assert "is valid" in run("config", "check").out
    assert run("config", "check", "--json").json == {"file": str(home / "dropmill.toml"), "valid": True, "warnings": []}


def test_config_check_tells_everything_at_once(home: Path, run: Run) -> None:
    config = home / "dropmill.toml"
    config.write_text(config.read_text().replace("[agent]", "[agent]\nstat = 3") + "\n[nonsense]\n")
    ended = run("config", "check", "--json", code=4)
    assert ended.out == ""
    assert len(ended.problem["problems"]) == 2
    text = run("config", "check", code=4).err
    assert "dropmill.toml:" in text
    assert "to do:" in text


def test_config_check_warns(home: Path, run: Run) -> None:
    config = home / "dropmill.toml"
    config.write_text(config.read_text().replace('enable = ["csv", ', 'enable = ["csv", "xlsx", '))
    ended = run("config", "check", code=None)
    if ended.code == 0:  # where the contributed plugin is installed, it is enabled and nothing uses it
        assert "is valid" in ended.out
    else:
        assert ended.code == 4


def test_config_show(home: Path, run: Run) -> None:
    rows = [line.split("\t") for line in run("config", "show").out.splitlines()]
    shown = {key: (value, origin) for key, value, origin in rows}
    assert shown["agent.state"][0] == json.dumps(str(home / "state"))
    assert shown["agent.state"][1].startswith("dropmill.toml:")
    assert shown["queue.high_water"] == ("0.9", "default")
    assert shown["folder[0].name"][0] == '"inbox"'
    shape = run("config", "show", "--json").json
    assert shape["settings"]["queue"]["max_items"] == 100_000


def test_config_schema(home: Path, run: Run) -> None:
    schema = run("config", "schema").json
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert "folder" in schema["properties"]


def test_config_schema_of_a_broken_file(home: Path, run: Run) -> None:
    config = home / "dropmill.toml"
    config.write_text(config.read_text() + "\n[nonsense]\n")
    assert run("config", "schema").json["properties"]


# --- plugins ---------------------------------------------------------------------------------------------------------------


def test_plugins_list(home: Path, run: Run) -> None:
    rows = {row[0]: row for row in (line.split("\t") for line in run("plugins", "list").out.splitlines())}
    assert rows["csv"][:3] == ["csv", "yes", "dropmill"]
    items = run("plugins", "list", "--json").json
    assert {"csv", "junit", "http"} <= {item["name"] for item in items["items"]}
    assert items["missing"] == []


def test_plugins_list_without_a_configuration(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {item["enabled"] for item in run("plugins", "list", "--json").json["items"]} == {False}
    (tmp_path / "dropmill.toml").write_text("[broken")
    assert {item["enabled"] for item in run("plugins", "list", "--json").json["items"]} == {False}


def test_plugins_list_names_what_is_missing(home: Path, run: Run) -> None:
    config = home / "dropmill.toml"
    config.write_text(config.read_text().replace('enable = ["csv", ', 'enable = ["csv", "nowhere", '))
    ended = run("plugins", "list")
    assert "nowhere" in ended.err
    assert run("plugins", "list", "--json").json["missing"] == ["nowhere"]


def test_plugins_show(run: Run, home: Path) -> None:
    shape = run("plugins", "show", "csv", "--json").json
    (converter,) = shape["converters"]
    assert (converter["id"], "*.csv" in converter["accepts"]["globs"]) == ("csv", True)
    assert converter["optionsSchema"]["additionalProperties"] is False
    assert "option delimiter" in run("plugins", "show", "csv").out
    assert run("plugins", "show", "http", "--json").json["transports"][0]["caps"]["idempotency"] == "key"
    assert "policy reject" in run("plugins", "show", "reject").out


def test_plugins_show_sample(run: Run, home: Path) -> None:
    sample = run("plugins", "show", "csv", "--sample").out
    assert "[converter.csv]" in sample
    assert "#delimiter" in sample
    assert "[agent]" not in sample


def test_plugins_show_of_an_unknown_one(run: Run, home: Path) -> None:
    problem = run("plugins", "show", "nowhere", "--json", code=1).problem
    assert problem["code"].startswith("DM-P")


def test_plugins_check(run: Run, home: Path) -> None:
    rows = [line.split("\t") for line in run("plugins", "check").out.splitlines()]
    assert [row[0] for row in rows][:2] == ["csv", "json"]
    assert {row[1] for row in rows} == {"loaded"}
    assert run("plugins", "check", "csv", "http", "--json").json["items"][1]["name"] == "http"
    assert run("plugins", "check", "nowhere", "--json", code=1).problem["code"].startswith("DM-P")


# --- try -------------------------------------------------------------------------------------------------------------------


def test_try(home: Path, run: Run) -> None:
    source = home / "r.xml"
    source.write_text(JUNIT)
    ended = run("try", "r.xml")
    (line,) = ended.data.splitlines()
    assert json.loads(line)["source"]["path"] == "r.xml"
    assert source.read_text() == JUNIT
    assert not (home / "state").exists()


def test_a_forced_converter_has_the_options_of_its_section(home: Path, run: Run) -> None:
    config = home / "dropmill.toml"
    config.write_text(config.read_text().replace("[converter.csv]\n", '[converter.csv]\ndelimiter = "|"\n'))
    (home / "t.txt").write_text("a|b\n1|2\n")
    (line,) = run("try", "t.txt", "--converter", "csv").data.splitlines()
    assert b'"b"' in line


def test_try_prints_one_report_a_line(home: Path, run: Run) -> None:
    (home / "r.ndjson").write_text('{"a": 1}\n{"a": 2}\n')
    assert len(run("try", "r.ndjson").data.splitlines()) >= 1


def test_try_refusal_is_json_on_stderr(home: Path, run: Run) -> None:
    (home / "r.xml").write_text(JUNIT[:-8])
    ended = run("try", "r.xml", "--converter", "junit", code=3)
    assert ended.out == ""
    assert ended.problem["outcome"] == "Refused"
    assert ended.problem["converter"] == "junit"
    assert ended.problem["code"]
    assert ended.problem["what"]
    assert ended.problem["where"].startswith("r.xml")


def test_try_of_what_nobody_reads(home: Path, run: Run) -> None:
    (home / "r.zzz").write_text("?")
    problem = run("try", "r.zzz", code=3).problem
    assert (problem["code"], problem["outcome"]) == ("DM-V001", "NoConverter")
    assert problem["considered"]["csv"]


def test_try_what_is_not_there(home: Path, run: Run) -> None:
    assert run("try", "none.xml", code=3).problem["code"] == "DM-A110"
    (home / "r.xml").write_text(JUNIT)
    assert run("try", "r.xml", "--converter", "nowhere", "--json", code=1).problem["code"] == "DM-A109"
    assert run("try", "r.xml", "--folder", "nowhere", "--json", code=1).problem["code"] == "DM-I002"
    assert run("try", "r.xml", "--folder", "inbox").code == 0


def test_every_outcome_has_its_words() -> None:
    from dropmill.cli.trial import _refusal
    from dropmill.conversion import outcomes

    cases = [
        (outcomes.Refused(code="X-1", message="m", line=7), "X-1"),
        (
            outcomes.Fault(plugin="p", code="DM-V012", kind="crash", message="m", converter="c", version="1"),
            "DM-V012",
        ),
        (outcomes.NotReady(reason="r", after=5.0), "DM-V034"),
        (outcomes.NotReady(reason="r", after=5.0, code="DM-V031"), "DM-V031"),
        (outcomes.NoConverter(considered={"c": "no"}), "DM-V001"),
        (outcomes.Ambiguous(candidates=["a", "b"]), "DM-V003"),
        (outcomes.Waiting(plugin="p", reason="r"), "DM-V023"),
    ]
    for outcome, code in cases:
        refusal = _refusal(Path("f"), outcome)
        shape = json.loads(as_json(refusal))
        assert (shape["code"], shape["outcome"], exit_code(refusal)) == (code, type(outcome).__name__, Exit.REFUSED)
    assert json.loads(as_json(_refusal(Path("f"), cases[0][0])))["where"] == "f:7"


def staged(media_type: str, data: bytes, folder: Path | None = None) -> Any:
    from dropmill.conversion.outcomes import StagedReport

    path = None
    if folder is not None:
        path = str(folder / "staged")
        Path(path).write_bytes(data)
    return StagedReport(
        report_id="r",
        key=None,
        media_type=media_type,
        schema=None,
        fields={},
        size=len(data),
        sha256="",
        body=None if folder is not None else data,
        path=path,
    )


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 300_000])
def test_bytes_are_printed_as_base64(
    tmp_path: Path, from_file: bool, size: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from dropmill.cli.trial import _print
    from dropmill.conversion.outcomes import Converted

    data = os.urandom(size)
    report = staged("application/pdf", data, tmp_path if from_file else None)
    _print(Converted(reports=[report], converter="c", version="1"))
    shape = json.loads(capfdbinary.readouterr().out)
    assert shape["mediaType"] == "application/pdf"
    assert base64.b64decode(shape["base64"]) == data


def test_json_with_line_ends_stays_on_its_line(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from dropmill.cli.trial import _print
    from dropmill.conversion.outcomes import Converted

    reports = [staged("application/json", b'{\r\n "a": "x\\ny"\n}'), staged("application/x+json", b"[1]", tmp_path)]
    _print(Converted(reports=reports, converter="c", version="1"))
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"a": "x\ny"}, [1]]


def test_what_the_core_logs_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    from dropmill.cli.logs import to_stderr

    to_stderr()
    log = structlog.get_logger("anything")
    log.info("nobody needs this")
    log.warning("the disk is slow", seconds=3)
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("it failed")
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("warning: the disk is slow (seconds: 3)\nerror: it failed\nTraceback")
    assert "ValueError: why" in streams.err


@pytest.mark.parametrize(
    "arguments", [["config", "check"], ["config", "schema"], ["plugins", "check", "csv"], ["plugins", "show", "csv"]]
)
def test_commands_that_use_the_core_keep_its_log_off_their_output(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    import structlog

    structlog.reset_defaults()
    run(*arguments)
    structlog.get_logger("anything").error("told")
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", "error: told\n")


# --- ends ------------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_its_words(run: Run) -> None:
    text = run("--help").out
    for name, (_, summary) in root.COMMANDS.items():
        assert f"{name} " in text
        assert summary in text
        assert run(name, "--help").code == 0


def test_version(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").out == f"dropmill {version('dropmill')}\n"


@pytest.mark.parametrize("group", [[], ["plugins"], ["config"]])
def test_no_command_is_a_usage_error(run: Run, group: list[str]) -> None:
    ended = run(*group, code=2)
    assert ended.out == ""
    assert ended.err.startswith("DM-A101: Missing command")
    assert f"`{' '.join(['dropmill', *group])} --help`" in ended.err


def test_every_command_takes_config_and_json() -> None:
    def leaves(command: click.Command, path: str) -> Any:
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                found = command.get_command(click.Context(command), name)
                assert found is not None
                yield from leaves(found, f"{path} {name}")
        else:
            yield path, command

    seen = 0
    for path, command in leaves(root.cli, "dropmill"):
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--config", "--json"} <= options, path
        seen += 1
    assert seen >= 18


def test_interruption(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dropmill.cli import config

    def interrupted(_session: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "read", interrupted)
    run("config", "check", code=130)


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("DM-C011", 4),
        ("DM-Q001", 6),
        ("DM-Q002", 6),
        ("DM-Q003", 1),
        ("DM-Q004", 5),
        ("DM-F001", 5),
        ("DM-H004", 5),
        ("DM-H005", 5),
        ("DM-I003", 1),
        ("DM-V001", 1),
    ],
)
def test_exit_codes(code: str, ends: int) -> None:
    assert exit_code(DropmillError("", code=code)) == ends
    assert exit_code(Answered({"code": code, "what": "x"}, status=422)) == ends


def test_errors_as_text_and_json() -> None:
    error = UsageError("what", where="where", todo="todo")
    assert as_text(error) == "DM-A101: what\n  at: where\n  to do: todo"
    assert json.loads(as_json(error)) == {"code": "DM-A101", "what": "what", "where": "where", "todo": "todo"}
    answered = Answered(
        {"code": "DM-H002", "what": "two", "problems": [{"code": "DM-H002", "what": "a", "where": "x", "todo": "t"}]},
        status=422,
    )
    assert "  - DM-H002: x: a\n      t" in as_text(answered)
    assert json.loads(as_json(answered))["problems"][0]["where"] == "x"
    refused = Refused("w", details={"line": 3, "code": "overridden"}, code="X")
    assert json.loads(as_json(refused)) == {"line": 3, "code": "X", "what": "w", "where": "", "todo": ""}


def test_an_answer_without_words_still_says_something() -> None:
    assert "418" in str(Answered({}, status=418))
    assert str(Problem(code="x", what="y")) == "x: y"


# --- run -------------------------------------------------------------------------------------------------------------------


def test_run_says_where_to_drop_and_where_reports_appear(home: Path) -> None:
    from dropmill.cli.config import read
    from dropmill.cli.run import _introduce
    from dropmill.cli.session import Session

    config = home / "dropmill.toml"
    config.write_text(
        config.read_text()
        + '[[destination]]\nname = "far"\ntransport = "http"\noptions = { url = "https://example.com/in/{key}" }\n'
    )
    for in_json in (False, True):
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        with contextlib.redirect_stdout(stream):
            session = Session(config, as_json=in_json)
            _introduce(session, read(session).settings)
        text = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
        if in_json:
            shape = json.loads(text)
            assert shape["folders"] == {"inbox": str(home / "inbox")}
            assert shape["destinations"] == {"reports": str(home / "reports"), "far": "https://example.com/in/{key}"}
            assert shape["socket"] == str(home / "state" / "agent.sock")
        else:
            assert f"drop files into {home / 'inbox'}  (inbox)" in text
            assert f"reports appear at {home / 'reports'}  (reports)" in text


def test_run_shows_no_password_of_a_url() -> None:
    from dropmill.cli.run import _where

    assert _where("http", {"url": "https://me:secret@example.com/x"}, Path("/")) == "https://example.com/x"
    assert _where("mqtt", {"host": "x"}, Path("/")) == "mqtt"


def test_run_with_a_bad_configuration(home: Path, run: Run) -> None:
    (home / "dropmill.toml").write_text("[nonsense]\n")
    ended = run("run", code=4)
    assert ended.out == ""
    assert not (home / "state").exists()


# --- retry -----------------------------------------------------------------------------------------------------------------


def test_a_bulk_action_is_asked_for_until_it_is_done() -> None:
    from dropmill.cli.retry import _in_full

    asked: list[Any] = []

    def act(body: Any) -> Any:
        asked.append(body)
        return {"matched": 2, "changed": 1, "dryRun": False, "next": None if len(asked) == 3 else str(len(asked))}

    assert _in_full(act, {"filter": {}}, dry_run=False) == {"matched": 6, "changed": 3, "dryRun": False}
    assert asked == [{"filter": {}}, {"filter": {}, "after": "1"}, {"filter": {}, "after": "2"}]


# --- explain ---------------------------------------------------------------------------------------------------------------


def test_a_failures_record_reads_like_a_sentence_or_two() -> None:
    from dropmill.cli.explain import _tell_error
    from dropmill.cli.output import Output

    stream = io.StringIO()
    _tell_error(
        Output(as_json=False, stream=stream),
        {
            "code": "DM-V012",
            "message": "it crashed",
            "line": 7,
            "plugin": "acme",
            "version": "2.0",
            "outcome": "crash",
            "attempt": 2,
            "signal": "SIGSEGV",
            "exception": {"traceback": "\n".join(f"frame {number}" for number in range(50))},
            "stack": "the stack",
            "output": "",
            "next": "dropmill retry ID",
        },
    )
    text = stream.getvalue()
    assert text.startswith(
        "  error DM-V012: it crashed (line 7)\n    plugin acme, version 2.0, outcome crash, attempt 2, "
    )
    assert "frame 49" in text
    assert "frame 10\n" not in text
    assert "    stack:\n      the stack\n" in text
    assert "output" not in text
    assert text.endswith("    to do: dropmill retry ID\n")
