"""A nonce is used up and none of our receipts says by what: the chain is asked which transaction has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meterbridge.services.chain_errors import ChainError
from meterbridge.services.settling.context import Context
from meterbridge.services.settling.records import (
    Attempt,
    AttemptState,
    Change,
    Delivery,
    DeliveryState,
    MinedIn,
)


def find_out_who_used(context: Context, delivery: Delivery, attempts: list[Attempt]) -> Delivery | None:
    """Go on once it is known, deep enough to stay, which transaction used a delivery's nonce."""
    policy, last = context.policy, attempts[-1]
    try:
        found = context.chain.hash_of(last.sender, last.nonce, min(each.block for each in attempts))
    except ChainError as error:
        reason = f"nonce {last.nonce} is used up, and who used it cannot be found out: {error}"
        return context.hold(delivery, reason, seconds=policy.poll_seconds, failed=True)
    if found is None or found in {each.tx_hash for each in attempts}:
        # The node that answers is behind the one that told us so.
        return context.hold(delivery, "", seconds=policy.poll_seconds)
    receipt = context.chain.mined(found, delivery.tariff_id)
    if receipt is not None and receipt.lines and any(each.tx_hash is None for each in attempts):
        return _recognise(context, delivery, attempts, MinedIn(found, receipt.block, receipt.block_hash))
    if receipt is None or not policy.is_deep(receipt.block, context.chain.head(policy.finality)):
        reason = f"another transaction, 0x{found.hex()}, used nonce {last.nonce}; it is not final yet"
        return context.hold(delivery, reason, seconds=policy.poll_seconds)
    marks = tuple(replace(each, state=AttemptState.LOST) for each in attempts)
    reason = f"another transaction, 0x{found.hex()}, used nonce {last.nonce}"
    change = Change(delivery, marks=marks)
    to: dict[str, Any] = {"sender": None, "nonce": None, "mined": None, "next_at": context.now()}
    return context.move(delivery, DeliveryState.WAITING, change, reason=reason, **to)


def _recognise(context: Context, delivery: Delivery, attempts: list[Attempt], place: MinedIn) -> Delivery:
    """Take a transaction for ours whose hash a node never told: it has our nonce, and settles our lines."""
    nameless = [each for each in attempts if each.tx_hash is None][-1]
    mark = replace(nameless, tx_hash=place.tx_hash, state=AttemptState.SENT, sent_at=context.now())
    change = Change(delivery, marks=(mark,))
    return context.move(delivery, DeliveryState.MINED, change, mined=place)
