"""What the settlement service records, step by step, when sending goes wrong, on a fake of its port."""
# a fake takes what its port takes

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, Rates, UsageVector
from meterbridge.services.chain_errors import (
    PotFull,
    SealedInFuture,
    SignerNotAuthorized,
    TransactionReverted,
    TransactionUnresolved,
)
from meterbridge.services.chain_events import LogPlace, Receipt, Settled, Skipped
from meterbridge.services.chain_ports import Escrow
from meterbridge.services.records import Draw, SubmissionRecord, SubmissionState
from meterbridge.services.settlement import submit

METER = LocalSigner(b"\x01" * 32)
PAYERS = [Address(bytes([n]) * 20) for n in (1, 2)]
SPLIT = PartyTable.of(Party(PAYERS[0], 1, 1)).split(PAYERS[1])
TARIFF = Tariff(PAYERS[0], SPLIT.id, Rates((1, 0, 0, 0, 0, 0, 0, 0)), 0, 60, bytes(32))
DOMAIN = Domain(5, Address(b"\x55" * 20))
PLACE = LogPlace(9, 0, b"\xaa" * 32, b"\xbb" * 32)


def signed(sealed_at: int = 1000) -> SignedStatement:
    usage = UsageVector((100, 0, 0, 0, 0, 0, 0, 0))
    statement = Statement(TARIFF.id, sealed_at, tuple(Line(payer, usage, bytes(32)) for payer in PAYERS))
    return SignedStatement(DOMAIN, statement, METER.address, METER.sign_digest(statement.digest(DOMAIN)))


@dataclass
class Chain:
    """A chain that does what it is told: sends, and then answers or fails."""

    failure_at_send: Exception | None = None
    failure_at_wait: Exception | None = None
    until: int = 2000
    time: int = 1500
    sent: int = 0
    domain: Domain = DOMAIN
    asked_at: list[int | None] = field(default_factory=list)

    def now(self) -> int:
        return self.time

    def newest_block(self) -> int:
        return 9

    def signer_until(self, provider: Address, signer: Address, *, block: int | None = None) -> int:
        assert (provider, signer) == (TARIFF.provider, METER.address)
        return self.until

    def accepts_signature(self, signer: Address, digest: bytes, signature: bytes) -> bool:
        return False

    def escrows(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Escrow, ...]:
        self.asked_at.append(block)
        assert list(payers) == PAYERS
        return (Escrow(AssetAmount(0), AssetAmount(60), 1000), Escrow(AssetAmount(9), AssetAmount(7), 1700))

    def send_settle(self, tariff: Tariff, signed: SignedStatement) -> bytes:
        if self.failure_at_send:
            raise self.failure_at_send
        self.sent += 1
        return b"\xaa" * 32

    def wait(self, tx_hash: bytes) -> Receipt:
        if self.failure_at_wait:
            raise self.failure_at_wait
        usage = UsageVector((100, 0, 0, 0, 0, 0, 0, 0))
        settled = Settled(PLACE, TARIFF.id, PAYERS[0], 1000, usage, bytes(32), AssetAmount(60))
        skipped = Skipped(PLACE, TARIFF.id, PAYERS[1], 1000, 1700)
        other_tariff = Settled(PLACE, bytes(32), PAYERS[1], 1000, usage, bytes(32), AssetAmount(1))
        return Receipt(tx_hash, 9, 80_000, (settled, skipped, other_tariff))


@dataclass
class Notebook:
    entries: list[SubmissionRecord] = field(default_factory=list)

    def record_submission(self, submission: SubmissionRecord) -> None:
        self.entries.append(submission)

    def submissions(self, tariff_id: bytes) -> list[SubmissionRecord]:
        return self.entries

    def settlements(self, tariff_id: bytes) -> list[SubmissionRecord]:
        return self.entries

    def states(self) -> list[SubmissionState]:
        return [entry.state for entry in self.entries]


def test_outcome_tells_what_was_drawn_what_is_missing_and_what_was_skipped() -> None:
    chain, notebook = Chain(), Notebook()
    settlement = submit(chain, notebook, TARIFF, signed())
    first, second = settlement.lines
    assert (first.drawn, first.unpaid, first.skipped_for) == (AssetAmount(60), AssetAmount(40), None)
    assert (second.drawn, second.unpaid, second.skipped_for) == (AssetAmount(0), AssetAmount(0), 1700)
    assert settlement.drawn == AssetAmount(60)
    assert settlement.unpaid == AssetAmount(40)
    assert settlement.skipped == (second,)
    assert chain.asked_at == [9]  # as of the block that settled it
    assert notebook.states() == [SubmissionState.SENT, SubmissionState.SETTLED]
    assert notebook.entries[1].draws == (
        Draw(PAYERS[0], AssetAmount(60)),
        Draw(PAYERS[1], AssetAmount(0), skipped=True),
    )


@pytest.mark.parametrize("failure", [PotFull(added=1, room=0), TransactionReverted("mined and failed")])
def test_failure_in_a_block_is_recorded_as_failed(failure: Exception) -> None:
    notebook = Notebook()
    with pytest.raises(type(failure)):
        submit(Chain(failure_at_wait=failure), notebook, TARIFF, signed())
    assert notebook.states() == [SubmissionState.SENT, SubmissionState.FAILED]


def test_transaction_without_an_answer_stays_recorded_as_sent() -> None:
    notebook = Notebook()
    with pytest.raises(TransactionUnresolved):
        submit(Chain(failure_at_wait=TransactionUnresolved("no receipt")), notebook, TARIFF, signed())
    assert notebook.states() == [SubmissionState.SENT]


def test_refusal_before_sending_leaves_no_record() -> None:
    notebook, chain = Notebook(), Chain(failure_at_send=PotFull(added=1, room=0))
    with pytest.raises(PotFull):
        submit(chain, notebook, TARIFF, signed())
    assert notebook.entries == []


@pytest.mark.parametrize(("until", "fits"), [(0, False), (999, False), (1000, True), (2**64 - 1, True)])
def test_signer_is_authorised_up_to_its_last_second_and_never_with_zero(until: int, fits: bool) -> None:
    chain = Chain(until=until)
    if fits:
        submit(chain, None, TARIFF, signed())
    else:
        with pytest.raises(SignerNotAuthorized):
            submit(chain, None, TARIFF, signed())
    assert chain.sent == (1 if fits else 0)


@pytest.mark.parametrize(("time", "fits"), [(999, False), (1000, True)])
def test_statement_is_settled_from_the_second_it_is_sealed_at(time: int, fits: bool) -> None:
    chain = Chain(time=time)
    if fits:
        submit(chain, None, TARIFF, signed())
    else:
        with pytest.raises(SealedInFuture, match="the chain's time is 999"):
            submit(chain, None, TARIFF, signed())
    assert chain.sent == (1 if fits else 0)
