"""From logs to signed statements (protocol, sections 4 and 8).

One writer per log: whatever is signed is proven to extend what was signed last, and is in the ledger before
it leaves. Statements of one account strictly increase in time.

What one transaction cannot settle is never signed as one statement: lines are packed up to the cap on gas,
the most valuable first. A line that cannot be stated is left out and named, so that it holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadProof, HeadDoesNotExtend, MeterbridgeError
from meterbridge.domain.statements import (
    LINES_MAX,
    Line,
    SignedStatement,
    Statement,
    require_sealed_after,
)
from meterbridge.domain.sum_tree import Head, HeadGrowth, LogState, SumNode, verify_extends
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.ledger_errors import NothingToState, TooManyLines
from meterbridge.services.log_tree import consistency, state_at
from meterbridge.services.ports import Ledger, StatementSigner
from meterbridge.services.records import (
    AccountKey,
    LogKey,
    LogKind,
    SignedHead,
    StatementRecord,
    TariffRecord,
)
from meterbridge.services.settling.packing import Packing
from meterbridge.services.signers import ContractSigners, require_signature

_NEVER = SignedHead(0, Head.empty())


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An account that has something to state and cannot: `error` says why."""

    payer: Address
    error: MeterbridgeError


OnLeftOut = Callable[[LeftOut], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line to be: what it would add to what is drawn, by the ledger's own account."""

    payer: Address
    head: Head
    line: Line
    worth: AssetAmount


def make_statement(
    ledger: Ledger,
    record: TariffRecord,
    sealed_at: int,
    signer: StatementSigner,
    *,
    contracts: ContractSigners | None = None,
) -> SignedStatement:
    """Sign one statement with all accounts whose head has changed since their last one.

    Raises:
        NothingToState: when none has.
        TooManyLines: when more than 1,000 have; `make_statements` makes several.
        BadStatement: when `sealed_at` is not after an account's last statement, or out of range.
        HeadDoesNotExtend: when a log is not the one that was signed last, grown.
        BadSignature: when what the signer returns is not its signature.
    """
    with ledger.sole_writer():
        entries = list(_entries(ledger, record, sealed_at, frozenset(), None))
        if len(entries) > LINES_MAX:
            raise TooManyLines(
                f"{len(entries)} accounts have changed; a statement has {LINES_MAX} lines", len(entries)
            )
        if entries:
            return _store(ledger, record, sealed_at, signer, [entries], contracts)[0]
    raise NothingToState("no account's head has changed since its last statement; seal first", sealed_at)


def make_statements(
    ledger: Ledger,
    record: TariffRecord,
    sealed_at: int,
    signer: StatementSigner,
    *,
    packing: Packing | None = None,
    on_left_out: OnLeftOut | None = None,
    contracts: ContractSigners | None = None,
) -> list[SignedStatement]:
    """Sign as many statements as it takes, each of which one transaction settles; none where nothing changed.

    They have the same time; no account stands in two of them. Accounts of a statement that turned out to be
    too large for a transaction, or that a retired key signed, are stated again though nothing has changed.

    Args:
        ledger: where they are stored before they are returned.
        record: the tariff.
        sealed_at: seconds since 1970.
        signer: the meter's key.
        packing: what a transaction may cost; None for Ethereum's cap.
        on_left_out: is told of each account that cannot be stated, and the others are; without it the first
            such account raises as in `make_statement`.
        contracts: asks a signer that is a contract whether it accepts what was signed for it (ERC-1271).
    """
    packing = packing or Packing()
    with ledger.sole_writer():
        known = ledger.settled_payers(record.id)
        again = _to_state_again(ledger, record.id, signer, packing, known)
        entries = list(_entries(ledger, record, sealed_at, again, on_left_out))
        parts = packing.pack(
            entries, worth=lambda entry: entry.worth, is_known=lambda entry: entry.payer in known
        )
        return _store(ledger, record, sealed_at, signer, parts, contracts)


def _store(
    ledger: Ledger,
    record: TariffRecord,
    sealed_at: int,
    signer: StatementSigner,
    parts: Sequence[Sequence[_Entry]],
    contracts: ContractSigners | None,
) -> list[SignedStatement]:
    records = []
    for part, entries in enumerate(parts):
        statement = Statement(record.id, sealed_at, tuple(entry.line for entry in entries))
        signed = _sign(record, statement, signer, contracts)
        records.append(StatementRecord(signed, part, tuple(entry.head for entry in entries)))
    ledger.store_statements(records)
    return [made.signed for made in records]


def _to_state_again(
    ledger: Ledger, tariff_id: bytes, signer: StatementSigner, packing: Packing, known: Set[Address]
) -> Set[Address]:
    """Return the payers of failed statements that would not fail the same way again."""
    again: set[Address] = set()
    for signed in ledger.failed_statements(tariff_id):
        payers = [line.payer for line in signed.statement.lines]
        parts = packing.pack(payers, worth=lambda _: AssetAmount.zero(), is_known=known.__contains__)
        if signed.signer != signer.address or len(parts) > 1:
            again.update(payers)
    return again


def _sign(
    record: TariffRecord, statement: Statement, signer: StatementSigner, contracts: ContractSigners | None
) -> SignedStatement:
    digest = statement.digest(record.domain)
    signature = signer.sign_digest(digest)
    # A signer that is wrong is found here, not after hours of service when nothing settles.
    require_signature(signer.address, digest, signature, contracts)
    return SignedStatement(record.domain, statement, signer.address, signature)


def _entries(
    ledger: Ledger, record: TariffRecord, sealed_at: int, again: Set[Address], on_left_out: OnLeftOut | None
) -> Iterator[_Entry]:
    """Yield what there is to state: of accounts that have changed, and of those to be stated again."""
    last, sizes = ledger.last_signed(record.id), ledger.log_sizes(record.id)
    for account in dict.fromkeys(log.account for log in sizes):
        signed = last.get(account, _NEVER)
        size_now = {kind: sizes.get(LogKey(account, kind), 0) for kind in LogKind}
        same = signed.head is not None and _sizes(signed.head) == size_now
        if same and account.payer not in again:
            continue
        try:
            entry = _entry(ledger, account, size_now, signed, sealed_at)
        except MeterbridgeError as error:
            if on_left_out is None:
                raise
            on_left_out(LeftOut(account.payer, error))
        else:
            # What failed drew nothing: all of it is to be drawn still.
            before = AssetAmount.zero() if same else _price_before(record.tariff, signed)
            worth = record.tariff.price_down(entry[1].usage).minus_or_zero(before)
            yield _Entry(account.payer, *entry, worth)


def _entry(
    ledger: Ledger,
    account: AccountKey,
    sizes: Mapping[LogKind, int],
    signed: SignedHead,
    sealed_at: int,
) -> tuple[Head, Line]:
    require_sealed_after(sealed_at, signed.sealed_at)
    head = Head(*(_state(ledger, LogKey(account, kind), size) for kind, size in sizes.items()))
    if signed.head is not None:
        _require_extends(ledger, account, signed.head, head)
    return head, Line(account.payer, head.usage(), head.hash())


def _price_before(tariff: Tariff, signed: SignedHead) -> AssetAmount:
    return AssetAmount.zero() if signed.head is None else tariff.price_down(signed.head.usage())


def _require_extends(ledger: Ledger, account: AccountKey, old: Head, new: Head) -> None:
    """Prove growth to ourselves, as a payer would: a ledger that was changed or set back signs nothing."""
    try:
        growth = HeadGrowth(
            _growth(ledger, LogKey(account, LogKind.CHARGES), old.charges, new.charges),
            _growth(ledger, LogKey(account, LogKind.CREDITS), old.credits, new.credits),
        )
        verify_extends(old, new, growth)
    except BadProof as error:
        raise HeadDoesNotExtend(
            f"the logs of {account.payer} do not extend what was signed last: {error}", account.payer
        ) from error


def _growth(ledger: Ledger, log: LogKey, old: LogState, new: LogState) -> tuple[SumNode, ...]:
    if old.size > new.size:
        raise BadProof(f"the {log.kind} log has {new.size} batches; {old.size} were signed", new.size)
    return consistency(old.size, new.size, partial(ledger.tree_nodes, log))


def _state(ledger: Ledger, log: LogKey, size: int) -> LogState:
    return state_at(size, partial(ledger.tree_nodes, log))


def _sizes(head: Head) -> Mapping[LogKind, int]:
    return {LogKind.CHARGES: head.charges.size, LogKind.CREDITS: head.credits.size}
