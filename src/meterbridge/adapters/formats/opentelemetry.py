"""OpenTelemetry GenAI spans: attributes of semantic conventions 1.41, flat or as OTLP JSON writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from meterbridge.adapters.formats.calls import Call
from meterbridge.adapters.formats.errors import BadUsage, NoUsage
from meterbridge.adapters.formats.reading import Reading, reading, rest_of
from meterbridge.adapters.formats.rows import snippet
from meterbridge.adapters.formats.times import TimeUnit, epoch_millis
from meterbridge.adapters.formats.values import optional_text, require_placed, text, tokens

SHAPE: Final = "opentelemetry.gen_ai"
PREFIX: Final = "gen_ai.usage."
INPUT: Final = "gen_ai.usage.input_tokens"
OUTPUT: Final = "gen_ai.usage.output_tokens"
CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
KEYS: Final = frozenset((INPUT, OUTPUT, CACHE_READ, CACHE_CREATION, REASONING))
RESPONSE_ID: Final = "gen_ai.response.id"
OPERATION: Final = "gen_ai.operation.name"
SUMMING_OPERATIONS: Final = frozenset(("invoke_agent", "create_agent", "invoke_workflow", "execute_tool"))
"""Spans around model calls: the usage on them is that of the calls below, which have spans of their own."""
KEPT: Final = {"provider": "gen_ai.provider.name", "operation": OPERATION}
PAYER_KEYS: Final = ("meterbridge.payer", "enduser.id")
_SCALARS: Final = ("stringValue", "intValue", "doubleValue", "boolValue")


def read(attributes: Mapping[str, object]) -> Reading:
    """Read a span's flat attributes. Input includes the cache's tokens, output includes reasoning.

    Raises:
        NoUsage: when there is no usage attribute.
        Contradiction: when a part exceeds its whole.
        BadUsage: for a broken count, usage under another name, or a span that only sums up others.
    """
    if not KEYS & attributes.keys():
        raise NoUsage("the attributes hold no gen_ai.usage.input_tokens or output_tokens", None)
    operation = attributes.get(OPERATION)
    if operation in SUMMING_OPERATIONS:
        reason = f"a span of operation {operation!r} sums up the model calls below it; count those"
        raise BadUsage(reason, operation)
    usage = {key: value for key, value in attributes.items() if key.startswith(PREFIX)}
    require_placed(usage, KEYS, "the span")
    whole, answer = tokens(usage, INPUT), tokens(usage, OUTPUT)
    cached, written, reasoning = (
        tokens(usage, CACHE_READ),
        tokens(usage, CACHE_CREATION),
        tokens(usage, REASONING),
    )
    counts = {
        "input": rest_of(INPUT, whole, cached + written, "cached tokens"),
        "cache_read": cached,
        "cache_write": written,
        "output": rest_of(OUTPUT, answer, reasoning, "reasoning tokens"),
        "reasoning": reasoning,
    }
    return reading(SHAPE, counts, whole + answer, _details(attributes))


def _details(attributes: Mapping[str, object]) -> dict[str, object]:
    model = attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model")
    found = {"model": model, **{name: attributes.get(key) for name, key in KEPT.items()}}
    return {name: value for name, raw in found.items() if (value := optional_text(name, raw)) is not None}


def flat_attributes(value: object) -> dict[str, object]:
    """Return attributes by name; OTLP JSON lists them as `{"key": …, "value": {"intValue": "12"}}`.

    Raises:
        BadUsage: when they are neither an object nor such a list.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, list):
        raise BadUsage(f"attributes are {snippet(value)}; they must be an object or a list", value)
    flat: dict[str, object] = {}
    for item in value:
        if not isinstance(item, Mapping) or not isinstance(item.get("key"), str):
            raise BadUsage(f"an attribute is {snippet(item)}; it must be a key and a value", item)
        key, held = item["key"], item.get("value")
        if key in flat:
            raise BadUsage(f"attribute {key!r} stands twice; which of them counts?", key)
        scalars = held if isinstance(held, Mapping) else {}
        flat[key] = next((scalars[kind] for kind in _SCALARS if kind in scalars), held)
    return flat


def span_call(span: Mapping[str, object], resource: Mapping[str, object] | None = None) -> Call:
    """Read one span of OTLP JSON. Its id is the response's, so that a call traced twice is one event.

    Raises:
        NoUsage, Contradiction, BadUsage: see `read`.
    """
    attributes = flat_attributes(span.get("attributes") or [])
    ids = (optional_text(key, span.get(key)) for key in ("traceId", "spanId"))
    own_id = ":".join(part for part in ids if part) or None
    started = span.get("startTimeUnixNano")
    return Call(
        reading=read(attributes),
        id=optional_text(RESPONSE_ID, attributes.get(RESPONSE_ID)) or own_id,
        occurred_at=None if started is None else epoch_millis("startTimeUnixNano", started, TimeUnit.NS),
        payer=payer_of(attributes),
        source=optional_text("service.name", (resource or {}).get("service.name")),
    )


def payer_of(attributes: Mapping[str, object]) -> str | None:
    """Return who pays, where an attribute says so."""
    return next((text(key, attributes[key]) for key in PAYER_KEYS if attributes.get(key)), None)


def spans(export: Mapping[str, object]) -> Iterator[tuple[Mapping[str, object], dict[str, object]]]:
    """Yield (span, resource attributes) of an OTLP trace export, model calls only.

    Passed over: spans without usage, and spans whose usage sums up that of others (`invoke_agent`, …).
    """
    for resource_spans in _objects(export, "resourceSpans"):
        resource = resource_spans.get("resource")
        held = resource.get("attributes") if isinstance(resource, Mapping) else None
        resource_attributes = flat_attributes(held or [])
        for scope_spans in _objects(resource_spans, "scopeSpans"):
            for span in _objects(scope_spans, "spans"):
                if is_model_call(flat_attributes(span.get("attributes") or [])):
                    yield span, resource_attributes


def is_model_call(attributes: Mapping[str, object]) -> bool:
    """Tell whether a span reports usage of its own."""
    has_usage = any(key.startswith(PREFIX) for key in attributes)
    return has_usage and attributes.get(OPERATION) not in SUMMING_OPERATIONS


def _objects(holder: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise BadUsage(f"{key} is {snippet(value)}; it must be a list of objects", value)
    return value
