"""The typed client against the real contract: what goes in, what comes out, what is refused and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterbridge.adapters.chain import Gateway, NodeSender, ReadOnly, SplitterClient, TokenClient, calls
from meterbridge.adapters.chain.abi import python_name
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, PartyTable, Split
from meterbridge.domain.statements import ClaimAuthorization, Line, Statement
from meterbridge.domain.units import AssetAmount, Rates, UsageVector
from meterbridge.services import chain_errors as errors
from meterbridge.services import token_errors
from meterbridge.services.chain_errors import ChainUnavailable, WrongChain
from meterbridge.services.chain_events import (
    AccountOpened,
    Claimed,
    Deposited,
    Funded,
    Registered,
    Settled,
    SignerSet,
    SplitAnnounced,
    SplitPublished,
    TariffPublished,
    Thawing,
    Withdrawn,
)
from meterbridge.services.chain_ports import Escrow, Stake, StakeKey, Thaw


def vector(*lanes: int) -> UsageVector:
    return UsageVector.of([*lanes, *[0] * (8 - len(lanes))])


def kinds(receipt: Any) -> list[type]:
    return [type(event) for event in receipt.events]


def test_every_function_of_the_abi_has_a_method() -> None:
    abi = calls.load_artifact("SettlementSplitter").abi
    renamed = {"account": "escrow", "nonces": "nonce", "eip712Domain": "domain"}
    methods = {renamed.get(name, python_name(name)) for name in abi.functions}
    methods.remove("settle_one")  # what `settle` sends for a statement of one line
    assert methods <= {name for name in dir(SplitterClient) if not name.startswith("_")}


def test_domain_is_that_of_chain_and_contract(world: Any) -> None:
    assert world.splitter.domain.verifying_contract == world.splitter.address
    assert world.splitter.domain.chain_id == world.net.w3.eth.chain_id
    assert world.splitter.runs_released_code()


def test_address_without_the_contract_is_a_clear_error(world: Any) -> None:
    for address in (Address(b"\x12" * 20), world.token.address):
        client = SplitterClient(world.splitter.gateway, address)
        assert not client.runs_released_code()
    with pytest.raises(ChainUnavailable, match="is this the right contract on the right chain"):
        _ = SplitterClient(world.splitter.gateway, Address(b"\x12" * 20)).domain
    with pytest.raises(WrongChain, match="is no splitter, it is 'Test USD' '1'"):
        _ = SplitterClient(world.splitter.gateway, world.token.address).domain


def test_reading_client_does_not_send(world: Any) -> None:
    reader = SplitterClient(Gateway(world.net.w3), world.splitter.address)
    assert reader.signer_until(world.provider.address, world.meter.address) == 2**32 - 1
    with pytest.raises(ReadOnly, match="name an account"):
        reader.set_signer(world.meter.address, 1)


def test_publishing(world: Any) -> None:
    provider = world.client(world.provider)
    (published,) = provider.publish_split(world.split, world.table.parties).events
    assert isinstance(published, SplitPublished)
    assert (published.split_id, published.split, published.parties) == (
        world.split.id,
        world.split,
        world.table.parties,
    )
    (tariff,) = provider.publish_tariff(world.tariff, world.document).events
    assert isinstance(tariff, TariffPublished)
    assert (tariff.tariff_id, tariff.tariff, tariff.document) == (
        world.tariff.id,
        world.tariff,
        world.document,
    )
    (announced,) = provider.announce_split(world.split, "ipfs://parties").events
    assert isinstance(announced, SplitAnnounced)
    assert (announced.split, announced.uri) == (world.split, "ipfs://parties")
    (set_,) = provider.set_signer(world.meter.address, 77).events
    assert isinstance(set_, SignerSet)
    assert (set_.provider, set_.signer, set_.until) == (world.provider.address, world.meter.address, 77)
    assert world.splitter.signer_until(world.provider.address, world.meter.address) == 77


def test_nonsense_that_anyone_may_announce_does_not_stop_a_reader(world: Any) -> None:
    abi = calls.load_artifact("SettlementSplitter").abi
    nonsense = (str(Address(bytes(20))), bytes(32), 0)
    selector = abi.functions["announceSplit"].selector
    types = [*abi.functions["announceSplit"].inputs.types[:-1], "bytes"]
    from eth_abi.abi import encode

    receipt = world.splitter.transact(selector + encode(types, [nonsense, b"\xff\xfe not UTF-8"]))
    (announced,) = world.splitter.events(receipt.block, receipt.block)
    assert isinstance(announced, SplitAnnounced)
    assert announced.split is None
    assert announced.uri == "\ufffd\ufffd not UTF-8"


def test_ids_prices_and_digests_are_those_of_the_domain(world: Any) -> None:
    splitter = world.splitter
    assert splitter.tariff_id(world.tariff) == world.tariff.id
    assert splitter.split_id(world.split) == world.split.id
    lines = tuple(Line(p.address, vector(-(2**63), 2**63 - 1, 5), bytes([9]) * 32) for p in world.payers)
    statement = Statement(world.tariff.id, 2**32 - 1, lines)
    assert splitter.hash_statement(statement) == statement.digest(splitter.domain)
    authorization = ClaimAuthorization(world.split.id, 2**255, world.meter.address, Address(bytes(20)), 3, 4)
    assert splitter.hash_claim_authorization(authorization) == authorization.digest(splitter.domain)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=8, max_size=8),
    st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=8),
    st.integers(0, 36),
)
def test_price_is_that_of_the_domain(world: Any, lanes: list[int], rates: list[int], scale: int) -> None:
    tariff = world.make_tariff(rates=Rates.of(rates), scale=scale)
    used = UsageVector.of(lanes)
    assert world.splitter.price(tariff, used) == tariff.price_down(used)


def test_deposit_by_approval(world: Any) -> None:
    payer = world.payers[0]
    world.token.mint(payer.address, AssetAmount(900))
    mine = world.client(payer)
    world.token.as_sender(mine.gateway).approve(world.splitter.address, AssetAmount(900))
    assert world.token.allowance(payer.address, world.splitter.address) == AssetAmount(900)
    opened, deposited = mine.deposit(world.tariff, world.split, payer.address, AssetAmount(600)).events
    assert isinstance(opened, AccountOpened)
    assert (opened.tariff, opened.split, opened.payer) == (world.tariff, world.split, payer.address)
    assert isinstance(deposited, Deposited)
    assert (deposited.giver, deposited.arrived) == (payer.address, AssetAmount(600))
    gift = mine.deposit(world.tariff, world.split, world.payers[1].address, AssetAmount(300)).events[-1]
    assert isinstance(gift, Deposited)
    assert (gift.giver, gift.payer) == (payer.address, world.payers[1].address)
    escrows = world.splitter.escrows(world.tariff.id, [p.address for p in world.payers])
    assert escrows == tuple(Escrow(AssetAmount(n), AssetAmount(0), 0) for n in (600, 300, 0))
    assert world.splitter.escrow(world.tariff.id, payer.address) == escrows[0]
    assert world.splitter.token_balance(world.token.address) == AssetAmount(900)


def test_deposit_by_permit_also_when_somebody_used_the_permit_first(world: Any) -> None:
    payer = world.payers[0]
    world.token.mint(payer.address, AssetAmount(1000))
    mine = world.client(payer)
    permit = world.token.sign_permit(payer, world.splitter.address, AssetAmount(400))
    receipt = mine.deposit_with_permit(world.tariff, world.split, payer.address, AssetAmount(400), permit)
    assert kinds(receipt) == [AccountOpened, Deposited]
    second = world.token.sign_permit(payer, world.splitter.address, AssetAmount(600))
    abi = calls.load_artifact("TestUSD").abi
    values = (str(payer.address), str(world.splitter.address), 600, second.deadline)
    front_run = abi.encode("permit", *values, *second.signature.parts())
    gateway = world.splitter.gateway
    gateway.wait(gateway.send(world.token.address, front_run))
    mine.deposit_with_permit(world.tariff, world.split, payer.address, AssetAmount(600), second)
    assert world.splitter.escrow(world.tariff.id, payer.address).balance == AssetAmount(1000)


def test_permit_is_what_another_library_signs(world: Any) -> None:
    payer = LocalSigner(bytes([5]) * 32)
    permit = world.token.sign_permit(payer, world.splitter.address, AssetAmount(12), deadline=99)
    message = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Permit": [
                {"name": "owner", "type": "address"},
                {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ],
        },
        "primaryType": "Permit",
        "domain": {
            "name": "Test USD",
            "version": "1",
            "chainId": world.splitter.domain.chain_id,
            "verifyingContract": str(world.token.address),
        },
        "message": {
            "owner": str(payer.address),
            "spender": str(world.splitter.address),
            "value": 12,
            "nonce": 0,
            "deadline": 99,
        },
    }
    signed = Account.sign_typed_data(bytes([5]) * 32, full_message=message)
    assert permit.signature.parts() == (signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big"))


def test_deposit_by_transfer_authorization_that_a_stranger_submits(world: Any) -> None:
    payer, stranger = world.payers[0], world.client(world.payers[1])
    world.token.mint(payer.address, AssetAmount(1000))
    given_ = world.token.sign_deposit(payer, world.splitter.address, world.tariff.id, AssetAmount(700))
    other = world.make_tariff(scale=1)
    with pytest.raises(token_errors.ERC3009InvalidSignature):
        stranger.deposit_with_authorization(other, world.split, payer.address, AssetAmount(700), given_)
    receipt = stranger.deposit_with_authorization(
        world.tariff, world.split, payer.address, AssetAmount(700), given_
    )
    assert kinds(receipt) == [AccountOpened, Deposited]
    deposited = receipt.events[1]
    assert (deposited.payer, deposited.giver) == (payer.address, payer.address)
    with pytest.raises(token_errors.ERC3009UsedAuthorization):
        stranger.deposit_with_authorization(
            world.tariff, world.split, payer.address, AssetAmount(700), given_
        )


def test_thawing_and_withdrawing(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 1000)
    mine = world.client(payer)
    (thawing,) = mine.thaw(world.tariff, AssetAmount(400)).events
    assert isinstance(thawing, Thawing)
    assert world.splitter.thawing(world.tariff.id, payer.address) == Thaw(AssetAmount(400), thawing.end)
    assert world.splitter.secured(world.tariff, payer.address, thawing.end) == AssetAmount(1000)
    with pytest.raises(errors.StillThawing, match=f"ends at {thawing.end}") as caught:
        mine.withdraw(world.tariff, world.split)
    assert caught.value.end == thawing.end
    world.net.wait_until(thawing.end)
    (withdrawn,) = mine.withdraw(world.tariff, world.split).events
    assert isinstance(withdrawn, Withdrawn)
    assert withdrawn.amount == AssetAmount(400)
    assert world.balance(payer.address) == 400
    assert world.splitter.escrow(world.tariff.id, payer.address).balance == AssetAmount(600)


def test_settling_funding_and_claiming(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 1000)
    (settled,) = world.splitter.settle(world.tariff, world.sign({payer: vector(100, 50)})).events
    assert isinstance(settled, Settled)
    assert (settled.usage, settled.drawn, settled.head) == (vector(100, 50), AssetAmount(200), b"\7" * 32)
    world.token.mint(payer.address, AssetAmount(100))
    mine = world.client(payer)
    world.token.as_sender(mine.gateway).approve(world.splitter.address, AssetAmount(100))
    (funded,) = mine.fund(world.split, AssetAmount(100)).events
    assert isinstance(funded, Funded)
    assert world.splitter.pot(world.split.id) == AssetAmount(300)

    registered, claimed = world.splitter.claim_first(world.split, world.table.proof(2)).events
    assert isinstance(registered, Registered)
    assert (registered.offset, registered.role, registered.share) == (8500, 3, 1000)
    assert isinstance(claimed, Claimed)
    assert claimed.amount == AssetAmount(30)  # a tenth
    third = world.parties[2]
    key = StakeKey(world.split.id, 8500, third.address)
    assert world.splitter.stake(key) == Stake(1000, AssetAmount(30))
    assert world.splitter.entitled(world.split, 3500) == AssetAmount(105)
    assert world.splitter.claimable(world.split, 8500, third.address) == AssetAmount(0)

    (again,) = world.splitter.settle(world.tariff, world.sign({payer: vector(200, 50)})).events
    assert again.drawn == AssetAmount(100)
    (to_other,) = world.client(third).claim_to(world.split, 8500, payer.address).events
    assert (to_other.recipient, to_other.amount) == (payer.address, AssetAmount(10))


def test_claim_by_authorization(world: Any) -> None:
    payer, party, friend = world.payers[0], world.parties[0], Address(b"\x77" * 20)
    world.deposit(payer, 1000)
    world.splitter.claim_first(world.split, world.table.proof(0))  # of nothing: it registers
    world.splitter.settle(world.tariff, world.sign({payer: vector(100)}))
    deadline = world.splitter.now() + 600
    nonce = world.splitter.nonce(party.address)
    authorization = ClaimAuthorization(world.split.id, 0, party.address, friend, nonce, deadline)
    signature = party.sign_digest(authorization.digest(world.splitter.domain))
    with pytest.raises(errors.InvalidSignature):
        world.splitter.claim_with_authorization(
            world.split, replace(authorization, recipient=payer.address), signature
        )
    (claimed,) = world.splitter.claim_with_authorization(world.split, authorization, signature).events
    assert (claimed.recipient, claimed.amount) == (friend, AssetAmount(50))
    assert world.balance(friend) == 50
    with pytest.raises(errors.InvalidNonce) as caught:
        world.splitter.claim_with_authorization(world.split, authorization, signature)
    assert (caught.value.expected, caught.value.actual) == (1, 0)


def test_several_calls_in_one_transaction_succeed_or_fail_together(world: Any) -> None:
    provider = world.client(world.provider)
    both = [calls.publish_split(world.split, world.table.parties), calls.set_signer(world.meter.address, 5)]
    assert kinds(provider.multicall(both)) == [SplitPublished, SignerSet]
    with pytest.raises(errors.ZeroSigner):
        provider.multicall(
            [calls.set_signer(world.meter.address, 6), calls.set_signer(Address(bytes(20)), 7)]
        )
    assert world.splitter.signer_until(world.provider.address, world.meter.address) == 5


def test_views_answer_as_of_an_earlier_block(world: Any) -> None:
    payer = world.payers[0]
    before = world.splitter.newest_block()
    world.deposit(payer, 100)
    assert world.splitter.escrow(world.tariff.id, payer.address, block=before).balance == AssetAmount(0)
    assert world.splitter.escrow(world.tariff.id, payer.address).balance == AssetAmount(100)


def test_transfers_in_and_out_are_found(world: Any) -> None:
    payer = world.payers[0]
    start = world.splitter.newest_block()
    world.deposit(payer, 100)
    world.token.mint(payer.address, AssetAmount(7))
    world.token.as_sender(world.net.gateway(payer)).transfer(world.splitter.address, AssetAmount(7))
    world.splitter.settle(world.tariff, world.sign({payer: vector(40)}))
    world.splitter.claim_first(world.split, world.table.proof(0))
    found = world.splitter.transfers(world.token.address, start, world.splitter.newest_block())
    here, party = world.splitter.address, world.parties[0].address
    moves = [(t.sender, t.recipient, t.amount.base_units) for t in found]
    assert moves == [(payer.address, here, 100), (payer.address, here, 7), (here, party, 20)]


def test_account_that_the_node_manages_sends_too(world: Any) -> None:
    managed = world.splitter.gateway.managed_accounts()
    assert len(managed) == 10
    gateway = world.net.gateway_for(NodeSender(managed[1]))
    (event,) = world.splitter.as_sender(gateway).set_signer(world.meter.address, 9).events
    assert event.provider == managed[1]


def refusals(world: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """A call that is refused, and the values that the error carries, for errors reachable by one call."""
    payer = world.client(world.payers[0])
    me, table, split, tariff = world.payers[0].address, world.table, world.split, world.tariff
    wrong_root = Split(split.asset, bytes(32), split.total_shares)
    wrong_total = Split(split.asset, split.root, 7)
    some = AssetAmount(5)
    other = PartyTable.of(Party(me, 1, 1)).split(split.asset)
    proof = replace(table.proof(0), path=())
    return {
        "ZeroSigner": (lambda: payer.set_signer(Address(bytes(20)), 5), {}),
        "ZeroPayer": (lambda: payer.deposit(tariff, split, Address(bytes(20)), some), {}),
        "SplitMismatch": (
            lambda: payer.deposit(tariff, other, me, some),
            {"expected": split.id, "actual": other.id},
        ),
        "NoParties": (lambda: payer.publish_split(split, ()), {}),
        "RootMismatch": (
            lambda: payer.publish_split(wrong_root, table.parties),
            {"expected": bytes(32), "actual": split.root},
        ),
        "TotalSharesMismatch": (
            lambda: payer.publish_split(wrong_total, table.parties),
            {"expected": 7, "actual": split.total_shares},
        ),
        "TermsMismatch": (lambda: payer.publish_tariff(tariff, b"other terms"), {"expected": tariff.terms}),
        "ERC20InsufficientAllowance": (
            lambda: payer.deposit(tariff, split, me, some),
            {"spender": world.splitter.address, "allowance": 0, "needed": 5},
        ),
        "NothingArrived": (
            lambda: payer.deposit(tariff, split, me, AssetAmount(0)),
            {"asset": split.asset},
        ),
        "ThawExceedsBalance": (lambda: payer.thaw(tariff, some), {"amount": 5, "balance": 0}),
        "NothingThawing": (
            lambda: payer.withdraw(tariff, split),
            {"tariff_id": tariff.id, "payer": me},
        ),
        "NotRegistered": (
            lambda: payer.claim(split, 3, me),
            {"split_id": split.id, "offset": 3, "account": me},
        ),
        "InvalidRecipient": (
            lambda: payer.claim_to(split, 0, world.splitter.address),
            {"recipient": world.splitter.address},
        ),
        "RootMismatch of a proof": (lambda: payer.claim_first(split, proof), {"expected": split.root}),
    }


@pytest.mark.parametrize(
    "case",
    [
        "ZeroSigner",
        "ZeroPayer",
        "SplitMismatch",
        "NoParties",
        "RootMismatch",
        "TotalSharesMismatch",
        "TermsMismatch",
        "ERC20InsufficientAllowance",
        "NothingArrived",
        "ThawExceedsBalance",
        "NothingThawing",
        "NotRegistered",
        "InvalidRecipient",
        "RootMismatch of a proof",
    ],
)
def test_refusal_has_the_name_and_the_values_of_the_contract_s_error(world: Any, case: str) -> None:
    attempt, values = refusals(world)[case]
    block = world.splitter.newest_block()
    with pytest.raises(errors.Refusal) as caught:
        attempt()
    assert type(caught.value).__name__ == case.split()[0]
    assert {name: getattr(caught.value, name) for name in values} == values
    assert world.splitter.newest_block() == block  # nothing was sent


def test_token_shows_itself(world: Any) -> None:
    token = TokenClient(world.splitter.gateway, world.token.address)
    assert (token.symbol, token.decimals) == ("TUSD", 6)
    assert token.balance_of(world.meter.address) == AssetAmount(0)
