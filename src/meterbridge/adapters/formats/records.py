"""Records: JSON objects that hold usage of any shape, and the identity of the call beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from meterbridge.adapters.formats import litellm, opentelemetry
from meterbridge.adapters.formats.calls import Call
from meterbridge.adapters.formats.cloudevents import Envelope, is_envelope
from meterbridge.adapters.formats.content import refuse_content
from meterbridge.adapters.formats.errors import AmbiguousShape, BadUsage, UnknownShape
from meterbridge.adapters.formats.reading import Reading
from meterbridge.adapters.formats.times import Millis, TimeUnit, epoch_millis, iso_millis
from meterbridge.adapters.formats.usage_objects import detect_shape, read_usage_object
from meterbridge.adapters.formats.values import optional_text, parse_json
from meterbridge.domain.events import UsageEvent

ID_KEYS: Final = ("id", "event_id", "request_id", "requestId", "responseId", "response_id", "call_id")
PAYER_KEYS: Final = ("payer", "customer", "customer_id", "subject")
MODEL_KEYS: Final = ("model", "modelVersion", "model_version")
USAGE_KEYS: Final = ("usage", "usageMetadata", "usage_metadata")
ISO_TIME_KEYS: Final = (
    *("time", "timestamp", "occurred_at", "created_at", "created", "createTime", "create_time"),
    *("startTime", "start_time"),
)
SECOND_KEYS: Final = frozenset(("created", "created_at"))
"""OpenAI writes these as seconds since 1970; a bare number under any other of the keys above has no unit."""
UNIT_KEYS: Final = {
    f"{name}_{unit.value}": unit
    for name in ("time", "timestamp", "created")
    for unit in (TimeUnit.S, TimeUnit.MS, TimeUnit.US, TimeUnit.NS)
}
KEPT_KEYS: Final = ("provider", "service_tier", "region")


def read_records(record: Mapping[str, object], source: str) -> Iterator[UsageEvent]:
    """Read the events of one JSON object: one, or as many as an OTLP trace export holds.

    Args:
        record: a CloudEvent, a spend-log row of LiteLLM or its callback's payload, an OTLP export or span, an
            answer of a provider (without its content), or any object with an id, a time and usage.
        source: who reports what does not say so itself.

    Raises:
        BadUsage: saying what is missing, broken, contradictory or ambiguous.
        ContentRefused: when it holds a prompt or an answer.
    """
    for call in calls_of(record):
        yield call.event(source)


def calls_of(record: Mapping[str, object]) -> Iterator[Call]:
    """Read the calls of one JSON object, also where it lacks an id or a time; see `read_records`."""
    if "resourceSpans" in record:
        for span, resource in opentelemetry.spans(record):
            refuse_content(opentelemetry.flat_attributes(span.get("attributes") or []))
            yield opentelemetry.span_call(span, resource)
    else:
        yield call_of(record)


def call_of(record: Mapping[str, object]) -> Call:
    """Read the one call of a JSON object; see `read_records`."""
    if is_envelope(record):
        return _enveloped(record)
    refuse_content(record)
    if litellm.is_record(record):
        return litellm.call(record)
    if "attributes" in record and "usage" not in record:
        refuse_content(opentelemetry.flat_attributes(record["attributes"]))
        return _completed(record, opentelemetry.span_call(record))
    reading = _find_reading(record)
    details = {key: value for key in KEPT_KEYS if (value := optional_text(key, record.get(key))) is not None}
    model = _first_text(record, MODEL_KEYS)
    if model is not None:
        details["model"] = model
    return _completed(record, Call(reading, details=details))


def _enveloped(event: Mapping[str, object]) -> Call:
    envelope = Envelope(event)
    inner = call_of(envelope.data)
    return replace(
        inner,
        id=envelope.id,
        source=envelope.source,
        occurred_at=inner.occurred_at if envelope.occurred_at is None else envelope.occurred_at,
        payer=envelope.payer or inner.payer,
    )


def _completed(record: Mapping[str, object], call: Call) -> Call:
    """Add what the record itself says of id, time and payer; the call's own comes first."""
    own_id = _first_text(record, (*ID_KEYS, "gen_ai.response.id"))
    return replace(
        call,
        id=call.id if call.id is not None else own_id,
        occurred_at=call.occurred_at if call.occurred_at is not None else time_of(record),
        payer=call.payer or _first_text(record, PAYER_KEYS) or opentelemetry.payer_of(record),
        source=call.source or optional_text("source", record.get("source")),
    )


def _first_text(record: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if record.get(key) is not None and record[key] != "":
            return optional_text(key, record[key])
    return None


def time_of(record: Mapping[str, object]) -> int | None:
    """Return the time of a record in milliseconds since 1970, or None where none with a unit is found.

    Raises:
        BadUsage: when it is broken or out of range.
    """
    for key in ISO_TIME_KEYS:
        value = record.get(key)
        if isinstance(value, str | Millis) and value != "":
            return iso_millis(key, value)
        if value is not None and value != "" and key in SECOND_KEYS:
            return epoch_millis(key, value, TimeUnit.S)
    for key, unit in UNIT_KEYS.items():
        if record.get(key) is not None:
            return epoch_millis(key, record[key], unit)
    return None


def _find_reading(record: Mapping[str, object]) -> Reading:
    """Read the usage that stands under a key of its own, or flat beside the rest."""
    holders = [key for key in USAGE_KEYS if key in record]
    filled = [key for key in holders if record[key] is not None]
    if len(filled) > 1:
        raise AmbiguousShape(f"the record has both {filled[0]} and {filled[1]}; which of them counts?", None)
    if holders:
        usage = record[(filled or holders)[0]]
        return read_usage_object(parse_json(usage) if isinstance(usage, str) else usage)
    return _flat_reading(record)


def _flat_reading(record: Mapping[str, object]) -> Reading:
    """Read usage keys beside id and time; another key that speaks of tokens is not passed over."""
    try:
        shape = detect_shape(record)
    except UnknownShape as error:
        raise UnknownShape(f"{error}; a column map says what they mean", error.value) from error
    usage = {
        key: value
        for key, value in record.items()
        if key in shape.keys
        or (isinstance(key, str) and "token" in key.lower() and not key.startswith("max_"))
    }
    flat = {**record, **usage} if shape.name == opentelemetry.SHAPE else usage
    if not isinstance(flat, Mapping):
        raise BadUsage("usage must be an object", flat)
    return shape.read(flat)
