"""For which EIP-712 domain a token's signatures are made: for older tokens too, never for a lying node."""

from __future__ import annotations

from typing import Any, cast

import pytest
from eth_abi.abi import encode

from meterbridge.adapters.chain import Gateway, TokenClient
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.services.chain_errors import Refusal, UnknownRefusal, WrongChain

# USD Coin on Ethereum: name and version as its contract gives them, and the separator that it publishes.
USDC = Address.parse("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")
USDC_SEPARATOR = bytes.fromhex("06c37168a7db5138defc7866392bb87a741f9b3d104deb5094588ce041cae335")


def selector(signature: str) -> bytes:
    return keccak256(signature.encode())[:4]


class Node:
    """Answers calls by their selectors, and refuses others, as a contract without a fallback does."""

    def __init__(self, chain_id: int, **answers: bytes) -> None:
        self._chain_id = chain_id
        self._answers = {selector(f"{name}()"): answer for name, answer in answers.items()}

    def chain_id(self) -> int:
        return self._chain_id

    def call(self, to: Address, data: bytes, block: int | None = None) -> bytes:
        assert (to, block) == (USDC, None)
        if data not in self._answers:
            raise UnknownRefusal(data=b"")
        return self._answers[data]


def text(value: str) -> bytes:
    return encode(["string"], [value])


def token(node: Any) -> TokenClient:
    return TokenClient(cast(Gateway, node), USDC)


def test_token_of_before_erc5267_is_signed_for_by_its_name_and_version() -> None:
    node = Node(1, name=text("USD Coin"), version=text("2"), DOMAIN_SEPARATOR=USDC_SEPARATOR)
    assert token(node).domain_separator == USDC_SEPARATOR


def test_token_without_a_version_has_version_one() -> None:
    types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    domain = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    hashes = [keccak256(part) for part in (domain, b"Old Token", b"1")]
    separator = keccak256(encode(types, [*hashes, 5, str(USDC)]))
    for version in ({}, {"version": b""}):
        node = Node(5, name=text("Old Token"), DOMAIN_SEPARATOR=separator, **version)
        assert token(node).domain_separator == separator


@pytest.mark.parametrize(("chain_id", "version"), [(1, "1"), (8453, "2")])
def test_separator_of_another_domain_is_not_signed_for(chain_id: int, version: str) -> None:
    node = Node(chain_id, name=text("USD Coin"), version=text(version), DOMAIN_SEPARATOR=USDC_SEPARATOR)
    with pytest.raises(WrongChain, match="deposit by approval instead"):
        _ = token(node).domain_separator


def test_token_without_signatures_is_refused() -> None:
    with pytest.raises(Refusal):
        _ = token(Node(1, name=text("Plain"))).domain_separator
