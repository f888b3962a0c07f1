"""How `meterbridge settle` goes on and what it shows: tables for people, one object for machines."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import typer

from meterbridge.domain.keccak import load_kernel
from meterbridge.domain.moments import time_text
from meterbridge.services.settling.outcome import outcome
from meterbridge.services.settling.records import MOVING, OPEN, Delivery, DeliveryState

if TYPE_CHECKING:
    from types import FrameType

    from meterbridge.adapters.sql.outbox import SqlOutbox
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.currency import Currency
    from meterbridge.domain.statements import Domain
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.settlement import Settlement
    from meterbridge.services.settling.context import Moved
    from meterbridge.services.settling.settler import Settler, StepReport

_SHOWN_MOVES: Final = (DeliveryState.SENT, DeliveryState.MINED, DeliveryState.FAILED)
_TROUBLE_PAUSE: Final = 1.0
_KEPT_MAX: Final = 1_000


@dataclass
class Run:
    """One run of the command.

    Attributes:
        keep_on: go on until stopped, and tell each settled statement at once.
    """

    output: Output
    keep_on: bool
    finals: list[Delivery] = field(default_factory=list)
    refused: dict[bytes, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warned: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def on_move(self, moved: Moved) -> None:
        """Show a transition as it happens."""
        delivery = moved.delivery
        if delivery.state is DeliveryState.FINAL:
            self.finals.append(delivery)
        if delivery.state in _SHOWN_MOVES and moved.before is not delivery.state:
            place = "" if delivery.mined is None else f" in block {delivery.mined.block}"
            why = f": {delivery.reason}" if delivery.reason else ""
            self.output.say(f"{_title(delivery)}: {delivery.state}{place}{why}")

    def go(self, settlers: Sequence[Settler], timeout: int) -> None:
        """Make steps until nothing is under way, or until stopped; then say what became of it all."""
        answers: list[dict[str, Any]] = []
        with self._stopped_by_signals():
            if self.keep_on:
                self._watch(settlers, answers)
            else:
                self._drain(settlers, timeout)
                answers += [self._told(settlers, delivery) for delivery in self.finals]
        self._end(settlers, answers)

    def _drain(self, settlers: Sequence[Settler], timeout: int) -> None:
        deadline, hurry = time.monotonic() + timeout, True
        while time.monotonic() < deadline and not self.stop.is_set():
            reports = [settler.step(hurry=hurry) for settler in settlers]
            self._note(reports)
            self._warn(settlers)
            hurry = False
            if not any(report.moving or report.errors for report in reports):
                return
            if not any(report.moved for report in reports):
                self.stop.wait(max(settler.policy.poll_seconds for settler in settlers))

    def _watch(self, settlers: Sequence[Settler], answers: list[dict[str, Any]]) -> None:
        from sqlalchemy.exc import DBAPIError

        self.output.say("Watching; Ctrl-C ends it.")
        load_kernel()  # whoever keeps on hashes enough lines for it to pay
        while not self.stop.is_set():
            try:
                self._note([settler.step() for settler in settlers])
            except DBAPIError as error:  # the database is back one day; what is under way is in it
                self.errors = [f"the database does not answer: {type(error.orig).__name__}"]
            self._warn(settlers if not self.errors else ())
            answers += [self._told(settlers, delivery) for delivery in self.finals]
            del answers[:-_KEPT_MAX]  # whoever watches for months wants no list of all of it at the end
            self.finals.clear()
            pause = _TROUBLE_PAUSE if self.errors else 0
            self.stop.wait(max([pause, *(settler.policy.poll_seconds for settler in settlers)]))
        self.errors, self.refused = [], {}

    def _note(self, reports: Sequence[StepReport]) -> None:
        self.errors = [error for report in reports for error in report.errors]
        for report in reports:
            self.refused.update(report.refused)
            for moved in report.moved:
                if moved.delivery.state is DeliveryState.FINAL:
                    self.refused.pop(moved.delivery.digest, None)

    def _warn(self, settlers: Sequence[Settler]) -> None:
        """Say once what holds something up that is under way: a run may wait for long."""
        held = [d for s in settlers for d in s.ledger.deliveries(s.chain.domain, MOVING)]
        for trouble in (*self.errors, *(f"{_title(d)}: {d.reason}" for d in held if d.reason and d.failures)):
            if trouble not in self.warned:
                self.warned.add(trouble)
                self.output.warn(trouble)

    def _told(self, settlers: Sequence[Settler], delivery: Delivery) -> dict[str, Any]:
        """Show what a final statement drew."""
        settler = next(each for each in settlers if each.chain.domain == delivery.domain)
        signed, tariff = settler.ledger.signed_statement(delivery), settler.ledger.tariff_of(delivery)
        mined = None
        if delivery.mined is not None:
            mined = settler.chain.mined(delivery.mined.tx_hash, delivery.tariff_id)
        if mined is None:
            return _row(delivery)
        settlement = outcome(settler.chain, tariff, signed, mined)
        _show_lines(self.output, _title(delivery), settlement, _known_by(settler, delivery))
        return _answer(delivery, settlement)

    def _end(self, settlers: Sequence[Settler], answers: list[dict[str, Any]]) -> None:
        rest = [d for s in settlers for d in s.ledger.deliveries(s.chain.domain, OPEN)]
        show_rows(self.output, rest)
        if not answers and not rest:
            self.output.say(
                "Nothing to settle: every statement is settled as far as its payers' balances go."
            )
        result: dict[str, Any] = {"settled": answers, "open": [_row(delivery) for delivery in rest]}
        message = self._trouble(rest)
        if message:
            result |= {"error": "NotSettled", "message": message}
        self.output.result(result)
        if message:
            typer.echo(f"error: {message}", file=sys.stderr)
            raise typer.Exit(1)

    def _trouble(self, rest: Sequence[Delivery]) -> str:
        under_way = [delivery for delivery in rest if delivery.state in MOVING]
        told = list(dict.fromkeys(self.refused.values())) + self.errors
        if under_way and not self.keep_on:
            reasons = {delivery.reason for delivery in under_way if delivery.reason}
            told.append(f"{len(under_way)} statements are still under way; run it again to go on")
            told += sorted(reasons)
        return "; ".join(dict.fromkeys(told))

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """End after the running step on Ctrl-C or SIGTERM; a second Ctrl-C ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _frame: FrameType | None) -> None:
            self.stop.set()
            signal.signal(number, before[signal.Signals(number)])

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def show_status(output: Output, ledger: SqlOutbox, domains: Sequence[Domain]) -> None:
    """Show every statement that is not final, and how many are in which state; asks no node."""
    found: list[Delivery] = []
    counts: dict[str, int] = {}
    for domain in domains:
        ledger.enroll(domain, int(time.time()))
        found += ledger.deliveries(domain, (*OPEN, DeliveryState.FAILED))
        for state, count in ledger.counts(domain).items():
            counts[state.value] = counts.get(state.value, 0) + count
    show_rows(output, found)
    output.say(", ".join(f"{count} {state}" for state, count in counts.items()) or "There are no statements.")
    output.result({"counts": counts, "open": [_row(delivery) for delivery in found]})


