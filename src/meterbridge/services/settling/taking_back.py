"""A correction that draws nothing is still worth sending while an older statement could draw too much.

Anyone may submit any signed statement. Once the correction is settled, the contract skips what is older.
"""

from __future__ import annotations

from meterbridge.services.settling.context import Context
from meterbridge.services.settling.records import Delivery, DeliveryState

_LOOKED_AT_MAX = 20


def takes_back(context: Context, delivery: Delivery) -> bool:
    """Tell whether an older statement, not settled, would still draw more than this one allows."""
    older = _older(context, delivery)
    if not older:
        return False
    tariff, parcel = context.tariff(delivery), context.parcel(delivery)
    payers = parcel.payer_list()
    accounts = context.chain.accounts(delivery.tariff_id, payers)
    exposed = {
        payer: (sealed_at, max(price, settled))
        for payer, price, (balance, settled, sealed_at) in zip(
            payers, parcel.prices(tariff), accounts, strict=True
        )
        if balance
    }
    for each in older:
        covered = context.parcel(each)
        for payer, price in zip(covered.payer_list(), covered.prices(tariff), strict=True):
            settled_at, limit = exposed.get(payer, (each.sealed_at + 1, 0))
            if settled_at <= each.sealed_at and price > limit:
                return True
    return False


def _older(context: Context, delivery: Delivery) -> list[Delivery]:
    """Return the newest of the statements that this one covers."""
    covered = context.outbox.deliveries(delivery.domain, [DeliveryState.SUPERSEDED])
    same = [each for each in covered if each.tariff_id == delivery.tariff_id]
    return [each for each in same if each.sealed_at < delivery.sealed_at][-_LOOKED_AT_MAX:]
