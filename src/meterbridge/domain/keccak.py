"""Keccak-256, as Ethereum uses it: one message at a time, or a whole column of equal-sized rows.

Single messages go through eth-hash (pycryptodome). Columns go through a kernel compiled by Numba on
first use, which runs on every core; importing this module compiles nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from eth_hash.auto import keccak as _keccak

Bytes2D = npt.NDArray[np.uint8]

DIGEST_BYTES: Final = 32
ZERO32: Final = bytes(DIGEST_BYTES)
_KERNEL_PAYS_FROM = 512  # below this many rows the loop is done before the kernel is loaded


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte Keccak-256 digest of `data`."""
    return bytes(_keccak(data))


def keccak256_rows(rows: Bytes2D) -> Bytes2D:
    """Hash every row of a (n, length) array of bytes into a (n, 32) array of digests."""
    if len(rows) < _KERNEL_PAYS_FROM:
        digests = b"".join(keccak256(row.tobytes()) for row in rows)
        return np.frombuffer(digests, dtype=np.uint8).reshape(len(rows), DIGEST_BYTES)
    from meterbridge.domain import keccak_kernel  # compiled on first use, not at import

    return keccak_kernel.hash_rows(rows)
