"""Arrays of columns, apart from the kernels: what only passes arrays on need not load a compiler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Int = int | np.integer[Any]


def cells(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into cells of one size, one for each row of a column."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def joined(column: Iterable[bytes], size: int) -> Bytes:
    """Lay cells of one size side by side; returns (n, size) bytes."""
    return np.frombuffer(b"".join(column), dtype=np.uint8).reshape(-1, size)
