"""Follows a contract block by block into the ledger: never a gap, never an orphaned event.

A pass may stop at any instruction: events, the states that they add up to, and the cursor move in one
transaction. Blocks that are not final yet are linked by their hashes. A node that answers for a block which
it has not seen is found out: each event must be of the block that its header names, a block whose bloom
filter knows the contract is asked for by its hash where no event of it came, and what all events add up to
must be what the contract's own views say of the same block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from meterbridge.services.chain_errors import ChainError
from meterbridge.services.chain_events import ChainEvent
from meterbridge.services.following.ports import (
    BlockRef,
    Cursor,
    CursorMoved,
    FollowedChain,
    FollowingLedger,
    Header,
    Step,
    Version,
)
from meterbridge.services.following.states import Fold, StateKey, keys_of
from meterbridge.services.following.views import disagreements

RECENT_AT_ONCE: Final = 500
"""Blocks that are not final, headers and all, in one transaction."""

UNCHECKED_AT_ONCE: Final = 5_000
Advance = Callable[[int, int], None]
"""Called with the block that was reached and the newest one."""


class ReorgBeyondFinality(ChainError):
    """The chain does not hold a block any more that was final: nothing is taken back without being told."""


class NodeBehind(ChainError):
    """The node has not the block that it must have, or gave no events of it: it lags behind, try again."""


class ChainMoved(ChainError):
    """The chain was reorganised while it was read; nothing was stored, try again."""


class ViewsDisagree(ChainError):
    """What the events add up to is not what the contract says; the blocks since it was are read again.

    Attributes:
        value: the disagreements.
    """


@dataclass(frozen=True, slots=True)
class FollowReport:
    """What one pass did.

    Attributes:
        cursor: where it ended.
        newest: the newest block that the node had.
        added: how many events were stored.
        unwound: how many were taken back, for a reorganisation.
        reorg_depth: how many blocks were; 0 for none.
        checked: how many states were held against the contract's views.
    """

    cursor: Cursor
    newest: int
    added: int
    unwound: int
    reorg_depth: int
    checked: int


def follow(
    chain: FollowedChain,
    ledger: FollowingLedger,
    *,
    from_block: int | None = None,
    on_progress: Advance | None = None,
) -> FollowReport:
    """Bring the ledger to the newest block that the node has.

    Args:
        chain: the contract.
        ledger: where its events go.
        from_block: where to begin the first time; None finds the block that deployed the contract.
        on_progress: told after each transaction.

    Raises:
        NodeBehind, ChainMoved, ChainUnavailable: try again; what was stored stands.
        CursorMoved: another process follows, too.
        ViewsDisagree: what was stored since the last agreement was taken back.
        ReorgBeyondFinality: a person must look: another chain, or one that lost its finality.
    """
    return _Pass(chain, ledger, on_progress or (lambda _at, _newest: None)).run(from_block)


class _Pass:
    """One pass over the blocks since the last one."""

    def __init__(self, chain: FollowedChain, ledger: FollowingLedger, on_progress: Advance) -> None:
        self._chain = chain
        self._ledger = ledger
        self._on_progress = on_progress
        self._domain = chain.domain
        self._added = self._checked = 0

    def run(self, from_block: int | None) -> FollowReport:
        newest = _there(self._chain.header(), "its newest block")
        cursor = self._ledger.cursor(self._domain) or self._begin(from_block)
        before = cursor.block.number
        cursor, unwound = self._onto_the_chain(cursor, newest)
        depth = before - cursor.block.number
        final = max(cursor.final, min(self._chain.final_block(), newest.number))
        # What is fresh is read with care even where it counts as final: nodes lag behind by some blocks.
        old = min(final, newest.number - RECENT_AT_ONCE)
        while cursor.block.number < newest.number:
            last = old if cursor.block.number < old else newest.number
            steps = self._old(cursor, last) if last <= old else self._recent(cursor, last)
            for at, blocks, events in steps:
                cursor = self._store(cursor, at, blocks, events, final, is_last=at.number == newest.number)
                self._on_progress(cursor.block.number, newest.number)
        if final > cursor.final:
            step = Step(replace(cursor, final=final), (), (), (), {}, frozenset(), frozenset())
            self._ledger.extend(self._domain, cursor, step)
            cursor = step.after
        return FollowReport(cursor, newest.number, self._added, unwound, depth, self._checked)

    def _begin(self, from_block: int | None) -> Cursor:
        """Start before the first block, so that it is read like any other."""
        first = self._chain.first_block() if from_block is None else from_block
        header = _there(self._chain.header(max(0, first - 1)), f"block {max(0, first - 1)}")
        block = BlockRef(header.number, header.hash)
        cursor = Cursor(first, block, header.timestamp, -1, block)
        self._ledger.begin_following(self._domain, cursor)
        return cursor

    def _onto_the_chain(self, cursor: Cursor, newest: Header) -> tuple[Cursor, int]:
        """Take back what the chain does not hold any more; a node that merely lags takes nothing back."""
        kept = self._ledger.kept_blocks(self._domain)
        for block in kept:
            if block.number > newest.number:
                continue  # the node has not got there; the blocks that it has tell whether it is on our chain
            found = self._chain.header(block.number)
            if found is None:
                raise NodeBehind(f"the node has not block {block.number}, but a newer one", block.number)
            if found.hash == block.hash:
                if all(above.number > newest.number for above in kept if above.number > block.number):
                    return cursor, 0
                removed = self._ledger.unwind(self._domain, cursor, block)
                return self._cursor(), removed
        if kept and kept[-1].number > newest.number:
            raise NodeBehind(f"the node ends at block {newest.number}, below all that is kept", newest.number)
        lost = kept[-1].number if kept else cursor.block.number
        raise ReorgBeyondFinality(
            f"block {lost} was final and is not on the chain any more: is the node on another chain? "
            "If not, follow it anew with --anew",
            cursor.block,
        )

    def _old(
        self, cursor: Cursor, last: int
    ) -> Iterator[tuple[Header, Sequence[BlockRef], Sequence[ChainEvent]]]:
        """Read blocks that are final: in ranges, by number."""
        for _, end, events in self._chain.event_ranges(cursor.block.number + 1, last):
            at = _there(self._chain.header(end), f"block {end}")
            yield at, [BlockRef(at.number, at.hash)], events

    def _recent(
        self, cursor: Cursor, last: int
    ) -> Iterator[tuple[Header, Sequence[BlockRef], Sequence[ChainEvent]]]:
        """Read blocks that may be reorganised: each header, linked to the one before."""
        parent = cursor.block
        for first in range(cursor.block.number + 1, last + 1, RECENT_AT_ONCE):
            headers = list(self._linked(parent, first, min(first + RECENT_AT_ONCE - 1, last)))
            parent = BlockRef(headers[-1].number, headers[-1].hash)
            events = self._events(headers)
            yield headers[-1], [BlockRef(h.number, h.hash) for h in headers], events

    def _linked(self, parent: BlockRef, first: int, last: int) -> Iterator[Header]:
        for number in range(first, last + 1):
            header = _there(self._chain.header(number), f"block {number}")
            if header.parent != parent.hash:
                raise ChainMoved(f"block {number} does not follow on block {parent.number}", number)
            parent = BlockRef(number, header.hash)
            yield header

    def _events(self, headers: Sequence[Header]) -> list[ChainEvent]:
        """Return all events of these blocks, and be sure that they are all."""
        by_block: dict[int, list[ChainEvent]] = {header.number: [] for header in headers}
        if any(header.may_hold for header in headers):
            for _, _, events in self._chain.event_ranges(headers[0].number, headers[-1].number):
                for event in events:
                    by_block[event.at.block].append(event)
        for header in headers:
            found = by_block[header.number]
            if any(event.at.block_hash != header.hash for event in found):
                raise ChainMoved(f"block {header.number} has events of another block", header.number)
            if header.may_hold and not found:
                # Either the filter is wrong, as it may be, or the node had no such block when it answered.
                by_block[header.number] = list(self._chain.events_of(header.hash))
        return [event for header in headers for event in by_block[header.number]]

    def _store(
        self,
        cursor: Cursor,
        at: Header,
        blocks: Sequence[BlockRef],
        events: Sequence[ChainEvent],
        final: int,
        *,
        is_last: bool,
    ) -> Cursor:
        fold, versions = self._fold(events, at.number if at.number <= final else None)
        touched = frozenset(version.key for version in versions)
        block = BlockRef(at.number, at.hash)
        after = Cursor(cursor.first, block, at.timestamp, min(final, at.number), cursor.verified)
        checked: frozenset[StateKey] = frozenset()
        if is_last:
            checked, complete = self._check(cursor, fold, touched, at)
            if complete:
                after = replace(after, verified=block)
        step = Step(after, blocks, events, versions, fold.pots_of, touched - checked, checked)
        self._ledger.extend(self._domain, cursor, step)
        self._added += len(events)
        return after

    def _fold(self, events: Sequence[ChainEvent], at: int | None) -> tuple[Fold, list[Version]]:
        """Add events to the states before them; one version a block, or one in all where all are final."""
        named = {event.tariff_id for event in events if hasattr(event, "tariff_id")}
        pots_of = self._ledger.pots_of(self._domain, named)
        fold = Fold(self._ledger.states(self._domain, keys_of(events, pots_of)), pots_of)
        if at is not None:
            return fold, [Version(key, at, fold.states[key]) for key in sorted(fold.add(events), key=repr)]
        versions = []
        for number in dict.fromkeys(event.at.block for event in events):
            touched = fold.add(event for event in events if event.at.block == number)
            versions += [Version(key, number, fold.states[key]) for key in sorted(touched, key=repr)]
        return fold, versions

    def _check(
        self, cursor: Cursor, fold: Fold, touched: frozenset[StateKey], at: Header
    ) -> tuple[frozenset[StateKey], bool]:
        """Hold states against the contract's views of the same block; tell whether none is left."""
        waiting = self._ledger.unchecked(self._domain, UNCHECKED_AT_ONCE)
        states = self._ledger.states(self._domain, [key for key in waiting if key not in touched])
        states |= {key: fold.states[key] for key in touched}
        found = disagreements(self._chain, states, at.number)
        still = self._chain.header(at.number)
        if still is None or still.hash != at.hash:
            raise ChainMoved(f"block {at.number} was replaced while it was read", at.number)
        if found:
            if self._cursor() != cursor:  # then these states were read when it had moved on
                raise CursorMoved("another process follows this contract in the same ledger, and was faster")
            if cursor.block != cursor.verified:  # what was stored since then may have the gap
                self._ledger.unwind(self._domain, cursor, cursor.verified)
            raise ViewsDisagree("; ".join(map(str, found[:5])), found)
        self._checked += len(states)
        return frozenset(states), len(waiting) < UNCHECKED_AT_ONCE

    def _cursor(self) -> Cursor:
        cursor = self._ledger.cursor(self._domain)
        assert cursor is not None
        return cursor


def _there(header: Header | None, what: str) -> Header:
    if header is None:
        raise NodeBehind(f"the node does not give {what}; it may lag behind", what)
    return header
