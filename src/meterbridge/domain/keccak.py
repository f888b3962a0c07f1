"""Keccak-256, as Ethereum uses it: one message at a time, or a whole column of them.

Single messages go through safe-pysha3 where it is installed, or else through eth-hash (pycryptodome), which
takes ten times as long. Columns go through a compiled kernel, faster by far, which takes about half a second
to load; importing this module loads and compiles nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from eth_hash.auto import keccak as _keccak

try:
    from sha3 import keccak_256
except ImportError:  # it is not among our dependencies, for not every platform has a wheel of it
    keccak_256 = None

Bytes1D = npt.NDArray[np.uint8]
Bytes2D = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

DIGEST_BYTES: Final = 32
ZERO32: Final = bytes(DIGEST_BYTES)
_KERNEL_PAYS_FROM = 50_000
"""How many rows the loop hashes in the time that the kernel takes to load (0.55 s at 11 us a row). Loading
it once that many were hashed in all costs a process at most twice what foresight would."""
_FEW = 64
"""Columns of fewer rows never load it: a process that proves one receipt after another would wait half a
second at some one of them, for the sake of milliseconds in all."""


class _Kernel:
    """Whether the kernel pays yet; once loaded it always does, even for one row."""

    rows_so_far = 0

    @classmethod
    def pays(cls, rows: int) -> bool:
        if rows >= _FEW:
            cls.rows_so_far += rows  # a count lost between threads only delays the loading
        return cls.rows_so_far >= _KERNEL_PAYS_FROM


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte Keccak-256 digest of `data`."""
    digest: bytes = _keccak(data) if keccak_256 is None else keccak_256(data).digest()
    return digest


def keccak256_rows(rows: Bytes2D) -> Bytes2D:
    """Hash every row of a (n, length) array of bytes into a (n, 32) array of digests."""
    if not _Kernel.pays(len(rows)):
        digests = b"".join(keccak256(row.tobytes()) for row in rows)
        return np.frombuffer(digests, dtype=np.uint8).reshape(len(rows), DIGEST_BYTES)
    from meterbridge.domain.keccak_kernel import hash_rows  # loaded when it pays, not at import

    return hash_rows(rows)


def load_kernel() -> None:
    """Load the compiled kernel now, for a process that will hash many rows; takes about half a second."""
    keccak256_rows(np.zeros((_KERNEL_PAYS_FROM, 1), dtype=np.uint8))


def keccak256_ragged(buffer: Bytes1D, offsets: Offsets) -> Bytes2D:
    """Hash messages that stand one after another: message i is buffer[offsets[i]:offsets[i + 1]].

    Takes (total,) bytes and (n + 1,) ascending offsets; returns (n, 32) digests.
    """
    if not _Kernel.pays(len(offsets) - 1):
        cuts = offsets.tolist()
        digests = b"".join(keccak256(buffer[a:b].tobytes()) for a, b in pairwise(cuts))
        return np.frombuffer(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    from meterbridge.domain.keccak_kernel import hash_ragged

    return hash_ragged(buffer, offsets)
