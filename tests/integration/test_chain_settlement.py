"""Settlement through the service, on the real contract: what it draws, and what it refuses before sending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from meterbridge.adapters.chain import SplitterClient, calls
from meterbridge.adapters.devnet import Devnet, rpc_chain
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSignature, BadStatement
from meterbridge.domain.statements import Domain, Line, SignedStatement
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.chain_errors import SealedInFuture, SignerNotAuthorized, WrongChain
from meterbridge.services.records import Draw, SubmissionRecord, SubmissionState
from meterbridge.services.settlement import Settlement, submit


class Notebook:
    """A ledger's asset side that only writes down."""

    def __init__(self) -> None:
        self.entries: list[SubmissionRecord] = []

    def record_submission(self, submission: SubmissionRecord) -> None:
        self.entries.append(submission)

    def submissions(self, tariff_id: bytes) -> list[SubmissionRecord]:
        return [entry for entry in self.entries if entry.tariff_id == tariff_id]

    def settlements(self, tariff_id: bytes) -> list[SubmissionRecord]:
        return [e for e in self.submissions(tariff_id) if e.state is SubmissionState.SETTLED]


def vector(*lanes: int) -> UsageVector:
    return UsageVector.of([*lanes, *[0] * (8 - len(lanes))])


def drawn_of(settlement: Settlement) -> list[int]:
    return [line.drawn.base_units for line in settlement.lines]


def nothing_sent(client: SplitterClient) -> int:
    return client.gateway.w3.eth.get_transaction_count(
        client.gateway.w3.to_checksum_address(str(client.gateway.sender.address))
    )  # type: ignore[union-attr]


def test_statement_draws_the_price_of_each_line(world: Any) -> None:
    first, second, _ = world.payers
    world.deposit(first, 1000)
    world.deposit(second, 500)
    signed = world.sign({first: vector(100, 50), second: vector(7)})
    settlement = submit(world.splitter, None, world.tariff, signed)
    # 100 · 1 + 50 · 2, and 7 · 1
    assert drawn_of(settlement) == [200, 7]
    assert [line.price.base_units for line in settlement.lines] == [200, 7]
    assert settlement.drawn == AssetAmount(207)
    assert settlement.unpaid == AssetAmount(0)
    assert settlement.skipped == ()
    assert world.splitter.pot(world.split.id) == AssetAmount(207)


def test_same_statement_again_is_success_and_draws_nothing(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 1000)
    signed = world.sign({payer: vector(100)})
    assert submit(world.splitter, None, world.tariff, signed).drawn == AssetAmount(100)
    again = submit(world.splitter, None, world.tariff, signed)
    assert (again.drawn, again.unpaid, again.skipped) == (AssetAmount(0), AssetAmount(0), ())
    assert world.splitter.pot(world.split.id) == AssetAmount(100)


def test_dry_payer_holds_up_nobody_and_the_rest_is_drawn_after_a_deposit(world: Any) -> None:
    dry, rich, _ = world.payers
    world.deposit(dry, 30)
    world.deposit(rich, 1000)
    signed = world.sign({dry: vector(100), rich: vector(100)})
    settlement = submit(world.splitter, None, world.tariff, signed)
    assert drawn_of(settlement) == [30, 100]
    assert [line.unpaid.base_units for line in settlement.lines] == [70, 0]
    world.deposit(dry, 1000)
    assert drawn_of(submit(world.splitter, None, world.tariff, signed)) == [70, 0]
    assert world.splitter.escrow(world.tariff.id, dry.address).balance == AssetAmount(930)


