"""Whatever the counts: objects worded as their provider words them come back as the buckets inside."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterbridge.adapters import formats
from meterbridge.adapters.formats import BadFile, BadRow, BadUsage, ColumnMap, Contradiction, UsageRow
from meterbridge.adapters.formats.times import iso_millis
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.events import BUCKETS
from meterbridge.domain.receipts import OCCURRED_AT_MAX

Buckets = dict[str, int]
Usage = dict[str, Any]
COUNTS = st.integers(0, 2**40)
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
"""The machine may be busy with other things."""


def chat(b: Buckets) -> Usage:
    prompt = sum(
        b[k] for k in ("input", "cache_read", "cache_write", "audio_input", "image_input", "video_input")
    )
    answer = b["output"] + b["reasoning"] + b["audio_output"] + b["image_output"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {
            "cached_tokens": b["cache_read"],
            "cache_write_tokens": b["cache_write"],
            "audio_tokens": b["audio_input"],
            "image_tokens": b["image_input"],
            "video_tokens": b["video_input"],
            "text_tokens": b["input"] + b["cache_read"] + b["cache_write"],
        },
        "completion_tokens_details": {
            "reasoning_tokens": b["reasoning"],
            "audio_tokens": b["audio_output"],
            "image_tokens": b["image_output"],
            "text_tokens": b["output"],
            "accepted_prediction_tokens": b["output"] // 2,
            "rejected_prediction_tokens": b["output"] // 3,
        },
    }


def responses(b: Buckets) -> Usage:
    spelt = chat(b)
    lifetimes = {"ttl_30m_tokens": b["cache_write"] // 2, "ttl_12h_tokens": b["cache_write"] // 3}
    return {
        "input_tokens": spelt["prompt_tokens"],
        "input_tokens_details": {**spelt["prompt_tokens_details"], "cache_write_tokens_details": lifetimes},
        "output_tokens": spelt["completion_tokens"],
        "output_tokens_details": spelt["completion_tokens_details"],
        "total_tokens": spelt["total_tokens"],
    }


def anthropic(b: Buckets) -> Usage:
    return {
        "input_tokens": b["input"],
        "cache_read_input_tokens": b["cache_read"],
        "cache_creation_input_tokens": b["cache_write_5m"] + b["cache_write_1h"] + b["cache_write"],
        "cache_creation": {
            "ephemeral_5m_input_tokens": b["cache_write_5m"],
            "ephemeral_1h_input_tokens": b["cache_write_1h"],
        },
        "output_tokens": b["output"] + b["reasoning"],
        "output_tokens_details": {"thinking_tokens": b["reasoning"]},
        "server_tool_use": {"web_search_requests": b["tool_requests"], "web_fetch_requests": 0},
    }


def gemini(b: Buckets) -> Usage:
    kinds = {"TEXT": "input", "AUDIO": "audio_input", "IMAGE": "image_input", "VIDEO": "video_input"}
    prompt = sum(b[bucket] for bucket in kinds.values()) + b["cache_read"]
    answer = b["output"] + b["audio_output"] + b["image_output"]
    cached_video = b["cache_read"] // 2
    cached = {"TEXT": b["cache_read"] - cached_video, "VIDEO": cached_video}
    return {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": b["cache_read"],
        "candidatesTokenCount": answer,
        "thoughtsTokenCount": b["reasoning"],
        "toolUsePromptTokenCount": b["tool_prompt"],
        "totalTokenCount": prompt + answer + b["reasoning"] + b["tool_prompt"],
        "promptTokensDetails": [
            {"modality": kind, "tokenCount": b[bucket] + cached.get(kind, 0)}
            for kind, bucket in kinds.items()
        ],
        "cacheTokensDetails": [{"modality": kind, "tokenCount": count} for kind, count in cached.items()],
        "candidatesTokensDetails": [
            {"modality": "AUDIO", "tokenCount": b["audio_output"]},
            {"modality": "IMAGE", "tokenCount": b["image_output"]},
        ],
    }


def gemini_sdk(b: Buckets) -> Usage:
    """The same in snake_case, spelt by another rule than the reader's: a table."""
    names = {
        "promptTokenCount": "prompt_token_count",
        "cachedContentTokenCount": "cached_content_token_count",
        "candidatesTokenCount": "candidates_token_count",
        "thoughtsTokenCount": "thoughts_token_count",
        "toolUsePromptTokenCount": "tool_use_prompt_token_count",
        "totalTokenCount": "total_token_count",
        "promptTokensDetails": "prompt_tokens_details",
        "cacheTokensDetails": "cache_tokens_details",
        "candidatesTokensDetails": "candidates_tokens_details",
        "tokenCount": "token_count",
    }
    return {
        names[key]: [{names.get(k, k): v for k, v in item.items()} for item in value]
        if isinstance(value, list)
        else value
        for key, value in gemini(b).items()
    }


