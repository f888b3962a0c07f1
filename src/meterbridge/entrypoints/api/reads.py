"""What was metered, signed and proven: everything a provider, or a payer through it, may look up."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from meterbridge.domain.addresses import Address
from meterbridge.domain.sum_tree import LogState
from meterbridge.entrypoints.api import examples
from meterbridge.entrypoints.api.deps import DepsHere, ReadKey, tariff_id_of
from meterbridge.entrypoints.api.problems import Problem, documented
from meterbridge.services import log_tree
from meterbridge.services.credit import credit, read_secured, usual_margin
from meterbridge.services.exchange import statement_to_json, tariff_record_to_json
from meterbridge.services.json_fields import hex_of, lanes_of
from meterbridge.services.proof_json import proof_to_json
from meterbridge.services.records import AccountKey, BatchRecord, LogKey, LogKind

router = APIRouter(prefix="/v1", tags=["reading"], responses=documented(401, 403, 404, 422, 503))
T = TypeVar("T")
TariffId = Annotated[str, Path(description="The tariff's id, 0x and 64 hex digits.", max_length=66)]
Payer = Annotated[str, Path(description="The payer's address.", max_length=42, examples=[examples.PAYER])]
ReceiptId = Annotated[str, Path(description="The receipt's id, 0x and 64 hex digits.", max_length=66)]
After = Annotated[int, Query(ge=0, le=2**62, description="Skip so many; take `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1_000, description="Most items of the page.")]
_EVENT_MAX: Final = 4_096


class Page(BaseModel):
    """One page; `next` is the `after` of the next one, or null at the end."""

    items: list[dict[str, Any]]
    next: int | None = None


class CreditOut(BaseModel):
    """Whether a gateway may go on serving a payer.

    Amounts are decimal strings in base units of the tariff's asset. What is served now must be settled by
    `until` (seconds since 1970), before which none of `secured` can be withdrawn.
    """

    allowed: bool
    remaining: str = Field(examples=["12500000"])
    until: int
    secured: str
    unsettled: str


def page_of(items: Iterable[T], after: int, limit: int) -> tuple[list[T], int | None]:
    """Cut one page out of items in a fixed order."""
    found = list(islice(items, after, after + limit + 1))
    more = len(found) > limit
    return found[:limit], after + limit if more else None


@router.get("/tariffs")
def get_tariffs(deps: DepsHere, key: ReadKey, after: After = 0, limit: Limit = 100) -> Page:
    """List the provider's tariffs with their splits, parties and documents."""
    own = (record for record in deps.ledger.tariffs() if record.tariff.provider == key.provider)
    records, following = page_of(own, after, limit)
    return Page(items=[tariff_record_to_json(record) for record in records], next=following)


@router.get("/tariffs/{tariff_id}/accounts")
def get_accounts(
    deps: DepsHere, key: ReadKey, tariff_id: TariffId, after: After = 0, limit: Limit = 100
) -> Page:
    """List the accounts of a tariff. A blind is a secret of provider and payer; show it to no one else."""
    record = deps.own_tariff(key, tariff_id_of(tariff_id))
    accounts, following = page_of(deps.ledger.accounts(record.id), after, limit)
    items = [{"payer": str(a.key.payer), "customer": a.customer, "blind": hex_of(a.blind)} for a in accounts]
    return Page(items=items, next=following)


@router.get("/tariffs/{tariff_id}/statements")
def get_statements(
    deps: DepsHere, key: ReadKey, tariff_id: TariffId, after: After = 0, limit: Limit = 100
) -> Page:
    """List the signed statements of a tariff, oldest first, ready for anyone to submit."""
    record = deps.own_tariff(key, tariff_id_of(tariff_id))
    found, following = page_of(deps.ledger.statements(record.id), after, limit)
    return Page(items=[statement_to_json(statement.signed) for statement in found], next=following)


@router.get("/tariffs/{tariff_id}/accounts/{payer}/logs/{kind}")
def get_log(
    deps: DepsHere,
    key: ReadKey,
    tariff_id: TariffId,
    payer: Payer,
    kind: LogKind,
    after: After = 0,
    limit: Limit = 100,
) -> Page:
    """List the batches of a log in sealing order."""
    log = LogKey(_account(deps, key, tariff_id, payer), kind)
    size = deps.ledger.log_size(log)
    end = min(size, after + limit)
    items = [_batch_json(deps.ledger.batch(log, seq)) for seq in range(min(after, size), end)]
    return Page(items=items, next=end if end < size else None)


@router.get("/tariffs/{tariff_id}/accounts/{payer}/logs/{kind}/{seq}/receipts")
def get_receipts(
    deps: DepsHere,
    key: ReadKey,
    tariff_id: TariffId,
    payer: Payer,
    kind: LogKind,
    seq: Annotated[int, Path(ge=0, le=2**62)],
    after: After = 0,
    limit: Limit = 100,
) -> Page:
    """List the receipts of one batch in the order of its leaves: all that its root commits to."""
    log = LogKey(_account(deps, key, tariff_id, payer), kind)
    _require_batch(deps, log, seq)
    batch = deps.ledger.batch(log, seq)
    if batch.segment is None:
        return Page(items=[])
    items = deps.recorder.stored.rows(batch, after, limit)
    end = after + len(items)
    return Page(items=items, next=end if end < batch.size else None)


