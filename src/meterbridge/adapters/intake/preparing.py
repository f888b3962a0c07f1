"""From a request's events to columns of receipts: who pays, what counts on which meter, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meterbridge.adapters.formats.columnar.reading import EventColumns
from meterbridge.adapters.intake.accounts import Accounts
from meterbridge.adapters.intake.columns import Columns, Part, Taken, canonical
from meterbridge.adapters.intake.known import KnownTariff
from meterbridge.adapters.intake.shapes import Body, Item, Refused
from meterbridge.domain.arrays import Ints
from meterbridge.domain.errors import MeterbridgeError, OutOfBounds
from meterbridge.domain.events import BUCKETS, UsageEvent
from meterbridge.domain.receipts import LANE_MAX
from meterbridge.domain.units import LANES
from meterbridge.services.corrections import RESERVED_DETAIL
from meterbridge.services.receipt_columns import REPLACEMENT_SOURCE
from meterbridge.services.records import AccountRecord


@dataclass(frozen=True, slots=True)
class Prepared:
    """The events of one request.

    Attributes:
        columns: those that can be counted, in their order.
        refused: those that cannot, and why.
    """

    columns: Part
    refused: list[Refused]


def prepare(tariff: KnownTariff, body: Body, accounts: Accounts) -> Prepared:
    """Find payers and measure; what cannot be counted is refused by its index."""
    if body.columns is None or not len(body.columns):
        return _prepare_events(tariff, body.indexes, body.items, accounts)
    fast, left = _prepare_columns(tariff, body.columns, accounts)
    indexes = [*body.indexes, *(int(body.columns.rows[row]) for row in left)]
    if not indexes:
        return Prepared(fast, [])
    slow = _prepare_events(
        tariff, indexes, [*body.items, *(body.columns.event(row) for row in left)], accounts
    )
    joined = Columns.joined(tariff.id, [fast, slow.columns])
    order = np.argsort(joined.indexes, kind="stable")  # of two equal events the first one counts
    return Prepared(joined.take(order.tolist()), slow.refused)


def _prepare_events(
    tariff: KnownTariff, indexes: Sequence[int], items: Sequence[Item], accounts: Accounts
) -> Prepared:
    refused: list[Refused] = []
    taken: list[Taken] = []
    for index, item in zip(indexes, items, strict=True):
        if isinstance(item, Refused):
            refused.append(item)
            continue
        try:
            _require_unreserved(item)
            account = accounts.of(tariff, item.payer)
            taken.append((index, item, account, tariff.measure(item.buckets), canonical(item.details)))
        except MeterbridgeError as error:
            refused.append(Refused(index, "unusable", str(error), item.id))
    return Prepared(taken, refused)


def _prepare_columns(
    tariff: KnownTariff, found: EventColumns, accounts: Accounts
) -> tuple[Columns, list[int]]:
    """Return the rows that can be counted as they are, and those of which somebody must say why not."""
    usage, fine = _measured(tariff, found.buckets)
    payers, number_of = _payers(tariff, found.payers, accounts)
    account_of = number_of[found.payer_of]
    fine &= account_of >= 0
    unreserved = np.array([source != REPLACEMENT_SOURCE for source in found.sources], dtype=np.bool_)
    fine &= unreserved[found.source_of]
    rows = np.flatnonzero(fine)
    body = found.body.tobytes()
    spans = found.id_spans[rows].tolist()
    if body.isascii():
        text = body.decode()
        event_ids = [text[start:end] for start, end in spans]
    else:
        event_ids = [body[start:end].decode() for start, end in spans]
    columns = Columns(
        tariff_id=tariff.id,
        indexes=found.rows[rows],
        accounts=payers,
        account_of=account_of[rows],
        sources=[found.sources[number] for number in found.source_of[rows].tolist()],
        event_ids=event_ids,
        details=[
            f"{found.details[number]}{total}}}"
            for number, total in zip(
                found.details_of[rows].tolist(), found.totals[rows].tolist(), strict=True
            )
        ],
        occurred_at=found.occurred_at[rows],
        usage=usage[rows],
        event_of=lambda row: found.event(int(rows[row])),
    )
    return columns, np.flatnonzero(~fine).tolist()


def _measured(tariff: KnownTariff, buckets: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return (n, 8) lanes and which rows have them; see `KnownTariff.measure`."""
    usage = np.zeros((len(buckets), LANES), dtype=np.int64)
    fine = np.ones(len(buckets), dtype=np.bool_)
    for place, bucket in enumerate(BUCKETS):
        meter, counts = tariff.meters.meter_of.get(bucket), buckets[:, place]
        if meter is None:
            fine &= counts == 0
        else:
            usage[:, meter] += counts
    return usage, fine & (usage <= LANE_MAX).all(axis=1)


def _payers(
    tariff: KnownTariff, names: Sequence[str], accounts: Accounts
) -> tuple[list[AccountRecord], Ints]:
    """Return accounts, each once, and for each name the number of its account, or -1."""
    found: list[AccountRecord] = []
    numbers: dict[int, int] = {}
    number_of = []
    for name in names:
        try:
            account = accounts.of(tariff, name)
        except MeterbridgeError:
            number_of.append(-1)
            continue
        if id(account) not in numbers:
            numbers[id(account)] = len(found)
            found.append(account)
        number_of.append(numbers[id(account)])
    return found, np.array(number_of, dtype=np.int64)


def _require_unreserved(event: UsageEvent) -> None:
    if event.source == REPLACEMENT_SOURCE:
        raise OutOfBounds(
            f"source {event.source!r} is reserved for corrections; name who reports", event.source
        )
    if RESERVED_DETAIL in event.details:
        raise OutOfBounds(f"detail {RESERVED_DETAIL!r} is reserved for corrections", RESERVED_DETAIL)
