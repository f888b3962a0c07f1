"""From a signed statement to money in the pot (protocol, section 8). Anyone may submit one.

Everything that can be known before sending is checked before sending. Submitting a statement again is success
and draws nothing, unless a payer that had run dry was topped up: then it draws the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadStatement
from meterbridge.domain.statements import Line, SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import (
    Refusal,
    SealedInFuture,
    SignerNotAuthorized,
    TransactionReverted,
    WrongChain,
)
from meterbridge.services.chain_events import Receipt, Settled, Skipped
from meterbridge.services.chain_ports import Escrow, SettlementPort
from meterbridge.services.ports import AssetLedger
from meterbridge.services.records import Draw, SubmissionRecord, SubmissionState
from meterbridge.services.signers import require_signature


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """What one line of a statement did.

    Attributes:
        payer: whose account.
        price: what the line's cumulative usage costs in all.
        drawn: what this transaction moved into the pot.
        unpaid: what is still missing for want of balance; the same statement draws it after a deposit.
        skipped_for: time of the newer statement that the account had settled already, or None. A skipped
            line changes nothing: the newer statement stands.
    """

    payer: Address
    price: AssetAmount
    drawn: AssetAmount
    unpaid: AssetAmount
    skipped_for: int | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What submitting a statement did.

    Attributes:
        tx_hash: 32 bytes.
        block: where it was mined.
        gas_used: gas, not money.
        lines: one outcome a line, in the order of the statement.
    """

    tx_hash: bytes
    block: int
    gas_used: int
    lines: tuple[LineOutcome, ...]

    @property
    def drawn(self) -> AssetAmount:
        """What all lines together moved into the pot."""
        return AssetAmount.total(line.drawn for line in self.lines)

    @property
    def unpaid(self) -> AssetAmount:
        """What is still missing for want of balance."""
        return AssetAmount.total(line.unpaid for line in self.lines)

    @property
    def skipped(self) -> tuple[LineOutcome, ...]:
        """The lines that were older than what their account had settled."""
        return tuple(line for line in self.lines if line.skipped_for is not None)


def submit(
    chain: SettlementPort, ledger: AssetLedger | None, tariff: Tariff, signed: SignedStatement
) -> Settlement:
    """Check a statement, send it, wait until it is mined, and tell what it drew.

    Args:
        chain: the contract, with an account that pays the gas.
        ledger: where the submission is recorded, first as sent; None for whoever only has the statement.
        tariff: that of the statement.
        signed: the statement; it is sent whole, since the signature covers all lines.

    Raises:
        WrongChain, BadStatement, BadSignature, SignerNotAuthorized, SealedInFuture: nothing was sent.
        Refusal: the contract refuses it for another reason; nothing was sent, or it was mined and failed.
        TransactionUnresolved: it was sent, and is recorded as sent; what became of it is not known yet.
    """
    check_statement(chain, tariff, signed)
    tx_hash = chain.send_settle(tariff, signed)
    _record(ledger, signed, tx_hash, SubmissionState.SENT)
    try:
        receipt = chain.wait(tx_hash)
    except (Refusal, TransactionReverted):
        _record(ledger, signed, tx_hash, SubmissionState.FAILED)
        raise
    settlement = _outcome(chain, tariff, signed, receipt)
    _record(ledger, signed, tx_hash, SubmissionState.SETTLED, settlement)
    return settlement


def check_statement(chain: SettlementPort, tariff: Tariff, signed: SignedStatement) -> None:
    """Check what the contract will check, with an error for each cause; nothing is sent.

    Raises:
        WrongChain: the statement is for another contract or chain.
        BadStatement: it is under another tariff.
        BadSignature: it was changed after signing, or another key signed it.
        SignerNotAuthorized: the provider does not let the signer sign at that time, or not any more.
        SealedInFuture: it is sealed later than the chain's next block.
    """
    statement = signed.statement
    if signed.domain != chain.domain:
        raise WrongChain(
            f"the statement is for {signed.domain.verifying_contract} on chain {signed.domain.chain_id}, "
            f"not for {chain.domain.verifying_contract} on chain {chain.domain.chain_id}",
            signed.domain,
        )
    if statement.tariff_id != tariff.id:
        raise BadStatement(
            f"the statement is under tariff 0x{statement.tariff_id.hex()}, not 0x{tariff.id.hex()}",
            statement.tariff_id,
        )
    require_signature(signed.signer, signed.digest(), signed.signature, chain)
    _require_authorised(chain, tariff, signed)
    now = chain.now()
    if statement.sealed_at > now:
        raise SealedInFuture(sealed_at=statement.sealed_at, timestamp=now)


def _require_authorised(chain: SettlementPort, tariff: Tariff, signed: SignedStatement) -> None:
    until = chain.signer_until(tariff.provider, signed.signer)
    sealed_at = signed.statement.sealed_at
    # 0 is what every unknown signer has, so it authorises nothing.
    if until == 0 or sealed_at > until:
        raise SignerNotAuthorized(
            provider=tariff.provider, signer=signed.signer, sealed_at=sealed_at, until=until
        )


def _outcome(chain: SettlementPort, tariff: Tariff, signed: SignedStatement, receipt: Receipt) -> Settlement:
    lines = signed.statement.lines
    escrows = chain.escrows(tariff.id, [line.payer for line in lines], block=receipt.block)
    told = _events_by_payer(receipt, tariff.id)
    outcomes = tuple(
        _line_outcome(tariff, line, escrow, told[line.payer])
        for line, escrow in zip(lines, escrows, strict=True)
    )
    return Settlement(receipt.tx_hash, receipt.block, receipt.gas_used, outcomes)


def _events_by_payer(receipt: Receipt, tariff_id: bytes) -> dict[Address, Settled | Skipped]:
    return {
        event.payer: event
        for event in receipt.events
        if isinstance(event, (Settled, Skipped)) and event.tariff_id == tariff_id
    }


def _line_outcome(tariff: Tariff, line: Line, escrow: Escrow, told: Settled | Skipped) -> LineOutcome:
    price = tariff.price_down(line.usage)
    nothing = AssetAmount.zero()
    if isinstance(told, Skipped):
        return LineOutcome(line.payer, price, nothing, nothing, told.account_sealed_at)
    return LineOutcome(line.payer, price, told.drawn, price.minus_or_zero(escrow.settled), None)


def _record(
    ledger: AssetLedger | None,
    signed: SignedStatement,
    tx_hash: bytes,
    state: SubmissionState,
    settlement: Settlement | None = None,
) -> None:
    if ledger is None:
        return
    ledger.record_submission(
        SubmissionRecord(
            tariff_id=signed.statement.tariff_id,
            digest=signed.digest(),
            sealed_at=signed.statement.sealed_at,
            tx_hash=tx_hash,
            state=state,
            block=settlement.block if settlement else None,
            draws=_draws(settlement.lines if settlement else ()),
        )
    )


def _draws(lines: Sequence[LineOutcome]) -> tuple[Draw, ...]:
    return tuple(Draw(line.payer, line.drawn, line.skipped_for is not None) for line in lines)
