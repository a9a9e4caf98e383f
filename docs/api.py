"""Prints the control API's reference (docs/api.md) from the OpenAPI document, and that comes from the routes themselves."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

from dropmill.control import changing, openapi, reading
from dropmill.control.limits import Limits

HEAD = """# The control API

HTTP on the agent's Unix socket: `agent.sock` in the state folder, or `[control] socket`. Whoever may open the socket
may do everything; that is the agent's user and root (mode 0600).
The command line is a client of it; see [command-line.md](command-line.md). This page is written by `docs/api.py` from
the routes; a running agent serves the same as OpenAPI 3.1 at `GET /v1/openapi.json`.

```console
$ curl -s --unix-socket state/agent.sock http://dropmill/v1/status
$ curl -s --unix-socket state/agent.sock 'http://dropmill/v1/files?state=failed&limit=10'
$ curl -s --unix-socket state/agent.sock http://dropmill/v1/retry -H 'content-type: application/json' \\
    -d '{"what": "files", "filter": {"folder": ["inbox"]}, "dryRun": true}'
```

The socket's path may be longer than the 107 bytes that its address can hold: then reach it through a descriptor of
its folder, `/proc/self/fd/N/agent.sock`, as the command line does.

## Rules

- **Answers** are JSON. Times are ISO 8601 in UTC, sizes bytes, durations seconds. A byte of a path that is no UTF-8
  stands as a lone surrogate (`\\udcNN`), and is percent-encoded in a query. A number that JSON has not stands as
  text: `"NaN"`, `"Infinity"`.
- **Fields are only ever added** within `/v1`. Ignore those that you do not know.
- **Lists are pages**: `items`, and `next` to give as `after` for the page behind it; null: that was the last. A page
  may be short, or even empty, and still have a `next`.
- **Filters** stand in the query. Within a parameter that may be repeated any value matches; all parameters must.
  *pending* stands for ready, leased and delayed, *failed* for dead.
- **No success before the commit.** A change that is answered with 200 is on disk. One that is answered with an error
  changed nothing, a 504 apart.
- **Bulk actions** take `ids` or a `filter`; `{}` matches all. With `dryRun` they only count. They work in batches,
  oldest first, for 20 s at most: where `next` is not null, ask again with it as `after`.
- **Errors** are `application/problem+json` (RFC 9457) with four more fields: `code` (see [errors.md](errors.md)),
  `what`, `where`, `todo`; and `problems`, a list of the same four, where several things are wrong.
- **Busy**: a full queue answers 429, a stopping agent 503, both with Retry-After. During a stop everything can be
  asked, and nothing new started.

## Limits

Each ends a client that would otherwise hold on to the agent; an honest slow one is not ended. Tests drive a real
client against each.

| what | limit |
|---|---|
"""

LIMITS = {
    "head": ("connecting to the end of the headers; later, first byte to end", "{} s"),
    "head_bytes": ("request line and headers", "{} bytes, then 431"),
    "body_stall": ("silence within a body", "{} s"),
    "body_rate": ("a body's average rate, after {body_grace:g} s", "{} bytes/s at least"),
    "body_bytes": ("a body", "{} bytes, then 413"),
    "write_stall": ("a reader that takes nothing", "{} s"),
    "request": ("a whole request", "{} s, then 504"),
    "keep_alive": ("silence between requests", "{} s"),
    "age": ("a connection, after which it ends with the request under way", "{} s"),
    "connections": ("connections at a time", "{}, then 503"),
}


def main() -> None:
    nothing = cast("Any", None)  # the handlers are described, never called
    document = openapi.document(
        [*reading.routes(nothing, nothing, nothing), *changing.routes(nothing, nothing)], version=""
    )
    lines = [HEAD.rstrip("\n")]
    limits = Limits()
    for name, (what, text) in LIMITS.items():
        lines.append(f"| {what.format(body_grace=limits.body_grace)} | {text.format(_number(getattr(limits, name)))} |")
    lines += ["", "## Routes", "", "| ask | answer | what |", "|---|---|---|"]
    for method, path, one in _operations(document):
        lines.append(
            f"| [`{method} {path}`](#{_anchor(f'{method} {path}')}) | {_link(_answer(one))} | {one['summary']} |"
        )
    lines.append("| `GET /v1/openapi.json` | | This page for programs. |")
    for method, path, one in _operations(document):
        lines += ["", f"### {method} {path}", "", one["summary"], *_details(one)]
    lines += ["", "## Shapes"]
    for name, shape in document["components"]["schemas"].items():
        if name != "ProblemDetails":
            lines += ["", f"### {name}", "", shape["description"], "", *_fields(shape)]
    sys.stdout.write("\n".join(lines) + "\n")


def _anchor(heading: str) -> str:
    """As GitHub makes them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _number(value: float) -> str:
    return f"{value:g}" if value < 100_000 else f"{int(value)}"


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            yield method.upper(), path, one


def _answer(one: Mapping[str, Any]) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", one["responses"]["200"]["content"]["application/json"]["schema"])


def _link(schema: Mapping[str, Any]) -> str:
    """A type in words, shapes as links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_link(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_link(schema['items'])}" if schema.get("items") else "list"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_link(inner)}" if isinstance(inner, dict) and inner else "object"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _details(one: Mapping[str, Any]) -> Iterator[str]:
    if one["parameters"]:
        yield from ("", "| parameter | type | what |", "|---|---|---|")
        for part in one["parameters"]:
            schema = part["schema"]
            many = schema.get("type") == "array"
            words = [part["description"]]
            if part["required"] and part["in"] != "path":
                words.append("required")
            if many:
                words.append("may be repeated")
            inner = schema["items"] if many else schema
            if "minimum" in inner and "maximum" in inner:
                words.append(f"{inner['minimum']} to {inner['maximum']}")
            if "default" in schema:
                words.append(f"default {str(schema['default']).lower()}")
            kind = "time" if inner.get("type") == ["number", "string"] else _link(inner)
            yield f"| `{part['name']}` | {kind} | {'; '.join(words)} |"
    if "requestBody" in one:
        schema = one["requestBody"]["content"]["application/json"]["schema"]
        if schema["properties"]:
            yield from ("", "| member of the body | type | what |", "|---|---|---|")
            for name, part in schema["properties"].items():
                need = "; required" if name in schema.get("required", ()) else ""
                yield f"| `{name}` | {_link(part)} | {part.get('description', '')}{need} |".replace("|  |", "| |")
    special = {
        status: part for status, part in one["responses"].items() if status in ("409", "429") or _own(one, status)
    }
    if special:
        yield ""
        for status, part in special.items():
            yield f"- {status}: {part['description']}."


def _own(one: Mapping[str, Any], status: str) -> bool:
    """Whether an answer other than 200 has the good answer's shape."""
    return status != "200" and "application/json" in one["responses"][status]["content"]


def _fields(shape: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| field | type | what |", "|---|---|---|")
    for name, part in shape["properties"].items():
        optional = "" if name in shape["required"] else "; may be missing"
        yield f"| `{name}` | {_link(part)} | {part.get('description', '')}{optional} |".replace("|  |", "| |").replace(
            "| ; ", "| "
        )


main()
