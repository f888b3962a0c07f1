"""A payer's bill, proven from every receipt up to the signed statement (protocol, sections 3 to 8).

Only the complete logs prove a bill: any subtree that nobody opens may be invented. A payer holds them as
segments. Each segment's rows give its root, the roots give the logs, the logs give the head that the
statement signs, and the tariff prices the usage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.statements import Line, SignedStatement
from meterbridge.domain.sum_tree import EMPTY, Head, LogState, SumNode, log_element
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.log_tree import Place, completed_by, state_at
from meterbridge.services.ports import Segment, Segments
from meterbridge.services.records import AccountKey, LogKey, LogKind, TariffRecord
from meterbridge.services.signers import ContractSigners, require_signature


class BadBill(MeterbridgeError):
    """A statement does not follow from the receipts that were handed over."""


@dataclass(frozen=True, slots=True)
class MeterUse:
    """What a bill counts on one meter: charges less credits, in the meter's units."""

    meter: str
    units: int


@dataclass(frozen=True, slots=True)
class BilledBatch:
    """One batch of a bill.

    Attributes:
        seq: its place in its log, from 0.
        receipts: how many it holds.
        first_at, last_at: its earliest and latest call, milliseconds since 1970.
    """

    kind: LogKind
    seq: int
    receipts: int
    usage: UsageVector
    first_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Bill:
    """A proven bill.

    Attributes:
        sealed_at: time of the statement, seconds since 1970.
        signer: who signed it; whether the provider lets it, the chain tells.
        batches: all that it consists of.
        usage: charges less credits, cumulative.
        meters: the same by the names of the tariff's document.
        price: what the usage costs in all, rounded down.
    """

    account: AccountKey
    sealed_at: int
    signer: Address
    batches: tuple[BilledBatch, ...]
    usage: UsageVector
    meters: tuple[MeterUse, ...]
    price: AssetAmount

    @property
    def receipts(self) -> int:
        """How many charges were proven."""
        return sum(batch.receipts for batch in self.batches if batch.kind is LogKind.CHARGES)

    @property
    def credits(self) -> int:
        """How many credits were proven."""
        return sum(batch.receipts for batch in self.batches if batch.kind is LogKind.CREDITS)


@dataclass(slots=True)
class _Log:
    """A log as it grows: its complete subtrees, its states at each size, and the ids that it holds."""

    batches: list[BilledBatch] = field(default_factory=list)
    states: list[LogState] = field(default_factory=lambda: [LogState.empty()])
    _nodes: dict[Place, SumNode] = field(default_factory=dict)
    _ids: list[npt.NDArray[Any]] = field(default_factory=list)

    def append(self, segment: Segment) -> None:
        batch, receipts = segment.meta.batch, segment.table.receipts
        if batch.seq != len(self.batches):
            raise BadBill(
                f"batch {len(self.batches)} of the {batch.log.kind} is missing; the next is {batch.seq}",
                batch.seq,
            )
        size = len(self.batches)
        for made in completed_by(size, log_element(batch.size, batch.root), self._fetch):
            self._nodes[made.level, made.position] = made.node
        self.states.append(state_at(size + 1, self._fetch))
        times = receipts.occurred_at
        self.batches.append(
            BilledBatch(
                batch.log.kind, batch.seq, batch.size, batch.root.sum, int(times.min()), int(times.max())
            )
        )
        self._ids.append(np.ascontiguousarray(receipts.ids).view("V32").ravel())

    def require_ids_once(self) -> None:
        """An id occurs once per log: a call that stands twice would be paid twice."""
        ids = np.sort(np.concatenate(self._ids)) if self._ids else np.empty(0, "V32")
        again = ids[1:][ids[1:] == ids[:-1]]
        if len(again):
            raise BadBill(f"receipt 0x{again[0].tobytes().hex()} stands in two batches", again[0].tobytes())

    def _fetch(self, places: Sequence[Place]) -> list[SumNode]:
        return [self._nodes[place] for place in places]


def bill(
    record: TariffRecord,
    segments: Segments,
    payer: Address,
    signed: SignedStatement,
    *,
    contracts: ContractSigners | None = None,
) -> Bill:
    """Prove what a statement asks of a payer from the payer's complete logs.

    Args:
        record: the tariff.
        segments: the payer's batches; later ones than the statement's are left out.
        payer: whose account.
        signed: the statement.
        contracts: asks contract signers; None takes the signatures of keys only.

    Raises:
        BadBill: when a batch is missing, an id stands twice, or no state of the logs is the one signed.
        BadSegment: when a segment is damaged.
        BadSignature: when the statement is not signed by its signer.
        BadTariff: when the tariff's rates are not the prices of its document.
    """
    line = _line(record, payer, signed)
    require_signature(signed.signer, signed.digest(), signed.signature, contracts)
    account = AccountKey(record.domain, record.id, payer)
    logs = {kind: _read(segments, LogKey(account, kind)) for kind in LogKind}
    charges, credits = _sizes(logs[LogKind.CHARGES], logs[LogKind.CREDITS], line)
    batches = (*logs[LogKind.CHARGES].batches[:charges], *logs[LogKind.CREDITS].batches[:credits])
    meters = record.terms().meters
    return Bill(
        account=account,
        sealed_at=signed.statement.sealed_at,
        signer=signed.signer,
        batches=batches,
        usage=line.usage,
        meters=tuple(MeterUse(meter.name, line.usage.lanes[i]) for i, meter in enumerate(meters)),
        price=record.tariff.price_down(line.usage),
    )


def _line(record: TariffRecord, payer: Address, signed: SignedStatement) -> Line:
    if (signed.domain, signed.statement.tariff_id) != (record.domain, record.id):
        raise BadBill(
            "the statement is under another tariff, or on another contract", signed.statement.tariff_id
        )
    for line in signed.statement.lines:
        if line.payer == payer:
            return line
    raise BadBill(f"the statement of {signed.statement.sealed_at} says nothing of {payer}", str(payer))


def _read(segments: Segments, log: LogKey) -> _Log:
    found, blinds = _Log(), set()
    for name in segments.names(log):
        segment = segments.get(name)  # which checks every row of it against its root
        if segment.meta.batch.log != log:
            raise BadBill(f"segment {name} is of another log", name)
        blinds.add(segment.meta.account.blind)
        found.append(segment)
    if len(blinds) > 1:
        raise BadBill("the batches of one log have different blinds, so a call could stand in it twice", None)
    found.require_ids_once()
    return found


def _sizes(charges: _Log, credits: _Log, line: Line) -> tuple[int, int]:
    """Return how many batches of each log the line commits to."""
    for charged, taken_back in _candidates(charges, credits, line.usage):
        if Head(charges.states[charged], credits.states[taken_back]).hash() == line.head:
            return charged, taken_back
    known = charges.states[-1].root.sum - credits.states[-1].root.sum
    raise BadBill(
        f"the statement says {line.usage.lanes}; the {len(charges.batches)} batches of charges and "
        f"{len(credits.batches)} of credits here add up to {known.lanes}, and never to what was signed",
        line.usage.lanes,
    )


def _candidates(charges: _Log, credits: _Log, usage: UsageVector) -> Iterator[tuple[int, int]]:
    by_sum: dict[UsageVector, list[int]] = {}
    for size, state in enumerate(charges.states):
        by_sum.setdefault(_sum(state), []).append(size)
    for size, state in enumerate(credits.states):
        yield from ((charged, size) for charged in by_sum.get(usage + _sum(state), ()))


def _sum(state: LogState) -> UsageVector:
    return (state.root if state.size else EMPTY).sum