def openrouter(b: Buckets) -> Usage:
    return {**chat(b), "cost": 0.25, "server_tool_use": {"web_search_requests": b["tool_requests"]}}


def sglang(b: Buckets) -> Usage:
    total = b["input"] + b["cache_read"] + b["output"] + b["reasoning"]
    return {
        "prompt_tokens": b["input"] + b["cache_read"],
        "completion_tokens": b["output"] + b["reasoning"],
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": b["cache_read"]},
        "reasoning_tokens": b["reasoning"],
    }


def opentelemetry(b: Buckets) -> Usage:
    return {
        "gen_ai.usage.input_tokens": b["input"] + b["cache_read"] + b["cache_write"],
        "gen_ai.usage.output_tokens": b["output"] + b["reasoning"],
        "gen_ai.usage.cache_read.input_tokens": b["cache_read"],
        "gen_ai.usage.cache_creation.input_tokens": b["cache_write"],
        "gen_ai.usage.reasoning.output_tokens": b["reasoning"],
    }


def own(b: Buckets) -> Usage:
    return {**b, "total": sum(b.values()) - b["tool_requests"]}


MEDIA = ("audio_input", "image_input", "video_input", "audio_output", "image_output")
PLAIN = ("input", "cache_read", "output", "reasoning")
WORDINGS: dict[str, tuple[Callable[[Buckets], Usage], tuple[str, ...]]] = {
    "openai.chat": (chat, (*PLAIN, "cache_write", *MEDIA)),
    "openai.responses": (responses, (*PLAIN, "cache_write", *MEDIA)),
    "anthropic.messages": (
        anthropic,
        (*PLAIN, "cache_write", "cache_write_5m", "cache_write_1h", "tool_requests"),
    ),
    "gemini": (gemini, (*PLAIN, "tool_prompt", *MEDIA)),
    "openrouter": (openrouter, (*PLAIN, "cache_write", "tool_requests", *MEDIA)),
    "vllm": (sglang, PLAIN),
    "opentelemetry.gen_ai": (opentelemetry, (*PLAIN, "cache_write")),
    "buckets": (own, BUCKETS),
}


def buckets_of(names: tuple[str, ...]) -> st.SearchStrategy[Buckets]:
    some = st.fixed_dictionaries({}, optional=dict.fromkeys(names, COUNTS))
    return some.map(lambda found: {**dict.fromkeys(BUCKETS, 0), **found})


@pytest.mark.parametrize("shape", [*WORDINGS, "gemini in snake_case"])
@given(data=st.data())
@settings(**PATIENT)  # type: ignore[arg-type]
def test_what_a_provider_words_comes_back_as_its_buckets(shape: str, data: st.DataObject) -> None:
    name = shape.partition(" ")[0]
    word, names = WORDINGS[name]
    buckets = data.draw(buckets_of(names))
    usage = gemini_sdk(buckets) if shape != name else word(buckets)
    reading = formats.read_usage_object(json.loads(json.dumps(usage)))
    assert reading.shape == name
    assert reading.buckets == {bucket: count for bucket, count in buckets.items() if count}
    assert reading.total == sum(buckets.values()) - buckets["tool_requests"]


TOTALS = ("total_tokens", "totalTokenCount", "total")


@pytest.mark.parametrize(
    "shape", [name for name in WORDINGS if name not in ("anthropic.messages", "opentelemetry.gen_ai")]
)
@given(data=st.data(), off_by=st.integers(-1000, 1000).filter(bool))
@settings(**PATIENT)  # type: ignore[arg-type]
def test_a_total_that_is_off_by_any_count_is_refused(shape: str, data: st.DataObject, off_by: int) -> None:
    word, names = WORDINGS[shape]
    usage = word(data.draw(buckets_of(names)))
    key = next(key for key in TOTALS if key in usage)
    usage[key] += off_by
    with pytest.raises(Contradiction if usage[key] >= 0 else BadUsage):
        formats.read_usage_object(usage)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KNOWN_KEYS = st.sampled_from(
    sorted(
        {key for word, _ in WORDINGS.values() for key in word(dict.fromkeys(BUCKETS, 1))}
        | {"usage", "usageMetadata", "id", "time", "created", "payer", "metadata", "spend", "request_id"}
        | {
            "startTime",
            "response_cost",
            "attributes",
            "resourceSpans",
            "specversion",
            "source",
            "data",
            "type",
        }
        | {"iterations", "cache_hit", "status", "traceId", "startTimeUnixNano", "model", "hash_ids"}
    )
)


