"""Calldata, against web3's own encoder of the same ABI."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3

from meterbridge.adapters.chain import calls
from meterbridge.adapters.chain.calls import Permit, TokenSignature, TransferAuthorization
from meterbridge.domain.addresses import Address
from meterbridge.domain.signatures import CURVE_ORDER
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import ClaimAuthorization, Domain, Line, SignedStatement, Statement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, Rates, UsageVector

PAYER, SIGNER, TOKEN = (Address(bytes([n]) * 20) for n in (0x11, 0x22, 0x33))
TABLE = PartyTable.of(Party(PAYER, 1, 5), Party(SIGNER, 2, 6), Party(TOKEN, 3, 2**100))
SPLIT = TABLE.split(TOKEN)
TARIFF = Tariff(SIGNER, SPLIT.id, Rates((1, 2**64 - 1, 3, 4, 5, 6, 7, 8)), 36, 7_776_000, b"\x99" * 32)
AMOUNT = AssetAmount(2**200 + 7)
PARTS = TokenSignature(28, b"\xaa" * 32, b"\xbb" * 32)
AUTHORIZATION = ClaimAuthorization(SPLIT.id, 5, SIGNER, PAYER, 9, 2**40)


def web3_encoding(function: str, *values: Any) -> bytes:
    artifact = json.loads((files("meterbridge.contracts") / "SettlementSplitter.json").read_text())
    contract = Web3().eth.contract(abi=artifact["abi"])
    return bytes.fromhex(contract.encode_abi(function, list(values))[2:])


def test_every_changing_function_is_encoded_as_web3_does() -> None:
    deposit = (TARIFF.abi_tuple(), SPLIT.abi_tuple(), str(PAYER), AMOUNT.base_units)
    rows = [(str(p.account), p.role, p.share) for p in TABLE.parties]
    proof = TABLE.proof(1)
    path = (proof.abi_tuple()[0], proof.abi_tuple()[1], proof.abi_tuple()[2])
    given_ = TransferAuthorization(5, 2**40, b"\xcc" * 32, PARTS)
    cases: dict[str, tuple[bytes, tuple[Any, ...]]] = {
        "setSigner": (calls.set_signer(SIGNER, 2**64 - 1), (str(SIGNER), 2**64 - 1)),
        "publishSplit": (calls.publish_split(SPLIT, TABLE.parties), (SPLIT.abi_tuple(), rows)),
        "announceSplit": (calls.announce_split(SPLIT, "ipfs://ü"), (SPLIT.abi_tuple(), "ipfs://ü")),
        "publishTariff": (calls.publish_tariff(TARIFF, b"{}"), (TARIFF.abi_tuple(), b"{}")),
        "deposit": (calls.deposit(TARIFF, SPLIT, PAYER, AMOUNT), deposit),
        "depositWithPermit": (
            calls.deposit_with_permit(TARIFF, SPLIT, PAYER, AMOUNT, Permit(77, PARTS)),
            (*deposit, 77, 28, b"\xaa" * 32, b"\xbb" * 32),
        ),
        "depositWithAuthorization": (
            calls.deposit_with_authorization(TARIFF, SPLIT, PAYER, AMOUNT, given_),
            (*deposit, 5, 2**40, b"\xcc" * 32, 28, b"\xaa" * 32, b"\xbb" * 32),
        ),
        "thaw": (calls.thaw(TARIFF, AMOUNT), (TARIFF.abi_tuple(), AMOUNT.base_units)),
        "withdraw": (calls.withdraw(TARIFF, SPLIT), (TARIFF.abi_tuple(), SPLIT.abi_tuple())),
        "fund": (calls.fund(SPLIT, AMOUNT), (SPLIT.abi_tuple(), AMOUNT.base_units)),
        "claimFirst": (calls.claim_first(SPLIT, proof), (SPLIT.abi_tuple(), rows[1], path)),
        "claim": (calls.claim(SPLIT, 5, SIGNER), (5, str(SIGNER), SPLIT.abi_tuple())),
        "claimTo": (calls.claim_to(SPLIT, 5, PAYER), (SPLIT.abi_tuple(), 5, str(PAYER))),
        "claimWithAuthorization": (
            calls.claim_with_authorization(SPLIT, AUTHORIZATION, b"\x01" * 65),
            (SPLIT.abi_tuple(), AUTHORIZATION.abi_tuple(), b"\x01" * 65),
        ),
        "multicall": (calls.multicall([b"\x01\x02", b""]), ([b"\x01\x02", b""],)),
    }
    artifact = json.loads((files("meterbridge.contracts") / "SettlementSplitter.json").read_text())
    changing = {
        entry["name"]
        for entry in artifact["abi"]
        if entry["type"] == "function" and entry["stateMutability"] == "nonpayable"
    }
    assert changing == cases.keys() | {"settle", "settleOne"}
    for function, (encoded, values) in cases.items():
        assert encoded == web3_encoding(function, *values), function


lines = st.builds(
    Line,
    st.binary(min_size=20, max_size=20).map(Address),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=8, max_size=8).map(UsageVector.of),
    st.binary(min_size=32, max_size=32),
)


@given(
    st.lists(lines, min_size=1, max_size=5, unique_by=lambda line: line.payer),
    st.integers(1, 2**32 - 1),
    st.binary(max_size=200),
)
def test_settle_is_packed_as_web3_does(drawn: list[Line], sealed_at: int, signature: bytes) -> None:
    statement = Statement(TARIFF.id, sealed_at, tuple(drawn))
    signed = SignedStatement(Domain(1, TOKEN), statement, SIGNER, signature)
    values = {
        "tariff": TARIFF.abi_tuple(),
        "sealedAt": sealed_at,
        "lines": [line.abi_tuple() for line in drawn],
        "signer": str(SIGNER),
        "signature": signature,
    }
    order = [
        p["name"] for p in calls.load_artifact("SettlementSplitter").abi.functions["settle"].inputs.entries
    ]
    assert calls.settle(TARIFF, signed) == web3_encoding("settle", *(values[name] for name in order))


@settings(deadline=None)
@given(lines, lines, st.integers(1, 2**32 - 1), st.integers(1, CURVE_ORDER - 1))
def test_what_a_key_signed_goes_in_64_bytes_and_alone_where_it_is_one_line(
    first: Line, second: Line, sealed_at: int, secret: int
) -> None:
    key = Account.from_key(secret.to_bytes(32, "big"))
    for drawn in [(first,), (first, second)]:
        if len({line.payer for line in drawn}) < len(drawn):
            continue
        statement = Statement(TARIFF.id, sealed_at, drawn)
        digest = statement.digest(Domain(1, TOKEN))
        by_key = key.unsafe_sign_hash(digest)
        signature = bytes(by_key.signature)
        signed = SignedStatement(Domain(1, TOKEN), statement, Address.parse(key.address), signature)
        # An oracle of its own: EIP-2098 as its text says it.
        vs = ((by_key.v - 27) << 255 | by_key.s).to_bytes(32, "big")
        r, rows = by_key.r.to_bytes(32, "big"), [line.abi_tuple() for line in drawn]
        if len(drawn) == 1:
            values = (rows[0], key.address, r, vs, TARIFF.abi_tuple(), sealed_at)
            assert calls.settle(TARIFF, signed) == web3_encoding("settleOne", *values)
        else:
            values = (key.address, r + vs, sealed_at, TARIFF.abi_tuple(), rows)
            assert calls.settle(TARIFF, signed) == web3_encoding("settle", *values)
        # Of somebody else, a contract may say what it thinks of it.
        others = replace(signed, signer=PAYER)
        values = (str(PAYER), signature, sealed_at, TARIFF.abi_tuple(), rows)
        assert calls.settle(TARIFF, others) == web3_encoding("settle", *values)


def test_signature_is_cut_into_parts() -> None:
    assert TokenSignature.of(b"\xaa" * 32 + b"\xbb" * 32 + b"\x1c") == PARTS
    with pytest.raises(ValueError, match="65 bytes, not 64"):
        TokenSignature.of(bytes(64))


def test_proof_bits_say_left() -> None:
    # party 1 of 3: its sibling 0 stands on the left, then the lone third on the right
    assert TABLE.proof(1).abi_tuple()[0] == 0b01
    assert replace(TABLE.proof(2)).abi_tuple()[0] == 0b1
