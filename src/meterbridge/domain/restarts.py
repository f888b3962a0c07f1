"""Logs that were lost and begin again (protocol, section 4, last paragraph).

What was settled is on the chain: a head and the cumulative usage. It becomes the opaque first element of the
new logs, split by sign so that no node carries negative usage: what was charged net stands in the charge log,
what was taken back beyond any charge in the credit log. The element hashes like a batch of no receipts, which
no batch can be, so nothing can ever be proven to be inside.
"""

from __future__ import annotations

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.keccak import DIGEST_BYTES, keccak256
from meterbridge.domain.sum_tree import ELEMENT_TAG, SumNode
from meterbridge.domain.units import INT64_MIN, UsageVector

OPAQUE_SIZE = 0
"""The number of receipts that an opaque element claims; a batch has at least one."""


def opaque_roots(head: bytes, usage: UsageVector) -> tuple[SumNode, SumNode]:
    """Return what stands for the lost charges and credits: the settled head with its part of the usage.

    Charges less credits is the settled usage again.

    Raises:
        OutOfBounds: when the head is not 32 bytes, or a lane has no positive counterpart in int64.
    """
    if len(head) != DIGEST_BYTES:
        raise OutOfBounds(f"a head is {DIGEST_BYTES} bytes, not {len(head)}", head)
    if INT64_MIN in usage.lanes:
        raise OutOfBounds(f"a lane of {INT64_MIN} cannot be taken back in one element", usage.lanes)
    charged = UsageVector.of(max(0, lane) for lane in usage.lanes)
    taken_back = UsageVector.of(max(0, -lane) for lane in usage.lanes)
    return SumNode(head, charged), SumNode(head, taken_back)


def opaque_element(root: SumNode) -> SumNode:
    """Return the log element of an opaque root."""
    body = bytes([ELEMENT_TAG]) + OPAQUE_SIZE.to_bytes(8, "big") + root.hash + root.sum.to_bytes()
    return SumNode(keccak256(body), root.sum)
