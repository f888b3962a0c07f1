"""Where both sides meet: what was signed against what was settled, what was sent against what happened."""

from __future__ import annotations

from collections.abc import Mapping

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_events import Settled
from meterbridge.services.following.reconcile import BooksOfALedger, Findings, Item, apart, shown
from meterbridge.services.following.states import EscrowState
from meterbridge.services.records import (
    AccountKey,
    LogKey,
    LogKind,
    SubmissionRecord,
    SubmissionState,
    TariffRecord,
)
from meterbridge.services.settling.records import DeliveryState

LINES, SENT, OPEN = "settled lines = signed lines", "transactions = events", "accounts: signed = settled"
SettledLines = dict[tuple[Address, int], Settled]


def check(ledger: BooksOfALedger, record: TariffRecord, block: int, findings: Findings) -> None:
    """Check one tariff as of the end of a block."""
    events = [
        event
        for event in ledger.chain_events(record.domain, names=["Settled"], subject=record.id, up_to=block)
        if isinstance(event, Settled)
    ]
    _check_lines(ledger, record, {(event.payer, event.sealed_at): event for event in events}, findings)
    _check_transactions(ledger, record, events, block, findings)
    _check_accounts(ledger, record, findings)


def _check_lines(
    ledger: BooksOfALedger, record: TariffRecord, settled: SettledLines, findings: Findings
) -> None:
    """Every line that was settled is one that the ledger signed, to the last unit of usage."""
    findings.count(LINES, len(settled))
    for stored in ledger.statements(record.id):
        statement = stored.signed.statement
        for line in statement.lines:
            event = settled.pop((line.payer, statement.sealed_at), None)
            if event is not None and (event.usage, event.head) != (line.usage, line.head):
                findings.differs(
                    Item(
                        "settled-differs",
                        f"the line of {line.payer} in the statement of {statement.sealed_at}",
                        f"transaction 0x{event.at.tx_hash.hex()} settled another line than was signed",
                        apart(record.tariff.price_down(event.usage), record.tariff.price_down(line.usage)),
                        event.usage - line.usage,
                    )
                )
    last = ledger.last_signed(record.id)
    for (payer, sealed_at), event in settled.items():
        signed = last.get(AccountKey(record.domain, record.id, payer))
        if signed is not None and signed.head is None and sealed_at <= signed.sealed_at:
            continue  # before the logs were lost and began again
        findings.differs(
            Item(
                "settled-unknown",
                f"a line of {payer}, sealed at {sealed_at}",
                f"transaction 0x{event.at.tx_hash.hex()} settled a statement that the ledger does not have: "
                "the ledger was set back, or somebody else has the signing key",
                event.drawn,
                event.usage,
            )
        )


def _check_transactions(
    ledger: BooksOfALedger, record: TariffRecord, events: list[Settled], block: int, findings: Findings
) -> None:
    """What the ledger says that a transaction drew is what the chain says."""
    drawn: dict[bytes, dict[Address, AssetAmount]] = {}
    for event in events:
        of_payer = drawn.setdefault(event.at.tx_hash, {})
        of_payer[event.payer] = of_payer.get(event.payer, AssetAmount.zero()) + event.drawn
    skipped = ledger.chain_events(record.domain, names=["Skipped"], subject=record.id, up_to=block)
    known = drawn.keys() | {event.at.tx_hash for event in skipped}
    for sent in ledger.submissions(record.id):
        if sent.state is SubmissionState.SETTLED and sent.block is not None and sent.block <= block:
            _check_submission(sent, drawn.get(sent.tx_hash, {}), findings)
    for delivery in ledger.deliveries(record.domain):
        if delivery.tariff_id != record.id:
            continue
        where = f"the statement of {delivery.sealed_at}, part {delivery.part}"
        if delivery.state is DeliveryState.FAILED:
            findings.open(Item("delivery-failed", where, delivery.reason))
        settled = delivery.state in (DeliveryState.MINED, DeliveryState.FINAL)
        if settled and delivery.mined is not None and delivery.mined.block <= block:
            findings.count(SENT)
            if delivery.mined.tx_hash not in known:
                tx_hash = delivery.mined.tx_hash.hex()
                message = f"transaction 0x{tx_hash} counts as mined; the chain has no event of it"
                findings.differs(Item("not-on-chain", where, message))


def _check_submission(
    sent: SubmissionRecord, drawn: Mapping[Address, AssetAmount], findings: Findings
) -> None:
    findings.count(SENT)
    mine = {draw.payer: draw.drawn for draw in sent.draws if not draw.skipped}
    if mine != dict(drawn):
        said, told = AssetAmount.total(mine.values()), AssetAmount.total(drawn.values())
        findings.differs(
            Item(
                "draws-differ",
                f"transaction 0x{sent.tx_hash.hex()}",
                f"the ledger says that it drew {said}; the chain says {told}"
                + ("" if drawn else ", it is in no block of this chain"),
                apart(said, told),
            )
        )


def _check_accounts(ledger: BooksOfALedger, record: TariffRecord, findings: Findings) -> None:
    """What is due of each account, stated or not, and why it is not settled."""
    escrows = ledger.followed_escrows(record.domain, record.id)
    last = ledger.last_signed(record.id)
    for account in ledger.accounts(record.id):
        findings.count(OPEN)
        escrow = escrows.get(account.key.payer, EscrowState())
        charged = ledger.total(LogKey(account.key, LogKind.CHARGES))
        usage = charged - ledger.total(LogKey(account.key, LogKind.CREDITS))
        signed = last.get(account.key)
        stated = signed.head.usage() if signed is not None and signed.head is not None else None
        where = f"{account.customer or account.key.payer} under tariff {shown(record.id)}"
        if stated != usage and (stated is not None or usage):
            was = AssetAmount.zero() if stated is None else record.tariff.price_down(stated)
            gap = record.tariff.price_down(usage).minus_or_zero(was)
            findings.open(Item("not-stated", where, f"usage worth {gap} is in no statement yet", gap))
        if signed is None or stated is None:
            continue
        due = record.tariff.price_down(stated).minus_or_zero(escrow.settled)
        if escrow.sealed_at < signed.sealed_at:
            findings.open(
                Item(
                    "not-settled",
                    where,
                    f"the statement of {signed.sealed_at} is not settled; due is {due}",
                    due,
                )
            )
        elif due:
            findings.open(
                Item("ran-dry", where, f"{due} is due and not in the account; a deposit pays it", due)
            )
        elif escrow.settled > record.tariff.price_down(stated):
            back = escrow.settled - record.tariff.price_down(stated)
            findings.open(
                Item(
                    "credit",
                    where,
                    f"{back} was drawn and credited later: it nets against coming usage",
                    back,
                )
            )
