"""Bodies of requests as usage events: CloudEvents in all three modes, NDJSON, plain records, OTLP traces."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from meterbridge.adapters.formats import BadUsage, ContentRefused, NoUsage, parse_json, read_records
from meterbridge.adapters.formats.columnar.reading import ARRAY, LINES, EventColumns, read_columns
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.events import UsageEvent

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
JSON: Final = "application/json"
NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
PROTOBUF: Final = ("application/x-protobuf", "application/protobuf")
_CE: Final = "ce-"
_LINE_BYTES_MAX: Final = 1 << 20
_COLUMNS_FROM: Final = 4_096
"""Smaller bodies hold so few events that it is faster to read them one by one."""
_JSON_SPACE: Final = b" \t\n\r"


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
    """The events of a request.

    Attributes:
        items: events and refusals, in their order.
        single: it holds one event by its nature, so a refusal of it is a refusal of the request.
        indexes: the places of the items in the request, by which answers name them.
        columns: events that were read at once, beside the items.
    """

    items: list[Item]
    single: bool
    indexes: Sequence[int]
    columns: EventColumns | None = None

    def __len__(self) -> int:
        return len(self.items) + (0 if self.columns is None else len(self.columns))


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
        return _several(body, ARRAY, source, events_max)
    if media_type in NDJSON:
        return _several(body, LINES, source, events_max)
    if media_type == STRUCTURED:
        return _one(_parsed(body), source)
    if f"{_CE}specversion" in headers:
        return _one(_binary(body, media_type, headers), source)
    if media_type == JSON:
        if body.lstrip(_JSON_SPACE).startswith(b"["):
            return _several(body, ARRAY, source, events_max)
        return _one(_parsed(body), source)
    raise UnknownMediaType(
        f"content type {media_type!r} is not read here; send {STRUCTURED}, {BATCHED}, {JSON} or {NDJSON[0]}",
        media_type,
    )


def _one(record: object, source: str) -> Body:
    return Body([_item(0, record, source)], True, (0,))


def _listed(items: list[Item]) -> Body:
    return Body(items, False, range(len(items)))


def _several(body: bytes, mode: int, source: str, events_max: int) -> Body:
    if len(body) >= _COLUMNS_FROM:
        found = _in_columns(body, mode, source, events_max)
        if found is not None:
            return found
    records = _array(body) if mode == ARRAY else _lines(body)
    return _listed(_items(records, source, events_max))


def _in_columns(body: bytes, mode: int, source: str, events_max: int) -> Body | None:
    """Read at once what can be, and the rest one by one; None where the whole body takes the long way."""
    columns = read_columns(body, mode, source)
    if columns is None or columns.count > events_max:
        return None
    items: list[Item] = []
    indexes: list[int] = columns.left.tolist()
    for index in indexes:
        record = columns.record(index)
        if mode == LINES:
            items.append(_item(index, _line(record), source))
            continue
        try:
            items.append(_item(index, parse_json(b"[%b]" % record)[0], source))  # as deep as it stands
        except BadUsage:
            return None
    return Body(items, False, indexes, columns)


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
    return _listed(_items(_spans(export), source, events_max, skip_silent=True))


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
        if line.strip():
            yield _line(line)


def _line(line: bytes) -> object:
    """Return the record of a line, or what is wrong with it."""
    if len(line) > _LINE_BYTES_MAX:
        return BadUsage(f"a line is longer than {_LINE_BYTES_MAX} bytes", None)
    try:
        found: object = parse_json(line)
    except BadUsage as error:
        return error
    return found


def _binary(body: bytes, media_type: str, headers: Mapping[str, str]) -> dict[str, object]:
    """Return the structured form of a binary-mode event; header values are percent-encoded UTF-8."""
    event: dict[str, object] = {
        name.removeprefix(_CE): unquote(value) for name, value in headers.items() if name.startswith(_CE)
    }
    if media_type:
        event["datacontenttype"] = media_type
    event["data"] = _parsed(body)
    return event
