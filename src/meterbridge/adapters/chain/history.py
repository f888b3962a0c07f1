"""What the contract's events say of one tariff, split or account, found by their indexed values.

A whole scan reads every event that there ever was; asking by topic, the node returns a handful. Which values
are indexed, the ABI says. What is found is checked by its hash: whoever asks for a tariff by its id gets that
tariff, whatever the node answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from web3.types import LogReceipt

from meterbridge.adapters.chain.abi import Event, load_artifact
from meterbridge.adapters.chain.events import class_name, decode_events
from meterbridge.adapters.chain.ranges import LogRanges
from meterbridge.adapters.chain.views import SplitterViews
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.splits import PartyTable, Split
from meterbridge.domain.tariffs import Tariff, terms_hash
from meterbridge.services.chain_events import (
    AccountOpened,
    ChainEvent,
    Deposited,
    Settled,
    Skipped,
    SplitAnnounced,
    SplitPublished,
    TariffPublished,
    Thawing,
    Withdrawn,
)

E = TypeVar("E", bound=ChainEvent)
OF_AN_ACCOUNT: Final = (AccountOpened, Deposited, Thawing, Withdrawn, Settled, Skipped)


class NotPublished(MeterbridgeError):
    """No event of the contract names what is looked for, or several do."""


@dataclass(frozen=True, slots=True)
class Published:
    """A tariff as the contract's events tell it.

    Attributes:
        split: whom it pays.
        document: the bytes behind its terms; None where only a deposit named the tariff.
    """

    tariff: Tariff
    split: Split
    document: bytes | None


class History:
    """Looks things up in the past of one contract."""

    def __init__(self, views: SplitterViews, from_block: int = 0) -> None:
        """Look from a block on: the one that deployed the contract, or any before it."""
        self._views: Final = views
        self._from_block: Final = from_block

    def events(self, kind: type[E], **wanted: object) -> Iterator[E]:
        """Yield events of one kind whose attributes have these values, in order.

        Args:
            kind: a class of `services.chain_events`.
            wanted: values by attribute, such as `tariff_id=…`, `payer=…`.
        """
        found: list[ChainEvent] = []
        for event in _events(kind):
            topics = [event.topic, *(_topic(wanted.get(name)) for name in event.indexed.names())]
            while topics[-1] is None:
                topics.pop()
            found += decode_events(self._logs(topics), self._views.address)
        for one in sorted(found, key=lambda event: event.at):
            if isinstance(one, kind) and all(getattr(one, n) == v for n, v in wanted.items()):
                yield one

    def tariff(self, tariff_id: bytes) -> Tariff:
        """Return a tariff by its id.

        Raises:
            NotPublished: when nobody ever published it or deposited under it.
        """
        kinds: tuple[type[TariffPublished | AccountOpened], ...] = (TariffPublished, AccountOpened)
        for kind in kinds:
            for event in self.events(kind, tariff_id=tariff_id):
                if event.tariff.id == tariff_id:
                    return event.tariff
        raise NotPublished(
            f"no event of {self._views.address} names tariff 0x{tariff_id.hex()} from block "
            f"{self._from_block} on; was it published on this chain?",
            tariff_id,
        )

    def split(self, tariff: Tariff) -> Split:
        """Return the split that a tariff pays.

        Raises:
            NotPublished: when no event names it.
        """
        split_id = tariff.split_id
        for event in self._naming(split_id, tariff.id):
            if event.split is not None and event.split.id == split_id:
                return event.split
        raise NotPublished(f"no event of {self._views.address} names split 0x{split_id.hex()}", split_id)

    def _naming(
        self, split_id: bytes, tariff_id: bytes
    ) -> Iterator[SplitPublished | SplitAnnounced | AccountOpened]:
        yield from self.events(SplitPublished, split_id=split_id)
        yield from self.events(AccountOpened, tariff_id=tariff_id)
        yield from self.events(SplitAnnounced, split_id=split_id)

    def document(self, tariff: Tariff) -> bytes | None:
        """Return the published document of a tariff, or None."""
        for event in self.events(TariffPublished, tariff_id=tariff.id):
            if terms_hash(event.document) == tariff.terms:
                return event.document
        return None

    def terms(self, wanted: str) -> Published:
        """Find a tariff by its id, or by the first digits of it; empty for the only one.

        Raises:
            NotPublished: when none fits, or several do.
        """
        tariff = self.tariff(self._the_one(wanted, "tariff", (TariffPublished, AccountOpened)))
        return Published(tariff, self.split(tariff), self.document(tariff))

    def parties(self, wanted: str) -> tuple[Split, PartyTable]:
        """Find a split with its parties, likewise; the contract has proven that they are its own.

        Raises:
            NotPublished: when none fits, or several do, or its parties stand elsewhere.
        """
        split_id = self._the_one(wanted, "split", (SplitPublished,))
        for event in self.events(SplitPublished, split_id=split_id):
            table = PartyTable(event.parties)
            if event.split.id == split_id and table.split(event.split.asset) == event.split:
                return event.split, table
        raise NotPublished(f"the parties of split 0x{split_id.hex()} are not published on chain", split_id)

    def account(self, tariff_id: bytes, payer: Address) -> tuple[ChainEvent, ...]:
        """Return all that ever happened to a payer's account, in order."""
        found = [e for kind in OF_AN_ACCOUNT for e in self.events(kind, tariff_id=tariff_id, payer=payer)]
        return tuple(sorted(found, key=lambda event: event.at))

    def settlements(self, tariff_id: bytes, payer: Address) -> Iterator[Settled]:
        """Yield each settled line of a payer's account, in order."""
        return self.events(Settled, tariff_id=tariff_id, payer=payer)

    def _the_one(self, wanted: str, what: str, kinds: tuple[type[ChainEvent], ...]) -> bytes:
        digits = wanted.lower().removeprefix("0x")
        if len(digits) == 2 * DIGEST_BYTES:
            return bytes.fromhex(digits)
        ids = {getattr(event, f"{what}_id") for kind in kinds for event in self.events(kind)}
        found = sorted(one for one in ids if one.hex().startswith(digits))
        if len(found) == 1:
            return bytes(found[0])
        known = ", ".join(f"0x{one.hex()[:12]}" for one in found or sorted(ids)) or "none"
        raise NotPublished(
            f"--{what} {wanted or '(none given)'} fits {len(found)} published {what}s; there are: {known}",
            wanted,
        )

    def _logs(self, topics: list[bytes | None]) -> Iterator[LogReceipt]:
        """Ask for all blocks at once, since few logs are wanted; in parts where the node refuses that."""
        views, last = self._views, self._views.newest_block()

        def ask(first: int, end: int) -> list[LogReceipt]:
            return list(views.gateway.logs(views.address, topics, first, end, span=end - first + 1))

        for found in LogRanges(last - self._from_block + 1).read(ask, self._from_block, last):
            yield from found


def _events(kind: type[ChainEvent]) -> list[Event]:
    events = load_artifact("SettlementSplitter").abi.events.values()
    return [event for event in events if class_name(event.name) == kind.__name__]


def _topic(value: object) -> bytes | None:
    if isinstance(value, Address):
        return value.to_bytes().rjust(DIGEST_BYTES, b"\0")
    return value if isinstance(value, bytes) else None
