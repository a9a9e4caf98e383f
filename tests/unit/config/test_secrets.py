from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dropmill.config import SecretError, SecretReference, resolve
from dropmill.config.secrets import MOST_BYTES, fetch


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b" abc \n\n", " abc \n"),
        ("gr\u00fcn".encode(), "gr\u00fcn"),
    ],
)
def test_a_file_holds_the_secret_and_one_line_end(tmp_path: Path, content: bytes, secret: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert fetch(SecretReference(file=file)) == secret


def test_the_environment_holds_it() -> None:
    assert fetch(SecretReference(env="TOKEN"), {"TOKEN": "abc"}) == "abc"


@pytest.mark.parametrize(("environment", "said"), [({}, "is not set"), ({"TOKEN": ""}, "is empty")])
def test_a_variable_that_is_not_there_is_an_error(environment: dict[str, str], said: str) -> None:
    with pytest.raises(SecretError, match=f"TOKEN {said}") as caught:
        fetch(SecretReference(env="TOKEN"), environment)
    assert caught.value.code == "DM-C033"


def _missing(_: Path) -> None:
    pass


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _empty(file: Path) -> None:
    file.write_bytes(b"\n")


def _binary(file: Path) -> None:
    file.write_bytes(b"hunter2\xff")


def _large(file: Path) -> None:
    file.write_bytes(b"x" * (MOST_BYTES + 1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_missing, "No such file"),
        (Path.mkdir, "regular file"),
        (_pipe, "regular file"),
        (_empty, "is empty"),
        (_binary, "not UTF-8"),
        (_large, "larger than"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, make: Any, said: str) -> None:
    file = tmp_path / "secret"
    make(file)
    with pytest.raises(SecretError, match=said) as caught:
        fetch(SecretReference(file=file))
    assert str(file) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from dropmill.config import secrets

    release = threading.Event()
    monkeypatch.setattr(secrets, "_read", lambda _: release.wait(10))
    monkeypatch.setattr(secrets, "_LIMIT", 0.01)
    with pytest.raises(SecretError, match="could not be read within"):
        fetch(SecretReference(file=tmp_path))
    release.set()


def test_references_are_replaced_wherever_they_stand() -> None:
    options = {"a": SecretReference(env="A"), "b": [{"c": SecretReference(env="A")}, 1], "d": {"e": "f"}}
    assert resolve(options, {"A": "x"}) == {"a": "x", "b": [{"c": "x"}, 1], "d": {"e": "f"}}
    assert options["a"] == SecretReference(env="A")


def test_a_reference_says_where_and_not_what() -> None:
    assert str(SecretReference(env="A")) == "environment variable A"
    assert str(SecretReference(file=Path("/x"))) == "file /x"
    assert SecretReference(env="A").as_dict() == {"env": "A"}
    assert SecretReference(file=Path("/x")).as_dict() == {"file": "/x"}
