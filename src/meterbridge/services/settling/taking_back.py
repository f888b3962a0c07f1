"""A correction that draws nothing is still worth sending while an older statement could draw too much.

Anyone may submit any signed statement. Once the correction is settled, the contract skips what is older.
"""

from __future__ import annotations

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.context import Context
from meterbridge.services.settling.records import Delivery, DeliveryState

_LOOKED_AT_MAX = 20


def takes_back(context: Context, delivery: Delivery) -> bool:
    """Tell whether an older statement, not settled, would still draw more than this one allows."""
    older = _older(context, delivery)
    if not older:
        return False
    tariff = context.tariff(delivery)
    lines = context.statement(delivery).statement.lines
    allowed = {line.payer: tariff.price_down(line.usage) for line in lines}
    escrows = context.chain.escrows(delivery.tariff_id, list(allowed))
    exposed: dict[Address, tuple[int, AssetAmount]] = {
        payer: (escrow.sealed_at, max(allowed[payer], escrow.settled))
        for payer, escrow in zip(allowed, escrows, strict=True)
        if escrow.balance
    }
    for each in older:
        for line in context.outbox.signed_statement(each).statement.lines:
            settled_at, limit = exposed.get(line.payer, (each.sealed_at + 1, AssetAmount.zero()))
            if settled_at <= each.sealed_at and tariff.price_down(line.usage) > limit:
                return True
    return False


def _older(context: Context, delivery: Delivery) -> list[Delivery]:
    """Return the newest of the statements that this one covers."""
    covered = context.outbox.deliveries(delivery.domain, [DeliveryState.SUPERSEDED])
    same = [each for each in covered if each.tariff_id == delivery.tariff_id]
    return [each for each in same if each.sealed_at < delivery.sealed_at][-_LOOKED_AT_MAX:]