def show_rows(output: Output, deliveries: Sequence[Delivery]) -> None:
    """Show deliveries that are not final: what waits, and why."""
    if not deliveries:
        return
    rows = [
        (
            time_text(delivery.sealed_at),
            str(delivery.lines),
            delivery.state.value,
            "" if delivery.nonce is None else str(delivery.nonce),
            delivery.reason,
        )
        for delivery in deliveries
    ]
    output.table("Not final", ["sealed at", ">lines", "state", ">nonce", "why"], rows)


@dataclass(frozen=True, slots=True)
class _KnownBy:
    """How the ledger writes what was drawn: the tariff's currency, and the payers by their customer names."""

    currency: Currency
    names: Mapping[Address, str]


def _known_by(settler: Settler, delivery: Delivery) -> _KnownBy:
    """Ask the ledger; where there is none, only a statement, amounts stay base units."""
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.domain.currency import Currency

    ledger = settler.ledger
    if not isinstance(ledger, SqlLedger):
        return _KnownBy(Currency("base units", 0), {})
    terms = ledger.tariff(delivery.tariff_id).terms()
    names = {a.key.payer: a.customer for a in ledger.accounts(delivery.tariff_id) if a.customer}
    return _KnownBy(Currency(terms.symbol, terms.decimals), names)


def _show_lines(output: Output, title: str, settlement: Settlement, known: _KnownBy) -> None:
    rows = [
        (
            known.names.get(line.payer, str(line.payer)),
            known.currency.number(line.drawn),
            known.currency.number(line.unpaid),
            "" if line.skipped_for is None else f"skipped: settled up to {time_text(line.skipped_for)}",
        )
        for line in settlement.lines
    ]
    output.table(
        f"{title}, transaction 0x{settlement.tx_hash.hex()}",
        ["payer", f">drawn, {known.currency.symbol}", ">still unpaid", ""],
        rows,
    )


def _title(delivery: Delivery) -> str:
    return f"statement of {time_text(delivery.sealed_at)}"


def _row(delivery: Delivery) -> dict[str, Any]:
    mined = delivery.mined
    return {
        "statement": f"0x{delivery.digest.hex()}",
        "tariff": f"0x{delivery.tariff_id.hex()}",
        "sealed_at": delivery.sealed_at,
        "lines": delivery.lines,
        "state": delivery.state.value,
        "reason": delivery.reason,
        "since": delivery.since,
        "sender": None if delivery.sender is None else str(delivery.sender),
        "nonce": delivery.nonce,
        "transaction": None if mined is None else f"0x{mined.tx_hash.hex()}",
        "block": None if mined is None else mined.block,
        "failures": delivery.failures,
    }


def _answer(delivery: Delivery, settlement: Settlement) -> dict[str, Any]:
    return {
        "statement": f"0x{delivery.digest.hex()}",
        "sealed_at": delivery.sealed_at,
        "transaction": f"0x{settlement.tx_hash.hex()}",
        "block": settlement.block,
        "gas_used": settlement.gas_used,
        "drawn": str(settlement.drawn),
        "unpaid": str(settlement.unpaid),
        "lines": [
            {
                "payer": str(line.payer),
                "price": str(line.price),
                "drawn": str(line.drawn),
                "unpaid": str(line.unpaid),
                "skipped": line.skipped_for is not None,
            }
            for line in settlement.lines
        ],
    }