def test_correction_nets_itself_and_shuts_out_what_it_corrects(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 1000)
    now = world.splitter.now()
    wrong = world.sign({payer: vector(400)}, sealed_at=now - 2)
    corrected = world.sign({payer: vector(100)}, sealed_at=now - 1)
    assert drawn_of(submit(world.splitter, None, world.tariff, corrected)) == [100]
    skipped = submit(world.splitter, None, world.tariff, wrong)
    assert drawn_of(skipped) == [0]
    assert [line.skipped_for for line in skipped.skipped] == [now - 1]
    assert skipped.unpaid == AssetAmount(0)
    # usage below what was settled draws nothing and gives nothing back; the next statement nets it
    assert drawn_of(submit(world.splitter, None, world.tariff, world.sign({payer: vector(60)}))) == [0]
    world.net.wait_until(world.splitter.now() + 1)
    assert drawn_of(submit(world.splitter, None, world.tariff, world.sign({payer: vector(130)}))) == [30]


def test_anyone_may_submit(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 1000)
    stranger = world.client(world.payers[2])
    assert submit(stranger, None, world.tariff, world.sign({payer: vector(5)})).drawn == AssetAmount(5)


@pytest.mark.node
def test_a_thousand_lines_fit_one_transaction(make_world: Callable[[Devnet], Any], anvil_url: str) -> None:
    world = make_world(rpc_chain(anvil_url))
    giver = world.payers[0]
    gifts = [Address((2**100 + i).to_bytes(20, "big")) for i in range(999)]
    world.deposit(giver, 1000)
    world.deposit(giver, 10, payer_of=gifts[0])
    world.token.mint(giver.address, AssetAmount(10**6))
    world.token.as_sender(world.net.gateway(giver)).approve(world.splitter.address, AssetAmount(10**6))
    for start in range(0, 999, 111):
        some = [
            calls.deposit(world.tariff, world.split, payer, AssetAmount(5))
            for payer in gifts[start : start + 111]
        ]
        world.client(giver).multicall(some)
    lines = tuple(Line(payer, vector(3), bytes(32)) for payer in (giver.address, *gifts))
    one = world.sign({giver: vector(9)})
    statement = replace(one.statement, lines=lines)
    digest = statement.digest(one.domain)
    signed = replace(one, statement=statement, signature=world.meter.sign_digest(digest))
    settlement = submit(world.splitter, None, world.tariff, signed)
    assert drawn_of(settlement) == [3] * 1000
    assert settlement.gas_used < 16_777_216  # EIP-7825
    escrows = world.splitter.escrows(world.tariff.id, [giver.address, *gifts])
    assert [e.balance.base_units for e in escrows] == [997, 12, *[2] * 998]


def test_submission_is_recorded_as_sent_and_then_as_settled(world: Any) -> None:
    notebook, payer = Notebook(), world.payers[0]
    world.deposit(payer, 1000)
    signed = world.sign({payer: vector(12)})
    settlement = submit(world.splitter, notebook, world.tariff, signed)
    sent, settled = notebook.entries
    assert (sent.state, sent.block, sent.draws) == (SubmissionState.SENT, None, ())
    assert settled.state is SubmissionState.SETTLED
    assert settled.block == settlement.block
    assert settled.draws == (Draw(payer.address, AssetAmount(12)),)
    assert {e.tx_hash for e in notebook.entries} == {settlement.tx_hash}
    assert {e.digest for e in notebook.entries} == {world.splitter.hash_statement(signed.statement)}


