"""Looks at an XML document before its root element, so that a DOCTYPE is refused before a parser reads what it declares.

Reads only what stands before the root. It judges nothing else: whether the document is well formed is the parser's to say.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["MAX_PROLOG", "Prolog", "read_prolog", "scan"]

MAX_PROLOG = 1 << 20
"""Bytes that may stand before the root element."""

_FIRST = 2_048
_PIECE = 262_144

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARATION = re.compile(r"""<\?xml\s[^>]*?\bencoding\s*=\s*["']([A-Za-z][\w.\-]*)["']""")
_WIDE = re.compile(r"(?:utf-?(?:16|32)|ucs-?[24]|iso-10646-ucs)", re.IGNORECASE)
"""Encodings of two and more bytes a character: the declaration would not be readable if it told the truth."""
_MISC = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_NAME = re.compile(r"<(?:([^\s<>/:!?]+):)?([^\s<>/:!?]+)(?=[\s/>])")


@dataclass(frozen=True)
class Prolog:
    """What stands before the content."""

    kind: str
    """`element`, `doctype`, `unfinished` (the data ends first), `too-long`, `encoding` (one that nobody knows), or `not-xml`."""
    root: str = ""
    """The root element's local name, for `element`; empty where the data ends within it."""
    line: int = 1
    """1-based, of what `kind` tells of."""
    encoding: str | None = None
    """By byte order mark or NUL pattern, else as declared; None where the file says nothing (then it is UTF-8)."""
    misdeclared: bool = False
    """The file declares two or four bytes a character but has one; common where a program wrote XML by way of a string."""


def read_prolog(stream: BinaryIO) -> tuple[Prolog, bytes]:
    """Read up to the root element's name, or a mebibyte; what has been read comes along, for the parser."""
    data = b""
    while True:
        piece = stream.read(_PIECE)
        data += piece
        found = scan(data, complete=not piece)
        if found.kind != "unfinished" or not piece:
            return found, data
        if len(data) >= MAX_PROLOG:
            return Prolog("too-long", line=found.line, encoding=found.encoding), data


def scan(data: bytes, *, complete: bool) -> Prolog:
    """What the start of a document tells; `complete` where nothing follows."""
    if len(data) > _FIRST:
        # most roots stand here, and decoding all of a large head costs more
        early = scan(data[:_FIRST], complete=False)
        if early.kind != "unfinished":
            return early
    text, encoding, misdeclared = _decode(data)
    if misdeclared and not text:
        return Prolog("encoding", encoding=encoding)
    at = 0
    while found := _MISC.match(text, at):
        at = found.end()
    line = text.count("\n", 0, at) + 1
    rest = text[at : at + 9]
    if not rest or rest.startswith(("<?", "<!--")) or (len(rest) < 9 and "<!DOCTYPE".startswith(rest.upper())):
        return Prolog("unfinished", line=line, encoding=encoding, misdeclared=misdeclared)
    if rest.upper() == "<!DOCTYPE":
        return Prolog("doctype", line=line, encoding=encoding, misdeclared=misdeclared)
    name = _NAME.match(text, at)
    if name:
        return Prolog("element", name[2], line, encoding, misdeclared)
    unfinished = not complete and rest[0] == "<" and not set(text[at + 1 :]) & set("<>")
    return Prolog("unfinished" if unfinished else "not-xml", line=line, encoding=encoding, misdeclared=misdeclared)


def _decode(data: bytes) -> tuple[str, str | None, bool]:
    """As text, the encoding that the file tells, and whether its declaration cannot be true.

    What does not decode is replaced, as only the markup matters here.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), encoding, False
    for pattern, encoding in _UNMARKED:
        if data.startswith(pattern):
            return data.decode(encoding, "replace"), encoding, False
    found = _DECLARATION.match(data[:1024].decode("latin-1"))
    if found is None:
        return data.decode("latin-1"), None, False
    declared = found[1].lower()
    if _WIDE.match(declared):
        return data.decode("latin-1"), "utf-8", True
    try:
        return data.decode(declared, "replace"), declared, False
    except LookupError:
        return "", declared, True
