"""Money and time on the command line: as finance writes them, with the exact numbers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.domain.currency import BadAmount, Currency
from meterbridge.domain.moments import parse_time, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.units import AssetAmount
    from meterbridge.entrypoints.cli.output import Output

__all__ = [
    "AmountArgument",
    "BaseUnitsOption",
    "Money",
    "money_of",
    "named",
    "named_shortly",
    "parse_time",
    "time_text",
]

AmountArgument = Annotated[
    str,
    typer.Argument(
        metavar="AMOUNT",
        help="With a point, an amount of the token: 12.50 or '12.50 USDC'. Without one, its base units.",
    ),
]
BaseUnitsOption = Annotated[
    bool, typer.Option("--base-units", help="AMOUNT is in base units; a point in it is refused.")
]


@dataclass(frozen=True, slots=True)
class Money:
    """The token of a command: how its amounts are read and shown."""

    asset: Address
    currency: Currency

    def read(self, text: str, *, base_units: bool, output: Output) -> AssetAmount:
        """Read an amount; an integer is base units, and a small one is asked about.

        Raises:
            BadAmount: when it is none, or has a point that it must not have.
        """
        from meterbridge.domain.units import AssetAmount

        whole = text.strip()
        if not (whole.isascii() and whole.isdigit()):
            if base_units:
                raise BadAmount(f"{text!r} is no whole number of base units", text)
            return self.currency.amount(text)
        amount = AssetAmount(int(whole))
        if amount and not base_units and amount.base_units < 10**self.currency.decimals:
            output.warn(
                f"{whole} without a point is base units, {self.text(amount)}; write {whole}.0 for "
                f"{whole} {self.currency.symbol}, or --base-units if it is meant so"
            )
        return amount

    def text(self, amount: AssetAmount) -> str:
        """Write an amount for people: 12.500000 USDC."""
        return self.currency.text(amount)

    def number(self, amount: AssetAmount) -> str:
        """Write an amount in a table whose title names the token: 12.500000."""
        return self.currency.number(amount)

    def json(self) -> dict[str, object]:
        """Return the token for machines: amounts beside it are in its base units."""
        decimals, symbol = self.currency.decimals, self.currency.symbol
        return {"address": str(self.asset), "symbol": symbol, "decimals": decimals}


def money_of(client: SplitterClient, asset: Address) -> Money:
    """Ask a token how its amounts are shown."""
    from meterbridge.library.connecting import currency_of

    return Money(asset, currency_of(client, asset))


def named(address: Address, names: Mapping[Address, str]) -> str:
    """Return a name with its address, or the address."""
    return f"{names[address]} ({address})" if address in names else str(address)


def named_shortly(address: Address, names: Mapping[Address, str]) -> str:
    """Return a name with the ends of its address, for a column of a table; or the address."""
    text = str(address)
    return f"{names[address]} {text[:6]}…{text[-4:]}" if address in names else text