def refused_statements(world: Any) -> dict[str, tuple[SignedStatement, type[Exception], str]]:
    payer = world.payers[0]
    good = world.sign({payer: vector(5)})
    line = good.statement.lines[0]
    dearer = replace(good.statement, lines=(replace(line, usage=vector(500)),))
    other_head = replace(good.statement, lines=(replace(line, head=bytes(32)),))
    stranger = LocalSigner.generate()
    future = world.splitter.now() + 1000
    other_chain = replace(good, domain=Domain(1, good.domain.verifying_contract))
    other_contract = replace(good, domain=Domain(good.domain.chain_id, stranger.address))
    foreign_tariff = world.sign({payer: vector(5)}, tariff=world.make_tariff(scale=1))
    return {
        "usage changed": (replace(good, statement=dearer), BadSignature, "has been changed"),
        "head changed": (replace(good, statement=other_head), BadSignature, "has been changed"),
        "signer changed": (replace(good, signer=stranger.address), BadSignature, str(stranger.address)),
        "signature cut": (replace(good, signature=good.signature[:-1]), BadSignature, "65 bytes"),
        "unknown signer": (
            world.sign({payer: vector(5)}, signer=stranger),
            SignerNotAuthorized,
            f"{stranger.address} is not authorised by provider {world.provider.address}",
        ),
        "sealed in the future": (
            world.sign({payer: vector(5)}, sealed_at=future),
            SealedInFuture,
            f"sealed at {future}",
        ),
        "other chain": (other_chain, WrongChain, "on chain 1,"),
        "other contract": (other_contract, WrongChain, f"for {stranger.address} on chain"),
        "other tariff": (foreign_tariff, BadStatement, world.tariff.id.hex()),
    }


@pytest.mark.parametrize(
    "case",
    [
        "usage changed",
        "head changed",
        "signer changed",
        "signature cut",
        "unknown signer",
        "sealed in the future",
        "other chain",
        "other contract",
        "other tariff",
    ],
)
def test_bad_statement_is_refused_before_anything_is_sent(world: Any, case: str) -> None:
    world.deposit(world.payers[0], 1000)
    notebook = Notebook()
    signed, error, text = refused_statements(world)[case]
    before = nothing_sent(world.splitter)
    with pytest.raises(error, match=text):
        submit(world.splitter, notebook, world.tariff, signed)
    assert nothing_sent(world.splitter) == before
    assert notebook.entries == []
    assert world.splitter.pot(world.split.id) == AssetAmount(0)


def test_retired_signer_keeps_what_it_sealed_and_a_revoked_one_loses_it(world: Any) -> None:
    payer = world.payers[0]
    world.deposit(payer, 1000)
    now = world.splitter.now()
    early, late = world.sign({payer: vector(5)}, sealed_at=now - 5), world.sign({payer: vector(9)})
    world.authorise(until=now - 5)
    assert drawn_of(submit(world.splitter, None, world.tariff, early)) == [5]
    with pytest.raises(SignerNotAuthorized, match=f"authorised until {now - 5}") as caught:
        submit(world.splitter, None, world.tariff, late)
    assert (caught.value.sealed_at, caught.value.until) == (late.statement.sealed_at, now - 5)
    world.authorise(until=0)
    with pytest.raises(SignerNotAuthorized, match="authorised until 0; 0 means never"):
        submit(world.splitter, None, world.tariff, early)


def test_contract_signs_for_a_meter(world: Any) -> None:
    # Runtime code that answers every call with the magic value of ERC-1271 in the first four bytes, and one
    # that answers with zero: PUSH4 x, PUSH1 e0, SHL, PUSH0, MSTORE, PUSH1 20, PUSH0, RETURN.
    def deploy(answer: str) -> Address:
        runtime = bytes.fromhex(f"63{answer}60e01b5f5260205ff3")
        creation = bytes.fromhex(f"6d{runtime.hex()}5f52600e6012f3")  # MSTORE it, RETURN its 14 bytes
        gateway = world.splitter.gateway
        receipt = gateway.wait(gateway.send(None, creation))
        assert gateway.code(Address.parse(receipt["contractAddress"])) == runtime
        return Address.parse(receipt["contractAddress"])

    payer = world.payers[0]
    world.deposit(payer, 1000)
    good = world.sign({payer: vector(5)})
    for answer, accepted in (("1626ba7e", True), ("00000000", False)):
        wallet = deploy(answer)
        world.client(world.provider).set_signer(wallet, 2**32 - 1)
        signed = replace(good, signer=wallet, signature=b"whatever the wallet wants")
        if accepted:
            assert drawn_of(submit(world.splitter, None, world.tariff, signed)) == [5]
        else:
            with pytest.raises(BadSignature):
                submit(world.splitter, None, world.tariff, signed)
