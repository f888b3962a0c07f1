"""What a skeleton means: where in its records the identity, the time, the payer and the counts stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from meterbridge.adapters.formats import litellm, records, usage_objects
from meterbridge.adapters.formats.cloudevents import VERSION, is_envelope
from meterbridge.adapters.formats.columnar.counting import COUNTERS, KEPT_TEXTS, Cannot, Path
from meterbridge.adapters.formats.content import CONTENT_KEYS
from meterbridge.adapters.formats.errors import BadUsage
from meterbridge.adapters.formats.times import PER_SECOND, TimeUnit

TEXT, NUMBER, NULL, OTHER = "s", "i", "n", "o"
_OBJECTS: Final = frozenset(
    (
        *("prompt_tokens_details", "completion_tokens_details", "input_tokens_details"),
        *("output_tokens_details", "cache_write_tokens_details", "cache_creation", "server_tool_use"),
    )
)
"""Keys of usage objects that hold objects; all others hold counts."""
_ENVELOPE_TEXTS: Final = ("specversion", "id", "source", "type")


@dataclass(frozen=True, slots=True)
class Node:
    """An object of a record: its keys, the slots of its scalars, and the objects inside.

    Attributes:
        kinds: of each key: a text, a number, null, or something else.
        slots: of each key that holds a scalar: the how many-th value of the record it is.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    inside: dict[str, Node] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """Where things stand in all records of one skeleton; slots count a record's values.

    Attributes:
        equal: texts that must be as given, by slot.
        media_type: slot of a CloudEvent's `datacontenttype`.
        filled: slots of texts that are only looked at.
        identity, source, payer, model: slots of texts; those that may be missing are None.
        time: slot, and the unit of a number; None for an ISO 8601 text.
        kept: slots of texts that go into the details, by the name that they have there.
        shape: of the usage.
        counts: slots by path in the usage object.
        keys: of the objects in the usage object, by path.
    """

    identity: int
    payer: int
    time: tuple[int, TimeUnit | None]
    shape: str
    source: int | None = None
    equal: dict[int, str] = field(default_factory=dict)
    media_type: int | None = None
    filled: list[int] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    counts: dict[Path, int] = field(default_factory=dict)
    keys: dict[Path, frozenset[str]] = field(default_factory=dict)


def plan_of(record: Mapping[str, object]) -> Plan:
    """Work out the plan of a record and of all others with its skeleton.

    Raises:
        Cannot: where it takes the ordinary reader.
    """
    top = _node(record, iter(range(1 << 16)))
    if "resourceSpans" in record:
        raise Cannot
    if not is_envelope(record):
        plan = _bare_plan(record, top, _identity(top), _time(top), _payer(top))
        plan.source = _optional_text(top, "source")
        return plan
    return _envelope_plan(record, top)


def _node(value: Mapping[str, object], slots: Iterator[int]) -> Node:
    """Number the scalars of an object in the order in which they stand."""
    node = Node()
    for key, inner in value.items():
        if isinstance(inner, dict):
            node.kinds[key] = OTHER
            node.inside[key] = _node(inner, slots)
        elif isinstance(inner, list):
            node.kinds[key] = OTHER
            _pass_over(inner, slots)
        else:
            kind = TEXT if type(inner) is str else NUMBER if type(inner) is int else OTHER
            node.kinds[key] = NULL if inner is None else kind
            node.slots[key] = next(slots)
    return node


def _pass_over(value: object, slots: Iterator[int]) -> None:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _pass_over(inner, slots)
    else:
        next(slots)


def _envelope_plan(event: Mapping[str, object], top: Node) -> Plan:
    if "data_base64" in top.kinds or "data" not in top.inside:
        raise Cannot
    for name in _ENVELOPE_TEXTS:
        if top.kinds.get(name) != TEXT:
            raise Cannot
    data, inner = event["data"], top.inside["data"]
    if not isinstance(data, Mapping):
        raise Cannot
    timed = top.kinds.get("time", NULL)
    time = _time(inner) if timed == NULL else (_text(top, "time"), None)
    subject = _optional_text(top, "subject")
    plan = _bare_plan(data, inner, top.slots["id"], time, _payer(inner) if subject is None else subject)
    plan.source = top.slots["source"]
    plan.equal[top.slots["specversion"]] = VERSION
    plan.filled.append(top.slots["type"])
    plan.media_type = _optional_text(top, "datacontenttype")
    return plan


