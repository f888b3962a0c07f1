"""Names of array types, apart from the kernels: what only passes arrays on need not load a compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Int = int | np.integer[Any]
