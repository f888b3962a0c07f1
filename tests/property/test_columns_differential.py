"""Bodies read into columns against the same bodies read record by record: the same events and refusals."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterbridge.adapters.formats.columnar.reading import ARRAY, LINES, read_columns
from meterbridge.adapters.intake import shapes
from meterbridge.adapters.intake.columns import canonical
from meterbridge.adapters.intake.shapes import BadBody, Body
from meterbridge.domain.events import UsageEvent

MOST = 10_000
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "usage"
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
Found = tuple[list[tuple[int, object]], None] | tuple[None, str]


def one_by_one(body: bytes, mode: int) -> Found:
    """The oracle: the ordinary reader."""
    try:
        records = shapes._array(body) if mode == ARRAY else shapes._lines(body)
        return list(enumerate(shapes._items(records, "api", MOST))), None
    except BadBody as error:
        return None, str(error)


def told(body: Body) -> list[tuple[int, object]]:
    """All events and refusals of a body, by index."""
    found: list[tuple[int, object]] = list(zip(body.indexes, body.items, strict=True))
    columns = body.columns
    assert columns is not None
    for row in range(len(columns)):
        event = columns.event(row)
        text = f"{columns.details[columns.details_of[row]]}{columns.totals[row]}}}"
        assert text == canonical(event.details)  # what is hashed and stored
        found.append((int(columns.rows[row]), event))
    return sorted(found, key=lambda pair: pair[0])


def agree(body: bytes, mode: int) -> int:
    """Check that both ways agree; return how many events went the fast way."""
    expected, problem = one_by_one(body, mode)
    found = shapes._in_columns(body, mode, "api", MOST)
    if found is None:
        return 0  # the ordinary reader takes the whole body: nothing to compare
    assert problem is None, f"the ordinary reader refuses this body: {problem}"
    assert told(found) == expected
    return len(found.columns or ())


def in_array(records: list[Any], **style: Any) -> bytes:
    return json.dumps(records, **style).encode()


def in_lines(records: list[Any], **style: Any) -> bytes:
    return "\n".join(json.dumps(record, **style) for record in records).encode()


COUNTS = st.one_of(
    st.integers(0, 50),
    st.integers(0, 2**53 + 1),
    st.sampled_from([None, "12", "", -1, True, 1.0, 2**63, 10**18, 10**19, {}, [], "x"]),
)
SMALL = st.integers(0, 9)
TEXTS = st.one_of(
    st.sampled_from(
        ["acme", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "", "ü", "a\nb", "void", 'q"q', "\x7f"]
    ),
    st.text(max_size=8),
    st.none(),
    st.integers(0, 99),
)
TIMES = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(
        [
            *(
                "2026-01-31T12:00:00.1234567Z",
                "2026-02-30T00:00:00Z",
                "2026-01-31T12:00:60Z",
                "1969-12-31T23:59:59Z",
            ),
            *(
                "2024-02-29t23:59:59.9+05:30",
                "2026-01-31 12:00:00z",
                "2026-01-31T12:00",
                "2026-01-31",
                " 2026-01-31T12:00:00Z",
            ),
            *(
                "1970-01-01T00:30:00+01:00",
                "2026-01-31T12:00:00,5Z",
                "2026-01-31T12:00:00UTC",
                None,
                1_700_000_000,
                "x",
            ),
            *(
                "2026-01-31T12:00:00+24:00",
                "2026-01-31T12:00:00-00:00",
                "0000-01-01T00:00:00Z",
                "2026-13-01T00:00:00Z",
            ),
        ]
    ),
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of these keys."""
    return st.fixed_dictionaries({}, optional=fields)