@router.get("/tariffs/{tariff_id}/accounts/{payer}/logs/{kind}/consistency")
def get_consistency(
    deps: DepsHere,
    key: ReadKey,
    tariff_id: TariffId,
    payer: Payer,
    kind: LogKind,
    old: Annotated[int, Query(ge=0, le=2**62)],
    new: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> dict[str, Any]:
    """Prove that a log of `new` batches (by default all) extends its first `old` (RFC 6962, with sums)."""
    log = LogKey(_account(deps, key, tariff_id, payer), kind)
    size = deps.ledger.log_size(log)
    wanted = size if new is None else new
    if not old <= wanted <= size:
        raise Problem(422, "out-of-range", f"the log has {size} batches; give old <= new <= {size}")

    def fetch(places: Any) -> Any:
        return deps.ledger.tree_nodes(log, places)

    nodes = log_tree.consistency(old, wanted, fetch)
    return {
        "old": _state_json(log_tree.state_at(old, fetch)),
        "new": _state_json(log_tree.state_at(wanted, fetch)),
        "proof": [{"hash": hex_of(node.hash), "sum": lanes_of(node.sum)} for node in nodes],
    }


@router.get("/tariffs/{tariff_id}/accounts/{payer}/receipts/{receipt_id}")
def get_receipt(
    deps: DepsHere, key: ReadKey, tariff_id: TariffId, payer: Payer, receipt_id: ReceiptId
) -> dict[str, Any]:
    """Return one receipt, sealed or not; `batch` is null until it is sealed."""
    account = _account(deps, key, tariff_id, payer)
    wanted = tariff_id_of(receipt_id)
    for kind in LogKind:
        log = LogKey(account, kind)
        if deps.ledger.find(log, wanted) is not None:
            return {"log": kind.value, **deps.recorder.stored.receipt(log, wanted)}
    raise Problem(404, "unknown-receipt", f"neither log has a receipt {receipt_id}")


@router.get("/tariffs/{tariff_id}/accounts/{payer}/receipts/{receipt_id}/proof", responses=documented(409))
def get_proof(
    deps: DepsHere,
    key: ReadKey,
    tariff_id: TariffId,
    payer: Payer,
    receipt_id: ReceiptId,
    party: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> dict[str, Any]:
    """Return the worked proof of a receipt: from its leaf to the statement and a party's part of it."""
    account = _account(deps, key, tariff_id, payer)
    proof = deps.prover(account.tariff_id).prove(account, tariff_id_of(receipt_id), party=party)
    return proof_to_json(proof)


@router.get("/tariffs/{tariff_id}/receipts")
def find_receipt(
    deps: DepsHere,
    key: ReadKey,
    tariff_id: TariffId,
    source: Annotated[str, Query(min_length=1, max_length=_EVENT_MAX)],
    event_id: Annotated[str, Query(min_length=1, max_length=_EVENT_MAX)],
) -> dict[str, Any]:
    """Find the receipt of an event by who reported it and its id there."""
    record = deps.own_tariff(key, tariff_id_of(tariff_id))
    found = deps.recorder.stored.describe(record.id, source, event_id)
    if not found:
        raise Problem(404, "unknown-receipt", f"no event {event_id!r} of {source!r} was counted here")
    return found


@router.get("/tariffs/{tariff_id}/accounts/{payer}/credit", response_model=CreditOut)
def get_credit(
    deps: DepsHere,
    key: ReadKey,
    tariff_id: TariffId,
    payer: Payer,
    margin: Annotated[int | None, Query(ge=0, le=7_776_000, description="Seconds until settled.")] = None,
) -> CreditOut:
    """Tell how far a payer may be served: what is secured on chain less what is not yet settled.

    Without `margin` the service's own is taken, within nine tenths of the tariff's thaw period. A margin
    beyond the thaw period secures nothing: everything could be withdrawn by then.
    """
    if deps.escrows is None:
        raise Problem(404, "no-chain", "this service was started without a chain: give it --rpc")
    account = _account(deps, key, tariff_id, payer)
    record = deps.own_tariff(key, account.tariff_id).record
    usual = usual_margin(deps.settings.credit_margin_seconds, record.tariff)
    ahead = usual if margin is None else margin
    secured = read_secured(deps.escrows, record, account.payer, int(deps.now()), ahead)
    found = credit(deps.ledger, record, account.payer, secured)
    return CreditOut(
        allowed=found.allowed,
        remaining=str(found.remaining),
        until=found.until,
        secured=str(found.secured),
        unsettled=str(found.unsettled),
    )


def _account(deps: DepsHere, key: ReadKey, tariff_id: str, payer: str) -> AccountKey:
    record = deps.own_tariff(key, tariff_id_of(tariff_id))
    account = AccountKey(record.record.domain, record.id, Address.parse(payer))
    deps.ledger.account(account)
    return account


def _require_batch(deps: DepsHere, log: LogKey, seq: int) -> None:
    size = deps.ledger.log_size(log)
    if seq >= size:
        raise Problem(404, "unknown-batch", f"the log has {size} batches, numbered from 0")


def _batch_json(batch: BatchRecord) -> dict[str, Any]:
    return {
        "seq": batch.seq,
        "size": batch.size,
        "hash": hex_of(batch.root.hash),
        "sum": lanes_of(batch.root.sum),
        "opaque": batch.segment is None,
    }


def _state_json(state: LogState) -> dict[str, Any]:
    return {"size": state.size, "hash": hex_of(state.root.hash), "sum": lanes_of(state.root.sum)}
