"""The little of lxml that the JUnit reader uses, typed, with the parser's settings in one place.

The parser never loads a DTD, touches the network or expands an entity; a document that declares any is refused before it
gets here. Text of more than 10 MB is let through, as outputs of that size are real.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol, cast

from lxml import etree

from dropmill.api import BadInput

__all__ = ["CHUNK", "Element", "local_name", "read_events", "text_of"]

CHUNK = 262_144
"""Bytes given to the parser at a time, which is about what stands in memory of a file whose elements are freed."""

_WHERE = re.compile(r"(?:, line \d+)?, column \d+$")


class Element(Protocol):
    """An element of the tree under construction."""

    tag: object
    attrib: Mapping[str, str]
    text: str | None
    sourceline: int | None

    def get(self, key: str) -> str | None: ...
    def getparent(self) -> Element | None: ...
    def getroottree(self) -> Any: ...
    def itertext(self) -> Iterator[str]: ...
    def remove(self, child: Element) -> None: ...
    def clear(self, keep_tail: bool = False) -> None: ...
    def __iter__(self) -> Iterator[Element]: ...
    def __len__(self) -> int: ...


def read_events(
    start: bytes, stream: BinaryIO, names: tuple[str, ...], encoding: str | None
) -> Iterator[tuple[str, Element]]:
    """`start` and `end` of the elements of these local names, whatever their namespace, as the document is read.

    Args:
        start: What has been read of the stream already.
        stream: The rest.
        names: Of the elements to tell of.
        encoding: Overrides what the document declares.

    Raises:
        BadInput: Not well formed, with the line; only after the events before that place.
    """
    etree.clear_error_log()  # it is the thread's, and a refusal quotes it
    parser = etree.XMLPullParser(
        events=("start", "end"),
        tag=[f"{{*}}{name}" for name in names],
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,
    )
    try:
        chunk = start
        while chunk:
            parser.feed(chunk)
            chunk = stream.read(CHUNK)
            yield from cast("Iterator[tuple[str, Element]]", parser.read_events())
        parser.close()
    except etree.XMLSyntaxError as error:
        raise _refusal(error) from None


def _refusal(error: etree.XMLSyntaxError) -> BadInput:
    message, line = _WHERE.sub("", str(error.msg or error)), error.lineno or None
    log: Any = error.error_log
    last = log.last_error if line is None else None  # the parser went on, and failed at the end
    if last is not None:
        message, line = last.message, last.line
    return BadInput("XML-NOT-WELL-FORMED", message or "not well-formed XML", line=line)


def local_name(element: Element) -> str:
    """The element's name without its namespace; empty for comments and processing instructions."""
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    return tag.rpartition("}")[2] if tag[0] == "{" else tag


def text_of(element: Element) -> str | None:
    """All text within; None where there is only white space."""
    text = (element.text or "") if len(element) == 0 else "".join(element.itertext())
    return text if text.strip() else None
