"""Seeded bad weather: which request meets which fault, and what the chain does meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from enum import StrEnum
from typing import Final

from faults.kinds import Exchange, Fault, faults_of
from faults.proxy import FaultProxy
from faults.stage import REORG_MAX, Stage

CHEAP: Final = 10**9  # wei: an ordinary base fee
SENDS_WORSE: Final = 3
"""Of a hundred requests three send; those are where most is at stake."""

SPIKES: Final = (40 * 10**9, 120 * 10**9, 400 * 10**9)


class Event(StrEnum):
    """What the chain does by itself."""

    MINE = "a block"
    BLOCKS = "some blocks"
    EMPTY = "blocks that leave the mempool out"
    REORG = "a reorganisation that loses transactions"
    REORG_KEEP = "a reorganisation that mines them again, later"
    DROP = "the mempool drops one transaction"
    DROP_ALL = "the mempool is lost"
    SPIKE = "the base fee jumps"
    CALM = "the base fee falls"
    RESTART = "the node restarts"


_LIKELY: Final = {
    Event.MINE: 8,
    Event.BLOCKS: 3,
    Event.EMPTY: 1,
    Event.REORG: 3,
    Event.REORG_KEEP: 2,
    Event.DROP: 2,
    Event.DROP_ALL: 1,
    Event.SPIKE: 1,
    Event.CALM: 2,
    Event.RESTART: 1,
}


class Weather:
    """All that happens in one schedule, from one seed.

    Attributes:
        events: how often each event happened; `depths`: how deep the reorganisations were.
    """

    def __init__(self, seed: int, stage: Stage, proxy: FaultProxy) -> None:
        """Draw how bad it will be; nothing happens yet."""
        self._random = random.Random(seed)
        self._stage, self._proxy = stage, proxy
        self._rate = self._random.choice((0.0, 0.05, 0.12, 0.25))
        self._between = self._random.choice((0.0, 0.02, 0.06))
        self._top = 0
        self.events: Counter[Event] = Counter()
        self.depths: Counter[int] = Counter()

    def fault_for(self, exchange: Exchange) -> Fault | None:
        """See `proxy.Schedule`."""
        rate = self._rate * (SENDS_WORSE if exchange.method == "eth_sendRawTransaction" else 1)
        if self._random.random() >= rate:
            return None
        return self._random.choice(faults_of(exchange.method))

    def between(self, _exchange: Exchange) -> None:
        """Let the chain move between two requests of one step."""
        if self._random.random() < self._between:
            self.happen()

    def happen(self) -> None:
        """Let one thing happen to the chain."""
        event = self._random.choices(list(_LIKELY), list(_LIKELY.values()))[0]
        self.events[event] += 1
        stage, node = self._stage, self._stage.node
        if event is Event.MINE:
            stage.mine()
        elif event is Event.BLOCKS:
            stage.mine(self._random.randrange(2, 6))
        elif event is Event.EMPTY:
            self._mine_empty(self._random.randrange(1, 4))
        elif event in (Event.REORG, Event.REORG_KEEP):
            self._reorganise(keep=event is Event.REORG_KEEP)
        elif event is Event.DROP:
            self._drop_one()
        elif event is Event.DROP_ALL:
            node.rpc("anvil_dropAllTransactions")
        elif event in (Event.SPIKE, Event.CALM):
            wei = self._random.choice(SPIKES) if event is Event.SPIKE else CHEAP
            node.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))
        else:
            self._proxy.take_down(self._random.randrange(1, 6))

    def clear(self) -> None:
        """End it all."""
        self._proxy.calm()
        self._proxy.before = None
        self._stage.node.rpc("anvil_setNextBlockBaseFeePerGas", hex(CHEAP))

    def _mine_empty(self, blocks: int) -> None:
        """Mine blocks whose makers took nothing from the mempool."""
        waiting = self._waiting()
        for tx_hash in waiting:
            self._stage.node.rpc("anvil_dropTransaction", tx_hash)
        self._stage.mine(blocks)
        for raw in waiting.values():
            self._again(raw)

    def _reorganise(self, *, keep: bool) -> None:
        depth = self._random.randrange(1, REORG_MAX + 1) if self._random.random() < 0.5 else 1
        self.depths[depth] += 1
        lost = self._mined(depth) if keep else []
        self._stage.node.rpc("anvil_reorg", depth, [])
        for raw in lost:
            self._again(raw)

    def _mined(self, depth: int) -> list[str]:
        node, height = self._stage.node, self._stage.height()
        blocks = [
            node.rpc("eth_getBlockByNumber", hex(n), False) for n in range(height - depth + 1, height + 1)
        ]
        return [
            node.rpc("eth_getRawTransactionByHash", tx) for block in blocks for tx in block["transactions"]
        ]

    def _waiting(self) -> dict[str, str]:
        node = self._stage.node
        pools = node.rpc("txpool_content")
        found = {
            tx["hash"]: tx
            for pool in ("pending", "queued")
            for by_nonce in pools[pool].values()
            for tx in by_nonce.values()
        }
        return {tx_hash: node.rpc("eth_getRawTransactionByHash", tx_hash) for tx_hash in found}

    def _drop_one(self) -> None:
        if waiting := sorted(self._waiting()):
            self._stage.node.rpc("anvil_dropTransaction", self._random.choice(waiting))

    def _again(self, raw: str) -> None:
        try:
            self._stage.node.rpc("eth_sendRawTransaction", raw)
        except RuntimeError:
            return  # its nonce is used by now, or it pays too little
