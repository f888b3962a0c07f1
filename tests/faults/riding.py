"""The settlement client under test, on a clock that a test moves, as one process would run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from web3 import Web3

from faults.checks import ChainState
from faults.stage import PAYERS
from meterbridge.adapters.chain.delivery import DeliveryClient
from meterbridge.adapters.chain.endpoints import Endpoints, EndpointsProvider
from meterbridge.adapters.chain.followed import FollowedSplitter
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.senders import KeySender
from meterbridge.adapters.ledger import SqlLedger
from meterbridge.adapters.signers import LocalSigner
from meterbridge.services.chain_errors import ChainError
from meterbridge.services.following.indexer import follow
from meterbridge.services.following.reconcile import Reconciliation, reconcile
from meterbridge.services.ports import Segments
from meterbridge.services.records import TariffRecord
from meterbridge.services.settling.context import Moved
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.records import OPEN, DeliveryState
from meterbridge.services.settling.settler import Settler

FINAL_DEPTH: Final = 24
"""Blocks until something counts as settled: more than any reorganisation of the schedules undoes."""

REQUEST_SECONDS: Final = 60.0


@dataclass
class Clock:
    """Seconds since 1970, as a test says."""

    now: int

    def __call__(self) -> float:
        return float(self.now)


class Ride:
    """A settler on a ledger, and the ledger's own word on what it did.

    Attributes:
        clock: moves only when it is told to.
        transitions: every (before, after) that a delivery made.
        complaints: what was wrong with the chain, step by step; the settler may give up a step, never more.
    """

    def __init__(
        self,
        ledger: SqlLedger,
        urls: Sequence[str],
        record: TariffRecord,
        key: LocalSigner,
        now: int,
        policy: Policy | None = None,
    ) -> None:
        """Begin at a time; nothing is asked of the chain yet."""
        self.ledger, self.record, self.key = ledger, record, key
        self.clock = Clock(now)
        self.complaints: list[str] = []
        self.transitions: set[tuple[str, str]] = set()
        self._policy = policy or Policy(confirmations=FINAL_DEPTH)
        self._endpoints = Endpoints(list(urls), timeout=REQUEST_SECONDS, clock=self.clock)
        self._settler: Settler | None = None

    def close(self) -> None:
        """Close its connections."""
        self._endpoints.close()

    def step(self, *, hurry: bool = False) -> None:
        """Make one pass, as `meterbridge settle --watch` does again and again."""
        try:
            if self._settler is None:
                client = DeliveryClient(self._endpoints, self.record.domain)
                sender = KeySender(self.key)
                self._settler = Settler(
                    client, self.ledger, sender, self._policy, self.clock, on_move=self._note
                )
            self.complaints += self._settler.step(hurry=hurry).errors
        except ChainError as error:
            self.complaints.append(str(error))

    def _note(self, moved: Moved) -> None:
        self.transitions.add((moved.before.value, moved.delivery.state.value))

    def follow(self) -> None:
        """Follow the contract's events into the ledger, as `meterbridge watch` does again and again."""
        try:
            follow(self._followed(), self.ledger)
        except ChainError as error:
            self.complaints.append(str(error))

    def reconcile(self, segments: Segments) -> Reconciliation:
        """Follow to the newest block, and hold ledger, segments and chain against each other."""
        chain = self._followed()
        follow(chain, self.ledger)
        return reconcile(self.ledger, segments, chain)

    def _followed(self) -> FollowedSplitter:
        gateway = Gateway(Web3(EndpointsProvider(self._endpoints)))
        contract = self.record.domain.verifying_contract
        return FollowedSplitter(gateway, contract, finality="latest", confirmations=FINAL_DEPTH)

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.now += seconds

    def nothing_left(self) -> bool:
        """Tell whether every statement has come to its end."""
        made = len(list(self.ledger.statements(self.record.id)))
        deliveries = self.ledger.deliveries(self.record.domain)
        return len(deliveries) == made and not any(delivery.state in OPEN for delivery in deliveries)

    def under_way(self) -> list[tuple[int, bytes]]:
        """Return nonce and hash of the last transaction of each delivery that a node has taken.

        One that only fills the gap of a nonce before it stands with the delivery too, and is not meant.
        """
        sent = self.ledger.deliveries(self.record.domain, [DeliveryState.SENT])
        own = [[a for a in self.ledger.attempts(each) if a.nonce == each.nonce][-1] for each in sent]
        return [(attempt.nonce, attempt.tx_hash) for attempt in own if attempt.tx_hash is not None]

    def replaced(self, nonce: int, tx_hash: bytes) -> bool:
        """Tell whether another transaction was made for a nonce after this one."""
        made = [
            attempt
            for delivery in self.ledger.deliveries(self.record.domain)
            for attempt in self.ledger.attempts(delivery)
            if attempt.nonce == nonce
        ]
        return made[-1].tx_hash != tx_hash

    def nonces_given(self) -> int:
        """Return how many nonces the ledger gave to transactions."""
        return self.ledger.next_nonce(self.record.domain.chain_id, self.key.address) or 0

    def known_transactions(self) -> set[bytes]:
        """Return the hashes of all transactions that the ledger stored."""
        deliveries = self.ledger.deliveries(self.record.domain)
        return {a.tx_hash for each in deliveries for a in self.ledger.attempts(each) if a.tx_hash}

    def problems(self) -> list[str]:
        """Name the deliveries that ended badly, or not at all."""
        good = (DeliveryState.FINAL, DeliveryState.SUPERSEDED)
        return [
            f"statement of {each.sealed_at} is {each.state}: {each.reason}"
            for each in self.ledger.deliveries(self.record.domain)
            if each.state not in good
        ]

    def differences(self, chain: ChainState) -> list[str]:
        """Compare what the ledger says was drawn with the chain."""
        drawn: Counter[bytes] = Counter()
        for settled in self.ledger.settlements(self.record.id):
            for draw in settled.draws:
                drawn[draw.payer.raw] += draw.drawn.base_units
        found = tuple(drawn[payer.address.raw] for payer in PAYERS)
        return [] if found == chain.drawn else [f"the ledger says that {found} were drawn, not {chain.drawn}"]
