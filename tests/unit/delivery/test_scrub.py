"""No secret gets through, in any of the forms in which it travels; what is kept stays small and fits into JSON."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.delivery.scrub import MASK, Scrubber, secrets_of

SECRET = "s3cr3t/with+signs & spaces"


@pytest.mark.parametrize(
    "form",
    [SECRET, quote(SECRET, safe=""), quote(SECRET), base64.b64encode(SECRET.encode()).decode(), repr(SECRET)],
)
def test_known_secrets_go_in_every_form(form: str) -> None:
    text = Scrubber([SECRET]).text(f"before {form} after")
    assert "s3cr3t" not in text and base64.b64encode(b"s3cr3t")[:6].decode() not in text
    assert text.startswith("before ") and text.endswith(" after")
    assert MASK in text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
        ("'authorization': 'Basic dXNlcjpwYXNz', next", "'authorization': '***', next"),
        ("token is Bearer eyJhbGciOi.J9", "token is Bearer ***"),
        ("at https://user:pass@host/path", "at https://***@host/path"),
        ("Proxy-Authorization=xyz", "Proxy-Authorization=***"),
    ],
)
def test_what_looks_like_credentials_goes_unasked(text: str, kept: str) -> None:
    assert Scrubber().text(text) == kept


def test_ordinary_text_is_left_alone() -> None:
    for text in ("", "basic trust", "bearer of news", "user@host", "https://host/a@b", "500 Internal Server Error"):
        assert Scrubber(["abc"]).text(text) == text


def test_short_secrets_do_not_shred_texts() -> None:
    assert Scrubber(["a"]).text("banana") == "banana"


def test_the_longest_secret_wins() -> None:
    assert Scrubber(["abcd", "abcdefgh"]).text("xabcdefghx") == "x***x"


def test_secrets_can_be_learnt_later() -> None:
    scrubber = Scrubber(["old-secret"])
    scrubber.learn(["new-secret", "x"])
    assert scrubber.text("old-secret new-secret x") == "*** *** x"


def test_texts_are_cut() -> None:
    text = Scrubber().text("x" * 5000, 100)
    assert len(text) == 100 and text.endswith("…")


def test_data_is_copied_bounded_and_fit_for_json() -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    data = {
        "token": SECRET,
        "deep": {"a": {"b": {"c": {"d": 1}}}},
        "many": list(range(100)),
        "nan": float("nan"),
        "ok": [True, None, 1.5, b"bytes"],
        "rude": Rude(),
        "name": "umlaut-\udcfc",
    }
    kept = Scrubber([SECRET]).data(data)
    assert kept["token"] == MASK
    assert len(kept["many"]) == 32
    assert kept["nan"] == "nan"
    assert kept["ok"] == [True, None, 1.5, "b'bytes'"]
    assert kept["rude"] == "<Rude>"
    assert kept["name"] == "umlaut-\\udcfc"
    json.dumps(kept, ensure_ascii=False).encode()


@given(st.text(), st.text(min_size=4))
def test_nothing_of_a_secret_survives(text: str, secret: str) -> None:
    scrubbed = Scrubber([secret]).text(f"{text}|{secret}|{text}", 100_000)
    if secret not in text and secret not in MASK * 3:
        assert secret not in scrubbed.replace(MASK, "")
    scrubbed.encode()


def test_secrets_are_found_by_the_schema() -> None:
    schema = {
        "properties": {
            "url": {"type": "string"},
            "auth": {"type": "object", "properties": {"token": {"writeOnly": True}, "user": {}}},
            "keys": {"type": "array", "writeOnly": True},
            "map": {"writeOnly": True},
            "absent": {"writeOnly": True},
        }
    }
    options = {
        "url": "https://host",
        "auth": {"token": "t0ken", "user": "me"},
        "keys": ["k1", ["k2"]],
        "map": {"x": "m1", "y": 3},
        "unknown": "u",
    }
    assert secrets_of(schema, options) == ["t0ken", "k1", "k2", "m1"]