DETAILS_IN = some(
    cached_tokens=COUNTS,
    cache_write_tokens=SMALL,
    audio_tokens=SMALL,
    text_tokens=COUNTS,
    image_tokens=SMALL,
    cache_write_tokens_details=some(ttl_30m_tokens=COUNTS),
    other=COUNTS,
)
DETAILS_OUT = some(
    reasoning_tokens=COUNTS,
    audio_tokens=SMALL,
    accepted_prediction_tokens=SMALL,
    text_tokens=COUNTS,
    rejected_prediction_tokens=COUNTS,
)
USAGE = st.one_of(
    some(
        prompt_tokens=COUNTS,
        completion_tokens=COUNTS,
        total_tokens=COUNTS,
        prompt_tokens_details=DETAILS_IN,
        completion_tokens_details=DETAILS_OUT,
        cost=COUNTS,
        reasoning_tokens=COUNTS,
    ),
    some(
        input_tokens=COUNTS,
        output_tokens=COUNTS,
        total_tokens=COUNTS,
        input_tokens_details=DETAILS_IN,
        output_tokens_details=DETAILS_OUT,
    ),
    some(
        input_tokens=COUNTS,
        output_tokens=COUNTS,
        cache_read_input_tokens=COUNTS,
        service_tier=TEXTS,
        speed=TEXTS,
        cache_creation_input_tokens=COUNTS,
        server_tool_use=some(web_search_requests=COUNTS),
        iterations=COUNTS,
        cache_creation=some(ephemeral_5m_input_tokens=COUNTS, ephemeral_1h_input_tokens=COUNTS),
        output_tokens_details=some(thinking_tokens=COUNTS),
    ),
    some(
        promptTokenCount=COUNTS,
        cachedContentTokenCount=SMALL,
        candidatesTokenCount=COUNTS,
        totalTokenCount=COUNTS,
        thoughtsTokenCount=SMALL,
        toolUsePromptTokenCount=SMALL,
        serviceTier=TEXTS,
        trafficType=TEXTS,
        promptTokensDetails=st.lists(
            some(modality=st.sampled_from(["TEXT", "IMAGE", "X"]), tokenCount=SMALL), max_size=2
        ),
    ),
    some(input=COUNTS, output=COUNTS, tool_requests=COUNTS, cache_read=COUNTS, total=COUNTS),
    st.none(),
)
BARE = some(
    id=TEXTS,
    request_id=TEXTS,
    source=TEXTS,
    time=TIMES,
    created=st.one_of(st.integers(), TIMES),
    time_ms=st.integers(),
    timestamp=TIMES,
    time_us=COUNTS,
    payer=TEXTS,
    customer=TEXTS,
    model=TEXTS,
    modelVersion=TEXTS,
    region=TEXTS,
    usage=USAGE,
    usageMetadata=USAGE,
    messages=TEXTS,
    spend=COUNTS,
    attributes=st.just({}),
    stream=st.booleans(),
)
ENVELOPE = some(
    specversion=st.sampled_from(["1.0", "1.0", "1.0", "0.3", 1]),
    id=TEXTS,
    source=TEXTS,
    type=TEXTS,
    subject=TEXTS,
    time=TIMES,
    datacontenttype=st.sampled_from(["application/json", "text/plain", "application/x+json", None]),
    data=BARE,
    data_base64=st.none(),
    dataschema=TEXTS,
)


def envelope(number: int, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"call-{number}",
        "source": "gateway",
        "type": "llm.call",
        "subject": "acme",
        "time": f"2026-01-{number % 28 + 1:02d}T12:00:00.{number:03d}Z",
        "data": data,
    }


@settings(max_examples=100, **PATIENT)
@given(
    st.lists(
        st.one_of(BARE, ENVELOPE, USAGE.map(lambda u: envelope(1, {"model": "m", "usage": u}))), max_size=6
    )
)
def test_any_records(records):
    agree(in_lines(records), LINES)
    agree(in_lines(records, separators=(",", ":"), ensure_ascii=False).replace(b"\n", b"\r\n"), LINES)
    agree(in_array(records, ensure_ascii=False), ARRAY)
    agree(in_array(records, indent=1), ARRAY)


@settings(max_examples=60, **PATIENT)
@given(st.lists(USAGE, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_records_of_one_skeleton_with_other_numbers(usages, dice):
    """The plan is made on the first record; all others must agree with it, whatever they hold."""

    def varied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: varied(inner) for key, inner in value.items()}
        if type(value) is int:
            return dice.choice((value, 0, 1, dice.randrange(10**19), dice.randrange(40)))
        return value

    records = [
        envelope(number, {"model": dice.choice("ab"), "usage": varied(usage)})
        for usage in usages
        for number in range(8)
    ]
    agree(in_lines(records), LINES)
    agree(in_array(records), ARRAY)


GOOD = [
    envelope(n, {"model": "m", "usage": {"prompt_tokens": n, "completion_tokens": 2, "total_tokens": n + 2}})
    for n in range(3)
]


@settings(max_examples=200, **PATIENT)
@given(st.integers(0, 700), st.binary(min_size=1, max_size=3), st.booleans(), st.sampled_from([ARRAY, LINES]))
def test_bodies_with_broken_bytes(at, splinter, overwrite, mode):
    whole = in_array(GOOD) if mode == ARRAY else in_lines(GOOD)
    at = min(at, len(whole))
    agree(whole[:at] + splinter + whole[at + (len(splinter) if overwrite else 0) :], mode)


JSON_SPLINTERS = [
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\t",
        b"\x0b",
        b"0",
        b"1",
        b"-",
        b".",
    ),
    *(
        b"e5",
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b'"id":"x",',
        b"\xff",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\\u0041",
        b"1.5",
    ),
]


