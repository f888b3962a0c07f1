"""Ethereum addresses as values, not as strings that may or may not be checksummed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.keccak import keccak256

ADDRESS_BYTES: Final = 20
_PATTERN = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Twenty bytes; prints with its EIP-55 checksum.

    Raises:
        OutOfBounds: when it is not twenty bytes.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != ADDRESS_BYTES:
            raise OutOfBounds(f"an address is {ADDRESS_BYTES} bytes, not {self.raw!r}", self.raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `0x` and 40 hex digits; where the digits are of mixed case, the EIP-55 checksum must fit.

        Raises:
            OutOfBounds: naming the text.
        """
        if not isinstance(text, str) or not _PATTERN.fullmatch(text):
            raise OutOfBounds(f"{text!r} is no address; it takes 0x and 40 hexadecimal digits", text)
        address = cls(bytes.fromhex(text[2:]))
        digits = text[2:]
        if digits not in (digits.lower(), digits.upper()) and str(address) != text:
            raise OutOfBounds(f"{text} has a wrong checksum; is it {address}?", text)
        return address

    def to_bytes(self) -> bytes:
        """Return the twenty bytes."""
        return self.raw

    def __str__(self) -> str:
        digits = self.raw.hex()
        nibbles = keccak256(digits.encode()).hex()
        return "0x" + "".join(
            c.upper() if int(n, 16) >= 8 else c for c, n in zip(digits, nibbles, strict=False)
        )
