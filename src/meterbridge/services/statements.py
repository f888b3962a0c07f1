"""From logs to signed statements (protocol, sections 4 and 8).

One writer per log: whatever is signed is proven to extend what was signed last, and is in the ledger before
it leaves. Statements of one account strictly increase in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from meterbridge.domain.errors import BadProof, HeadDoesNotExtend
from meterbridge.domain.signatures import require_signed_by
from meterbridge.domain.statements import (
    LINES_MAX,
    Line,
    SignedStatement,
    Statement,
    require_sealed_after,
)
from meterbridge.domain.sum_tree import Head, HeadGrowth, LogState, SumNode, verify_extends
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

_NEVER = SignedHead(0, Head.empty())


def make_statement(
    ledger: Ledger, record: TariffRecord, sealed_at: int, signer: StatementSigner
) -> SignedStatement:
    """Sign one statement with all accounts whose head has changed since their last one.

    Raises:
        NothingToState: when none has.
        TooManyLines: when more than 1,000 have; `make_statements` makes several.
        BadStatement: when `sealed_at` is not after an account's last statement, or out of range.
        HeadDoesNotExtend: when a log is not the one that was signed last, grown.
        BadSignature: when what the signer returns is not its signature.
    """
    made = _make(ledger, record, sealed_at, signer, at_most=1)
    if not made:
        raise NothingToState("no account's head has changed since its last statement; seal first", sealed_at)
    return made[0]


def make_statements(
    ledger: Ledger, record: TariffRecord, sealed_at: int, signer: StatementSigner
) -> list[SignedStatement]:
    """Sign as many statements as it takes, of at most 1,000 lines each; none where nothing has changed.

    They have the same time; no account stands in two of them. Raises as `make_statement` does.
    """
    return _make(ledger, record, sealed_at, signer, at_most=None)


def _make(
    ledger: Ledger, record: TariffRecord, sealed_at: int, signer: StatementSigner, *, at_most: int | None
) -> list[SignedStatement]:
    with ledger.sole_writer():
        heads = list(_changed_heads(ledger, record.id, sealed_at))
        parts = [heads[i : i + LINES_MAX] for i in range(0, len(heads), LINES_MAX)]
        if at_most is not None and len(parts) > at_most:
            raise TooManyLines(
                f"{len(heads)} accounts have changed; a statement has {LINES_MAX} lines", heads
            )
        records = []
        for part, entries in enumerate(parts):
            lines = tuple(Line(account.payer, head.usage(), head.hash()) for account, head in entries)
            signed = _sign(record, Statement(record.id, sealed_at, lines), signer)
            records.append(StatementRecord(signed, part, tuple(head for _, head in entries)))
        ledger.store_statements(records)
    return [made.signed for made in records]


def _sign(record: TariffRecord, statement: Statement, signer: StatementSigner) -> SignedStatement:
    digest = statement.digest(record.domain)
    signature = signer.sign_digest(digest)
    # A signer that is wrong is found here, not after hours of service when nothing settles.
    require_signed_by(signer.address, digest, signature)
    return SignedStatement(record.domain, statement, signer.address, signature)


def _changed_heads(ledger: Ledger, tariff_id: bytes, sealed_at: int) -> Iterator[tuple[AccountKey, Head]]:
    last, sizes = ledger.last_signed(tariff_id), ledger.log_sizes(tariff_id)
    for account in dict.fromkeys(log.account for log in sizes):
        signed = last.get(account, _NEVER)
        size_now = {kind: sizes.get(LogKey(account, kind), 0) for kind in LogKind}
        if signed.head is not None and _sizes(signed.head) == size_now:
            continue
        require_sealed_after(sealed_at, signed.sealed_at)
        head = Head(*(_state(ledger, LogKey(account, kind), size) for kind, size in size_now.items()))
        if signed.head is not None:
            _require_extends(ledger, account, signed.head, head)
        yield account, head


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
