"""From a statement to a stored transaction: is it worth it, with which nonce, at which price."""

from __future__ import annotations

from typing import Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.services.chain_errors import (
    ChainError,
    InvalidSignature,
    Refusal,
    ScaleTooLarge,
    SealedAtOutOfRange,
    SealedInFuture,
    SignerNotAuthorized,
    ThawPeriodTooLong,
    TooManyLines,
)
from meterbridge.services.settling.context import Context
from meterbridge.services.settling.ports import Fees, NonceTaken, Trial, Unsigned
from meterbridge.services.settling.records import (
    Attempt,
    AttemptKind,
    Change,
    Delivery,
    DeliveryState,
)
from meterbridge.services.settling.taking_back import takes_back

_HOPELESS: Final = (InvalidSignature, TooManyLines, SealedAtOutOfRange, ScaleTooLarge, ThawPeriodTooLong)
_NONCE_TRIES: Final = 50


class NonceRace(ChainError):
    """Other processes took every nonce first; try again later."""


def prepare(context: Context, delivery: Delivery) -> Delivery | None:
    """From waiting to ready to signed, as far as the policy lets it; else held up with the reason."""
    try:
        trial = context.try_settle(delivery)
    except Refusal as refusal:
        return refused(context, delivery, refusal)
    if trial.gas > context.policy.gas_cap:
        reason = f"it needs {trial.gas} gas; a transaction has at most {context.policy.gas_cap}"
        context.refused[delivery.digest] = reason
        return context.move(delivery, DeliveryState.FAILED, reason=reason)
    fees = context.chain.fees()
    if delivery.state is DeliveryState.WAITING:
        reason = _reason_to_wait(context, delivery, trial, fees)
        if reason:
            return context.hold(delivery, reason, seconds=context.policy.recheck_seconds)
        delivery = context.move(delivery, DeliveryState.READY)
    return _sign(context, delivery, trial, fees)


def refused(context: Context, delivery: Delivery, refusal: Refusal) -> Delivery | None:
    """Go on after the contract refused a statement: for now, or for good."""
    policy = context.policy
    if isinstance(refusal, SealedInFuture):
        return _wait(context, delivery, str(refusal), policy.poll_seconds)
    context.refused[delivery.digest] = str(refusal)
    retired = isinstance(refusal, SignerNotAuthorized) and refusal.until > 0
    if retired or isinstance(refusal, _HOPELESS):
        return context.move(delivery, DeliveryState.FAILED, reason=str(refusal))
    # A signer that was never authorised may be yet; other reasons lie outside the statement.
    return _wait(context, delivery, str(refusal), policy.recheck_seconds)


def _wait(context: Context, delivery: Delivery, reason: str, seconds: int) -> Delivery | None:
    if delivery.state is not DeliveryState.WAITING:
        delivery = context.move(delivery, DeliveryState.WAITING, sender=None, nonce=None, mined=None)
    return context.hold(delivery, reason, seconds=seconds)


def _reason_to_wait(context: Context, delivery: Delivery, trial: Trial, fees: Fees) -> str:
    age = context.now() - delivery.since
    reason = context.policy.reason_to_wait(trial, fees, age)
    if not reason:
        return ""
    urgent = _thaw_ends_soon(context, delivery) if trial.drawn else takes_back(context, delivery)
    return "" if urgent else reason


def _thaw_ends_soon(context: Context, delivery: Delivery) -> bool:
    limit = context.now() + context.policy.thaw_margin_seconds
    thaws = context.chain.thaws(delivery.tariff_id, context.parcel(delivery).payer_list())
    return any(thaw.amount and thaw.end <= limit for thaw in thaws)


def _sign(context: Context, delivery: Delivery, trial: Trial, fees: Fees) -> Delivery | None:
    """Choose a nonce and a price, sign, and store all of it before anything leaves."""
    policy, sender = context.policy, context.account.address
    bid = policy.bid(fees)
    if bid is None:
        reason = f"gas costs more than the ceiling of {policy.fee_ceiling_wei} wei"
        return context.hold(delivery, reason, seconds=policy.poll_seconds, failed=True)
    chain_id = delivery.domain.chain_id
    if len(context.outbox.held_nonces(chain_id, sender)) >= policy.in_flight_max:
        reason = f"{policy.in_flight_max} transactions of {sender} are under way"
        return context.hold(delivery, reason, seconds=policy.poll_seconds)
    gas = gas_limit(context, trial)
    for _ in range(_NONCE_TRIES):
        seen = context.outbox.next_nonce(chain_id, sender)
        nonce = max(seen or 0, context.chain.pending_nonces(sender))
        attempt = make_attempt(context, delivery, AttemptKind.SETTLE, nonce, gas, bid)
        change = Change(delivery, attempt, takes_nonce=True, nonce_seen=seen)
        try:
            return context.move(delivery, DeliveryState.SIGNED, change, sender=sender, nonce=nonce)
        except NonceTaken:
            continue
    raise NonceRace(f"other processes took every nonce of {sender} first", str(sender))


def gas_limit(context: Context, trial: Trial) -> int:
    """A quarter more than it takes now: state may change until it is mined."""
    return min(context.policy.gas_cap, trial.gas * 5 // 4)


def make_attempt(
    context: Context, delivery: Delivery, kind: AttemptKind, nonce: int, gas: int, bid: tuple[int, int]
) -> Attempt:
    """Sign a transaction for a delivery, or leave that to the node; nothing is stored yet."""
    transaction = unsigned(context, delivery, kind, nonce, gas, bid)
    raw = context.account.sign(transaction) if context.account.signs else None
    return Attempt(
        kind=kind,
        sender=context.account.address,
        nonce=nonce,
        tx_hash=None if raw is None else keccak256(raw),
        raw=raw,
        gas=gas,
        max_wei=bid[0],
        tip_wei=bid[1],
        created_at=context.now(),
        block=context.newest,
    )


def unsigned(
    context: Context, delivery: Delivery, kind: AttemptKind, nonce: int, gas: int, bid: tuple[int, int]
) -> Unsigned:
    """Return the transaction: settling, or a transfer of nothing to oneself that uses up the nonce."""
    to: Address = context.account.address
    data = b""
    if kind is AttemptKind.SETTLE:
        to = delivery.domain.verifying_contract
        data = context.calldata(delivery)
    return Unsigned(delivery.domain.chain_id, nonce, to, data, gas, bid[0], bid[1])
