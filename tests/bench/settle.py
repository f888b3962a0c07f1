"""Statements and lines a second from the outbox to confirmation, and what of that the client itself takes.

    scripts/bench settle --json     {"client_us_per_line", "bar", "one_line": {...}, "thousand_lines": {...}}

A real anvil mines each transaction at once; the ledger is SQLite with synchronous=FULL, as it is by default.
The clock runs while the settler takes signed statements from the outbox, simulates, signs, stores, sends and
confirms them, until the ledger says that each is final. `client_us_per_line` is that time without what passed
while the client waited for the node's answers; at the top it is that of a thousand lines.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import requests

from faults.crowd import crowd, deposit_for, open_accounts, sign
from faults.stage import SENDERS, Stage, staged
from meterbridge.adapters.chain.delivery import DeliveryClient
from meterbridge.adapters.chain.endpoints import Endpoints
from meterbridge.adapters.chain.senders import KeySender
from meterbridge.adapters.ledger import SqlLedger, open_ledger
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import load_kernel
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.records import DeliveryState
from meterbridge.services.settling.settler import Settler

PAYERS = 1_000
DEPOSIT = 10**12
TOKENS = 1_000_000
BAR_US = 50


class NodeTime:
    """How long the client waited for the node: from sending a request until its whole answer is here."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.requests = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Count all requests within the block."""
        real = requests.adapters.HTTPAdapter.send

        def timed(*args: Any, **options: Any) -> requests.Response:
            started = time.perf_counter()
            response = real(*args, **options)
            _ = response.content
            self.seconds += time.perf_counter() - started
            self.requests += 1
            return response

        requests.adapters.HTTPAdapter.send = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            requests.adapters.HTTPAdapter.send = real  # type: ignore[method-assign]


class Bench:
    """A ledger of many payers on a stage."""

    def __init__(self, stage: Stage, folder: Path, payers: int) -> None:
        """Fund the payers, on the chain and in the ledger."""
        self.stage, self.payers = stage, crowd(payers)
        stage.node.rpc("evm_setAutomine", True)
        deposit_for(stage, self.payers, DEPOSIT)
        self.ledger: SqlLedger = open_ledger(folder)
        open_accounts(self.ledger, stage.record, self.payers)
        # One settler for all of it, as a process that keeps on has.
        client = DeliveryClient(Endpoints([stage.url]), stage.record.domain)
        self._settler = Settler(client, self.ledger, KeySender(SENDERS[0]), Policy(confirmations=1))
        self._tokens = 0
        self._sealed_at = stage.now() - 100_000

    def settle(self, parts: list[list[Address]]) -> dict[str, float]:
        """Sign a statement about each group of payers, deliver all of them, and measure that."""
        self._tokens += TOKENS
        self._sealed_at += 1
        for part, payers in enumerate(parts):
            sign(self.ledger, self.stage.record, payers, self._tokens, self._sealed_at, part)
        node = NodeTime()
        with node.measured():
            started, used = time.perf_counter(), time.process_time()
            while self._settler.step(hurry=True).moving:
                pass
            seconds, used = time.perf_counter() - started, time.process_time() - used
        self._check(parts)
        lines = sum(map(len, parts))
        return {
            "statements_per_second": len(parts) / seconds,
            "lines_per_second": lines / seconds,
            "client_us_per_line": (seconds - node.seconds) / lines * 1e6,
            "client_cpu_us_per_line": used / lines * 1e6,
            "node_us_per_line": node.seconds / lines * 1e6,
            "requests_per_statement": node.requests / len(parts),
        }

    def _check(self, parts: list[list[Address]]) -> None:
        """Every statement is final, and the chain has drawn what was used: three base units a token."""
        deliveries = self.ledger.deliveries(self.stage.record.domain)
        late = [each for each in deliveries if each.state is not DeliveryState.FINAL]
        if late:
            raise RuntimeError(f"{len(late)} statements are not final: {late[0].state}, {late[0].reason}")
        some = [payers[0] for payers in parts]
        found = self.stage.splitter.escrows(self.stage.record.id, some)
        if {escrow.settled.base_units for escrow in found} != {3 * self._tokens}:
            raise RuntimeError(f"the chain drew {found[0].settled}, not {3 * self._tokens}")


def measure(statements: int, rounds: int, payers: int = PAYERS) -> dict[str, Any]:
    """Settle statements of one line, and of all payers, in rounds; return the medians."""
    load_kernel()  # as `meterbridge settle --watch` does when it begins
    with tempfile.TemporaryDirectory() as folder, staged() as stage:
        bench = Bench(stage, Path(folder), payers)
        bench.settle([bench.payers])  # loads what is loaded once
        one = [bench.settle([[payer] for payer in bench.payers[:statements]]) for _ in range(rounds)]
        many = [bench.settle([bench.payers]) for _ in range(4 * rounds)]
        bench.ledger.close()
    figures = {"one_line": _middle(one), "thousand_lines": _middle(many)}
    return {"client_us_per_line": figures["thousand_lines"]["client_us_per_line"], "bar": BAR_US, **figures}


def _middle(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Return the median of each figure."""
    return {name: round(statistics.median(each[name] for each in rounds), 1) for name in rounds[0]}


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object for machines")
    parser.add_argument("--statements", type=int, default=100, help="statements of one line a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--payers", type=int, default=PAYERS, help="lines of the larger statements")
    chosen = parser.parse_args()
    found = measure(chosen.statements, chosen.rounds, chosen.payers)
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    print(f"the client's own time: {found['client_us_per_line']} us a line; the bar is {found['bar']}")
    for kind in ("one_line", "thousand_lines"):
        figures = found[kind]
        print(kind.replace("_", " "))
        for name, value in figures.items():
            print(f"  {name:<24}{value:>12,.1f}")


if __name__ == "__main__":
    main()
