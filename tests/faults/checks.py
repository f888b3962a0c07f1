"""What must be true at the end of every schedule, read from the chain without the product's own readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_utils.crypto import keccak

from faults.books import Books
from faults.stage import PAYERS, Stage
from meterbridge.domain.addresses import Address

SETTLED = "Settled(bytes32,address,uint256[2],bytes32,uint256)"
DRAWN = 2**112 - 1  # the lowest 112 bits of its last word; the highest 32 are the statement's time
ACCOUNT, POT = "account(bytes32,address)", "pot(bytes32)"


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction of the sender as the chain has it."""

    nonce: int
    tx_hash: bytes
    succeeded: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class ChainState:
    """All that settling can have changed on the chain.

    Attributes:
        settled: what was ever drawn from each payer, in base units; `balances` what is left.
        drawn: what the events of the canonical chain say was drawn from each payer, in sum.
        draws: how many events drew something.
        pot: what the split was allocated.
        sent: the sender's transactions, by nonce.
    """

    settled: tuple[int, ...]
    balances: tuple[int, ...]
    drawn: tuple[int, ...]
    draws: int
    pot: int
    sent: tuple[Mined, ...]

    @property
    def money(self) -> tuple[Any, ...]:
        """Where the money is, whatever transactions it took."""
        return self.settled, self.balances, self.pot


def read_chain(stage: Stage, sender: Address, since: int) -> ChainState:
    """Read the canonical chain by raw calls; the sender sent nothing up to block `since`."""
    tariff, pot = stage.record.id, stage.record.split.id
    accounts = [_view(stage, ACCOUNT, tariff + bytes(12) + payer.address.raw) for payer in PAYERS]
    drawn: Counter[bytes] = Counter()
    topic = "0x" + keccak(text=SETTLED).hex()
    request = {"address": str(stage.contract), "topics": [topic], "fromBlock": hex(since)}
    draws = 0
    for log in stage.node.rpc("eth_getLogs", request):
        amount = int(log["data"][-64:], 16) & DRAWN
        drawn[bytes.fromhex(log["topics"][2][26:])] += amount
        draws += amount > 0
    return ChainState(
        settled=tuple(account[1] for account in accounts),
        balances=tuple(account[0] for account in accounts),
        drawn=tuple(drawn[payer.address.raw] for payer in PAYERS),
        draws=draws,
        pot=_view(stage, POT, pot)[0],
        sent=tuple(_sent(stage, sender, since)),
    )


def _view(stage: Stage, signature: str, arguments: bytes) -> tuple[int, ...]:
    data = "0x" + (keccak(text=signature)[:4] + arguments).hex()
    answer = bytes.fromhex(
        stage.node.rpc("eth_call", {"to": str(stage.contract), "data": data}, "latest")[2:]
    )
    return tuple(decode(["uint256"] * (len(answer) // 32), answer))


def _sent(stage: Stage, sender: Address, since: int) -> Iterable[Mined]:
    for number in range(since, stage.height() + 1):
        for sent in stage.node.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
            if sent["from"].lower() == str(sender).lower():
                receipt = stage.node.rpc("eth_getTransactionReceipt", sent["hash"])
                yield Mined(
                    int(sent["nonce"], 16),
                    bytes.fromhex(sent["hash"][2:]),
                    receipt["status"] == "0x1",
                    bytes.fromhex(sent["input"][2:]),
                )


def money_problems(books: Books, deposited: tuple[int, ...], chain: ChainState) -> list[str]:
    """Compare the chain with what was used, by hand arithmetic; one sentence for each difference."""
    problems = []
    for i, paid in enumerate(deposited):
        expected = min(books.owed(i), paid)
        if chain.settled[i] != expected:
            problems.append(f"payer {i} owes {books.owed(i)} of {paid}, and settled {chain.settled[i]}")
        if chain.drawn[i] != chain.settled[i]:
            problems.append(f"events drew {chain.drawn[i]} from payer {i}, who settled {chain.settled[i]}")
        if chain.balances[i] != paid - chain.settled[i]:
            problems.append(f"payer {i} has {chain.balances[i]} left of {paid} - {chain.settled[i]}")
    if chain.pot != sum(chain.settled):
        problems.append(f"the pot holds {chain.pot}, not {sum(chain.settled)}")
    return problems


def nonce_problems(chain: ChainState, given: int, known: set[bytes]) -> list[str]:
    """Compare the sender's transactions with the nonces and transactions that the ledger knows.

    Args:
        chain: what the sender sent.
        given: how many nonces the ledger gave away, from 0 on.
        known: hashes of the transactions that it stored.
    """
    nonces = [mined.nonce for mined in chain.sent]
    problems = []
    if nonces != list(range(len(nonces))):
        problems.append(f"the sender's nonces are {nonces}")
    if given != len(nonces):
        problems.append(f"the ledger gave {given} nonces, and {len(nonces)} are used")
    strangers = [mined.tx_hash.hex() for mined in chain.sent if mined.tx_hash not in known]
    if strangers:
        problems.append(f"transactions that the ledger does not know: {strangers}")
    twice = [data.hex()[:16] for data, times in _settling(chain).items() if times > 1]
    if twice:
        problems.append(f"statements that were settled more than once: {twice}")
    return problems


def _settling(chain: ChainState) -> Counter[bytes]:
    """How often each settling calldata succeeded; a transfer of nothing has none."""
    return Counter(mined.data for mined in chain.sent if mined.succeeded and mined.data)
