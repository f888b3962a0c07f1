"""Statements, receipts and views as columns are what the plain encodings of the ABI and of RLP say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from eth_abi.abi import decode, encode
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.adapters.chain.multiview import pack_calls, read_words
from meterbridge.adapters.chain.receipts import read_receipt
from meterbridge.adapters.chain.senders import KeySender
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.price_columns import prices_down
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, Rates, UsageVector
from meterbridge.services.chain_errors import ChainUnavailable
from meterbridge.services.records import Draw
from meterbridge.services.settling.parcels import Draws, LineResult, Parcel
from meterbridge.services.settling.ports import Unsigned

DOMAIN = Domain(31_337, Address(b"\x41" * 20))
TARIFF_ID, TX = b"\x51" * 32, b"\x61" * 32
lanes = st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6)
usages = st.lists(lanes, min_size=8, max_size=8).map(UsageVector.of)
addresses = st.binary(min_size=20, max_size=20).map(Address)
words = st.binary(min_size=32, max_size=32)


def tariff(rates: list[int], scale: int) -> Tariff:
    return Tariff(Address(b"\x11" * 20), b"\x12" * 32, Rates.of(rates), scale, 3_600, b"\x13" * 32)


@settings(deadline=None)
@given(
    st.lists(usages, max_size=6),
    st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 10**7), min_size=8, max_size=8),
    st.integers(0, 36),
)
def test_prices_of_columns_are_those_of_each_line(
    lines: list[UsageVector], rates: list[int], scale: int
) -> None:
    some = tariff(rates, scale)
    columns = np.array([usage.lanes for usage in lines], dtype=np.int64).reshape(-1, 8)
    assert prices_down(some, columns) == [some.price_down(usage).base_units for usage in lines]


@pytest.mark.parametrize(
    ("used", "rates", "price"),
    [
        ([2**62, 0], [1, 2**64 - 1], 2**62),  # a rate beyond int64 that nothing is counted for
        ([2**63 - 1, 0], [1, 0], 2**63 - 1),  # the largest that fits
        ([2**62, 2**62], [1, 1], 2**63),  # the first sum that does not
        ([-(2**63), 0], [1, 0], 0),
        ([2**63 - 1, -(2**63)], [2**64 - 1, 2**64 - 1], 0),
        ([3, -1], [10, 7], 23),
    ],
)
def test_price_at_the_edge_of_64_bits_is_exact(used: list[int], rates: list[int], price: int) -> None:
    columns = np.array([used + [0] * 6], dtype=np.int64)
    assert prices_down(tariff(rates + [0] * 6, 0), columns) == [price]


@settings(deadline=None)
@given(
    st.lists(
        st.builds(Line, addresses, usages, words), min_size=1, max_size=5, unique_by=lambda line: line.payer
    )
)
def test_parcel_holds_what_the_statement_says(lines: list[Line]) -> None:
    signed = SignedStatement(
        DOMAIN, Statement(TARIFF_ID, 7, tuple(lines)), Address(b"\x71" * 20), b"\x01" * 65
    )
    parcel = Parcel.of(signed)
    assert parcel.signed() == signed
    assert parcel.payer_list() == [line.payer.raw for line in lines]
    assert (len(parcel), parcel.digest) == (len(lines), signed.digest())


def log(address: Address, topics: list[bytes], data: bytes) -> dict[str, Any]:
    return {
        "address": str(address),
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + data.hex(),
    }


def receipt(logs: list[dict[str, Any]]) -> dict[str, Any]:
    found = {
        "transactionHash": "0x" + TX.hex(),
        "blockNumber": "0x5",
        "blockHash": "0x" + (b"\x62" * 32).hex(),
    }
    return found | {"status": "0x1", "gasUsed": "0x5208", "logs": logs}


SETTLED = keccak(text="Settled(bytes32,address,uint256[2],bytes32,uint256)")
SKIPPED = keccak(text="Skipped(bytes32,address,uint64,uint32)")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(addresses, st.integers(0, 2**112 - 1), st.none() | st.integers(1, 2**32 - 1)), max_size=6
    )
)
def test_receipt_is_read_as_the_abi_encodes_it(told: list[tuple[Address, int, int | None]]) -> None:
    logs, here = [], DOMAIN.verifying_contract
    for payer, drawn, newer in told:
        payer_topic = encode(["address"], [str(payer)])
        if newer is None:
            data = encode(
                ["uint256[2]", "bytes32", "uint256"], [[1, 2], b"\x09" * 32, 1_700_000_000 << 224 | drawn]
            )
            logs.append(log(here, [SETTLED, TARIFF_ID, payer_topic], data))
        else:
            logs.append(
                log(here, [SKIPPED, TARIFF_ID, payer_topic], encode(["uint64", "uint32"], [3, newer]))
            )
        # What is not about this tariff, or by another contract, tells nothing; nor does a log without topics.
        logs.append(log(here, [SETTLED, b"\x52" * 32, payer_topic], logs[-1]["data"].encode()))
        logs.append(log(Address(b"\x42" * 20), [SETTLED, TARIFF_ID, payer_topic], b"\x01" * 128))
        logs.append(log(Address(b"\x42" * 20), [], b""))
    found = read_receipt(receipt(logs), TX, DOMAIN, TARIFF_ID)
    assert found is not None
    expected = [
        LineResult(payer, AssetAmount(drawn if newer is None else 0), newer) for payer, drawn, newer in told
    ]
    assert list(found.lines) == expected
    assert list(found.lines[1:]) == expected[1:]
    assert list(found.lines.draws()) == [
        Draw(line.payer, line.drawn, line.skipped_for is not None) for line in expected
    ]


@pytest.mark.parametrize(
    "change", [{"data": "0x12"}, {"data": "0x" + "zz" * 128}, {"topics": ["0x", "0x", "0x"]}]
)
def test_log_of_the_contract_that_is_none_is_refused(change: dict[str, Any]) -> None:
    payer = encode(["address"], ["0x" + "77" * 20])
    good = log(DOMAIN.verifying_contract, [SETTLED, TARIFF_ID, payer], b"\x01" * 128)
    broken = receipt([good | change])
    if "topics" in change:
        found = read_receipt(broken, TX, DOMAIN, TARIFF_ID)
        assert found is not None
        assert not found.lines  # no event of ours
    else:
        with pytest.raises(ChainUnavailable, match="no receipt"):
            read_receipt(broken, TX, DOMAIN, TARIFF_ID)


@settings(deadline=None)
@given(
    st.lists(addresses, min_size=1, max_size=5),
    st.lists(st.integers(0, 2**256 - 1), min_size=15, max_size=15),
)
def test_views_of_many_accounts_are_packed_and_read_as_the_abi_says(
    payers: list[Address], numbers: list[int]
) -> None:
    data = pack_calls("account", [TARIFF_ID + payer.raw.rjust(32, b"\0") for payer in payers])
    selector = keccak(text="account(bytes32,address)")[:4]
    single = [selector + encode(["bytes32", "address"], [TARIFF_ID, str(payer)]) for payer in payers]
    assert data == keccak(text="multicall(bytes[])")[:4] + encode(["bytes[]"], [single])
    assert decode(["bytes[]"], data[4:]) == (tuple(single),)
    rows = [tuple(numbers[3 * index : 3 * index + 3]) for index in range(len(payers))]
    answer = encode(["bytes[]"], [[encode(["uint256"] * 3, row) for row in rows]])
    assert read_words(answer, len(rows), 3) == rows
    small = [(row[0] % 2**64, 1, 0) for row in rows]
    answer = encode(["bytes[]"], [[encode(["uint256"] * 3, row) for row in small]])
    assert read_words(answer, len(rows), 3) == small
    for odd in (answer[:-1], answer[:63] + b"\x09" + answer[64:], b""):
        with pytest.raises(ChainUnavailable):
            read_words(odd, len(rows), 3)
    with pytest.raises(ChainUnavailable, match="another shape"):
        read_words(answer[:95] + b"\x01" + answer[96:], len(rows), 3)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**64),
    st.integers(0, 2**70),
    st.binary(max_size=300),
)
def test_outbox_transaction_is_the_one_that_eth_account_signs(
    chain_id: int, nonce: int, tip: int, most: int, data: bytes
) -> None:
    key = keccak(b"a key of a test")
    sent = Unsigned(chain_id, nonce, Address(b"\x91" * 20), data, 21_000, most, tip)
    oracle = Account.from_key(key).sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "value": 0,
            "data": data,
            "gas": 21_000,
            "to": "0x" + "91" * 20,
            "maxFeePerGas": most,
            "maxPriorityFeePerGas": tip,
        }
    )
    assert KeySender(LocalSigner(key)).sign(sent) == bytes(oracle.raw_transaction)


@pytest.mark.parametrize(
    ("payers", "drawn", "skipped"),
    [
        ((b"\x01" * 20,), (1, 2), (False,)),
        ((b"\x01" * 20, b"\x02" * 20), (1,), (False, False)),
        ((b"\x01" * 20,), (1,), ()),
        ((b"\x01" * 19,), (1,), (False,)),
        ((b"\x01" * 19, b"\x02" * 21), (1, 2), (False, False)),
    ],
)
def test_draws_that_do_not_stand_side_by_side_are_refused(
    payers: tuple[bytes, ...], drawn: tuple[int, ...], skipped: tuple[bool, ...]
) -> None:
    with pytest.raises(ValueError, match="payers of 20 bytes"):
        Draws(payers, drawn, skipped)
