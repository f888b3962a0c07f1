"""What only a real node shows: conflicts within one block, fees, and what a signed transaction carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from meterbridge.adapters.chain import KeySender, calls
from meterbridge.adapters.chain.ranges import LogRanges
from meterbridge.adapters.devnet import Devnet, rpc_chain
from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import NothingThawing, TransactionReverted

pytestmark = pytest.mark.node


@pytest.fixture
def world(anvil_url: str, make_world: Callable[[Devnet], Any]) -> Any:
    return make_world(rpc_chain(anvil_url))


def rpc(world: Any, method: str, *params: object) -> None:
    answer = world.net.w3.provider.make_request(method, list(params))
    assert "error" not in answer, answer


def test_second_of_two_withdrawals_in_one_block_fails_and_says_so(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 100)
    mine = world.client(payer)
    mine.thaw(world.tariff, AssetAmount(100))
    world.net.wait_until(world.splitter.thawing(world.tariff.id, payer.address).end)
    sender = KeySender(payer)
    call = calls.withdraw(world.tariff, world.split)
    transaction = {
        "to": world.net.w3.to_checksum_address(str(world.splitter.address)),
        "data": call,
        "gas": 300_000,
    }
    rpc(world, "evm_setAutomine", False)
    try:
        # Handed in without a try, as by two processes that both looked before either was mined.
        first, second = (sender.submit(world.net.w3, transaction) for _ in range(2))
        rpc(world, "evm_mine")
    finally:
        rpc(world, "evm_setAutomine", True)
    assert mine.wait(first).block == world.splitter.newest_block()
    with pytest.raises(
        TransactionReverted, match="the same call succeeds on the state before that block"
    ) as caught:
        mine.wait(second)
    assert caught.value.value == second
    assert world.balance(payer.address) == 100
    with pytest.raises(NothingThawing):
        mine.withdraw(world.tariff, world.split)


def test_transaction_of_a_key_is_one_that_another_library_reads(world: Any) -> None:
    payer, w3 = world.payers[0], world.net.w3
    nonce = w3.eth.get_transaction_count(w3.to_checksum_address(str(payer.address)))
    raw = KeySender(payer).signed(
        w3, {"to": w3.to_checksum_address("0x" + "12" * 20), "data": b"\x01\x02", "gas": 50_000}
    )
    assert Address.parse(Account.recover_transaction(raw)) == payer.address
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    assert (fields["chainId"], fields["nonce"], fields["gas"]) == (w3.eth.chain_id, nonce, 50_000)
    assert fields["maxFeePerGas"] >= w3.eth.get_block("latest")["baseFeePerGas"]
    assert fields["value"] == 0


def test_logs_in_ranges_are_those_at_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = world.splitter.newest_block() + 1
    for payer in world.payers:
        world.deposit(payer, 10)
    end = world.splitter.newest_block()
    at_once = world.splitter.events(start, end)
    assert len(at_once) == 6
    asked: list[tuple[int, int]] = []
    original = world.net.w3.eth.get_logs

    def watched(request: Any) -> Any:
        asked.append((request["fromBlock"], request["toBlock"]))
        return original(request)

    monkeypatch.setattr(world.splitter.gateway, "_ranges", LogRanges(4))
    monkeypatch.setattr(world.splitter.gateway.w3.eth, "get_logs", watched)
    assert world.splitter.events(start, end) == at_once
    assert len(asked) == -(-(end - start + 1) // 4)
    assert asked[-1][1] == end
    assert list(at_once) == sorted(at_once, key=lambda event: event.at)
