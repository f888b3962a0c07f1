"""Signatures, against those of the vectors and against ones made by eth-account."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSignature
from meterbridge.domain.signatures import CURVE_ORDER, encode_signature, recover_signer, require_signed_by

KEY = bytes(range(1, 33))
DIGEST = bytes(range(100, 132))


def signed() -> tuple[Address, bytes]:
    account = Account.from_key(KEY)
    return Address.parse(account.address), bytes(account.unsafe_sign_hash(DIGEST).signature)


def test_every_signature_of_the_vectors_recovers_to_its_signer(vectors: dict[str, Any]) -> None:
    assert vectors["statements"]
    for case in vectors["statements"]:
        digest, signature = (bytes.fromhex(case[name][2:]) for name in ("digest", "signature"))
        assert recover_signer(digest, signature) == Address.parse(case["signer"])


def test_signature_by_another_library_is_accepted() -> None:
    signer, signature = signed()
    require_signed_by(signer, DIGEST, signature)


def test_changed_message_is_refused() -> None:
    signer, signature = signed()
    with pytest.raises(BadSignature, match=f"is not by {signer}"):
        require_signed_by(signer, DIGEST[::-1], signature)


def test_mirrored_signature_is_refused_and_encoding_mirrors_it_back() -> None:
    signer, signature = signed()
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    high = signature[:32] + (CURVE_ORDER - s).to_bytes(32, "big") + bytes([55 - signature[64]])
    with pytest.raises(BadSignature, match="malleable"):
        recover_signer(DIGEST, high)
    assert encode_signature(r, CURVE_ORDER - s, 28 - signature[64]) == signature
    assert recover_signer(DIGEST, encode_signature(r, CURVE_ORDER - s, 28 - signature[64])) == signer


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_other_v_is_refused(v: int) -> None:
    with pytest.raises(BadSignature, match=f"v is {v}"):
        recover_signer(DIGEST, signed()[1][:64] + bytes([v]))


@pytest.mark.parametrize("length", [0, 64, 66])
def test_other_length_is_refused(length: int) -> None:
    with pytest.raises(BadSignature, match=f"not {length}"):
        recover_signer(DIGEST, (signed()[1] + b"\1")[:length])


@pytest.mark.parametrize("r", [0, CURVE_ORDER, 2**256 - 1, 5])
def test_r_that_belongs_to_no_key_is_refused(r: int) -> None:
    # 5 is no x coordinate of the curve: 5**3 + 7 = 132 has no square root there.
    with pytest.raises(BadSignature, match="belongs to no key"):
        recover_signer(DIGEST, r.to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\x1b")


@pytest.mark.parametrize(("r", "s", "parity"), [(0, 1, 0), (1, 0, 0), (CURVE_ORDER, 1, 0), (1, 1, 2)])
def test_numbers_out_of_range_are_not_encoded(r: int, s: int, parity: int) -> None:
    with pytest.raises(BadSignature, match="out of range"):
        encode_signature(r, s, parity)
