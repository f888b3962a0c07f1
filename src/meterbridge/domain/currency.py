"""Amounts as people write and read them: exact decimals of a token, never floats.

`12.50` is twelve and a half of a token; what is kept is base units. Nothing is rounded: what cannot be said
exactly is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.units import AssetAmount

# Thousands may only be grouped where a point follows: 1,500 alone is one and a half in half of the world.
_WRITTEN: Final = re.compile(r"([0-9]{1,60}|[0-9]{1,3}(?:,[0-9]{3})+(?=\.))(?:\.([0-9]{1,60}))?", re.ASCII)


class BadAmount(OutOfBounds):
    """A text is no exact amount of this token."""


@dataclass(frozen=True, slots=True)
class Currency:
    """How a token's amounts are shown.

    Attributes:
        symbol: its short name, such as USDC; what the token calls itself, and no proof of what it is.
        decimals: how many digits of a base unit stand behind the point.
    """

    symbol: str
    decimals: int

    def amount(self, text: str) -> AssetAmount:
        """Read `12.50`, `1,250.00` or `12.50 USDC`.

        Raises:
            BadAmount: when it is no number, names another token, or has more digits than the token.
        """
        number, _, symbol = text.strip().partition(" ")
        if symbol and symbol.strip() != self.symbol:
            raise BadAmount(f"{text!r} is in {symbol.strip()!r}; amounts here are in {self.symbol!r}", text)
        found = _WRITTEN.fullmatch(number)
        if not found:
            raise BadAmount(f"{text!r} is no amount; write it as 12.50 or 1,250.00, with a point", text)
        whole, part = found[1].replace(",", ""), (found[2] or "").rstrip("0")
        if len(part) > self.decimals:
            raise BadAmount(
                f"{text!r} has {len(part)} digits behind the point; {self.symbol} has {self.decimals}", text
            )
        return AssetAmount(int(whole + part.ljust(self.decimals, "0")))

    def number(self, amount: AssetAmount) -> str:
        """Write an amount without its symbol, exactly: 1,234.567890."""
        whole, part = divmod(amount.base_units, 10**self.decimals)
        return f"{whole:,}.{part:0{self.decimals}d}" if self.decimals else f"{whole:,}"

    def text(self, amount: AssetAmount) -> str:
        """Write an amount, exactly: 1,234.567890 USDC."""
        return f"{self.number(amount)} {self.symbol}"