@settings(max_examples=250, **PATIENT)
@given(
    st.lists(st.tuples(st.integers(0, 700), st.sampled_from(JSON_SPLINTERS)), min_size=1, max_size=3),
    st.booleans(),
)
def test_bodies_with_misplaced_syntax(splinters, lines):
    whole = in_lines(GOOD) if lines else in_array(GOOD)
    for at, splinter in splinters:
        whole = whole[:at] + splinter + whole[at:]
    agree(whole, LINES if lines else ARRAY)


def nested_dicts(value: Any) -> list[dict[str, Any]]:
    """Every object in a fixture, as usage and as a record."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, dict) else []) + [
        found for one in inner for found in nested_dicts(one)
    ]


def test_every_object_of_the_golden_fixtures():
    objects = [
        found
        for path in sorted(FIXTURES.glob("*.json"))
        for found in nested_dicts(json.loads(path.read_text()))
    ]
    assert len(objects) > 100
    records = [envelope(n % 28, {"model": "m", "usage": one}) for n, one in enumerate(objects)] + objects
    fast = agree(in_lines(records), LINES) + agree(in_array(records), ARRAY)
    assert fast > 40  # else this compares nothing
    for start in range(0, len(records), 20):  # more skeletons than one body may have
        agree(in_lines(records[start : start + 20]), LINES)


USAGES: dict[str, Callable[[int], dict[str, Any]]] = {
    "openai.chat": lambda n: {
        "prompt_tokens": 100 + n,
        "completion_tokens": 9,
        "total_tokens": 109 + n,
        "prompt_tokens_details": {"cached_tokens": n, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3, "rejected_prediction_tokens": 2},
    },
    "openai.responses": lambda n: {
        "input_tokens": 100 + n,
        "input_tokens_details": {"cached_tokens": n},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 109 + n,
    },
    "anthropic.messages": lambda n: {
        "input_tokens": n,
        "cache_read_input_tokens": 7,
        "cache_creation_input_tokens": 5,
        "output_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    },
    "gemini": lambda n: {
        "promptTokenCount": 50 + n,
        "cachedContentTokenCount": n,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 57 + n,
    },
    "buckets": lambda n: {"input": n + 1, "output": 4, "tool_requests": 2, "total": n + 5},
}


@pytest.mark.parametrize("shape", USAGES)
def test_common_shapes_go_the_fast_way(shape):
    records = [envelope(n, {"model": "m", "usage": USAGES[shape](n)}) for n in range(40)]
    assert agree(in_array(records), ARRAY) == len(records)
    bare = [
        {
            "id": f"b{n}",
            "created": 1_770_000_000 + n,
            "customer": "acme",
            "model": "m",
            "usage": USAGES[shape](n),
        }
        for n in range(40)
    ]
    assert agree(in_lines(bare), LINES) == len(bare)


def test_duplicate_keys_deep_nesting_and_wild_numbers_are_never_read_fast():
    good = json.dumps(GOOD[0])
    bad = [
        good.replace('"prompt_tokens": 0', '"prompt_tokens": 0, "prompt_tokens": 5'),
        good.replace('"id"', '"id": "other", "id"'),
        good.replace('"data"', '"deep": ' + "[" * 40 + "]" * 40 + ', "data"'),
        good.replace('"prompt_tokens": 0', '"prompt_tokens": NaN'),
        good.replace('"prompt_tokens": 0', '"prompt_tokens": 00'),
        good.replace('"prompt_tokens": 0', '"prompt_tokens": -0'),
        good.replace('"prompt_tokens": 0', '"prompt_tokens": 0.0'),
        good.replace('"prompt_tokens": 0', '"prompt_tokens": 9007199254740993'),
        good.replace('"prompt_tokens": 0', '"prompt_tokens": ' + "9" * 5_000),
        good.replace('"prompt_tokens": 0', '"prompt_tokens": 1e400'),
    ]
    for line in bad:
        found = read_columns(line.encode(), LINES, "api")
        assert found is None or len(found) == 0, line[:200]
        agree(line.encode(), LINES)
        agree(b"[" + line.encode() + b"," + good.encode() + b"]", ARRAY)


def test_many_kinds_of_records_in_one_body():
    dice = random.Random(1)
    records: list[Any] = []
    for n in range(600):
        usage = USAGES[dice.choice(list(USAGES))](n % 900)
        extra = {f"x{dice.randrange(60)}": n}
        records.append(envelope(n % 900, {"model": "m", "usage": usage, **extra}))
    assert 0 < agree(in_array(records), ARRAY) < len(records)  # more skeletons than are kept


def test_events_stay_values_of_the_domain():
    found = read_columns(in_array(GOOD), ARRAY, "api")
    assert found is not None
    assert isinstance(found.event(0), UsageEvent)
    assert found.event(1).buckets == {"input": 1, "output": 2}
