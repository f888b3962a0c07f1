"""What a person decides: quarantined events, corrections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from meterbridge.adapters.intake.decisions import decision_json, reject, release
from meterbridge.adapters.intake.quarantine import HELD, QuarantinedEvent
from meterbridge.domain.addresses import Address
from meterbridge.entrypoints.api import examples
from meterbridge.entrypoints.api.deps import DepsHere, OperateKey, tariff_id_of
from meterbridge.entrypoints.api.problems import documented
from meterbridge.entrypoints.api.reads import After, Limit, Page
from meterbridge.services.corrections import correct
from meterbridge.services.records import AccountKey

router = APIRouter(prefix="/v1", tags=["operating"], responses=documented(400, 401, 403, 404, 409, 422, 503))
Number = Annotated[int, Path(ge=1, le=2**62, description="The number of the quarantined event.")]


class DecisionIn(BaseModel):
    """Why somebody decided so."""

    model_config = ConfigDict(extra="forbid")

    note: str | None = Field(default=None, max_length=1_000, examples=["the gateway counted the retry twice"])


class CorrectionIn(BaseModel):
    """What to put right: a void without `buckets`, a replacement with them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tariff: str = Field(max_length=66, description="The tariff's id.")
    payer: str = Field(max_length=42, examples=[examples.PAYER])
    receipt: str = Field(max_length=66, description="The id of the charge that was wrong.")
    buckets: dict[str, Annotated[int, Field(ge=0, le=2**53 - 1)]] | None = Field(
        default=None, examples=[{"input": 1200, "output": 80}]
    )
    reason: str = Field(min_length=1, max_length=1_000, examples=["counted a retry twice"])


class CorrectionOut(BaseModel):
    """What was done: `in place` before sealing, `credited` after it, `repeated` where it was done before."""

    kind: str
    credit: str | None
    replacement: str | None


@router.post("/corrections")
def post_correction(deps: DepsHere, key: OperateKey, wanted: CorrectionIn) -> CorrectionOut:
    """Void or replace a charge. Sealed receipts never change: the credit log takes them back, once."""
    known = deps.own_tariff(key, tariff_id_of(wanted.tariff))
    account = AccountKey(known.record.domain, known.id, Address.parse(wanted.payer))
    replacement = None if wanted.buckets is None else known.meters.measure(wanted.buckets)
    found = correct(
        deps.ledger,
        deps.segments,
        account,
        tariff_id_of(wanted.receipt),
        replacement=replacement,
        occurred_at=int(deps.now() * 1000),
        reason=wanted.reason,
    )
    return CorrectionOut(
        kind=found.kind.value, credit=_hex(found.credit), replacement=_hex(found.replacement)
    )


@router.get("/quarantine")
def get_quarantine(
    deps: DepsHere,
    key: OperateKey,
    state: Annotated[Literal["held", "released", "rejected"], Query()] = HELD,
    after: After = 0,
    limit: Limit = 100,
) -> Page:
    """List events that contradict stored ones; `after` is the last number seen."""
    found = deps.quarantine.page(key.provider, state, after, limit)
    return Page(
        items=[decision_json(event) for event in found],
        next=found[-1].number if len(found) == limit else None,
    )


@router.post("/quarantine/{number}/release")
def post_release(deps: DepsHere, key: OperateKey, number: Number, decision: DecisionIn) -> dict[str, Any]:
    """Decide that the incoming version is right: the stored charge is corrected to it."""
    event = deps.quarantine.get(number, key.provider)
    release(deps.ledger, deps.segments, deps.quarantine, event, decision.note, int(deps.now() * 1000))
    return decision_json(_again(deps, event))


@router.post("/quarantine/{number}/reject")
def post_reject(deps: DepsHere, key: OperateKey, number: Number, decision: DecisionIn) -> dict[str, Any]:
    """Decide that the stored version is right: the incoming one is never counted."""
    event = deps.quarantine.get(number, key.provider)
    reject(deps.quarantine, event, decision.note, int(deps.now() * 1000))
    return decision_json(_again(deps, event))


def _again(deps: DepsHere, event: QuarantinedEvent) -> QuarantinedEvent:
    return deps.quarantine.get(event.number)


def _hex(data: bytes | None) -> str | None:
    return None if data is None else "0x" + data.hex()
