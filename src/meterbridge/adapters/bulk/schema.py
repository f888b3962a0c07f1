"""The columns of a part: those of every segment, and the payer."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.units import LANES

USAGE: Final = tuple(f"usage_{lane}" for lane in range(LANES))
_DICTIONARY: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        pa.field("payer", _DICTIONARY, nullable=False),
        pa.field("id", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("occurred_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in USAGE),
        pa.field("source", _DICTIONARY, nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("details", _DICTIONARY, nullable=False),
    ]
)
