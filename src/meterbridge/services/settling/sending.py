"""From a stored transaction to a mined one. What an answer leaves open, the chain decides."""

from __future__ import annotations

from dataclasses import replace

from meterbridge.services.chain_errors import Refusal
from meterbridge.services.settling.context import Context
from meterbridge.services.settling.policy import TRANSFER_GAS
from meterbridge.services.settling.ports import Answer, Broadcast, Fees, MinedTransaction
from meterbridge.services.settling.preparing import gas_limit, make_attempt, unsigned
from meterbridge.services.settling.records import (
    Attempt,
    AttemptKind,
    AttemptState,
    Change,
    Delivery,
    DeliveryState,
    MinedIn,
)
from meterbridge.services.settling.vanished import find_out_who_used

_TAKEN = (Broadcast.TAKEN, Broadcast.KNOWN)


def send(context: Context, delivery: Delivery) -> Delivery | None:
    """From signed to sent: broadcast what is stored, the very same bytes each time."""
    attempts = context.live_attempts(delivery)
    answer = _broadcast(context, delivery, attempts[-1])
    return _after(context, delivery, attempts, answer)


def follow(context: Context, delivery: Delivery) -> Delivery | None:
    """From sent to mined; or broadcast it again, replace it, or find out who used its nonce."""
    attempts = context.live_attempts(delivery)
    found = _mined(context, delivery, attempts)
    if found is not None:
        return found
    used = context.chain.used_nonces(attempts[-1].sender)
    if delivery.nonce is not None and used > delivery.nonce:
        # Most often it was mined between the two questions.
        return _mined(context, delivery, attempts) or find_out_who_used(context, delivery, attempts)
    if not _known(context, attempts):
        return _after(context, delivery, attempts, _broadcast(context, delivery, attempts[-1]))
    return _unstick(context, delivery, attempts, used)


def _after(context: Context, delivery: Delivery, attempts: list[Attempt], answer: Answer) -> Delivery | None:
    policy, last = context.policy, attempts[-1]
    if answer.meaning in _TAKEN:
        mark = replace(last, state=AttemptState.SENT, sent_at=context.now())
        mark = replace(mark, tx_hash=answer.tx_hash or last.tx_hash)
        return context.move(delivery, DeliveryState.SENT, Change(delivery, marks=(mark,)))
    found = _mined(context, delivery, attempts)
    if found is not None:
        return found
    if answer.meaning is Broadcast.NONCE_USED:
        return find_out_who_used(context, delivery, attempts)
    if answer.meaning is Broadcast.UNDERPRICED:
        return _replace(context, delivery, attempts, context.chain.fees(), answer.said)
    if answer.meaning is Broadcast.UNKNOWN and delivery.state is DeliveryState.SIGNED:
        if _known(context, attempts):
            mark = replace(last, state=AttemptState.SENT, sent_at=context.now())
            return context.move(delivery, DeliveryState.SENT, Change(delivery, marks=(mark,)))
        return context.hold(delivery, answer.said, seconds=policy.poll_seconds, failed=True)
    reason = f"the node does not take the transaction: {answer.said}"
    if answer.meaning is Broadcast.NO_FUNDS:
        reason = f"{last.sender} cannot pay the gas: {answer.said}"
    elif answer.meaning is Broadcast.REFUSED and delivery.failures >= policy.tries_max:
        return _replace(context, delivery, attempts, context.chain.fees(), answer.said)
    return context.hold(delivery, reason, seconds=policy.poll_seconds, failed=True)


def _broadcast(context: Context, delivery: Delivery, attempt: Attempt) -> Answer:
    if attempt.raw is not None:
        return context.chain.broadcast(attempt.raw)
    bid = (attempt.max_wei, attempt.tip_wei)
    transaction = unsigned(context, delivery, attempt.kind, attempt.nonce, attempt.gas, bid)
    return context.chain.send_unsigned(attempt.sender, transaction)


def _known(context: Context, attempts: list[Attempt]) -> bool:
    return any(attempt.tx_hash is not None and context.chain.knows(attempt.tx_hash) for attempt in attempts)


