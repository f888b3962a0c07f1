"""Tariffs and statements: bounds, and digests against eth-account's own EIP-712 encoder."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadStatement, BadTariff
from meterbridge.domain.statements import (
    ClaimAuthorization,
    Domain,
    Line,
    Statement,
    require_sealed_after,
)
from meterbridge.domain.tariffs import Tariff, terms_document, terms_hash
from meterbridge.domain.units import INT64_MAX, INT64_MIN, Rates, UsageVector

ADDRESS = st.binary(min_size=20, max_size=20).map(Address)
B32 = st.binary(min_size=32, max_size=32)
USAGE = st.tuples(*[st.integers(INT64_MIN, INT64_MAX)] * 8).map(UsageVector.of)
LINES = st.lists(
    st.builds(Line, ADDRESS, USAGE, B32), min_size=1, max_size=5, unique_by=lambda line: line.payer
)
DOMAIN = st.builds(Domain, st.integers(1, 2**64), ADDRESS)
TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Statement": [
        {"name": "tariffId", "type": "bytes32"},
        {"name": "sealedAt", "type": "uint64"},
        {"name": "lines", "type": "Line[]"},
    ],
    "Line": [
        {"name": "payer", "type": "address"},
        {"name": "usage", "type": "uint256[2]"},
        {"name": "head", "type": "bytes32"},
    ],
    "ClaimAuthorization": [
        {"name": "splitId", "type": "bytes32"},
        {"name": "offset", "type": "uint256"},
        {"name": "account", "type": "address"},
        {"name": "recipient", "type": "address"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ],
}


def oracle_digest(domain: Domain, primary: str, names: list[str], message: dict[str, Any]) -> bytes:
    encoded = encode_typed_data(
        full_message={
            "types": {name: TYPES[name] for name in ["EIP712Domain", *names]},
            "primaryType": primary,
            "domain": {
                "name": "Meterbridge",
                "version": "1",
                "chainId": domain.chain_id,
                "verifyingContract": str(domain.verifying_contract),
            },
            "message": message,
        }
    )
    return keccak(b"\x19" + encoded.version + encoded.header + encoded.body)


@given(DOMAIN, B32, st.integers(1, 2**32 - 1), LINES)
def test_a_statement_has_the_digest_that_eth_account_computes(
    domain: Domain, tariff_id: bytes, sealed_at: int, lines: list[Line]
) -> None:
    message = {
        "tariffId": tariff_id,
        "sealedAt": sealed_at,
        "lines": [{"payer": str(x.payer), "usage": list(x.usage.to_words()), "head": x.head} for x in lines],
    }
    expected = oracle_digest(domain, "Statement", ["Statement", "Line"], message)
    assert Statement(tariff_id, sealed_at, tuple(lines)).digest(domain) == expected


@given(DOMAIN, B32, st.integers(0, 2**128), ADDRESS, ADDRESS, st.integers(0, 2**256 - 1))
def test_a_claim_authorization_has_the_digest_that_eth_account_computes(
    domain: Domain, split_id: bytes, offset: int, account: Address, recipient: Address, number: int
) -> None:
    authorization = ClaimAuthorization(split_id, offset, account, recipient, number, number)
    message = {
        "splitId": split_id,
        "offset": offset,
        "account": str(account),
        "recipient": str(recipient),
        "nonce": number,
        "deadline": number,
    }
    expected = oracle_digest(domain, "ClaimAuthorization", ["ClaimAuthorization"], message)
    assert authorization.digest(domain) == expected


def line(number: int) -> Line:
    return Line(Address(number.to_bytes(20, "big")), UsageVector.zero(), bytes(32))


def test_time_zero_is_refused_because_unknown_signers_are_authorised_until_zero() -> None:
    with pytest.raises(BadStatement, match="from 1"):
        Statement(bytes(32), 0, (line(1),))


@pytest.mark.parametrize("sealed_at", [2**32, -1, 1.5, True])
def test_a_time_that_an_account_cannot_keep_is_refused(sealed_at: Any) -> None:
    with pytest.raises(BadStatement, match="sealedAt"):
        Statement(bytes(32), sealed_at, (line(1),))


def test_a_statement_has_1_to_1000_lines_and_each_payer_once() -> None:
    Statement(bytes(32), 1, tuple(line(i) for i in range(1000)))
    for lines, message in (
        ((), "not 0"),
        (tuple(line(i) for i in range(1001)), "not 1001"),
        ((line(7), line(7)), "two lines"),
    ):
        with pytest.raises(BadStatement, match=message):
            Statement(bytes(32), 1, lines)


def test_sealed_at_strictly_increases() -> None:
    require_sealed_after(6, 5)
    require_sealed_after(1, None)
    with pytest.raises(BadStatement, match="not after"):
        require_sealed_after(5, 5)


TARIFF = Tariff(Address(b"\x01" * 20), bytes(32), Rates.of([1] * 8), 6, 3600, bytes(32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 37}, "scale is 37"),
        ({"scale": 255}, "scale is 255"),
        ({"scale": -1}, "scale"),
        ({"thaw_period": 90 * 86400 + 1}, "7776001"),
        ({"thaw_period": 0.5}, "thaw period"),
        ({"terms": b""}, "terms"),
        ({"split_id": bytes(31)}, "splitId"),
    ],
)
def test_a_tariff_out_of_bounds_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadTariff, match=message):
        dataclasses.replace(TARIFF, **change)


def test_every_field_of_a_tariff_changes_its_id() -> None:
    others = [
        dataclasses.replace(TARIFF, **change)
        for change in (
            {"provider": Address(b"\x02" * 20)},
            {"split_id": b"\x01" * 32},
            {"rates": Rates.of([1] * 7 + [2])},
            {"scale": 7},
            {"thaw_period": 3601},
            {"terms": b"\x01" * 32},
        )
    ]
    assert len({TARIFF.id, *(other.id for other in others)}) == 7


def test_a_document_hashes_the_same_however_it_was_written() -> None:
    assert terms_document({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    assert terms_hash(terms_document({"b": 1, "a": 2})) == terms_hash(terms_document({"a": 2, "b": 1}))
