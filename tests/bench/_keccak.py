"""How fast this machine hashes, with our kernel and with others' libraries; no benchmark itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from meterbridge.domain.keccak_nodes import hash_leaves
from meterbridge.domain.receipt_rows import RECEIPT, words_of
from meterbridge.domain.vector_code import cores

MESSAGE_BYTES = 135


def best_rate(work: Callable[[], object], count: int, seconds: float = 1.0) -> float:
    """Return `count` over the shortest of many runs; neighbours on the machine only ever slow one down."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return count / best


def kernel_rate(threads: int = 1) -> float:
    """Return permutations a second of the kernel that hashes leaves, on one core or on several together."""
    count = 16_384
    tables = [words_of(_random_rows(count)) for _ in range(threads)]
    details = np.zeros((1, 4), dtype=np.uint64)

    def hash_all(pool: ThreadPoolExecutor) -> None:
        list(pool.map(lambda words: hash_leaves(words, details, 0, count), tables))

    if threads == 1:
        return best_rate(lambda: hash_leaves(tables[0], details, 0, count), count)
    with ThreadPoolExecutor(threads) as pool:
        return best_rate(lambda: hash_all(pool), count * threads)


def library_rates() -> dict[str, float | None]:
    """Return messages of one permutation a second of other libraries, where installed, on one core."""
    messages = [bytes([i % 251]) * MESSAGE_BYTES for i in range(2_000)]
    return {
        "safe_pysha3": _rate(_pysha3, messages),
        "pycryptodome": _rate(_pycryptodome, messages),
    }


def machine() -> dict[str, Any]:
    """Say what was measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return {"processor": model, "cores": cores()}


def _rate(load: Callable[[], Callable[[bytes], bytes]], messages: list[bytes]) -> float | None:
    try:
        hash_one = load()
    except ImportError:
        return None
    return best_rate(lambda: [hash_one(message) for message in messages], len(messages))


def _pysha3() -> Callable[[bytes], bytes]:
    import sha3

    return lambda message: bytes(sha3.keccak_256(message).digest())


def _pycryptodome() -> Callable[[bytes], bytes]:
    from Crypto.Hash import keccak

    return lambda message: keccak.new(digest_bits=256, data=message).digest()


def _random_rows(count: int) -> Any:
    rows = np.zeros(count, dtype=RECEIPT)
    words_of(rows)[:, :19] = np.random.default_rng(1).integers(0, 2**62, (count, 19))
    return rows