@given(record=st.dictionaries(KNOWN_KEYS, JSON | st.dictionaries(KNOWN_KEYS, JSON, max_size=5), max_size=8))
@settings(max_examples=400, **PATIENT)  # type: ignore[arg-type]
def test_no_record_whatever_breaks_the_reader(record: Usage) -> None:
    """Only errors of our own come out, and every event keeps the domain's bounds."""
    with suppress(MeterbridgeError):
        for event in formats.read_records(record, "fuzz"):
            assert set(event.buckets) <= set(BUCKETS)
            assert min(event.buckets.values(), default=1) > 0


@given(chunks=st.lists(st.dictionaries(KNOWN_KEYS, JSON, max_size=4), max_size=4))
@settings(**PATIENT)  # type: ignore[arg-type]
def test_no_stream_whatever_breaks_the_reader(chunks: list[Usage]) -> None:
    with suppress(MeterbridgeError):
        assert set(formats.read_stream(chunks).buckets) <= set(BUCKETS)


LINES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"a,2026-01-31T12:00:00Z,1", b'"a",2026-01-31T12:00:00Z,"1"', b'"', b'""', b",,", b'"a"b,c,d', b"\r"]
    ),
)


@given(
    lines=st.lists(LINES, max_size=12), head=st.sampled_from([b"rid,ts,in", b"{}", b"", b"PAR1", b"\xff\xfe"])
)
@settings(max_examples=300, **PATIENT)  # type: ignore[arg-type]
def test_no_file_whatever_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], head: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.log"
    content = b"\n".join([head, *lines])
    mapping = ColumnMap.parse("id=rid time=ts input=in")
    for wrapped in (content, gzip.compress(content), gzip.compress(content)[:-4]):
        file.write_bytes(wrapped)
        numbers: list[int] = []
        with suppress(BadFile):
            numbers.extend(row.row_number for row in formats.read_usage(file, column_map=mapping))
        assert numbers == sorted(set(numbers))
        assert all(1 <= number <= content.count(b"\n") + 1 for number in numbers)


PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
CALLS = st.lists(
    st.tuples(PRINTABLE, st.integers(0, 253_402_300_799_999), st.none() | PRINTABLE, COUNTS, COUNTS),
    min_size=1,
    max_size=20,
)
CALL_MAP = ColumnMap.parse("id=rid time=ts payer?=who input=in output=out")
COLUMNS = ["rid", "ts", "who", "in", "out"]


def iso(millis: int) -> str:
    second = datetime.fromtimestamp(millis // 1000, UTC).replace(tzinfo=None).isoformat()
    return f"{second}.{millis % 1000:03d}Z"


def as_csv(table: list[list[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([COLUMNS, *table])
    return out.getvalue().encode()


def as_ndjson(table: list[list[object]]) -> bytes:
    return "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in table).encode()


def as_parquet(table: list[list[object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(
        pa.table({name: list(cells) for name, cells in zip(COLUMNS, zip(*table, strict=True), strict=True)}),
        out,
    )
    return out.getvalue()


@pytest.mark.parametrize(("write", "first"), [(as_csv, 2), (as_ndjson, 1), (as_parquet, 1)])
@given(calls=CALLS)
@settings(**PATIENT)  # type: ignore[arg-type]
def test_what_other_libraries_write_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    calls: list[tuple[str, int, str | None, int, int]],
    write: Callable[[list[list[object]]], bytes],
    first: int,
) -> None:
    file = tmp_path_factory.getbasetemp() / f"{write.__name__}.log"
    file.write_bytes(write([[rid, iso(millis), who, *counts] for rid, millis, who, *counts in calls]))
    rows = list(formats.read_usage(file, column_map=CALL_MAP))
    assert not [row for row in rows if isinstance(row, BadRow)]
    found = [
        (row.row_number, row.event.id, row.event.occurred_at, row.event.payer, dict(row.event.buckets))
        for row in rows
        if isinstance(row, UsageRow)
    ]
    assert found == [
        (
            number,
            rid,
            millis,
            who,
            {name: n for name, n in (("input", tokens_in), ("output", tokens_out)) if n},
        )
        for number, (rid, millis, who, tokens_in, tokens_out) in enumerate(calls, first)
    ]


@given(
    millis=st.integers(0, min(OCCURRED_AT_MAX, 253_402_300_799_999)), minutes=st.integers(-14 * 60, 14 * 60)
)
def test_a_time_is_the_same_moment_in_every_zone(millis: int, minutes: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)
    try:
        local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    except OverflowError:
        return
    assert iso_millis("time", local.isoformat()) == millis
    assert iso_millis("time", str(local)) == millis
