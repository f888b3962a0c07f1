"""One seeded schedule from beginning to end, and what must hold then."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults.books import Books, copy_template
from faults.checks import ChainState, money_problems, nonce_problems, read_chain
from faults.kinds import Fault
from faults.proxy import FaultProxy
from faults.riding import FINAL_DEPTH, Ride
from faults.stage import DEPOSITS, SENDERS, Stage
from faults.weather import Event, Weather
from meterbridge.adapters.segments import FolderSegments

TURNS: Final = 10
STATEMENTS: Final = 3
FOLLOWS: Final = 0.1
CALM_TURNS: Final = 60
"""So many turns after the weather has cleared everything must be final."""


@dataclass
class Outcome:
    """What came of a schedule.

    Attributes:
        problems: what does not fit at the end, one sentence each; none is good.
        chain: the chain at the end.
        calm_turns: how many turns it took after the weather had cleared.
        vanished: how many transactions under way the node did not have when it cleared.
    """

    seed: int
    problems: list[str] = field(default_factory=list)
    chain: ChainState | None = None
    calm_turns: int = 0
    requests: int = 0
    statements: int = 0
    vanished: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    events: Counter[Event] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)


def play(stage: Stage, template: Path, folder: Path, seed: int) -> Outcome:
    """Play one schedule on a chain that is set back first, in a ledger folder of its own."""
    stage.reset()
    since, chance, outcome = stage.height(), random.Random(f"what is used {seed}"), Outcome(seed)
    with copy_template(template, folder) as ledger, FaultProxy(stage.url) as proxy:
        books = Books(ledger, FolderSegments(folder / "segments"), stage.record, chance)
        weather = Weather(seed, stage, proxy)
        ride = Ride(ledger, [proxy.url], stage.record, SENDERS[0], stage.now())
        proxy.schedule, proxy.before = weather, weather.between
        _storm(stage, books, weather, ride, outcome)
        weather.clear()
        outcome.problems += _unsent(stage, ride, outcome)
        outcome.calm_turns = _settle_down(stage, ride)
        outcome.chain = read_chain(stage, SENDERS[0].address, since)
        outcome.problems += _problems(outcome.chain, books, ride)
        outcome.faults, outcome.events, outcome.depths = proxy.done, weather.events, weather.depths
        outcome.requests = proxy.requests
        ride.close()
    return outcome


def _storm(stage: Stage, books: Books, weather: Weather, ride: Ride, outcome: Outcome) -> None:
    chance = books.random
    due = sorted(chance.sample(range(TURNS), STATEMENTS))
    for turn in range(TURNS):
        if turn in due:
            books.use(chance.sample(range(3), chance.randrange(1, 4)))
            outcome.statements += len(books.state(_sealing_time(stage, books)))
        ride.step()
        ride.wait(chance.choice((1, 3, 10, 40)))
        for _ in range(chance.randrange(3)):
            weather.happen()
        if chance.random() < FOLLOWS:
            ride.follow()


def _sealing_time(stage: Stage, books: Books) -> int:
    """Return a time that no statement had yet and that the chain has reached."""
    books.sealed_at = max(books.sealed_at + 1, stage.now())
    return books.sealed_at


def _unsent(stage: Stage, ride: Ride, outcome: Outcome) -> list[str]:
    """Let it look once at all that is under way, and say which vanished transaction it did not send again.

    No time passes: what is sent again because it vanished is the very transaction that the node had before,
    and not one that replaces it since it took too long.
    """
    used = int(stage.node.rpc("eth_getTransactionCount", str(ride.key.address), "latest"), 16)
    gone = [
        (nonce, tx_hash)
        for nonce, tx_hash in ride.under_way()
        if nonce >= used and not _knows(stage, tx_hash)
    ]
    outcome.vanished = len(gone)
    complaints = len(ride.complaints)
    ride.step(hurry=True)
    if ride.complaints[complaints:]:
        return [f"in calm weather it complains: {ride.complaints[complaints:]}"]
    return [
        f"transaction 0x{tx_hash.hex()} with nonce {nonce} vanished, and was not sent again"
        for nonce, tx_hash in gone
        if not _knows(stage, tx_hash) and not ride.replaced(nonce, tx_hash)
    ]


def _knows(stage: Stage, tx_hash: bytes) -> bool:
    return stage.node.rpc("eth_getTransactionByHash", "0x" + tx_hash.hex()) is not None


def _settle_down(stage: Stage, ride: Ride) -> int:
    """Let it work in peace until nothing moves any more; return how many turns that took."""
    for turn in range(CALM_TURNS):
        ride.step()
        ride.wait(60)
        stage.mine(2)
        if ride.nothing_left():
            return turn
        if turn % 3 == 1:
            stage.mine(FINAL_DEPTH)
    return CALM_TURNS


def _problems(chain: ChainState, books: Books, ride: Ride) -> list[str]:
    problems = ride.problems()
    problems += money_problems(books, DEPOSITS, chain)
    problems += nonce_problems(chain, ride.nonces_given(), ride.known_transactions())
    problems += ride.differences(chain)
    found = ride.reconcile(books.segments)
    problems += [f"{item.name} of {item.where}: {item.message}" for item in found.differences]
    unpaid = sum(max(0, books.owed(i) - paid) for i, paid in enumerate(DEPOSITS))
    still_open = sum(item.amount.base_units for item in found.open_items if item.amount)
    if still_open != unpaid:
        problems.append(f"{still_open} are called open, not {unpaid}: {found.open_items}")
    return problems
