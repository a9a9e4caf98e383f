"""Every answer is sorted: delivered, duplicate, again, never, or a destination to wait for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from dropmill.api import AuthRejected, Delivered, Duplicate, Rejected, Retry, Unavailable
from dropmill_plugins.transports.http.answers import Answer, Rules, retry_after

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def answer(status: int, body: bytes = b"", **more: Any) -> Answer:
    headers = more.pop("headers", {})
    return Answer(status=status, headers=CIMultiDict(headers), body=body, **more)


def kind(status: int, rules: Rules | None = None) -> type:
    try:
        return type((rules or Rules()).judge(answer(status), NOW))
    except (AuthRejected, Unavailable) as raised:
        return type(raised)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((200, 201, 202, 204, 226), Delivered),
        ((401, 403, 407), AuthRejected),
        ((408, 423, 425, 429, 500, 501, 502, 503, 504, 507, 599), Retry),
        ((300, 301, 302, 303, 304, 307, 308), Unavailable),
        ((400, 402, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 418, 422, 424, 426, 431, 451), Rejected),
    ],
)
def test_the_table(statuses: tuple[int, ...], expected: type) -> None:
    assert {status: kind(status) for status in statuses} == dict.fromkeys(statuses, expected)


def test_the_admins_lists_take_precedence() -> None:
    rules = Rules(duplicate={409}, retry={404}, reject={403, 500})
    assert (kind(409, rules), kind(404, rules), kind(403, rules), kind(500, rules)) == (
        Duplicate,
        Retry,
        Rejected,
        Rejected,
    )
    away = Rules(unavailable={503})
    with pytest.raises(Unavailable) as raised:
        away.judge(answer(503, headers={"Retry-After": "9"}), NOW)
    assert raised.value.after == 9
    only = Rules(success={201, 303})
    assert (kind(201, only), kind(303, only), kind(200, only), kind(404, only)) == (
        Delivered,
        Delivered,
        Retry,
        Rejected,
    )


@given(st.integers(200, 599), st.sets(st.integers(200, 599)), st.sets(st.integers(200, 599)))
def test_every_status_has_exactly_one_meaning(status: int, duplicate: set[int], success: set[int]) -> None:
    found = kind(status, Rules(duplicate=duplicate, success=success))
    assert (found is Duplicate) == (status in duplicate)
    if status not in duplicate:
        assert (found is Delivered) == (status in success if success else status < 300)


def test_a_receipt_holds_what_the_server_said() -> None:
    outcome = Rules().judge(
        answer(
            201,
            b'{"id":\n 7}',
            headers={
                "Content-Type": "application/json",
                "ETag": '"abc"',
                "Location": "/reports/7",
                "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT",
                "Set-Cookie": "session=secret",
            },
        ),
        NOW,
    )
    assert outcome == Delivered(
        "/reports/7",
        details={
            "status": 201,
            "ETag": '"abc"',
            "Location": "/reports/7",
            "Last-Modified": "Tue, 24 Nov 2026 12:00:00 GMT",
            "body": '{"id": 7}',
        },
    )
    assert Rules().judge(answer(204, headers={"ETag": '"x"'}), NOW) == Delivered(
        '"x"', details={"status": 204, "ETag": '"x"'}
    )


def test_excerpts_are_short_printable_and_of_text_alone() -> None:
    assert len(answer(500, b"x" * 5000).excerpt) == 500
    assert answer(500, b"a\x00b\x1b[31m\xff\n\n  c").excerpt == "a b [31m� c"
    assert answer(500, b"PNG", headers={"Content-Type": "image/png"}).excerpt == ""
    assert answer(500, b"<p/>", headers={"content-type": "application/problem+xml; charset=utf-8"}).excerpt == "<p/>"


def test_an_answer_that_came_short_is_no_receipt() -> None:
    for status in (200, 204, 409):
        rules = Rules(duplicate={409})
        broken = rules.judge(answer(status, complete=False), NOW)
        assert isinstance(broken, Retry) and broken.code == "HTTP-INCOMPLETE"
        early = rules.judge(answer(status, sent_whole=False), NOW)
        assert isinstance(early, Retry) and early.code == "HTTP-EARLY"
    refused = Rules().judge(answer(400, complete=False, sent_whole=False), NOW)
    assert isinstance(refused, Rejected), "a refusal is one, however it ends"


def test_reasons_name_status_and_words_of_the_server() -> None:
    outcome = Rules().judge(answer(422, b"serial missing"), NOW)
    assert (
        outcome
        == Rejected(
            "HTTP-422",
            "422 Unprocessable Entity: serial missing",
            details={"status": 422, "body": "serial missing"},
        )
        or "serial missing" in outcome.reason
    )  # the phrase differs between versions of Python
    with pytest.raises(AuthRejected, match="401 Unauthorized: token expired"):
        Rules().judge(answer(401, b"token expired"), NOW)
    with pytest.raises(Unavailable, match="https://elsewhere/"):
        Rules().judge(answer(307, headers={"Location": "https://elsewhere/"}), NOW)
    assert isinstance(Rules().judge(answer(799), NOW), Retry)


def test_a_missing_client_certificate_is_a_matter_of_credentials() -> None:
    said = b"<html><center>No required SSL certificate was sent</center></html>"
    with pytest.raises(AuthRejected, match="client certificate"):
        Rules(secured=True).judge(answer(400, said, headers={"Content-Type": "text/html"}), NOW)
    assert isinstance(Rules().judge(answer(400, said), NOW), Rejected)
    assert isinstance(Rules(secured=True).judge(answer(400, b"bad JSON"), NOW), Rejected)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "9" * 40}, 999_999_999.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "Tue, 24 Nov 2026 12:02:00 GMT"}, 120.0),
        ({"Retry-After": "Tuesday, 24-Nov-26 12:02:00 GMT"}, 120.0),
        ({"Retry-After": "Tue Nov 24 12:02:00 2026"}, 120.0),
        ({"Retry-After": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 24 Nov 2026 12:02:00 GMT", "Date": "Tue, 24 Nov 2026 12:01:30 GMT"}, 30.0),
        ({"Retry-After": "Tue, 24 Nov 2026 12:02:00 GMT", "Date": "nonsense"}, 120.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(CIMultiDict(headers), NOW) == seconds


@given(st.text(max_size=40))
def test_no_header_breaks_it(text: str) -> None:
    seconds = retry_after(CIMultiDict({"Retry-After": text, "Date": text}), NOW)
    assert seconds is None or seconds >= 0


def test_probes() -> None:
    for status in (200, 204, 301, 404, 405):
        Rules().probe(answer(status), NOW)
    with pytest.raises(AuthRejected):
        Rules().probe(answer(403), NOW)
    with pytest.raises(Unavailable) as raised:
        Rules().probe(answer(503, headers={"Retry-After": "60"}), NOW)
    assert raised.value.after == 60
