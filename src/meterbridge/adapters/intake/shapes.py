"""Bodies of requests as usage events: CloudEvents in all three modes, NDJSON, plain records, OTLP traces."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from meterbridge.adapters.formats import BadUsage, ContentRefused, NoUsage, parse_json, read_records
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.events import UsageEvent

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
JSON: Final = "application/json"
NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
PROTOBUF: Final = ("application/x-protobuf", "application/protobuf")
_CE: Final = "ce-"
_LINE_BYTES_MAX: Final = 1 << 20


class BadBody(MeterbridgeError):
    """The body as a whole cannot be read."""


class UnknownMediaType(BadBody):
    """No reader knows this content type."""


class TooManyEvents(BadBody):
    """The request holds more events than one request may."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One event that is not taken.

    Attributes:
        index: its place in the request, from 0.
        slug: what kind of problem, such as `content-refused`, `conflict`, `unusable`.
        id: the event's id, where it could be read.
    """

    index: int
    slug: str
    reason: str
    id: str | None = None


Item = UsageEvent | Refused


@dataclass(frozen=True, slots=True)
class Body:
    """The events of a request in their order; the place in `items` is the index that answers name.

    Attributes:
        single: it holds one event by its nature, so a refusal of it is a refusal of the request.
    """

    items: list[Item]
    single: bool


def read_body(body: bytes, media_type: str, headers: Mapping[str, str], source: str, events_max: int) -> Body:
    """Read a request for `POST /v1/events`.

    Args:
        body: unpacked.
        media_type: lower-case, without parameters.
        headers: lower-case names; those of CloudEvents' binary mode begin with `ce-`.
        source: who reports what names no source itself.
        events_max: most events of one request.

    Raises:
        BadBody: when nothing of it can be read; bad events inside become `Refused`.
    """
    if media_type == BATCHED:
        return Body(_items(_array(body), source, events_max), single=False)
    if media_type in NDJSON:
        return Body(_items(_lines(body), source, events_max), single=False)
    if media_type == STRUCTURED:
        return Body([_item(0, _parsed(body), source)], single=True)
    if f"{_CE}specversion" in headers:
        return Body([_item(0, _binary(body, media_type, headers), source)], single=True)
    if media_type == JSON:
        found = _parsed(body)
        if isinstance(found, list):
            return Body(_items(iter(found), source, events_max), single=False)
        return Body([_item(0, found, source)], single=True)
    raise UnknownMediaType(
        f"content type {media_type!r} is not read here; send {STRUCTURED}, {BATCHED}, {JSON} or {NDJSON[0]}",
        media_type,
    )


def read_traces(body: bytes, media_type: str, source: str, events_max: int) -> Body:
    """Read an OTLP trace export, protobuf or JSON; spans that say nothing of usage are left out.

    Raises:
        BadBody: when it is no export.
    """
    if media_type in PROTOBUF:
        export = _otlp_object(body)
    elif media_type == JSON:
        found = _parsed(body)
        export = found if isinstance(found, dict) else {"resourceSpans": None}
        if not isinstance(export.get("resourceSpans", []), list):
            raise BadBody("the body is no OTLP trace export: it has no array `resourceSpans`", None)
    else:
        raise UnknownMediaType(
            f"content type {media_type!r} is no OTLP; send {PROTOBUF[0]} or {JSON}", media_type
        )
    return Body(_items(_spans(export), source, events_max, skip_silent=True), single=False)


def _otlp_object(body: bytes) -> dict[str, Any]:
    """Return OTLP's JSON form of a protobuf export, in which 64-bit numbers are texts and lose nothing."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise BadBody(f"the body is no OTLP trace export: {error}", None) from error
    export = MessageToDict(request)
    for scope in _scopes(export):
        for span in _children(scope, "spans"):
            for key in (
                "traceId",
                "spanId",
                "parentSpanId",
            ):  # OTLP's JSON has them in hex, protobuf's in base64
                if isinstance(span.get(key), str):
                    span[key] = b64decode(span[key]).hex()
    return export


def _scopes(export: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in _children(export, "resourceSpans"):
        yield from _children(resource, "scopeSpans")


def _spans(export: dict[str, Any]) -> Iterator[object]:
    """Yield each span as an export of its own, so that a bad one is refused alone."""
    for resource in _children(export, "resourceSpans"):
        around = {"resource": resource.get("resource") or {}}
        for scope in _children(resource, "scopeSpans"):
            for span in _children(scope, "spans"):
                yield {"resourceSpans": [{**around, "scopeSpans": [{"spans": [span]}]}]}


def _children(parent: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    found = parent.get(key) or []
    if not isinstance(found, list) or not all(isinstance(child, dict) for child in found):
        raise BadBody(f"the body is no OTLP trace export: {key} is no array of objects", None)
    yield from found


def _items(
    records: Iterator[object], source: str, events_max: int, *, skip_silent: bool = False
) -> list[Item]:
    items: list[Item] = []
    for record in records:
        if len(items) >= events_max:
            raise TooManyEvents(
                f"a request holds at most {events_max} events; send them in several", events_max
            )
        item = _item(len(items), record, source)
        if item is not None and not (skip_silent and item is _SILENT):
            items.append(item)
    return items


_SILENT: Final = Refused(-1, "no-usage", "it reports no usage")


def _item(index: int, record: object, source: str) -> Item:
    if isinstance(record, MeterbridgeError):
        return Refused(index, "unusable", str(record))
    if not isinstance(record, dict):
        return Refused(index, "unusable", "an event must be a JSON object")
    try:
        events = list(read_records(record, source))
    except ContentRefused as error:
        return Refused(index, "content-refused", str(error), _id_of(record))
    except NoUsage as error:
        return (
            _SILENT if "resourceSpans" in record else Refused(index, "no-usage", str(error), _id_of(record))
        )
    except MeterbridgeError as error:
        return Refused(index, "unusable", str(error), _id_of(record))
    if not events:
        return _SILENT
    if len(events) > 1:
        return Refused(index, "unusable", "it holds several events; send traces to the OTLP address")
    return events[0]


def _id_of(record: dict[str, Any]) -> str | None:
    found = record.get("id")
    return found if isinstance(found, str) else None


def _parsed(body: bytes) -> object:
    try:
        found: object = parse_json(body)
    except BadUsage as error:
        raise BadBody(str(error), None) from error
    return found


def _array(body: bytes) -> Iterator[object]:
    found = _parsed(body)
    if not isinstance(found, list):
        raise BadBody("a batch is a JSON array of events", None)
    return iter(found)


def _lines(body: bytes) -> Iterator[object]:
    """Yield one record a line that is not blank; a broken line is yielded as its error."""
    for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line.strip():
            continue
        if len(line) > _LINE_BYTES_MAX:
            yield BadUsage(f"a line is longer than {_LINE_BYTES_MAX} bytes", None)
            continue
        try:
            yield parse_json(line)
        except BadUsage as error:
            yield error


def _binary(body: bytes, media_type: str, headers: Mapping[str, str]) -> dict[str, object]:
    """Return the structured form of a binary-mode event; header values are percent-encoded UTF-8."""
    event: dict[str, object] = {
        name.removeprefix(_CE): unquote(value) for name, value in headers.items() if name.startswith(_CE)
    }
    if media_type:
        event["datacontenttype"] = media_type
    event["data"] = _parsed(body)
    return event
