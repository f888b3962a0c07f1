"""How seals stand in a folder, beside the segments of batches that were sealed one by one.

    <tariff id, 8 digits>/bulk/<number>/part-00000.parquet ...    receipts by payer and id
                                        nodes                     upper nodes of the larger batches
                                        events                    index of events by key
                                        batches.parquet           the manifest

A seal's name is the path of its folder; a batch of it is named by that, `#`, and its number in the seal.
"""

from __future__ import annotations

from typing import Final

MANIFEST: Final = "batches.parquet"
NODES: Final = "nodes"
EVENTS: Final = "events"


def seals_folder(tariff_id: bytes) -> str:
    """Return the folder of a tariff's seals."""
    return f"{tariff_id.hex()[:8]}/bulk"


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05d}.parquet"


def batch_name(seal: str, number: int) -> str:
    """Return the name of a batch of a seal."""
    return f"{seal}#{number}"


def split_name(segment: str) -> tuple[str, int] | None:
    """Return the seal and the number of a batch, or None for the name of any other segment."""
    seal, mark, number = segment.partition("#")
    return (seal, int(number)) if mark else None


def seal_number(seal: str) -> int:
    """Return a seal's number within its tariff."""
    return int(seal.rpartition("/")[2])
