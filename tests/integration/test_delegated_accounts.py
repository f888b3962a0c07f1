"""Accounts under EIP-7702 delegation, by real transactions of type 4: their keys go on signing.

The code that they delegate to refuses every call, so nothing can be due to it. On both chains.
"""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from web3 import Web3

from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import ClaimAuthorization
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.chain_errors import InvalidSignature

# Deploys five bytes: PUSH1 0, PUSH1 0, REVERT.
REFUSING_CODE = bytes.fromhex("600580600b6000396000f3" + "60006000fd")
DELEGATION = bytes.fromhex("ef0100")  # EIP-7702: what stands in front of the delegate's address


def delegate(world: Any, secret: bytes) -> None:
    """Let the account of a key run code that refuses every call; somebody else pays for the transaction."""
    w3: Web3 = world.splitter.gateway.w3
    gateway = world.net.gateway(world.provider)
    receipt = gateway.wait(gateway.send(None, REFUSING_CODE))
    account, sponsor = Account.from_key(secret), Account.create()
    world.net.fund([Address.parse(sponsor.address)], gas=2_000_000)
    consent = account.sign_authorization(
        {"chainId": w3.eth.chain_id, "address": receipt["contractAddress"], "nonce": 0}
    )
    transaction = {
        "type": 4,
        "chainId": w3.eth.chain_id,
        "nonce": 0,
        "gas": 200_000,
        "maxFeePerGas": 2 * w3.eth.get_block("latest")["baseFeePerGas"],
        "maxPriorityFeePerGas": 1,
        "to": account.address,
        "value": 0,
        "data": b"",
        "authorizationList": [consent],
    }
    sent = w3.eth.send_raw_transaction(sponsor.sign_transaction(transaction).raw_transaction)
    w3.eth.wait_for_transaction_receipt(sent)
    expected = DELEGATION + bytes.fromhex(receipt["contractAddress"][2:])
    assert bytes(w3.eth.get_code(account.address)) == expected


@pytest.fixture
def secret(request: pytest.FixtureRequest) -> bytes:
    return keccak256(request.node.nodeid.encode())


def test_a_delegated_meter_still_signs_with_its_key(world: Any, secret: bytes) -> None:
    meter, payer = LocalSigner(secret), world.payers[0]
    delegate(world, secret)
    world.client(world.provider).set_signer(meter.address, 2**32 - 1)
    world.deposit(payer, 1000)
    world.net.wait_until(world.splitter.now() + 1)
    used = UsageVector.of([300, 0, 0, 0, 0, 0, 0, 0])
    other = world.sign({payer: used}, signer=LocalSigner.generate())
    forged = type(other)(other.domain, other.statement, meter.address, other.signature)
    with pytest.raises(InvalidSignature):
        world.splitter.settle(world.tariff, forged)
    world.splitter.settle(world.tariff, world.sign({payer: used}, signer=meter))
    assert world.splitter.escrow(world.tariff.id, payer.address).settled == AssetAmount(300)


def test_a_delegated_party_is_paid_and_still_consents_with_its_key(world: Any, secret: bytes) -> None:
    party, recipient = LocalSigner(secret), LocalSigner.generate().address
    table = PartyTable([Party(party.address, 1, 5), Party(recipient, 2, 5)])
    split, proof = table.split(world.token.address), table.proof(0)
    payer = world.payers[0]
    world.token.mint(payer.address, AssetAmount(3000))
    gateway = world.net.gateway(payer)
    world.token.as_sender(gateway).approve(world.splitter.address, AssetAmount(3000))
    world.client(payer).fund(split, AssetAmount(1000))
    delegate(world, secret)
    world.splitter.claim_first(split, proof)
    assert world.balance(party.address) == 500

    world.client(payer).fund(split, AssetAmount(2000))
    consent = ClaimAuthorization(
        split.id, 0, party.address, recipient, world.splitter.nonce(party.address), world.splitter.now() + 600
    )
    digest = consent.digest(world.splitter.domain)
    forged = LocalSigner.generate().sign_digest(digest)
    with pytest.raises(InvalidSignature):
        world.splitter.claim_with_authorization(split, consent, forged)
    world.splitter.claim_with_authorization(split, consent, party.sign_digest(digest))
    assert (world.balance(party.address), world.balance(recipient)) == (500, 1000)
