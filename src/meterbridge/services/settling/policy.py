"""When a statement is worth a transaction, what is paid for gas, and when it counts as settled."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.ports import ChainHead, Fees, Trial
from meterbridge.services.settling.records import Attempt

WEI_PER_COIN: Final = 10**18
GAS_CAP: Final = 2**24
"""Gas of one transaction at most, 16,777,216 (EIP-7825)."""

TRANSFER_GAS: Final = 21_000
FINALITY_TAGS: Final = ("safe", "finalized")
_SECONDS: Final = ("max_age_seconds", "thaw_margin_seconds", "bump_after_seconds", "recheck_seconds")


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator decides.

    Attributes:
        confirmations: a statement is final when its block and those on top are so many.
        finality: instead, `safe` or `finalized`: final when the chain itself says so.
        minimum: a statement that would draw less than this waits; with 0 even one that draws nothing is sent
            once, which shuts out older statements of its payers.
        coin_price: base units of the asset for 10**18 wei; with it a statement also waits while it would draw
            less than its gas costs.
        max_age_seconds: one that would draw anything waits no longer than this.
        thaw_margin_seconds: nor when a payer's thaw ends within this.
        fee_ceiling_wei: most wei for a unit of gas, tip included; above it nothing is sent or replaced.
        tip_floor_wei: least tip for a unit of gas, where recent blocks show none.
        bump_after_seconds: a transaction that is not mined after this is looked at: replaced by one that pays
            at least an eighth more where the price has risen, or after three times as long.
        gas_cap: most gas of one transaction.
        in_flight_max: transactions of one sender under way at once; nodes keep few of an account.
        lease_seconds: after this another process may take over from one that died.
        poll_seconds: how often something under way is looked at.
        recheck_seconds: how often something that waits is looked at.
        retry_seconds_max: longest pause after repeated failures.
        tries_max: transactions of a statement that are mined and fail before it is given up.
    """

    confirmations: int = 1
    finality: str | None = None
    minimum: AssetAmount = AssetAmount(1)  # noqa: RUF009  # frozen: it cannot be shared by mistake
    coin_price: AssetAmount | None = None
    max_age_seconds: int = 86_400
    thaw_margin_seconds: int = 3_600
    fee_ceiling_wei: int = 500 * 10**9
    tip_floor_wei: int = 10**6
    bump_after_seconds: int = 60
    gas_cap: int = GAS_CAP
    in_flight_max: int = 16
    lease_seconds: int = 60
    poll_seconds: int = 1
    recheck_seconds: int = 30
    retry_seconds_max: int = 300
    tries_max: int = 3

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = (
                0 if field.name in (*_SECONDS, "poll_seconds", "tip_floor_wei", "retry_seconds_max") else 1
            )
            if field.type == "int" and (
                isinstance(value, bool) or not isinstance(value, int) or value < least
            ):
                raise OutOfBounds(f"{field.name} is {value!r}; it must be a whole number from {least}", value)
        if self.finality is not None and self.finality not in FINALITY_TAGS:
            raise OutOfBounds(f"finality is {self.finality!r}; it must be safe or finalized", self.finality)

    def reason_to_wait(self, trial: Trial, fees: Fees, age: int) -> str:
        """Say why a statement is not worth sending yet; nothing where it is."""
        if not trial.drawn and self.minimum:
            return "it would draw nothing: its payers owe nothing more, or have run dry"
        if age >= self.max_age_seconds:
            return ""
        if trial.drawn < self.minimum:
            return f"it would draw {trial.drawn}, less than the minimum of {self.minimum}"
        cost = self.cost_up(trial.gas, fees)
        if cost is not None and trial.drawn < cost:
            return f"it would draw {trial.drawn}, less than the {cost} that its gas costs"
        return ""

    def cost_up(self, gas: int, fees: Fees) -> AssetAmount | None:
        """Return what gas costs in base units of the asset, rounded up; None where no price is given."""
        if self.coin_price is None:
            return None
        wei = gas * (fees.base + max(fees.tip, self.tip_floor_wei))
        return AssetAmount(-(-wei * self.coin_price.base_units // WEI_PER_COIN))

    def bid(self, fees: Fees) -> tuple[int, int] | None:
        """Return (max_wei, tip_wei) of a new transaction; None while gas costs more than the ceiling.

        Twice the base fee lasts for six full blocks, each of which raises it by an eighth.
        """
        tip = max(fees.tip, self.tip_floor_wei)
        if fees.base + tip > self.fee_ceiling_wei:
            return None
        return min(2 * fees.base + tip, self.fee_ceiling_wei), tip

    def outbid(self, last: Attempt, fees: Fees) -> tuple[int, int] | None:
        """Return (max_wei, tip_wei) that replaces a transaction; None where that would exceed the ceiling."""
        least, least_tip = _eighth_more(last.max_wei), _eighth_more(last.tip_wei)
        if least > self.fee_ceiling_wei:
            return None
        tip = max(least_tip, fees.tip)
        most = min(max(least, 2 * fees.base + tip), self.fee_ceiling_wei)
        return most, min(tip, most)

    def is_stuck(self, last: Attempt, fees: Fees, waited: int) -> bool:
        """Tell whether a transaction that was not mined is to be replaced: it pays too little by now."""
        if waited < self.bump_after_seconds:
            return False
        cheap = last.max_wei < fees.base + last.tip_wei or last.tip_wei < min(fees.tip, self.fee_ceiling_wei)
        return cheap or waited >= 3 * self.bump_after_seconds

    def is_deep(self, block: int, head: ChainHead) -> bool:
        """Tell whether a block counts as final."""
        if self.finality is not None:
            return head.final is not None and head.final >= block
        return head.number - block + 1 >= self.confirmations

    def pause(self, failures: int) -> int:
        """Return for how many seconds to leave something alone that failed so often in a row."""
        return min(self.poll_seconds << min(failures, 20), self.retry_seconds_max)


def _eighth_more(wei: int) -> int:
    """At least 12.5 %: nodes ask for 10 to replace a transaction."""
    return wei + max(1, -(-wei // 8))
