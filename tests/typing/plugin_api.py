"""What a plugin author's type checker sees; mypy reads this file, nothing runs it.

A line with `type: ignore` is a mistake that must be found: an ignore that is not needed is an error here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, assert_type

from dropmill.api import (
    Accepts,
    AgentEvent,
    Attachment,
    BadInput,
    ConvertContext,
    Converter,
    ConverterSpec,
    Decision,
    Delivered,
    Evict,
    Head,
    Level,
    Magic,
    Match,
    Offer,
    Outcome,
    Outgoing,
    Pause,
    PolicySpec,
    QueuePolicy,
    QueueView,
    Reject,
    Rejected,
    Report,
    Retry,
    RetryLater,
    Source,
    Transport,
    TransportCaps,
    TransportContext,
    TransportSpec,
    Unavailable,
    hookimpl,
)

# --- a converter ---------------------------------------------------------------------------------------------------------


class AcmeConverter:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def sniff(self, head: Head) -> Match | None:
        assert_type(head.data, bytes)
        assert_type(head.complete, bool)
        return Match(Level.CERTAIN, "the header names it") if head.data.startswith(b"ACME") else None

    def is_complete(self, source: Source) -> bool:
        return source.size > 0

    def convert(self, source: Source, context: ConvertContext) -> Iterator[Report]:
        with source.open() as file:
            assert_type(file, BinaryIO)
            first = file.readline()
        if not first:
            raise BadInput("ACME-EMPTY", "the file is empty", line=1)
        if first == b"later\n":
            raise RetryLater("the licence server is away", after=5.0)
        context.warn("ACME-OLD", "an old version", line=2)
        context.progress(0.5)
        assert_type(source.local_path(), str)
        assert_type(source.parts[0].sha256, str)
        yield Report(
            {"unit": {"serial": "1"}}, steps=({"name": str(n)} for n in range(3)), key="1", fields={"serial": "1"}
        )
        yield Report(
            b"raw", media_type="text/plain", schema=None, attachments=[Attachment(id="1", name="log", data=b"")]
        )


converter: Converter = AcmeConverter({})


class Forgetful:
    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def convert(self, source: Source) -> Iterator[Report]:
        yield Report({})


not_a_converter: Converter = Forgetful({})  # type: ignore[assignment]

# --- a transport ---------------------------------------------------------------------------------------------------------


class AcmeTransport:
    def __init__(self, options: Mapping[str, Any]) -> None: ...

    async def open(self, context: TransportContext) -> None:
        assert_type(context.timeout, float)
        assert_type(context.base, str)

    async def probe(self) -> None:
        raise Unavailable("no route", after=30.0)

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for item in batch:
            assert_type(item.key, str)
            assert_type(await item.read(), bytes)
            assert_type(item.chunks(), AsyncIterator[bytes])
            outcomes.append(
                Delivered("id-1", details={"status": 201}) if item.size else Rejected("EMPTY", "no content")
            )
        outcomes.append(Retry("busy", after=3.0, code="HTTP-503"))
        return outcomes

    async def close(self) -> None: ...


transport: Transport = AcmeTransport({})


class Blocking:
    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]:
        return []


not_a_transport: Transport = Blocking({})  # type: ignore[assignment]


def exhaustive(outcome: Outcome) -> str:
    match outcome:
        case Delivered() | Rejected() | Retry():
            return "one of these"
        case other:
            return other.ref


# --- a policy ------------------------------------------------------------------------------------------------------------


class AcmePolicy:
    stops_intake = False

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def on_full(self, offer: Offer, view: QueueView) -> Decision:
        if offer.bytes > view.max_bytes:
            return Reject("larger than the queue")
        if view.evictable_items >= offer.items:
            return Evict(offer.items, offer.bytes)
        return Pause(resume_below=view.low_items)


policy: QueuePolicy = AcmePolicy({})

# --- registration --------------------------------------------------------------------------------------------------------


@hookimpl
def register_converters() -> Iterable[ConverterSpec]:
    return [
        ConverterSpec(
            "acme",
            "acme:AcmeConverter",
            Accepts(("*.acme",), magic=(Magic(b"ACME"), Magic(b"\0", offset=512)), max_bytes=1_000_000),
            options_schema={"type": "object"},
            atomic=False,
            timeout=5.0,
            summary="reads ACME's files",
        )
    ]


@hookimpl
def register_transports() -> Iterable[TransportSpec]:
    return [TransportSpec("acme", "acme:AcmeTransport", TransportCaps(max_batch=10, idempotency="key"))]


@hookimpl
def register_queue_policies() -> Iterable[PolicySpec]:
    return [PolicySpec("acme", "acme:AcmePolicy")]


@hookimpl
def on_event(event: AgentEvent) -> None:
    assert_type(event.data, Mapping[str, Any])


assert_type(register_converters(), Iterable[ConverterSpec])

# --- mistakes that a checker must find -----------------------------------------------------------------------------------

ConverterSpec("acme", "acme:AcmeConverter")  # type: ignore[call-arg]
ConverterSpec("acme", "acme:AcmeConverter", ("*.acme",))  # type: ignore[arg-type]
TransportCaps(idempotency="maybe")  # type: ignore[arg-type]
Report({}, [{"name": "steps by position"}])  # type: ignore[call-arg, misc, unused-ignore]
Report({}, fields={"serial": ["a", "list"]})  # type: ignore[dict-item]
BadInput("no message")  # type: ignore[call-arg]
Delivered("id").ref = "changed"  # type: ignore[misc]
EXACT: Outcome = Reject("a policy's word, not a transport's")  # type: ignore[assignment]