def _mined(context: Context, delivery: Delivery, attempts: list[Attempt]) -> Delivery | None:
    """Look for a receipt of any of the transactions: an older one may win against its replacement."""
    for attempt in reversed(attempts):
        if attempt.tx_hash is not None:
            receipt = context.chain.mined(attempt.tx_hash, delivery.tariff_id)
            if receipt is not None:
                context.receipt = receipt
                return context.move(delivery, DeliveryState.MINED, mined=place_of(receipt))
    return None


def place_of(receipt: MinedTransaction) -> MinedIn:
    """Return where a receipt says that its transaction was mined."""
    return MinedIn(receipt.tx_hash, receipt.block, receipt.block_hash)


def _unstick(context: Context, delivery: Delivery, attempts: list[Attempt], used: int) -> Delivery | None:
    policy, last, now = context.policy, attempts[-1], context.now()
    waited = now - (last.sent_at or last.created_at)
    if waited >= policy.bump_after_seconds and delivery.nonce is not None:
        if used < delivery.nonce:
            return _fill_gap(context, delivery, used)
        fees = context.chain.fees()
        if policy.is_stuck(last, fees, waited):
            return _replace(context, delivery, attempts, fees, "it was not mined in time")
    return context.hold(delivery, "", seconds=policy.poll_seconds)


def _replace(
    context: Context, delivery: Delivery, attempts: list[Attempt], fees: Fees, why: str
) -> Delivery | None:
    """Store a transaction with the same nonce that pays more; as signed, it goes out like the first one."""
    policy, last = context.policy, attempts[-1]
    bid = policy.outbid(last, fees)
    if bid is None:
        reason = f"{why}; replacing it would cost more than the ceiling of {policy.fee_ceiling_wei} wei"
        return context.hold(delivery, reason, seconds=policy.poll_seconds, failed=True)
    kind, gas = _replacement(context, delivery, attempts)
    attempt = make_attempt(context, delivery, kind, last.nonce, gas, bid)
    return context.move(delivery, DeliveryState.SIGNED, Change(delivery, attempt), reason=why)


def _replacement(context: Context, delivery: Delivery, attempts: list[Attempt]) -> tuple[AttemptKind, int]:
    """Settle still, with the gas that it takes by now; or only use up the nonce, where it would fail.

    Never with less gas than before: a node may try it on top of the very transaction that is to be replaced,
    and then finds little left to do. The last transaction alone may have been a cancellation.
    """
    try:
        trial = context.try_settle(delivery)
    except Refusal:
        return AttemptKind.CANCEL, TRANSFER_GAS
    before = [each.gas for each in attempts if each.kind is AttemptKind.SETTLE]
    return AttemptKind.SETTLE, max([gas_limit(context, trial), *before])


def _fill_gap(context: Context, delivery: Delivery, gap: int) -> Delivery | None:
    """Use up a nonce that nothing of ours holds and the node knows nothing about: else all after it wait."""
    policy, sender = context.policy, context.account.address
    held = context.outbox.held_nonces(delivery.domain.chain_id, sender)
    if delivery.sender != sender or gap in held or context.chain.pending_nonces(sender) > gap:
        return context.hold(delivery, f"waits for nonce {gap}", seconds=policy.poll_seconds)
    known = [each for each in context.outbox.attempts(delivery) if each.nonce == gap]
    if known:
        filler = known[-1]
    else:
        bid = policy.bid(context.chain.fees())
        if bid is None:
            return context.hold(delivery, f"waits for nonce {gap}", seconds=policy.poll_seconds)
        filler = make_attempt(context, delivery, AttemptKind.CANCEL, gap, TRANSFER_GAS, bid)
        delivery = context.move(delivery, delivery.state, Change(delivery, filler))
    answer = _broadcast(context, delivery, filler)
    reason = f"nonce {gap} was missing and is used up by a transfer of nothing ({answer.meaning})"
    return context.hold(delivery, reason, seconds=policy.poll_seconds)