def _bare_plan(
    record: Mapping[str, object], node: Node, identity: int, time: tuple[int, TimeUnit | None], payer: int
) -> Plan:
    if not CONTENT_KEYS.isdisjoint(record) or litellm.is_record(record):
        raise Cannot
    if "attributes" in record and "usage" not in record:
        raise Cannot
    holders = [key for key in records.USAGE_KEYS if key in record and record[key] is not None]
    if len(holders) != 1 or holders[0] not in node.inside:
        raise Cannot
    usage, counted = record[holders[0]], node.inside[holders[0]]
    if not isinstance(usage, Mapping):
        raise Cannot
    plan = Plan(identity=identity, payer=payer, time=time, shape=_shape(usage))
    for name in (*records.MODEL_KEYS, *records.KEPT_KEYS):
        slot = _optional_text(node, name)
        under = "model" if name in records.MODEL_KEYS else name
        if slot is not None and under not in plan.kept:
            plan.kept[under] = slot
    _place_counts(plan, counted, ())
    return plan


def _shape(usage: Mapping[str, object]) -> str:
    """Tell the shape where it follows from the keys alone, and not from what they hold."""
    if not usage_objects.shape_follows_from_keys(usage):
        raise Cannot
    try:
        shape = usage_objects.detect_shape(usage).name
    except BadUsage as error:
        raise Cannot from error
    if shape not in COUNTERS:
        raise Cannot
    return shape


def _place_counts(plan: Plan, node: Node, path: Path) -> None:
    plan.keys[path] = frozenset(node.kinds)
    kept = KEPT_TEXTS.get(plan.shape, {}) if not path else {}
    for key, kind in node.kinds.items():
        if key in node.inside and key in _OBJECTS:
            _place_counts(plan, node.inside[key], (*path, key))
        elif key in kept:
            slot = _optional_text(node, key)
            if slot is not None and kept[key] in plan.kept:
                raise Cannot  # the record says it, too
            if slot is not None:
                plan.kept[kept[key]] = slot
        elif kind == NUMBER and key not in _OBJECTS:
            plan.counts[(*path, key)] = node.slots[key]
        elif kind != NULL:
            raise Cannot


def _text(node: Node, key: str) -> int:
    if node.kinds.get(key) != TEXT:
        raise Cannot
    return node.slots[key]


def _optional_text(node: Node, key: str) -> int | None:
    """Return the slot of a text, None where it is missing or null."""
    return None if node.kinds.get(key, NULL) == NULL else _text(node, key)


def _first_text(node: Node, keys: tuple[str, ...]) -> int:
    for key in keys:
        if node.kinds.get(key, NULL) != NULL:
            return _text(node, key)
    raise Cannot


def _identity(node: Node) -> int:
    return _first_text(node, records.ID_KEYS)


def _payer(node: Node) -> int:
    return _first_text(node, records.PAYER_KEYS)


def _time(node: Node) -> tuple[int, TimeUnit | None]:
    """Return where the time stands; see `records.time_of`."""
    for key in records.ISO_TIME_KEYS:
        kind = node.kinds.get(key, NULL)
        if kind == TEXT:
            return node.slots[key], None
        if kind != NULL and key in records.SECOND_KEYS:
            return _number(node, key), TimeUnit.S
    for key, unit in records.UNIT_KEYS.items():
        if node.kinds.get(key, NULL) != NULL:
            return _number(node, key), unit
    raise Cannot


def _number(node: Node, key: str) -> int:
    if node.kinds[key] != NUMBER:
        raise Cannot
    return node.slots[key]


def millis_per(unit: TimeUnit) -> tuple[int, int]:
    """Return by what a number of this unit is multiplied and divided to be milliseconds."""
    return (1000 // PER_SECOND[unit], 1) if PER_SECOND[unit] <= 1000 else (1, PER_SECOND[unit] // 1000)
