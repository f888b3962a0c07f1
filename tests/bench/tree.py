"""Building a tree over a million leaves, beside OpenZeppelin's library for JavaScript and a plain loop.

seconds                  our sum tree over `leaves` given leaves, all its levels, on all cores: each node has
a hash and eight sums, and takes two permutations
openzeppelin_seconds     @openzeppelin/merkle-tree (npm): SimpleMerkleTree.of over `openzeppelin_leaves` given
hashes of 32 bytes, one permutation a node, no sums; null where it is not installed
python_seconds           the same sum tree over `python_leaves` by domain values, one object a node
*_leaves_per_second      leaves over those seconds
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import { SimpleMerkleTree } from '@openzeppelin/merkle-tree';
import { createHash } from 'node:crypto';
const count = Number(process.argv[1]);
const leaves = Array.from({ length: count }, (_, i) =>
  '0x' + createHash('sha256').update(String(i)).digest('hex'));
SimpleMerkleTree.of(leaves.slice(0, 1000));
const start = process.hrtime.bigint();
const tree = SimpleMerkleTree.of(leaves);
const taken = Number(process.hrtime.bigint() - start) / 1e9;
console.log(JSON.stringify({ seconds: taken, root: tree.root }));
"""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object for machines")
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--openzeppelin-leaves", type=int, default=100_000)
    parser.add_argument("--python-leaves", type=int, default=20_000)
    options = parser.parse_args()
    figures = _measure(options)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value}")


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from _keccak import machine

    root, seconds = _ours(options.leaves)
    python_root, python_seconds = _python(options.python_leaves)
    small_root, _ = _ours(options.python_leaves)
    if python_root != small_root:
        raise SystemExit(f"the trees differ: 0x{python_root.hex()} and 0x{small_root.hex()}")
    theirs = _openzeppelin(options.openzeppelin_leaves)
    return {
        "leaves": options.leaves,
        "seconds": round(seconds, 4),
        "leaves_per_second": round(options.leaves / seconds),
        "root": "0x" + root.hex(),
        "openzeppelin_leaves": options.openzeppelin_leaves,
        "openzeppelin_seconds": theirs and round(theirs, 4),
        "openzeppelin_leaves_per_second": theirs and round(options.openzeppelin_leaves / theirs),
        "python_leaves": options.python_leaves,
        "python_seconds": round(python_seconds, 4),
        "python_leaves_per_second": round(options.python_leaves / python_seconds),
        **machine(),
    }


def _leaves(count: int) -> Any:
    """Return receipts' rows of which only leaves and usage matter here."""
    from meterbridge.domain.receipt_rows import RECEIPT

    chance = np.random.default_rng(count)
    rows = np.zeros(count, dtype=RECEIPT)
    rows["leaf"] = chance.integers(0, 2**63, (count, 4))
    rows["usage"] = chance.integers(0, 10_000, (count, 8))
    return rows


def _ours(count: int) -> tuple[bytes, float]:
    from meterbridge.domain.receipt_rows import sum_node
    from meterbridge.domain.vector_code import cores
    from meterbridge.services.bulk.plan import SealPlan
    from meterbridge.services.bulk.writing import Forest

    rows, best, root = _leaves(count), float("inf"), b""
    plan = SealPlan.of(np.array([count]))
    for _ in range(5):
        start = time.perf_counter()
        forest = Forest(plan)
        with ThreadPoolExecutor(cores()) as threads:
            added = [threads.submit(forest.add, b, rows[b.first : b.stop]) for b in plan.blocks()]
        for block in added:
            block.result()
        forest.finish()
        best = min(best, time.perf_counter() - start)
        root = sum_node(forest.roots[0]).hash
    return root, best


def _python(count: int) -> tuple[bytes, float]:
    from meterbridge.domain.merkle import build_levels
    from meterbridge.domain.receipt_rows import nodes_of, sum_node
    from meterbridge.domain.sum_tree import join

    leaves = [sum_node(node) for node in nodes_of(_leaves(count))]
    start = time.perf_counter()
    root = build_levels(leaves, join)[-1][0]
    return root.hash, time.perf_counter() - start


def _openzeppelin(count: int) -> float | None:
    if not (ROOT / "node_modules" / "@openzeppelin" / "merkle-tree").is_dir():
        print("@openzeppelin/merkle-tree is not installed; npm ci brings it", file=sys.stderr)
        return None
    command = ["node", "--input-type=module", "-e", SCRIPT, str(count)]
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        print("there is no Node.js here", file=sys.stderr)
        return None
    return float(json.loads(done.stdout)["seconds"])


if __name__ == "__main__":
    main()
