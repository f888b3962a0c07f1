"""A contract read block by block: headers, events in ranges, and views of many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from web3.types import BlockData

from meterbridge.adapters.chain.events import decode_events
from meterbridge.adapters.chain.gateway import Gateway, NodeRefuses
from meterbridge.adapters.chain.ranges import LOG_RANGE, LogRanges
from meterbridge.adapters.chain.views import SplitterViews
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainError
from meterbridge.services.chain_events import ChainEvent
from meterbridge.services.chain_ports import Thaw
from meterbridge.services.following.ports import Header
from meterbridge.services.following.states import SignerKey

_BLOOM_BITS: Final = 2048


class FollowedSplitter(SplitterViews):
    """One SettlementSplitter as `services.following` reads it.

    Attributes:
        finality: tag of the newest block that counts as final before confirmations: `finalized`, `safe` or
            `latest`.
        confirmations: how many blocks below it a block must be.
    """

    def __init__(
        self,
        gateway: Gateway,
        address: Address,
        *,
        finality: str = "finalized",
        confirmations: int = 0,
        log_range: int = LOG_RANGE,
    ) -> None:
        """Keep what it works with; nothing is asked of the node yet."""
        super().__init__(gateway, address)
        self.finality: Final = finality
        self.confirmations: Final = confirmations
        self._ranges = LogRanges(log_range)

    def header(self, number: int | None = None) -> Header | None:
        """See `services.following.ports.FollowedChain`."""
        found = self.gateway.block("latest" if number is None else number)
        if found is None or (number is not None and found["number"] != number):
            return None
        return Header(
            number=int(found["number"]),
            hash=bytes(found["hash"]),
            parent=bytes(found["parentHash"]),
            timestamp=int(found["timestamp"]),
            may_hold=_may_hold(found, self.address),
        )

    def final_block(self) -> int:
        """See the port."""
        try:
            found = self.gateway.block(self.finality)
        except NodeRefuses:
            found = None  # a node that knows no finality: nothing is final
        return -1 if found is None else int(found["number"]) - self.confirmations

    def first_block(self) -> int:
        """Find the block that deployed the contract, by halves; 0 where the node does not keep old states.

        Raises:
            ChainError: when there is no contract even now.
        """
        low, high = 0, self.newest_block()
        if not self.gateway.code(self.address, high):
            raise ChainError(f"there is no contract at {self.address} on this chain", self.address)
        try:
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if self.gateway.code(self.address, middle) else (middle + 1, high)
        except NodeRefuses:
            return 0
        return low

    def event_ranges(self, first: int, last: int) -> Iterator[tuple[int, int, tuple[ChainEvent, ...]]]:
        """See the port."""

        def ask(start: int, end: int) -> tuple[int, int, tuple[ChainEvent, ...]]:
            logs = self.gateway.logs_at_once(self.address, [], start, end)
            return start, end, tuple(decode_events(logs, self.address))

        return self._ranges.read(ask, first, last)

    def events_of(self, block_hash: bytes) -> tuple[ChainEvent, ...]:
        """See the port."""
        return tuple(decode_events(self.gateway.logs_of(self.address, [], block_hash), self.address))

    def thaws(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Thaw, ...]:
        """Return the thaws of many payers, a thousand in one call."""
        return tuple(self._views("thawing", [(tariff_id, str(payer)) for payer in payers], block))

    def pots(self, split_ids: Sequence[bytes], *, block: int | None = None) -> tuple[AssetAmount, ...]:
        """Return all that was ever allocated to each of many splits, a thousand in one call."""
        return tuple(self._views("pot", [(split_id,) for split_id in split_ids], block))

    def signers_until(self, keys: Sequence[SignerKey], *, block: int | None = None) -> tuple[int, ...]:
        """Return until when each of many signers may sign, a thousand in one call."""
        pairs = [(str(key.provider), str(key.signer)) for key in keys]
        return tuple(self._views("signerUntil", pairs, block))


def _may_hold(block: BlockData, contract: Address) -> bool:
    """Tell whether the bloom filter of a block knows the contract; it errs on one side only.

    A filter of nothing but zeros says that the block has no event at all. Some chains never fill theirs in:
    there it excludes nothing, but their blocks have no requests to spare us either.
    """
    held: Any = block.get("logsBloom", b"")
    bloom = int.from_bytes(bytes(held), "big") if not isinstance(held, int) else held
    digest = keccak256(contract.to_bytes())
    places = (int.from_bytes(digest[i : i + 2], "big") % _BLOOM_BITS for i in (0, 2, 4))
    return all(bloom >> place & 1 for place in places)
