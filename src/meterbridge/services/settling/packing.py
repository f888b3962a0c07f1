"""How many lines go into one statement: as many as one transaction can settle, the most valuable first.

The signature covers all lines, so what was signed cannot be cut: a statement that needs more gas than a
transaction may have could never be settled. So each line is counted at the most that it can cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.statements import LINES_MAX
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.policy import GAS_CAP

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Packing:
    """What a statement may cost to settle.

    Attributes:
        gas_cap: most gas of one transaction (EIP-7825).
        margin_percent: how much of it stays unused, for what differs between chains.
        fixed_gas: of a transaction without its lines, with a signer that is a contract.
        known_line_gas: of a line whose account was settled before; at most 10,930 as measured, with calldata
            that has no zero.
        new_line_gas: of a line whose account may still be empty: 17,100 more to write to a new slot.
        lines_max: most lines of one statement (section 8).
    """

    gas_cap: int = GAS_CAP
    margin_percent: int = 5
    fixed_gas: int = 200_000
    known_line_gas: int = 11_000
    new_line_gas: int = 28_100
    lines_max: int = LINES_MAX

    def __post_init__(self) -> None:
        if not 0 <= self.margin_percent < 100 or not 1 <= self.lines_max <= LINES_MAX:
            raise OutOfBounds(
                f"the margin is {self.margin_percent} % and a statement has {self.lines_max} lines at most; "
                f"they must be from 0 to 99, and from 1 to {LINES_MAX}",
                (self.margin_percent, self.lines_max),
            )
        if self.budget < self.new_line_gas:
            raise OutOfBounds(f"a transaction of {self.gas_cap} gas settles not even one line", self.gas_cap)

    @property
    def budget(self) -> int:
        """Return the gas that all lines of a statement share."""
        return self.gas_cap * (100 - self.margin_percent) // 100 - self.fixed_gas

    def gas_of(self, known: bool) -> int:
        """Return what a line costs at most."""
        return self.known_line_gas if known else self.new_line_gas

    def pack(
        self,
        lines: Sequence[T],
        *,
        worth: Callable[[T], AssetAmount],
        is_known: Callable[[T], bool],
    ) -> list[list[T]]:
        """Cut lines into statements, the most valuable lines in the first one; each keeps their order.

        Args:
            lines: in an order that settles ties.
            worth: what a line would add to what is drawn.
            is_known: whether its account was settled before.
        """
        packed: list[list[int]] = []
        left = 0
        for place in sorted(range(len(lines)), key=lambda place: worth(lines[place]), reverse=True):
            gas = self.gas_of(is_known(lines[place]))
            if not packed or gas > left or len(packed[-1]) == self.lines_max:
                packed.append([])
                left = self.budget
            packed[-1].append(place)
            left -= gas
        return [[lines[place] for place in sorted(part)] for part in packed]
