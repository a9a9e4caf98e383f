"""From a sound file to settings: defaults, layers, units, paths, secrets, warnings, and what is shown of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dropmill.config import SecretReference, effective_settings, load, resolve
from dropmill.config import schema as core
from dropmill.config.settings import (
    ControlSettings,
    ConversionSettings,
    DestinationSettings,
    LogSettings,
    PluginPin,
    QueueSettings,
    ShutdownSettings,
)
from dropmill.foundation.errors import Problem

FAULT = Problem(code="DM-P010", what="plugin 'acme' cannot be loaded", todo="reinstall it")


def test_what_is_not_set_has_its_default(kit: Any, base: str) -> None:
    settings = kit.read(base).settings
    assert settings.file == kit.file
    assert settings.base == kit.folder
    assert settings.agent.state == kit.folder / "state"
    assert settings.log == LogSettings()
    assert settings.queue == QueueSettings()
    assert settings.conversion == ConversionSettings()
    assert settings.shutdown == ShutdownSettings()
    assert settings.control == ControlSettings(socket=kit.folder / "state" / "agent.sock")
    assert settings.plugins.on_error == "quarantine"
    [folder] = settings.folders
    assert folder.path == kit.folder / "inbox"
    assert folder.done == kit.folder / "inbox" / "done"
    assert folder.failed == kit.folder / "inbox" / "failed"
    assert folder.destinations == ("reports",)
    assert folder.include == ("*",)
    [destination] = settings.destinations
    assert destination == DestinationSettings(name="reports", transport="directory", options={"path": "reports"})


def test_load_answers_the_settings_alone(kit: Any, base: str) -> None:
    configuration = kit.read(base)
    assert load(kit.file, lambda _: kit.catalog) == configuration.settings
    assert configuration.catalog is kit.catalog


def test_plugins_are_loaded_as_the_file_pins_them(kit: Any, base: str) -> None:
    text = base.replace('"json", "dir', '{ name = "json", distribution = "dist", version = "1.2" }, "dir')
    settings = kit.read(text).settings
    assert kit.catalog.loaded[:2] == [PluginPin(name="csv"), PluginPin(name="json", distribution="dist", version="1.2")]
    assert settings.plugins.enable == tuple(kit.catalog.loaded)


@pytest.mark.parametrize(
    ("schema", "of"),
    [
        (core.log(), LogSettings),
        (core.queue(), QueueSettings),
        (core.conversion(), ConversionSettings),
        (core.shutdown(), ShutdownSettings),
    ],
)
def test_every_setting_stands_in_the_schema_with_its_default(schema: dict[str, Any], of: type) -> None:
    assert {name: part["default"] for name, part in schema["properties"].items()} == vars(of())


def test_units_become_numbers(kit: Any, base: str) -> None:
    text = (
        base
        + 'timeout = "1 min 30 s"\nbackoff = 2\n[queue]\nmax_bytes = "2 GiB"\nretention = "7 d"\n[shutdown]\ngraceful = 5\n'
    )
    settings = kit.read(text).settings
    assert settings.destinations[0].timeout == 90.0
    assert settings.queue.max_bytes == 2 * 2**30
    assert settings.queue.retention == 7 * 86400
    durations = (settings.destinations[0].timeout, settings.destinations[0].backoff, settings.shutdown.graceful)
    assert [type(value) for value in durations] == [float] * 3
    assert type(settings.queue.max_bytes) is int


def test_paths_are_absolute_and_links_keep_their_names(kit: Any, base: str) -> None:
    (kit.folder / "real").mkdir()
    (kit.folder / "link").symlink_to("real")
    text = base.replace('path = "inbox"', 'path = "./x/../link"\ndone = "a/b"') + f'[agent]\nstate = "{kit.folder}/s"\n'
    settings = kit.read(text).settings
    assert settings.folders[0].path == kit.folder / "link"
    assert settings.folders[0].done == kit.folder / "link" / "a" / "b"
    assert settings.control.socket == kit.folder / "s" / "agent.sock"


LAYERS = """
[converter.csv]
delimiter = ";"
wait = "1 min"
columns = { serial = "SN", lot = "L" }
"""


def test_options_come_in_layers_and_a_later_one_replaces_an_option_whole(kit: Any, base: str) -> None:
    own = '{ id = "csv", options = { columns = { serial = "S" }, header = false }, min_level = "likely" }'
    settings = kit.read(base.replace('"csv", "json"]\nd', f'{own}, "json"]\nd') + LAYERS).settings
    csv, json_ = settings.folders[0].converters
    assert csv.options == {"delimiter": ";", "header": False, "wait": 60.0, "columns": {"serial": "S"}}
    assert csv.min_level == "likely"
    assert (json_.id, json_.options, json_.min_level) == ("json", {}, None)


def test_the_schema_of_plugins_is_never_changed_by_their_options(kit: Any, base: str) -> None:
    before = json.dumps(kit.catalog.transports["http"].spec.options_schema, sort_keys=True)
    text = base.replace(
        'transport = "directory"\noptions = { path = "reports" }', 'transport = "http"\noptions = { url = "http://h/" }'
    )
    first = kit.read(text).settings
    first.destinations[0].options["headers"]["X"] = "changed"
    assert kit.read(text).settings.destinations[0].options["headers"] == {}
    assert json.dumps(kit.catalog.transports["http"].spec.options_schema, sort_keys=True) == before


def test_the_policy_takes_its_options(kit: Any, base: str) -> None:
    text = base + '[queue]\nwhen_full = "pause"\n[policy.pause]\nresume_below = 0.1\n'
    assert kit.read(text).settings.queue.policy == {"resume_below": 0.1}
    text += "[queue.policy]\nresume_below = 0.2\n"
    assert kit.read(text).settings.queue.policy == {"resume_below": 0.2}


HTTP = (
    '[[destination]]\nname = "web"\ntransport = "http"\noptions = { url = "https://h/{serial}", token = { env = "T" }, '
)
SECRETS = (
    HTTP
    + 'auth = { kind = "bearer", password = { file = "secrets/p" } }, headers = { A = "clear", B = { env = "T" } } }\n'
)


@pytest.fixture
def secretive(kit: Any, base: str) -> str:
    (kit.folder / "secrets").mkdir()
    (kit.folder / "secrets" / "p").write_text("from a file\r\n")
    kit.environment = {"T": "from-the-environment"}
    return base.replace('["reports"]', '["reports", "web"]') + SECRETS


def test_settings_hold_references_to_secrets(kit: Any, secretive: str) -> None:
    configuration = kit.read(secretive)
    options = configuration.settings.destinations[1].options
    reference = SecretReference(file=kit.folder / "secrets" / "p")
    assert options["token"] == SecretReference(env="T")
    assert options["auth"]["password"] == reference
    assert options["headers"] == {"A": "clear", "B": SecretReference(env="T")}
    assert "from-the-environment" not in repr(configuration)
    assert "from a file" not in repr(configuration)
    assert resolve(options, kit.environment) == {
        "url": "https://h/{serial}",
        "method": "POST",
        "token": "from-the-environment",
        "auth": {"kind": "bearer", "password": "from a file"},
        "headers": {"A": "clear", "B": "from-the-environment"},
    }
    assert options["token"] == SecretReference(env="T")


def test_what_is_shown_holds_no_secret_and_says_where_everything_comes_from(kit: Any, secretive: str) -> None:
    text = secretive + LAYERS + '[transport.http]\nmethod = "PUT"\nlimit = "1 MB"\n'
    shown = json.loads(json.dumps(effective_settings(kit.read(text))))
    assert "from-the-environment" not in str(shown)
    assert "from a file" not in str(shown)
    assert shown["file"] == str(kit.file)
    web = shown["settings"]["destination"][1]
    assert web["options"]["token"] == {"env": "T"}
    assert web["options"]["auth"]["password"] == {"file": str(kit.folder / "secrets" / "p")}
    assert web["options"]["headers"] == {"A": "***", "B": {"env": "T"}}
    assert web["options"]["limit"] == 1_000_000
    assert web["timeout"] == 60.0
    assert shown["settings"]["folder"][0]["path"] == str(kit.folder / "inbox")
    assert shown["settings"]["folder"][0]["converters"][0]["options"]["wait"] == 60.0
    origins = shown["origins"]
    lines = text.split("\n")
    for key, line in {
        "folder[0].path": 'path = "inbox"',
        "plugins.enable[0].name": lines[1],
        "folder[0].converters[0].id": 'converters = ["csv", "json"]',
        "folder[0].converters[0].options.delimiter": 'delimiter = ";"',
        "folder[0].converters[0].options.columns.serial": 'columns = { serial = "SN", lot = "L" }',
        "destination[1].options.method": 'method = "PUT"',
        "destination[1].options.url": SECRETS.split("\n")[3],
        "destination[1].options.token": SECRETS.split("\n")[3],
    }.items():
        assert origins[key] == f"dropmill.toml:{lines.index(line) + 1}", key
    for key in (
        "queue.max_items",
        "agent.state",
        "folder[0].settle",
        "control.socket",
        "folder[0].converters[0].options.header",
    ):
        assert origins[key] == "default", key
    assert shown["warnings"] == []


def test_a_destination_that_nobody_uses_is_a_warning(kit: Any, base: str) -> None:
    [warning] = kit.read(base + base[base.index("[[destination]]") :].replace('"reports"', '"spare"', 1)).warnings
    assert (warning.code, warning.key, warning.value) == ("DM-C052", "destination[1].name", '"spare"')


def test_options_of_a_plugin_that_is_not_enabled_are_a_warning(kit: Any, base: str) -> None:
    [warning] = kit.read(base + "[converter.xlsx]\nsheet = 1\n").warnings
    assert (warning.code, warning.key) == ("DM-C051", "converter.xlsx")
    assert "enable its plugin" in warning.todo


def test_what_a_faulty_plugin_may_offer_is_waited_for(kit: Any, base: str) -> None:
    kit.catalog.faults = {"acme": [FAULT]}
    text = base.replace('"pause"]', '"pause", "acme"]').replace(
        '"json"]\n', '{ id = "special", options = { x = 1 } }]\n'
    )
    configuration = kit.read(text + "[converter.other]\ny = 2\n")
    assert configuration.settings.folders[0].converters[1].options == {"x": 1}
    codes = [(warning.code, warning.key) for warning in configuration.warnings]
    assert codes == [
        ("DM-P010", "plugins.enable[6]"),
        ("DM-C050", "folder[0].converters[1].id"),
        ("DM-C051", "converter.other"),
    ]
    assert '"acme"' in configuration.warnings[1].todo


def test_a_faulty_plugin_is_an_error_where_the_admin_wants_that(kit: Any, base: str) -> None:
    kit.catalog.faults = {"acme": [FAULT]}
    text = base.replace('"pause"]', '"pause", "acme"]\non_error = "fail"')
    problem = kit.problem(text)
    assert (problem.code, problem.key, problem.value) == ("DM-P010", "plugins.enable[6]", '"acme"')
    assert problem.todo == "reinstall it"


def test_a_plugin_that_can_never_be_loaded_is_an_error(kit: Any, base: str) -> None:
    refusal = Problem(code="DM-P001", what="no installed distribution has a plugin named 'acme'", todo="install it")
    kit.catalog.refusals = {"acme": refusal}
    problem = kit.problem(base.replace('"pause"]', '"pause", { name = "acme" }]'))
    assert (problem.code, problem.key, problem.value) == ("DM-P001", "plugins.enable[6]", '"acme"')
    assert problem.line == 2


def test_a_plugin_that_offers_other_ids_is_explained(kit: Any, base: str) -> None:
    kit.catalog.converters["excel"] = type(kit.catalog.converters["csv"])(kit.catalog.converters["csv"].spec, "xlsx")
    problem = kit.problem(base.replace('"pause"]', '"pause", "xlsx"]').replace('"json"]\n', '"xlsx"]\n'))
    assert (problem.code, problem.value) == ("DM-C021", '"xlsx"')
    assert problem.todo == "the plugin xlsx offers the converters excel"


def test_where_no_plugin_offers_anything_that_is_said(kit: Any, base: str) -> None:
    kit.catalog.transports = {}
    problem = kit.problem(base)
    assert (problem.code, problem.key) == ("DM-C021", "destination[0].transport")
    assert "installed but not enabled" not in problem.todo
    assert "no enabled plugin offers any transport" in problem.todo


def test_links_that_lead_into_a_watched_folder_are_seen_through(kit: Any, base: str) -> None:
    (kit.folder / "inbox" / "deep").mkdir(parents=True)
    (kit.folder / "reports").symlink_to("inbox/deep")
    problem = kit.problem(base)
    assert (problem.code, problem.key) == ("DM-C026", "destination[0].options.path")


def test_two_names_of_one_folder_are_seen_through(kit: Any, base: str) -> None:
    (kit.folder / "inbox").mkdir()
    (kit.folder / "other").symlink_to("inbox")
    folder = base[base.index("[[folder]]") : base.index("[[destination]]")]
    problem = kit.problem(base + folder.replace('"inbox"', '"other"'))
    assert (problem.code, problem.key) == ("DM-C025", "folder[1].path")
    assert "is the same folder as" in problem.what


def test_neighbours_whose_names_begin_alike_are_no_problem(kit: Any, base: str) -> None:
    folder = base[base.index("[[folder]]") : base.index("[[destination]]")]
    kit.read(base + folder.replace('"inbox"', '"inbox2"'))


def test_a_loop_of_links_is_left_to_run_time(kit: Any, base: str) -> None:
    (kit.folder / "inbox").symlink_to("inbox")
    kit.read(base)


def test_a_root_that_is_missing_is_no_error(kit: Any, base: str) -> None:
    assert not (kit.folder / "inbox").exists()
    assert kit.read(base).warnings == ()


def test_the_folder_of_the_file_itself_cannot_be_watched(kit: Any, base: str) -> None:
    text = base.replace('path = "inbox"', 'path = "."').replace('"reports" }', '"/elsewhere" }')
    problems = kit.problems(text + '[agent]\nstate = "/elsewhere/state"\n')
    assert [(problem.code, problem.key) for problem in problems] == [("DM-C026", "folder[0].path")]
    assert "configuration file" in problems[0].what


def test_a_share_that_does_not_answer_holds_nothing_up(kit: Any, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from dropmill.config import places

    release = threading.Event()
    look = places._look

    def stuck(path: Path) -> Any:
        if path.name == "inbox":
            release.wait(10)
        return look(path)

    monkeypatch.setattr(places, "_look", stuck)
    monkeypatch.setattr(places, "_EACH", 0.05)
    [warning] = kit.read(base).warnings
    assert (warning.code, warning.key) == ("DM-C053", "folder[0].path")
    assert "share" in warning.todo
    problem = kit.problem(base.replace('"reports" }', '"inbox/x" }'))
    assert problem.code == "DM-C026"
    release.set()


def test_an_option_that_the_others_forbid_is_pointed_at(kit: Any, base: str) -> None:
    from dataclasses import replace

    offer = kit.catalog.converters["json"]
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "lines": {"type": "boolean", "description": "One document a line.", "default": False},
            "records": {"type": "string", "description": "Where they are."},
        },
        "if": {"properties": {"lines": {"const": True}}},
        "then": {"properties": {"records": False}},
    }
    kit.catalog.converters["json"] = replace(offer, spec=replace(offer.spec, options_schema=schema))
    kit.read(base + '[converter.json]\nrecords = "/x"\n')
    problem = kit.problem(base + '[converter.json]\nlines = true\nrecords = "/x"\n')
    assert (problem.code, problem.key, problem.value) == ("DM-C017", "converter.json.records", '"/x"')
    assert problem.todo == "take it out"


RULES: dict[str, tuple[dict[str, Any], str, str, str, str, str]] = {
    "repetition": (
        {"type": "array", "uniqueItems": True},
        "[1, 1]",
        "DM-C016",
        "",
        "[...] (2 entries)",
        "same entry twice",
    ),
    "multiple": ({"type": "integer", "multipleOf": 5}, "7", "DM-C012", "", "7", "a multiple of 5"),
    "any rule": ({"type": "array", "contains": {"const": 1}}, "[2]", "DM-C017", "", "[...] (1 entry)", "(An option.)"),
    "pattern": ({"type": "string", "pattern": "^a+$"}, "'b'", "DM-C015", "", '"b"', "'^a+$'"),
    "hint": (
        {"type": "string", "pattern": "^a+$", "x-hint": "the letter a"},
        "'b'",
        "DM-C015",
        "",
        '"b"',
        "must be the letter a",
    ),
    "constant": ({"const": 1}, "2", "DM-C013", "", "2", "must be 1"),
    "strict URL": (
        {"type": "string", "pattern": "^https?://[^@]+$"},
        "'http://u:hunter2@h'",
        "DM-C032",
        "",
        "***",
        "take it out of the URL",
    ),
    "odd URL": (
        {"type": "string", "pattern": "^https?://[a-z]+$"},
        "'http://h1'",
        "DM-C018",
        "",
        '"http://h1"',
        "not allowed here",
    ),
    "maybe secret": (
        {"anyOf": [{"type": "string"}, {"type": "string", "writeOnly": True}]},
        "5",
        "DM-C011",
        "",
        "***",
        "a text in quotes or a table",
    ),
    "secret as a list": (
        {"type": "string", "writeOnly": True},
        "['hunter2']",
        "DM-C011",
        "",
        "***",
        "must refer to a secret",
    ),
    "secret as a number": (
        {"type": "string", "writeOnly": True},
        "12345",
        "DM-C032",
        "",
        "***",
        "must not stand in this file",
    ),
    "name of a variable": (
        {"type": "string", "writeOnly": True},
        "{ env = 'a b' }",
        "DM-C015",
        ".env",
        '"a b"',
        "the name of an environment variable",
    ),
    "odd key of a secret": (
        {"type": "string", "writeOnly": True},
        "{ zzz = 'hunter2' }",
        "DM-C010",
        ".zzz",
        "***",
        "refer to it",
    ),
    "not finite": ({"type": "number"}, "-inf", "DM-C012", "", "-inf", "finite"),
    "two forms": (
        {"oneOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]},
        "{}",
        "DM-C017",
        "",
        "{}",
        "break a rule",
    ),
    "in a list": (
        {"type": "array", "items": {"type": "object", "required": ["a"]}},
        "[{}, { a = 1 }]",
        "DM-C014",
        "[0].a",
        "",
        "add a",
    ),
    "too deep for a path": (
        {"type": "string", "x-path": True},
        "'~x'",
        "DM-C015",
        "",
        '"~x"',
        "write the path in full",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_of_plugins_are_told_in_words(name: str, kit: Any, base: str) -> None:
    from dataclasses import replace

    rule, value, code, key, shown, said = RULES[name]
    offer = kit.catalog.converters["json"]
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"o": {"description": "An option.", **rule}},
    }
    kit.catalog.converters["json"] = replace(offer, spec=replace(offer.spec, options_schema=schema))
    problem = kit.problem(base + f"[converter.json]\no = {value}\n")
    assert (problem.code, problem.key, problem.value) == (code, f"converter.json.o{key}", shown)
    assert said in f"{problem.what} - {problem.todo}"
    assert "hunter2" not in str(problem.as_dict())


def test_two_ways_to_one_folder_are_seen_through_where_no_link_tells(
    kit: Any, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a bind mount: both names are real, and only the device and inode say that they are one."""
    (kit.folder / "inbox").mkdir()
    (kit.folder / "mounted").symlink_to("inbox")
    monkeypatch.setattr(Path, "resolve", Path.absolute)
    folder = base[base.index("[[folder]]") : base.index("[[destination]]")]
    text = base + folder.replace('"inbox"', '"mounted"').replace('"mounted"\nconv', '"mounted/sub"\nconv')
    problem = kit.problem(text)
    assert (problem.code, problem.key) == ("DM-C025", "folder[1].path")
    assert "lies inside" in problem.what


def test_what_may_be_a_secret_is_not_shown_wherever_it_comes_from(kit: Any, base: str) -> None:
    from dataclasses import replace

    offer = kit.catalog.converters["json"]
    maybe = {"description": "O.", "anyOf": [{"type": "string"}, {"type": "string", "writeOnly": True}]}
    schema = {"type": "object", "additionalProperties": False, "properties": {"o": maybe}}
    kit.catalog.converters["json"] = replace(offer, spec=replace(offer.spec, options_schema=schema))
    shown = effective_settings(kit.read(base + "[converter.json]\no = 'hunter2'\n"))
    assert shown["settings"]["folder"][0]["converters"][1]["options"] == {"o": "***"}
    own = base.replace('"json"]\nd', '{ id = "json", options = { o = "hunter2" } }]\nd')
    assert effective_settings(kit.read(own))["settings"]["folder"][0]["converters"][1]["options"] == {"o": "***"}
