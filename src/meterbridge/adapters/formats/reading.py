"""What one usage object says, whatever its shape."""

from __future__ import annotations

from dataclasses import dataclass

from meterbridge.adapters.formats.errors import Contradiction

REQUESTS = "tool_requests"
"""The one bucket that counts requests; all others count tokens."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One usage object in disjoint buckets.

    Attributes:
        shape: whose shape it is, such as `openai.chat`.
        buckets: counts above zero by bucket. Their sum, `tool_requests` left out, is `total`.
        total: the provider's own total of tokens, or the sum that its fields define.
        details: what else a receipt keeps; JSON values without floats.
    """

    shape: str
    buckets: dict[str, int]
    total: int
    details: dict[str, object]


def reading(
    shape: str, counts: dict[str, int], total: int, details: dict[str, object] | None = None
) -> Reading:
    """Build a reading, leaving out buckets without usage.

    Raises:
        Contradiction: when the buckets do not add up to the provider's own total.
    """
    buckets = {bucket: number for bucket, number in counts.items() if number}
    added = sum(buckets.values()) - buckets.get(REQUESTS, 0)
    if added != total:
        raise Contradiction(f"the parts of the usage add up to {added} tokens; its total is {total}", total)
    return Reading(shape, buckets, total, {"shape": shape, "total_tokens": total, **(details or {})})


def rest_of(whole_name: str, whole: int, parts: int, parts_name: str) -> int:
    """Return what remains of a whole when its parts are taken away.

    Raises:
        Contradiction: when the parts exceed the whole.
    """
    if parts > whole:
        raise Contradiction(f"{whole_name} is {whole}, less than its {parts_name}, {parts} in all", whole)
    return whole - parts


def require_total(stated: object, added: int, what: str) -> None:
    """Check the provider's own total, where it states one.

    Raises:
        Contradiction: when it is not the sum of what it is the total of.
    """
    if stated is not None and stated != added:
        raise Contradiction(f"the total is {stated}; {what} add up to {added}", stated)
