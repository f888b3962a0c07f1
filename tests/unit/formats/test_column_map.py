"""Column maps: parsed from pairs, refused when they would count wrongly, and what rows come to under them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterbridge.adapters import formats
from meterbridge.adapters.formats import BadColumnMap, BadUsage, ColumnMap, Contradiction
from meterbridge.adapters.formats.mapped import MappedRows
from meterbridge.adapters.formats.times import TimeUnit
from meterbridge.adapters.formats.values import evidence
from meterbridge.domain.events import UsageEvent

NOON = 1_769_860_800_000  # 2026-01-31T12:00:00Z


def event(pairs: str, row: Mapping[str, object], row_number: int = 7) -> UsageEvent:
    return MappedRows(ColumnMap.parse(pairs), "log.csv").event(row_number, row)


def test_pairs_name_columns() -> None:
    found = ColumnMap.parse(
        "id=request_id time=ts payer=customer input=prompt_tokens output='answer tokens' model=model"
    )
    assert (found.id, found.time, found.payer, found.model) == ("request_id", "ts", "customer", "model")
    assert found.time_unit is TimeUnit.ISO
    assert found.buckets == {"input": "prompt_tokens", "output": "answer tokens"}


def test_pairs_may_come_one_by_one_or_as_an_object() -> None:
    pairs = {"id": "a", "time_us": "b", "reasoning": "c", "cache_read?": "d", "ignore": "e,f", "detail": "g"}
    expected = ColumnMap(
        id="a",
        time="b",
        time_unit=TimeUnit.US,
        buckets={"reasoning": "c", "cache_read": "d"},
        ignored=frozenset({"e", "f"}),
        details=("g",),
        optional=frozenset({"d"}),
    )
    assert ColumnMap.of(pairs) == expected
    assert ColumnMap.parse([f"{name}={column}" for name, column in pairs.items()]) == expected
    assert ColumnMap.parse(" ".join(f"{name}={column}" for name, column in pairs.items())) == expected


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("", "names no column"),
        ("id", "'id' is no name=column pair"),
        ("id=", "needs the name of a column"),
        ("id=a time=b inptu=c", "there is no 'inptu'"),
        ("id=a time=b input='c", "a quote that never closes"),
        ("id=a id=b time=c input=d", "'id' is given twice"),
        ("id=a time=b time_ms=c input=d", "'time' is given twice"),
        ("id=a time=b input=c output=c", "column 'c' is given to both"),
        ("id=a time=b input=c ignore=c", "column 'c' is both ignored"),
        ("time=b input=c", "names no id="),
        ("id=a input=c", "names no time="),
        ("id=a time=b input=c input_total=d", "'input' is what remains of 'input_total'"),
        ("id=a time=b output=c output_total=d", "'output' is what remains of 'output_total'"),
        ("id=a time=b usage=c output=d", "'output' would count twice"),
        ("id=a time=b total=c", "'total' only checks"),
    ],
)
def test_a_map_that_would_count_wrongly_is_refused(pairs: str, message: str) -> None:
    with pytest.raises(BadColumnMap, match=re.escape(message)):
        ColumnMap.parse(pairs)


def test_a_bucket_that_does_not_exist_is_refused_also_without_parsing() -> None:
    with pytest.raises(BadColumnMap, match="there is no bucket 'tokens'"):
        ColumnMap(id="a", time="b", buckets={"tokens": "c"})


def test_a_row_becomes_an_event() -> None:
    pairs = "id=rid time=ts payer=who source=gw model=m input=in output=out detail=region,tries"
    row = {
        "rid": "r-1",
        "ts": "2026-01-31T13:00:00+01:00",
        "who": "acme",
        "gw": "eu-1",
        "m": "gpt-5",
        "in": "1200",
        "out": 34,
        "region": "eu",
        "tries": 2,
    }
    assert event(pairs, row) == UsageEvent(
        source="eu-1",
        id="r-1",
        occurred_at=NOON,
        payer="acme",
        buckets={"input": 1200, "output": 34},
        details={"model": "gpt-5", "region": "eu", "tries": 2},
    )


def test_the_row_number_may_be_the_id() -> None:
    assert event("id=#row time=ts input=in", {"ts": "2026-01-31 12:00", "in": 1}, 42).id == "42"


def test_wholes_that_include_their_parts_leave_the_rest() -> None:
    pairs = "id=#row time=ts input_total=p cache_read=c audio_input=a output_total=o reasoning=r total=t"
    row = {"ts": "2026-01-31T12:00:00Z", "p": 1000, "c": 600, "a": 100, "o": 200, "r": 150, "t": 1200}
    assert event(pairs, row).buckets == {
        "input": 300,
        "cache_read": 600,
        "audio_input": 100,
        "output": 50,
        "reasoning": 150,
    }
    with pytest.raises(Contradiction, match=r"column 'p' is 699, less than its parts, 700"):
        event(pairs, {**row, "p": 699, "t": 899})
    with pytest.raises(Contradiction, match=r"column 't' is 1201; the buckets add up to 1200"):
        event(pairs, {**row, "t": 1201})


def test_requests_are_no_part_of_a_total_of_tokens() -> None:
    row = {"ts": "2026-01-31T12:00:00Z", "in": 5, "req": 3, "t": 5}
    assert event("id=#row time=ts input=in tool_requests=req total=t", row).buckets["tool_requests"] == 3


@pytest.mark.parametrize("as_text", [False, True])
def test_a_column_may_hold_a_usage_object_of_its_own_shape(as_text: bool) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2}
    text = '{"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 2}'
    found = event("id=#row time=ts usage=u", {"ts": "2026-01-31T12:00:00Z", "u": text if as_text else usage})
    assert found.buckets == {"input": 5, "cache_read": 7, "output": 2}
    assert found.details["shape"] == "anthropic.messages"


def test_dots_reach_into_nested_objects() -> None:
    row = {
        "meta": {"id": "a", "at": "2026-01-31T12:00:00Z"},
        "usage": {"tokens": {"in": 3, "out": 4}, "kind": "x"},
    }
    pairs = "id=meta.id time=meta.at input=usage.tokens.in output=usage.tokens.out"
    with pytest.raises(BadUsage, match=r"column 'usage\.kind' is not in the column map"):
        event(pairs, row)
    assert event(f"{pairs} ignore=usage.kind", row).buckets == {"input": 3, "output": 4}


@pytest.mark.parametrize("column", ["reasoning_tokens", "cached", "region"])
def test_a_column_that_the_map_does_not_know_is_refused(column: str) -> None:
    row = {"ts": "2026-01-31T12:00:00Z", "in": 1, column: 5}
    with pytest.raises(
        BadUsage, match=f"'{column}' is not in the column map.*detail={column}.*ignore={column}"
    ):
        event("id=#row time=ts input=in", row)
    assert event(f"id=#row time=ts input=in ignore={column}", row).details == {}
    assert event(f"id=#row time=ts input=in detail={column}", row).details == {column: 5}


def test_ignoring_the_rest_spares_what_sounds_like_usage() -> None:
    row = {"ts": "2026-01-31T12:00:00Z", "in": 1, "region": "eu"}
    assert event("id=#row time=ts input=in ignore=*", row).buckets == {"input": 1}
    with pytest.raises(BadUsage, match="'reasoning_tokens' is not in the column map"):
        event("id=#row time=ts input=in ignore=*", {**row, "reasoning_tokens": 5})


@pytest.mark.parametrize("row", [{}, {"c": None}, {"c": ""}])
def test_an_empty_cell_is_zero_only_where_the_map_says_so(row: dict[str, object]) -> None:
    row = {"ts": "2026-01-31T12:00:00Z", "in": 1, **row}
    with pytest.raises(BadUsage, match=r"column 'c' is (empty|missing)"):
        event("id=#row time=ts input=in cache_read=c", row)
    assert event("id=#row time=ts input=in cache_read?=c", row).buckets == {"input": 1}


@pytest.mark.parametrize(
    ("unit", "value", "millis"),
    [
        ("time", "2026-01-31T12:00:00Z", NOON),
        ("time", "2026-01-31 12:00:00.1239999", NOON + 123),
        ("time_s", 1769860800, NOON),
        ("time_s", "1769860800.0019", NOON + 1),
        ("time_s", Decimal("1769860800.5"), NOON + 500),
        ("time_ms", "1769860800007", NOON + 7),
        ("time_us", 1769860800007999, NOON + 7),
        ("time_ns", 1769860800007999999, NOON + 7),
    ],
)
def test_times_by_unit(unit: str, value: object, millis: int) -> None:
    assert event(f"id=#row {unit}=ts input=in", {"ts": value, "in": 1}).occurred_at == millis


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("time", "yesterday"),
        ("time", "2026-01-31"),
        ("time", "2026-02-30T12:00:00Z"),
        ("time", "2026-01-31T25:00:00Z"),
        ("time", "2026-01-31T12:00:61Z"),
        ("time", "2026-01-31T12:00:00+99:00"),
        ("time", "1969-12-31T23:59:59Z"),
        ("time", "1970-01-01T00:30:00+01:00"),
        ("time", 1769860800),
        ("time", True),
        ("time_s", 1769860800.5),
        ("time_s", 1769860800000),
        ("time_s", -5),
        ("time_s", "1e9"),
        ("time_s", Decimal("1e30")),
        ("time_s", Decimal("1e999999")),
        ("time_s", Decimal("1e-999999")),
        ("time_s", Decimal("Infinity")),
        ("time_s", True),
        ("time_ms", 1769860800),
        ("time_ms", 2**48),
        ("time_ns", 1769860800000),
    ],
)
def test_times_out_of_range_or_of_another_unit_are_refused(unit: str, value: object) -> None:
    with pytest.raises(BadUsage, match=r"time \(column 'ts'\) is") as caught:
        event(f"id=#row {unit}=ts input=in", {"ts": value, "in": 1})
    assert caught.value.value == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-5, "cannot be negative"),
        (2**53, "at most 9007199254740991"),
        (10**30, "at most"),
        ("9" * 30, "at most"),
        ("9" * 300, "whole number"),
        ("-5", "whole number"),
        (1.0, "whole number"),
        (Decimal("1.0"), "whole number"),
        ("1.0", "whole number"),
        ("1e3", "whole number"),
        ("1_000", "whole number"),
        ("1,000", "whole number"),
        ("+5", "whole number"),
        ("0x10", "whole number"),
        ("１２", "whole number"),
        ("twelve", "whole number"),
        (True, "whole number"),
        (False, "whole number"),
        ([5], "whole number"),
        (float("nan"), "whole number"),
    ],
)
def test_a_count_is_a_whole_number(value: object, message: str) -> None:
    with pytest.raises(BadUsage, match=f"column 'in' is .*{message}") as caught:
        event("id=#row time=ts input=in", {"ts": "2026-01-31T12:00:00Z", "in": value})
    assert caught.value.value is value


@pytest.mark.parametrize("value", [12, "12", " 12 ", "0012"])
def test_digits_in_quotes_are_a_count(value: object) -> None:
    assert event("id=#row time=ts input=in", {"ts": "2026-01-31T12:00:00Z", "in": value}).buckets == {
        "input": 12
    }


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "x" * 4097, "\ud800", 1.5, True, ["a"]])
def test_an_id_is_a_short_printable_text(value: object) -> None:
    with pytest.raises(BadUsage, match=r"id \(column 'rid'\)"):
        event("id=rid time=ts input=in", {"rid": value, "ts": "2026-01-31T12:00:00Z", "in": 1})


def test_details_are_json_without_floats() -> None:
    row: dict[str, Any] = {
        "ts": "2026-01-31T12:00:00Z",
        "in": 1,
        "a": 0.1,
        "b": Decimal("0.10"),
        "c": 2**60,
        "d": True,
    }
    details = event("id=#row time=ts input=in detail=a,b,c,d", row).details
    assert details == {"a": "0.1", "b": "0.1", "c": str(2**60), "d": True}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.25e-05, "0.0000525"),
        (Decimal("0.0000525"), "0.0000525"),
        ("5.25e-05", "0.0000525"),
        (0.0, "0"),
        (0, "0"),
        (12, "12"),
        (1e22, "1" + "0" * 22),
        (Decimal("1e-999999"), "1E-999999"),
        (Decimal("0.1234567890123456789012345678901234567890"), "0.123456789012345678901234567890123456789"),
    ],
)
def test_a_number_kept_as_evidence_has_one_text_by_whatever_parser_it_came(value: object, text: str) -> None:
    assert evidence("cost", value) == text


@pytest.mark.parametrize("value", [True, None, "free", float("nan"), float("inf"), Decimal("NaN"), [1], {}])
def test_evidence_is_a_finite_number(value: object) -> None:
    with pytest.raises(BadUsage, match=r"cost is .*; it must be a number"):
        evidence("cost", value)


NATIVE = (
    b'{"id": "a", "time": "2026-01-31T12:00:00Z", "at": 1769860801, "team": {"name": "red"}, "n": 5, '
    b'"gw": "eu", "kind": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n'
)


@pytest.mark.parametrize(
    ("pairs", "changed"),
    [
        ("payer=team.name", {"payer": "red"}),
        ("id=#row", {"id": "1"}),
        ("id=n source=gw", {"id": "5", "source": "eu"}),
        ("time_s=at", {"occurred_at": NOON + 1000}),
        ("time=time", {"occurred_at": NOON}),
        ("payer?=nobody", {"payer": None}),
    ],
)
def test_a_map_without_counts_overrides_what_a_native_shape_says(
    tmp_path: Path, pairs: str, changed: dict[str, object]
) -> None:
    file = tmp_path / "log"
    file.write_bytes(NATIVE)
    (row,) = formats.read_usage(file, column_map=ColumnMap.parse(pairs))
    assert isinstance(row, formats.UsageRow)
    expected = {
        "source": "log",
        "id": "a",
        "occurred_at": NOON,
        "payer": None,
        "buckets": {"input": 3, "output": 1},
    }
    found = {name: getattr(row.event, name) for name in expected}
    assert found == {**expected, **changed}


def test_a_map_without_counts_adds_details(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(NATIVE)
    (row,) = formats.read_usage(file, column_map=ColumnMap.parse("model=kind detail=team.name,n"))
    assert isinstance(row, formats.UsageRow)
    assert row.event.details.items() >= {"model": "m", "team.name": "red", "n": "5"}.items()


def test_a_column_that_overrides_must_hold_something(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(NATIVE)
    (bad,) = formats.read_usage(file, column_map=ColumnMap.parse("payer=team.nmae"))
    assert isinstance(bad, formats.BadRow)
    assert "'team.nmae' is empty or missing" in bad.reason
