"""From a mined transaction to a final one, or back where its block vanished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from meterbridge.services.chain_errors import Refusal
from meterbridge.services.records import Draw, SubmissionRecord, SubmissionState
from meterbridge.services.settling.context import Context
from meterbridge.services.settling.ports import MinedTransaction
from meterbridge.services.settling.records import (
    Attempt,
    AttemptKind,
    AttemptState,
    Change,
    Delivery,
    DeliveryState,
)
from meterbridge.services.settling.sending import place_of


def confirm(context: Context, delivery: Delivery) -> Delivery | None:
    """From mined to final at the configured depth; back to sent where the block is gone."""
    policy, mined = context.policy, delivery.mined
    receipt, context.receipt = context.receipt, None
    if mined is not None and (receipt is None or place_of(receipt) != mined):
        receipt = context.chain.mined(mined.tx_hash, delivery.tariff_id)
    if receipt is None:
        where = "" if mined is None else f"block {mined.block} vanished with the transaction in it"
        return context.move(delivery, DeliveryState.SENT, mined=None, reason=where)
    if place_of(receipt) != mined:
        delivery = context.move(delivery, DeliveryState.MINED, mined=place_of(receipt))
    if not policy.is_deep(receipt.block, context.chain.head(policy.finality)):
        return context.hold(delivery, "", seconds=policy.poll_seconds)
    objection = context.chain.agrees(receipt)
    if objection is not None:
        return context.hold(delivery, objection, seconds=policy.poll_seconds, failed=True)
    attempt = next(a for a in context.outbox.attempts(delivery) if a.tx_hash == receipt.tx_hash)
    if receipt.succeeded and attempt.kind is AttemptKind.SETTLE:
        if len(receipt.lines) != delivery.lines:
            told = f"the receipt tells of {len(receipt.lines)} of {delivery.lines} lines"
            return context.hold(delivery, told, seconds=policy.poll_seconds, failed=True)
        return _finish(context, delivery, receipt)
    return _again(context, delivery, attempt, receipt)


def check_owing(context: Context, delivery: Delivery) -> Delivery | None:
    """From final to ready, where a payer that had run dry was topped up: the statement draws the rest."""
    policy = context.policy
    try:
        trial = context.try_settle(delivery)
    except Refusal as refusal:
        return context.hold(delivery, str(refusal), seconds=10 * policy.recheck_seconds)
    if not trial.drawn:
        waiting = "payers ran dry: the rest is drawn after a deposit"
        return context.hold(delivery, waiting, seconds=policy.recheck_seconds)
    if reason := policy.reason_to_wait(trial, context.chain.fees(), 0):
        return context.hold(delivery, reason, seconds=policy.recheck_seconds)
    to: dict[str, Any] = {"sender": None, "nonce": None, "mined": None, "owing": False}
    return context.move(delivery, DeliveryState.READY, reason="a payer was topped up", **to)


def _finish(context: Context, delivery: Delivery, receipt: MinedTransaction) -> Delivery:
    submission = _submission(delivery, receipt, SubmissionState.SETTLED, receipt.lines.draws())
    change = Change(delivery, submission=submission)
    return context.move(
        delivery, DeliveryState.FINAL, change, owing=_is_owed(context, delivery, receipt), next_at=0
    )


def _is_owed(context: Context, delivery: Delivery, receipt: MinedTransaction) -> bool:
    """Tell whether a line is not paid in full: its price is above all that its account was ever drawn."""
    parcel, lines = context.parcel(delivery), receipt.lines
    told = zip(lines.payers, lines.drawn, lines.skipped_for, strict=True)
    drawn = {payer: amount for payer, amount, newer in told if newer is None}
    prices = zip(parcel.payer_list(), parcel.prices(context.tariff(delivery)), strict=True)
    # Who was drawn the whole price by this very transaction need not be asked about.
    doubtful = {payer: price for payer, price in prices if price > drawn.get(payer, price)}
    if not doubtful:
        return False
    accounts = context.chain.accounts(delivery.tariff_id, list(doubtful))
    return any(
        price > settled and sealed_at == delivery.sealed_at
        for price, (_, settled, sealed_at) in zip(doubtful.values(), accounts, strict=True)
    )


def _again(context: Context, delivery: Delivery, attempt: Attempt, receipt: MinedTransaction) -> Delivery:
    """Begin anew after a transaction that used up the nonce and settled nothing."""
    mark = replace(attempt, state=AttemptState.REVERTED)
    to: dict[str, Any] = {"sender": None, "nonce": None, "mined": None}
    if attempt.kind is AttemptKind.CANCEL:
        change = Change(delivery, marks=(mark,))
        return context.move(delivery, DeliveryState.WAITING, change, reason="cancelled: it was refused", **to)
    submission = _submission(delivery, receipt, SubmissionState.FAILED)
    change = Change(delivery, marks=(mark,), submission=submission)
    reverts = 1 + sum(a.state is AttemptState.REVERTED for a in context.outbox.attempts(delivery))
    reason = f"transaction 0x{receipt.tx_hash.hex()} was mined in block {receipt.block} and failed"
    hopeless = reverts >= context.policy.tries_max
    state = DeliveryState.FAILED if hopeless else DeliveryState.WAITING
    return context.move(delivery, state, change, reason=reason, **to)


def _submission(
    delivery: Delivery, receipt: MinedTransaction, state: SubmissionState, draws: Sequence[Draw] = ()
) -> SubmissionRecord:
    return SubmissionRecord(
        tariff_id=delivery.tariff_id,
        digest=delivery.digest,
        sealed_at=delivery.sealed_at,
        tx_hash=receipt.tx_hash,
        state=state,
        block=receipt.block,
        draws=draws,
    )
