"""What a server's answer means: status, headers and the start of the body, to an outcome. Pure.

    2xx (or `success_status`)      delivered, once the answer has come whole
    `duplicate_status`             duplicate
    401, 403, 407                  the credentials are refused: the lane waits
    408, 423, 425, 429, 5xx        again, not before Retry-After
    3xx that is not followed       the server wants another address: the lane waits, no report is lost for it
    every other one                rejected

An answer that comes short is not a receipt: a report counts as delivered only by an answer that arrived whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from dropmill.api import AuthRejected, Delivered, Duplicate, Outcome, Rejected, Retry, Unavailable

__all__ = ["Answer", "Rules", "retry_after"]

_AUTHENTICATION = frozenset({401, 403, 407})
_AGAIN = frozenset({408, 423, 425, 429})
_EXCERPT = 500
_CERTIFICATE = re.compile(r"\bSSL certificate\b", re.IGNORECASE)
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes
    """Its start."""
    complete: bool = True
    """The answer ended as it should, or was longer than is of interest."""
    sent_whole: bool = True
    """The request's body had been sent to its end when the answer came."""
    url: str = ""
    """Where it came from, without secrets; for redirects."""

    @property
    def phrase(self) -> str:
        """`404 Not Found`."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)

    @property
    def excerpt(self) -> str:
        """The start of the body as text on one line."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind and not (kind.startswith("text/") or re.search(r"json|xml|urlencoded", kind)):
            return ""
        text = _NOT_TEXT.sub(" ", self.body[: 4 * _EXCERPT].decode("utf-8", "replace"))
        return " ".join(text.split())[:_EXCERPT]

    def details(self) -> dict[str, Any]:
        """What is kept of it."""
        kept: dict[str, Any] = {"status": self.status}
        for name in ("ETag", "Location", "Last-Modified", "Retry-After"):
            if name in self.headers:
                kept[name] = self.headers[name][:300]
        if excerpt := self.excerpt:
            kept["body"] = excerpt
        return kept


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the admin says of statuses; each list takes precedence over the table above, in this order."""

    reject: Collection[int] = ()
    unavailable: Collection[int] = ()
    duplicate: Collection[int] = ()
    success: Collection[int] = ()
    retry: Collection[int] = ()
    secured: bool = field(default=False)
    """The connection is HTTPS: some servers answer 400 where a client certificate is missing."""

    def judge(self, answer: Answer, now: datetime) -> Outcome:
        """What an answer means.

        Raises:
            AuthRejected: the server refuses the credentials.
            Unavailable: it is away, or sends everybody elsewhere.
        """
        status = answer.status
        if status in self.reject:
            return self._reject(answer)
        if status in self.unavailable:
            raise Unavailable(_told(answer), retry_after(answer.headers, now))
        if status in self.duplicate:
            return self._received(answer, Duplicate(_ref(answer), details=answer.details()))
        if status in self.success or (not self.success and 200 <= status < 300):
            return self._received(answer, Delivered(_ref(answer), details=answer.details()))
        if status in self.retry or status in _AGAIN or status >= 500:
            return self._again(answer, now)
        if status < 300:
            return Retry(
                f"the server answered {answer.phrase}, which `success_status` does not list",
                code=f"HTTP-{status}",
                details=answer.details(),
            )
        if status in _AUTHENTICATION:
            raise AuthRejected(_told(answer))
        if status < 400:
            target = answer.headers.get("Location", "another address")
            raise Unavailable(f"{answer.phrase}: the server points to {target[:300]}; set `url`, or allow `redirects`")
        if self.secured and status in (400, 495, 496) and _CERTIFICATE.search(answer.excerpt):
            raise AuthRejected(f"the server wants a client certificate: {_told(answer)}")
        return self._reject(answer)

    def probe(self, answer: Answer, now: datetime) -> None:
        """What the answer to a probe means; returns where a report may be sent.

        Raises:
            AuthRejected, Unavailable: it may not.
        """
        if answer.status in _AUTHENTICATION:
            raise AuthRejected(_told(answer))
        if answer.status >= 500 or answer.status in _AGAIN:
            raise Unavailable(_told(answer), retry_after(answer.headers, now))

    def _received(self, answer: Answer, outcome: Delivered | Duplicate) -> Outcome:
        if not answer.complete:
            reason = f"{answer.phrase}, but the answer broke off: it may or may not have the report"
            return Retry(reason, code="HTTP-INCOMPLETE", details=answer.details())
        if not answer.sent_whole:
            reason = f"{answer.phrase} came before the report was sent whole"
            return Retry(reason, code="HTTP-EARLY", details=answer.details())
        return outcome

    def _again(self, answer: Answer, now: datetime) -> Retry:
        return Retry(
            _told(answer),
            retry_after(answer.headers, now),
            code=f"HTTP-{answer.status}",
            details=answer.details(),
        )

    def _reject(self, answer: Answer) -> Rejected:
        return Rejected(f"HTTP-{answer.status}", _told(answer), details=answer.details())


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that the server asks to wait; None: it does not say, or not so that it can be read.

    Source: RFC 9110, 10.2.3: seconds or an HTTP date. A date is taken relative to the server's own Date, so that clocks which
    are apart do no harm.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until = _moment(text)
    if until is None:
        return None
    return max(0.0, (until - (_moment(headers.get("Date", "")) or now)).total_seconds())


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _ref(answer: Answer) -> str:
    return answer.headers.get("Location") or answer.headers.get("ETag") or ""


def _told(answer: Answer) -> str:
    excerpt = answer.excerpt
    return f"{answer.phrase}: {excerpt[:200]}" if excerpt else answer.phrase
