"""Many payers with deposits, and statements about them that were signed without metering anything."""

from __future__ import annotations

from collections.abc import Sequence

from faults.stage import METER, SENDERS, Stage
from meterbridge.adapters.chain import calls
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.senders import KeySender
from meterbridge.adapters.ledger import SqlLedger
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.statements import Line, SignedStatement, Statement
from meterbridge.domain.sum_tree import Head, LogState, SumNode
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.records import AccountKey, StatementRecord, TariffRecord

DEPOSITS_AT_ONCE = 150
FUNDER = SENDERS[-1]


def crowd(count: int) -> list[Address]:
    """Return addresses that nobody has the keys of."""
    return [Address(keccak256(f"one of many {number}".encode())[12:]) for number in range(count)]


def deposit_for(stage: Stage, payers: Sequence[Address], amount: int) -> None:
    """Give each payer a deposit; the node must mine by itself."""
    gateway = Gateway(stage.splitter.gateway.w3, KeySender(FUNDER))
    total = AssetAmount(amount * len(payers))
    stage.token.as_sender(gateway).mint(FUNDER.address, total)
    stage.token.as_sender(gateway).approve(stage.contract, total)
    tariff, split = stage.record.tariff, stage.record.split
    for start in range(0, len(payers), DEPOSITS_AT_ONCE):
        some = payers[start : start + DEPOSITS_AT_ONCE]
        made = [calls.deposit(tariff, split, payer, AssetAmount(amount)) for payer in some]
        stage.splitter.as_sender(gateway).multicall(made)


def open_accounts(ledger: SqlLedger, record: TariffRecord, payers: Sequence[Address]) -> None:
    """Tell a ledger of the tariff and of many payers."""
    ledger.add_tariff(record)
    for payer in payers:
        ledger.open_account(AccountKey(record.domain, record.id, payer), keccak256(payer.raw))


def usage(tokens: int) -> UsageVector:
    """Return so many input tokens; each costs three base units."""
    return UsageVector.of([tokens] + [0] * 7)


def sign(
    ledger: SqlLedger,
    record: TariffRecord,
    payers: Sequence[Address],
    tokens: int,
    sealed_at: int,
    part: int = 0,
) -> SignedStatement:
    """Sign and store one statement that all these payers have used so many tokens so far."""
    heads = [
        Head(LogState(1, SumNode(keccak256(payer.raw), usage(tokens))), LogState.empty()) for payer in payers
    ]
    lines = (Line(payer, head.usage(), head.hash()) for payer, head in zip(payers, heads, strict=True))
    statement = Statement(record.id, sealed_at, tuple(lines))
    signature = METER.sign_digest(statement.digest(record.domain))
    signed = SignedStatement(record.domain, statement, METER.address, signature)
    ledger.store_statements([StatementRecord(signed, part, tuple(heads))])
    return signed
