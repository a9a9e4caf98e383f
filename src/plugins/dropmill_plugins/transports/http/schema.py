"""The options of `http`, as JSON Schema: what an admin may write, what it means, what holds without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill_plugins.transports.templates import PATTERN

__all__ = ["OPTIONS"]

_HEADER = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
_URL = r"^https?://[^\s/?#@{}]+(?:[/?][^\s#]*)?$"

_STATUSES: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 200, "maximum": 599},
    "uniqueItems": True,
    "default": [],
}


def _statuses(description: str) -> Mapping[str, Any]:
    return {**_STATUSES, "description": description}


def _seconds(default: float | None, description: str) -> Mapping[str, Any]:
    part = {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400, "description": description}
    return part if default is None else {**part, "default": default}


def _secret(description: str) -> Mapping[str, Any]:
    return {"type": "string", "minLength": 1, "writeOnly": True, "description": description}


_AUTH: Mapping[str, Any] = {
    "type": "object",
    "required": ["type"],
    "additionalProperties": False,
    "description": 'How to authenticate. Secrets are given as `{ env = "NAME" }` or `{ file = "path" }`.',
    "properties": {
        "type": {
            "enum": ["bearer", "basic", "header"],
            "description": "`bearer`: `token` in the Authorization header. `basic`: `username` and `password` in it. "
            "`header`: `value` in the header `name`.",
        },
        "token": _secret("The bearer token."),
        "username": {"type": "string", "minLength": 1, "pattern": "^[^:]*$", "description": "The user, for `basic`."},
        "password": _secret("The password, for `basic`."),
        "name": {"type": "string", "pattern": _HEADER, "description": "The header, for `header`, e.g. `X-Api-Key`."},
        "value": _secret("The header's value, for `header`."),
    },
    "allOf": [
        {"if": {"properties": {"type": {"const": kind}}}, "then": {"required": needed}}
        for kind, needed in (("bearer", ["token"]), ("basic", ["username", "password"]), ("header", ["name", "value"]))
    ],
}

_PROXY: Mapping[str, Any] = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "description": "The proxy to go through; without it none is used, whatever the environment says.",
    "properties": {
        "url": {"type": "string", "pattern": _URL, "description": "The proxy's address, e.g. `http://proxy:3128`."},
        "username": {"type": "string", "minLength": 1, "pattern": "^[^:]*$", "description": "The proxy's user."},
        "password": _secret("The proxy's password."),
    },
}

_PROBE: Mapping[str, Any] = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "description": "A request that tells whether the server is well; without it a probe only connects (and makes TLS).",
    "properties": {
        "url": {
            "type": "string",
            "pattern": _URL,
            "description": "What to ask, e.g. `https://reports.example/health`.",
        },
        "method": {"enum": ["HEAD", "OPTIONS", "GET"], "default": "HEAD", "description": "How to ask."},
    },
}

OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": {
            "type": "string",
            "allOf": [{"pattern": _URL}, {"pattern": PATTERN}],
            "description": "Where each report goes. In path and query, {key}, {report_id}, {sha256}, {suffix}, {stem}, {date}, "
            "{year}, {month}, {day} and any field of the report (e.g. {serial}) stand for their values, percent-encoded; a "
            "report that has no value for one is rejected.",
        },
        "method": {"enum": ["POST", "PUT", "PATCH"], "default": "POST", "description": "The request's method."},
        "idempotency_header": {
            "type": "string",
            "pattern": f"^$|{_HEADER}",
            "default": "Idempotency-Key",
            "description": "Header that carries the delivery's key, by which a receiver knows a repetition; empty: none.",
        },
        "headers": {
            "type": "object",
            "propertyNames": {"pattern": _HEADER},
            "additionalProperties": {"type": "string", "pattern": "^[^\\r\\n\\u0000]*$"},
            "default": {},
            "description": "Further headers, the same for every report. Secrets belong into `auth`.",
        },
        "content_type": {
            "type": "string",
            "pattern": "^[^\\r\\n\\u0000]+$",
            "description": "The Content-Type header; default: the report's media type.",
        },
        "auth": _AUTH,
        "gzip": {
            "type": "boolean",
            "default": False,
            "description": "Compress bodies (Content-Encoding: gzip); those above 1 MB are then sent in chunks, "
            "without a length.",
        },
        "success_status": _statuses("Statuses that mean delivered, in place of all from 200 to 299."),
        "duplicate_status": _statuses(
            "Statuses by which the server says that it has this key already, e.g. 409. Without it a 409 is a refusal."
        ),
        "retry_status": _statuses("Statuses that mean try again, besides 408, 423, 425, 429 and 500 to 599."),
        "unavailable_status": _statuses(
            "Statuses that mean the server as a whole is away, e.g. 502 and 503 of a proxy: no attempt is spent, it is probed."
        ),
        "reject_status": _statuses("Statuses that mean never, in place of what they mean otherwise, e.g. 403."),
        "redirects": {
            "enum": ["refuse", "same_host", "any"],
            "default": "refuse",
            "description": "What to do when the server answers with another address. `refuse`: wait, and say so. `same_host`: "
            "follow with the same method and body where the host stays (from http to https too, never back). `any`: also "
            "elsewhere, without secrets, further headers and client certificate.",
        },
        "connect_timeout": _seconds(10.0, "Seconds for name resolution, connecting and TLS."),
        "read_timeout": _seconds(30.0, "Seconds without a byte of the answer."),
        "total_timeout": _seconds(None, "Seconds for the whole request; default: the destination's `timeout`."),
        "keep_alive": _seconds(15.0, "Seconds that an idle connection is kept; set it below the server's own limit."),
        "verify": {
            "type": "boolean",
            "default": True,
            "description": "Check the server's certificate and name. Without it anybody on the way can read and change reports "
            "and secrets.",
        },
        "ca_file": {
            "type": "string",
            "minLength": 1,
            "description": "PEM file of the authorities to trust, in place of the system's.",
        },
        "client_certificate": {
            "type": "string",
            "minLength": 1,
            "description": "PEM file of our certificate (with its chain), where the server asks for one.",
        },
        "client_key": {
            "type": "string",
            "minLength": 1,
            "description": "PEM file of its key; default: in the certificate's file.",
        },
        "client_key_password": _secret("Password of the key."),
        "proxy": _PROXY,
        "probe": _PROBE,
    },
    "dependentRequired": {"client_key": ["client_certificate"], "client_key_password": ["client_certificate"]},
}
