"""A meter that is a contract (ERC-1271): what it signs is stated, proven, billed, settled and rebuilt."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meterbridge import Address, AssetAmount, Payer, UsageRecord
from meterbridge.adapters.json_files import read_json
from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.errors import BadSignature
from meterbridge.library.proofs import read_proof, write_proof
from meterbridge.services.proofs import verify_proof
from meterbridge.services.recovery import rebuild


class Wallet:
    """A contract at an address, and whatever bytes it takes for a signature."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def sign_digest(self, digest: bytes) -> bytes:
        return b"what the wallet wants: " + digest


def deploy(market: Any, answer: str) -> Wallet:
    """Deploy code that answers every call with four bytes."""
    # PUSH4 answer, PUSH1 e0, SHL, PUSH0, MSTORE, PUSH1 20, PUSH0, RETURN
    runtime = bytes.fromhex(f"63{answer}60e01b5f5260205ff3")
    gateway = market.net.gateway()
    mined = gateway.wait(gateway.send(None, bytes.fromhex(f"6d{runtime.hex()}5f52600e6012f3")))
    return Wallet(Address.parse(mined["contractAddress"]))


def test_what_a_contract_signs_goes_all_the_way(market: Any, tmp_path: Path) -> None:
    wallet = deploy(market, "1626ba7e")  # the magic value
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    with market.publish(tmp_path / "books", meter=wallet) as books:
        books.open_account(market.acme, customer="acme")
        where = {"contract": market.contract, "tariff": books.tariff.id, "rpc": market.rpc}
        with Payer.connect(key=market.acme, **where) as payer:
            payer.deposit(payer.currency.amount("1.00"))
        books.record([UsageRecord("a", "acme", usage, datetime(2026, 1, 1, tzinfo=UTC))])
        books.seal()
        (signed,) = books.sign(sealed_at=market.net.gateway().now() - 1)
        assert signed.signer == wallet.address
        (settlement,) = books.settle()
        assert settlement.drawn == AssetAmount(2_800)

        proof = read_proof(write_proof(books.prove("a", source="client"), tmp_path / "proof.json"))
        with Payer.connect(payer=market.acme, **where) as payer:
            assert payer.bill(books.hand_over("acme", tmp_path / "for-acme")).bill.receipts == 1
            assert payer.verify(proof).price == AssetAmount(2_800)
        with pytest.raises(BadSignature):
            verify_proof(proof)  # offline, nobody can say what a contract accepts

        (kept,) = (tmp_path / "books" / "statements").glob("*.json")
        assert dict(read_json(kept))["signer"] == str(wallet.address)  # type: ignore[call-overload]
        segments, client = FolderSegments(tmp_path / "books" / "segments"), books._client
        with open_ledger(tmp_path / "offline") as offline, pytest.raises(BadSignature):
            rebuild(offline, segments, [signed], signers=[wallet.address])
        with open_ledger(tmp_path / "again") as again:
            report = rebuild(again, segments, [signed], signers=[wallet.address], contracts=client)
            assert (report.receipts, report.statements) == (1, 1)


def test_what_a_contract_refuses_is_not_stated(market: Any, tmp_path: Path) -> None:
    with market.publish(tmp_path / "books", meter=deploy(market, "00000000")) as books:
        books.open_account(market.acme, customer="acme")
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        books.record([UsageRecord("a", "acme", usage, datetime(2026, 1, 1, tzinfo=UTC))])
        books.seal()
        with pytest.raises(BadSignature):
            books.sign()
        assert list(books._opened.ledger.statements(books.tariff.id)) == []
