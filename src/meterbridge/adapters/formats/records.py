"""Records: JSON objects that hold usage of any shape, and the identity of the call beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from meterbridge.adapters.formats import litellm, opentelemetry
from meterbridge.adapters.formats.calls import Call
from meterbridge.adapters.formats.cloudevents import Envelope, is_envelope
from meterbridge.adapters.formats.content import refuse_content
from meterbridge.adapters.formats.errors import AmbiguousShape, UnknownShape
from meterbridge.adapters.formats.reading import Reading
from meterbridge.adapters.formats.times import Millis, TimeUnit, epoch_millis, iso_millis, seconds_millis
from meterbridge.adapters.formats.usage_objects import detect_shape, read_usage_object
from meterbridge.adapters.formats.values import optional_text, parse_json, text
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
KEPT_KEYS: Final = frozenset(("provider", "service_tier", "region"))


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
    call = _bare_call(record)
    if call.id is None:
        call.id = _first_text(record, ID_KEYS)
    if call.source is None:
        call.source = optional_text("source", record.get("source"))
    _add_time_and_payer(call, record)
    return call


def _enveloped(event: Mapping[str, object]) -> Call:
    """Read what is inside; where both say something of its identity, the envelope has it."""
    envelope = Envelope(event)
    call = _bare_call(envelope.data)
    call.id, call.source = envelope.id, envelope.source
    call.occurred_at = call.occurred_at if envelope.occurred_at is None else envelope.occurred_at
    call.payer = envelope.payer or call.payer
    _add_time_and_payer(call, envelope.data)
    return call


def _add_time_and_payer(call: Call, record: Mapping[str, object]) -> None:
    if call.occurred_at is None:
        call.occurred_at = time_of(record)
    if call.payer is None:
        call.payer = _first_text(record, PAYER_KEYS)


def _bare_call(record: Mapping[str, object]) -> Call:
    """Read the usage of a record, and what its shape says of the call by names of its own."""
    refuse_content(record)
    if litellm.is_record(record):
        return litellm.call(record)
    if "attributes" in record and "usage" not in record:
        refuse_content(opentelemetry.flat_attributes(record["attributes"]))
        return opentelemetry.span_call(record)
    call = Call(_find_reading(record))
    if call.reading.shape == opentelemetry.SHAPE:
        call.id = optional_text(opentelemetry.RESPONSE_ID, record.get(opentelemetry.RESPONSE_ID))
        call.payer = opentelemetry.payer_of(record)
    model = _first_text(record, MODEL_KEYS)
    if model is not None:
        call.details["model"] = model
    for key in KEPT_KEYS & record.keys():
        if record[key] is not None and record[key] != "":
            call.details[key] = text(key, record[key])
    return call


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
            return seconds_millis(key, value)
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
    return shape.read(flat)
