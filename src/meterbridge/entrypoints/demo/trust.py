"""What makes it trustworthy: the demo's steps that try to go wrong, and cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.receipts import Receipt
from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.units import UsageVector
from meterbridge.entrypoints.demo.setting import CUSTOMERS
from meterbridge.entrypoints.demo.steps import approve_and_deposit, arrived, settle, state
from meterbridge.entrypoints.demo.usage import top_up
from meterbridge.entrypoints.demo.world import METER, PROVIDER, World
from meterbridge.services.corrections import CorrectionKind, correct
from meterbridge.services.records import BatchRecord, LogKey, LogKind
from meterbridge.services.sealing import seal
from meterbridge.services.settlement import submit

DRY: Final = "initech"


class DemoFailed(MeterbridgeError):
    """Something that must not happen happened."""


def submit_twice(world: World, statements: Sequence[SignedStatement]) -> None:
    """The last settled statement, submitted again, draws nothing."""
    again = settle(world, statements[max(0, len(statements) - 2)])
    _require(not again.drawn, f"a statement submitted twice drew {again.drawn} more")
    world.output.say("A statement submitted twice draws 0 the second time.")


def run_dry(world: World, statements: Sequence[SignedStatement]) -> None:
    """A payer that ran dry holds up nobody; once it tops up, the same statement draws the rest."""
    signed = statements[max(0, len(statements) - 2)]
    before = settle(world, signed)
    owing = [line for line in before.lines if line.unpaid]
    wanted = top_up(world.plan, world.record.tariff)
    missing = wanted.minus_or_zero(arrived(world, DRY))
    if missing:
        world.token(PROVIDER).mint(world.address(DRY), missing)
        approve_and_deposit(world, DRY, missing)
    if not owing:
        world.output.say("Nobody ran dry." if not missing else f"{DRY} has topped up.")
        return
    after = settle(world, signed)
    _require(after.drawn == before.unpaid, f"{before.unpaid} were owed, {after.drawn} drawn after topping up")
    names = ", ".join(world.name(line.payer) for line in owing)
    world.output.say(
        f"{names} ran dry and held up nobody; after topping up, the same statement drew the remaining "
        f"{world.money(after.drawn)} TUSD."
    )


def correct_one(world: World, statements: list[SignedStatement]) -> None:
    """A correction nets itself, and shuts out the statement that it corrects."""
    held = statements[-1]
    customer, batch = last_charges(world, held)
    receipt = _dearest(world, batch)
    when = int(receipt.occurred_at)
    done = correct(
        world.ledger,
        world.segments,
        batch.log.account,
        receipt.id,
        replacement=None,
        occurred_at=when,
        reason="the demo takes one call back",
    )
    _require(done.kind is not CorrectionKind.IN_PLACE, "the corrected receipt was not sealed")
    seal(world.ledger, world.segments, world.record.id)
    statements.append(_after(world, held))
    corrected = settle(world, statements[-1])
    shut_out = settle(world, held)
    skipped = [world.name(line.payer) for line in shut_out.skipped]
    _require(skipped == [customer], f"the held statement was shut out for {skipped}, not for {customer}")
    value = world.record.tariff.price_down(receipt.usage)
    world.output.say(
        f"One call of {customer}, {world.money(value)} TUSD, was counted wrong: its credit is netted "
        f"({world.money(corrected.drawn)} drawn), and the statement before it, submitted late, is shut "
        f"out for {customer} and draws {world.money(shut_out.drawn)} from the others."
    )


def _after(world: World, held: SignedStatement) -> SignedStatement:
    """Return the statement after the held one, from the ledger where an interrupted run made it already."""
    kept = [record.signed for record in world.ledger.statements(world.record.id)]
    later = [s for s in kept if s.statement.sealed_at > held.statement.sealed_at]
    return later[0] if later else state(world)


def last_charges(world: World, held: SignedStatement) -> tuple[str, BatchRecord]:
    """Return a payer with a line in a statement, and the last batch of its charges."""
    stated = {line.payer for line in held.statement.lines}
    for customer in CUSTOMERS:
        log = LogKey(world.accounts[customer.name], LogKind.CHARGES)
        size = world.ledger.log_size(log)
        if size and world.address(customer.name) in stated:
            return customer.name, world.ledger.batch(log, size - 1)
    raise DemoFailed("no payer of the statement has a sealed charge")


def _dearest(world: World, batch: BatchRecord) -> Receipt:
    if batch.segment is None:
        raise DemoFailed("the last batch has no segment")
    receipts = world.segments.get(batch.segment).table.receipts
    tokens = receipts.usage.sum(axis=1)
    return receipts.receipt(int(np.argmax(tokens)))


def refuse_forgeries(world: World, statements: Sequence[SignedStatement]) -> None:
    """A tampered statement and an unauthorised signer are refused: here, and by the contract itself."""
    signed = statements[-1]
    line = signed.statement.lines[0]
    more = UsageVector.of([line.usage.lanes[0] + 1_000_000, *line.usage.lanes[1:]])
    inflated = dataclasses.replace(line, usage=more)
    tampered = dataclasses.replace(
        signed,
        statement=dataclasses.replace(signed.statement, lines=(inflated, *signed.statement.lines[1:])),
    )
    stranger = LocalSigner.generate()
    forged = dataclasses.replace(
        signed, signer=stranger.address, signature=stranger.sign_digest(signed.digest())
    )
    _require(stranger.address != world.address(METER), "the stranger is the meter")
    rows = []
    for what, statement in (("a million tokens more", tampered), ("another signer", forged)):
        rows.append((what, "before sending", _refusal(partial(_submit, world, statement))))
        rows.append((what, "by the contract", _refusal(partial(_bypass, world, statement))))
    world.output.table("Refused", ["what was changed", "where", "how"], rows)


def _submit(world: World, signed: SignedStatement) -> object:
    return submit(world.splitter(PROVIDER), None, world.record.tariff, signed)


def _bypass(world: World, signed: SignedStatement) -> object:
    return world.splitter(PROVIDER).settle(world.record.tariff, signed)


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except MeterbridgeError as error:
        return type(error).__name__
    raise DemoFailed("a forged statement was accepted")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoFailed(otherwise)
