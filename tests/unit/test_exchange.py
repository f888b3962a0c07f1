"""What leaves a folder as JSON comes back as it was, or is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSplit, BadStatement, BadTariff, MeterbridgeError
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.strict_json import BadJson, load_strict
from meterbridge.domain.tariffs import Tariff, terms_hash
from meterbridge.domain.units import INT64_MAX, INT64_MIN, UINT64_MAX, UINT128_MAX, Rates, UsageVector
from meterbridge.services.exchange import (
    BadDocument,
    canonical_json,
    load_json,
    statement_from_json,
    statement_to_json,
    tariff_record_from_json,
    tariff_record_to_json,
)
from meterbridge.services.records import TariffRecord

ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
DIGESTS = st.binary(min_size=32, max_size=32)
LANES = st.lists(st.integers(INT64_MIN, INT64_MAX), min_size=8, max_size=8).map(UsageVector.of)
LINES = st.builds(Line, payer=ADDRESSES, usage=LANES, head=DIGESTS)
STATEMENTS = st.builds(
    SignedStatement,
    domain=st.builds(Domain, st.integers(0, 2**64), ADDRESSES),
    statement=st.builds(
        Statement,
        tariff_id=DIGESTS,
        sealed_at=st.integers(1, 2**32 - 1),
        lines=st.lists(LINES, min_size=1, max_size=4, unique_by=lambda line: line.payer).map(tuple),
    ),
    signer=ADDRESSES,
    signature=st.binary(min_size=65, max_size=65),
)


def statement() -> dict[str, Any]:
    line = Line(Address(b"\xab" * 20), UsageVector.of([INT64_MIN, INT64_MAX, 0, 1, -1, 2, 3, 4]), b"\1" * 32)
    made = Statement(b"\2" * 32, 1_790_000_000, (line,))
    signed = SignedStatement(Domain(8453, Address(b"\xcd" * 20)), made, Address(b"\xef" * 20), bytes(65))
    return statement_to_json(signed)


@given(STATEMENTS)
def test_statements_come_back_as_they_were(signed: SignedStatement) -> None:
    text = canonical_json(statement_to_json(signed))
    assert statement_from_json(load_json(text)) == signed
    assert canonical_json(statement_to_json(statement_from_json(load_json(text)))) == text


def test_a_vector_is_read_as_it_stands(vectors: dict[str, Any]) -> None:
    """The vectors spell numbers and bytes in the same way; their digests are the oracle."""
    for case in vectors["statements"]:
        lines = [{key: line[key] for key in ("payer", "usage", "head")} for line in case["lines"]]
        found = {
            key: case[key] for key in ("domain", "tariffId", "sealedAt", "digest", "signer", "signature")
        }
        signed = statement_from_json(found | {"format": "meterbridge/statement/1", "lines": lines})
        assert signed.digest().hex() == case["digest"][2:]


@pytest.mark.parametrize("path", ["tariffId", "sealedAt", "lines.0.payer", "lines.0.head", "lines.0.usage.2"])
def test_a_changed_statement_is_refused_by_its_digest(path: str) -> None:
    document = statement()
    *steps, last = path.split(".")
    target: Any = document
    for step in steps:
        target = target[int(step)] if step.isdigit() else target[step]
    key: Any = int(last) if last.isdigit() else last
    other = {
        "tariffId": "0x" + "03" * 32,
        "sealedAt": 1_790_000_001,
        "payer": str(Address(b"\xac" * 20)),
        "head": "0x" + "04" * 32,
    }
    target[key] = other.get(last, "5")
    with pytest.raises(BadStatement, match="it was changed after it was written"):
        statement_from_json(document)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "meterbridge/statement/2", "meterbridge/statement/1"),
        ("sealedAt", "1790000000", "whole number"),
        ("sealedAt", True, "whole number"),
        ("sealedAt", 2**32, "whole number from 0"),
        ("tariffId", "0x" + "AB" * 32, "lower-case"),
        ("tariffId", "0x02", "64 lower-case hex digits"),
        ("signer", "0x" + "ef" * 20, "with this checksum"),
        ("signer", "nobody", "an address"),
        ("lines", {}, "a list"),
        ("lines", [], "1 to 1000 lines"),
        ("lines", [5], "must be a JSON object"),
        (
            "domain",
            {"name": "Other", "version": "1", "chainId": 1, "verifyingContract": "0x"},
            "'Meterbridge'",
        ),
        ("signature", "0xzz", "hex digits"),
    ],
)
def test_a_malformed_statement_names_the_place(key: str, value: object, message: str) -> None:
    with pytest.raises(MeterbridgeError, match=message):
        statement_from_json(statement() | {key: value})


def test_keys_are_exact() -> None:
    with pytest.raises(BadDocument, match=r"unknown keys \['extra'\] and lacks \[\]"):
        statement_from_json(statement() | {"extra": 1})
    without = {k: v for k, v in statement().items() if k != "digest"}
    with pytest.raises(BadDocument, match=r"lacks \['digest'\]"):
        statement_from_json(without)
    with pytest.raises(BadDocument, match="must be a JSON object"):
        statement_from_json([])


@pytest.mark.parametrize("lane", ["01", "+1", " 1", "1.0", 1, None, "9" * 90, "٣", "-0"])
def test_a_lane_has_one_spelling(lane: object) -> None:
    document = statement()
    document["lines"][0]["usage"][2] = lane
    with pytest.raises(MeterbridgeError):
        statement_from_json(document)


def record() -> TariffRecord:
    parties = PartyTable.of(
        Party(Address(b"\1" * 20), 1, UINT128_MAX - 5), Party(Address(b"\2" * 20), 255, 5)
    )
    split = parties.split(Address(b"\3" * 20))
    document = '{"text": "Preise für jeden – ☃"}'.encode()
    rates = Rates.of([UINT64_MAX, 0, 1, 2, 3, 4, 5, 6])
    tariff = Tariff(Address(b"\4" * 20), split.id, rates, 36, 7_776_000, terms_hash(document))
    return TariffRecord(Domain(2**255, Address(b"\5" * 20)), tariff, split, parties.parties, document)


def test_tariffs_come_back_as_they_were() -> None:
    text = canonical_json(tariff_record_to_json(record()))
    assert tariff_record_from_json(load_json(text)) == record()


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("document",), '{"text": "other"}', BadTariff),
        (("tariffId",), "0x" + "00" * 32, BadTariff),
        (("split", "totalShares"), "7", BadTariff),
        (("split", "root"), "0x" + "00" * 32, BadTariff),
        (("parties", 0, "share"), "1", BadTariff),
        (("parties", 0, "share"), "0", BadSplit),
        (("tariff", "scale"), 37, BadDocument),
        (("tariff", "rates", 0), str(2**64), BadTariff),
        (("tariff", "thawPeriod"), 7_776_001, BadDocument),
    ],
)
def test_a_tariff_file_must_agree_with_its_hashes(
    path: tuple[Any, ...], value: object, error: type[MeterbridgeError]
) -> None:
    document: Any = copy.deepcopy(tariff_record_to_json(record()))
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(error):
        tariff_record_from_json(document)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_strict_json_reads_what_the_standard_library_writes(value: object) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert load_strict(text) == value


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_depth_is_bounded_and_brackets_in_texts_do_not_count() -> None:
    assert load_strict(nested(32))
    with pytest.raises(BadJson, match="deeper than 32"):
        load_strict(nested(33))
    with pytest.raises(BadJson):
        load_strict("[" * 1_000_000)
    text = json.dumps(["[" * 100, '\\"[' * 100, "{" * 100])
    assert load_strict(text) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["", "{", b"\xff", '{"a":1,"a":2}', "1.5", "1e5", "NaN", "-Infinity", "9" * 5000]
)
def test_what_is_not_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadJson):
        load_strict(text)
