"""A payer's line of a signed statement, with what else a proof needs of that statement."""

from __future__ import annotations

from dataclasses import dataclass

from meterbridge.domain.addresses import Address
from meterbridge.domain.sum_tree import Head


@dataclass(frozen=True, slots=True)
class SignedLine:
    """One line of a signed statement; the others by their hashes alone.

    Attributes:
        sealed_at: of the statement, in seconds since 1970.
        position: of the line.
        head: both logs of the account, as the line commits to them.
        line_hashes: EIP-712 struct hashes of all lines.
        signer: who signed.
        signature: 65 bytes, or what a contract takes.
    """

    sealed_at: int
    position: int
    head: Head
    line_hashes: tuple[bytes, ...]
    signer: Address
    signature: bytes
