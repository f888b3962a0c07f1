"""What is delivered: a signed statement as columns, and what settling it told, without an object a line.

A thousand lines go from the ledger to the chain in calldata and come back in a receipt. As bytes and columns
that takes a few milliseconds; an object for each line and each amount takes longer than all else together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from meterbridge.domain.addresses import ADDRESS_BYTES, Address
from meterbridge.domain.arrays import Bytes, Ints, cells, joined
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.price_columns import prices_down
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.records import Draw


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """A signed statement, its lines as columns.

    Attributes:
        domain, tariff_id, sealed_at, signer, signature: as in the statement.
        digest: 32 bytes that were signed.
        payers: (n, 20) bytes.
        usage: (n, 8) lanes, cumulative.
        heads: (n, 32) bytes.
    """

    domain: Domain
    tariff_id: bytes
    sealed_at: int
    digest: bytes
    signer: Address
    signature: bytes
    payers: Bytes
    usage: Ints
    heads: Bytes
    _calldata: list[bytes] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(cls, signed: SignedStatement) -> Parcel:
        """Lay a statement out as columns."""
        statement, count = signed.statement, len(signed.statement.lines)
        lanes = b"".join(line.usage.to_bytes() for line in statement.lines)
        return cls(
            domain=signed.domain,
            tariff_id=statement.tariff_id,
            sealed_at=statement.sealed_at,
            digest=signed.digest(),
            signer=signed.signer,
            signature=signed.signature,
            payers=joined((line.payer.raw for line in statement.lines), ADDRESS_BYTES),
            usage=np.frombuffer(lanes, dtype=">i8").astype(np.int64).reshape(count, -1),
            heads=joined((line.head for line in statement.lines), DIGEST_BYTES),
        )

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.payers)

    def signed(self) -> SignedStatement:
        """Return the same with an object for each line."""
        lines = tuple(
            Line(Address(payer), UsageVector(tuple(lanes)), head.tobytes())
            for payer, lanes, head in zip(self.payer_list(), self.usage.tolist(), self.heads, strict=True)
        )
        statement = Statement(self.tariff_id, self.sealed_at, lines)
        return SignedStatement(self.domain, statement, self.signer, self.signature)

    def payer_list(self) -> list[bytes]:
        """Return the 20 bytes of each payer, in the order of the lines."""
        return cells(self.payers.tobytes(), ADDRESS_BYTES)

    def prices(self, tariff: Tariff) -> list[int]:
        """Return what each line's cumulative usage costs, in base units."""
        return prices_down(tariff, self.usage)

    def calldata(self, pack: Callable[[], bytes]) -> bytes:
        """Return the calldata of settling it; packed once, since trying, signing and replacing need it."""
        if not self._calldata:
            self._calldata.append(pack())
        return self._calldata[0]


@dataclass(frozen=True, slots=True)
class LineResult:
    """What one line did, as the contract told it; `skipped_for` is the time of a newer settled statement."""

    payer: Address
    drawn: AssetAmount
    skipped_for: int | None = None


@dataclass(frozen=True, slots=True)
class LineResults(Sequence[LineResult]):
    """What each line did, as columns.

    Attributes:
        payers: 20 bytes each.
        drawn: base units of the asset.
        skipped_for: None where the line was not skipped.
    """

    payers: tuple[bytes, ...] = ()
    drawn: tuple[int, ...] = ()
    skipped_for: tuple[int | None, ...] = ()

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.payers)

    @overload
    def __getitem__(self, place: int) -> LineResult: ...
    @overload
    def __getitem__(self, place: slice) -> LineResults: ...
    def __getitem__(self, place: int | slice) -> LineResult | LineResults:
        """Return one line's result as an object, or some lines' as columns."""
        if isinstance(place, slice):
            return LineResults(self.payers[place], self.drawn[place], self.skipped_for[place])
        amount = AssetAmount(self.drawn[place])
        return LineResult(Address(self.payers[place]), amount, self.skipped_for[place])

    def draws(self) -> Draws:
        """Return what the ledger keeps of them."""
        return Draws(self.payers, self.drawn, tuple(newer is not None for newer in self.skipped_for))


@dataclass(frozen=True, slots=True)
class Draws(Sequence[Draw]):
    """What each line drew, as columns; see `Draw`."""

    payers: tuple[bytes, ...]
    drawn: tuple[int, ...]
    skipped: tuple[bool, ...]

    def __post_init__(self) -> None:
        """Refuse columns that do not stand side by side: an amount would be another payer's."""
        lengths = {len(self.payers), len(self.drawn), len(self.skipped)}
        if len(lengths) != 1 or any(len(payer) != ADDRESS_BYTES for payer in self.payers):
            raise ValueError(
                f"{len(self.payers)} payers of {ADDRESS_BYTES} bytes need as many amounts and flags, "
                f"not {len(self.drawn)} and {len(self.skipped)}"
            )

    @classmethod
    def of(cls, draws: Sequence[Draw]) -> Draws:
        """Return draws as columns."""
        amounts = tuple(draw.drawn.base_units for draw in draws)
        return cls(tuple(draw.payer.raw for draw in draws), amounts, tuple(draw.skipped for draw in draws))

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.payers)

    @overload
    def __getitem__(self, place: int) -> Draw: ...
    @overload
    def __getitem__(self, place: slice) -> Draws: ...
    def __getitem__(self, place: int | slice) -> Draw | Draws:
        """Return one line's draw as an object, or some lines' as columns."""
        if isinstance(place, slice):
            return Draws(self.payers[place], self.drawn[place], self.skipped[place])
        return Draw(Address(self.payers[place]), AssetAmount(self.drawn[place]), self.skipped[place])
