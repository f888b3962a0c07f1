"""Statements: what a meter signs (protocol, section 8).

The digest is computed from the type strings that are generated from the Solidity structs, so that there
is one definition of each wire type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from meterbridge.contracts.typed_data import CLAIM_AUTHORIZATION_TYPE, DOMAIN_TYPE, LINE_TYPE, STATEMENT_TYPE
from meterbridge.domain.addresses import ADDRESS_BYTES, Address
from meterbridge.domain.arrays import cells, joined
from meterbridge.domain.errors import BadStatement
from meterbridge.domain.keccak import DIGEST_BYTES, keccak256, keccak256_rows
from meterbridge.domain.units import UINT64_MAX, UINT256_MAX, USAGE_BYTES, UsageVector, pack_word, require_int

DOMAIN_NAME: Final = "Meterbridge"
DOMAIN_VERSION: Final = "1"
LINES_MAX: Final = 1000
SEALED_AT_MAX: Final = 2**32 - 1  # an account keeps it in 32 bits

_DOMAIN_HASH = keccak256(DOMAIN_TYPE.encode())
_STATEMENT_HASH = keccak256(STATEMENT_TYPE.encode())
_LINE_HASH = keccak256(LINE_TYPE.encode())
_CLAIM_HASH = keccak256(CLAIM_AUTHORIZATION_TYPE.encode())


@dataclass(frozen=True, slots=True)
class Domain:
    """The EIP-712 domain: one contract on one chain."""

    chain_id: int
    verifying_contract: Address

    def separator(self) -> bytes:
        """Return the 32-byte domain separator."""
        return keccak256(
            _DOMAIN_HASH
            + keccak256(DOMAIN_NAME.encode())
            + keccak256(DOMAIN_VERSION.encode())
            + pack_word(self.chain_id)
            + _pad_address(self.verifying_contract)
        )

    def digest(self, struct_hash: bytes) -> bytes:
        """Return the EIP-712 digest of a struct."""
        return keccak256(b"\x19\x01" + self.separator() + struct_hash)


@dataclass(frozen=True, slots=True)
class Line:
    """One payer's cumulative usage.

    Attributes:
        payer: whose account is drawn.
        usage: cumulative, charges minus credits; lanes may be negative.
        head: 32 bytes, `Head.hash()` of the account's logs.
    """

    payer: Address
    usage: UsageVector
    head: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.head, bytes) or len(self.head) != DIGEST_BYTES:
            raise BadStatement(f"a line's head is 32 bytes, not {self.head!r}", self.head)

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash."""
        usage = keccak256(self.usage.to_bytes())
        return keccak256(_LINE_HASH + _pad_address(self.payer) + usage + self.head)

    def abi_tuple(self) -> tuple[str, tuple[int, int], bytes]:
        """Return the struct as the contract takes it."""
        return str(self.payer), self.usage.to_words(), self.head


@dataclass(frozen=True, slots=True)
class Statement:
    """What the meter says at one moment about the payers of one tariff.

    Attributes:
        tariff_id: 32 bytes.
        sealed_at: seconds since 1970, above zero; strictly increases along each log.
        lines: 1 to 1,000, each payer once.

    Raises:
        BadStatement: when a field leaves its range or a payer stands twice.
    """

    tariff_id: bytes
    sealed_at: int
    lines: tuple[Line, ...]
    _hashed: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)
    _hashed_lines: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.tariff_id, bytes) or len(self.tariff_id) != DIGEST_BYTES:
            raise BadStatement(f"tariffId is 32 bytes, not {self.tariff_id!r}", self.tariff_id)
        if isinstance(self.sealed_at, bool) or not isinstance(self.sealed_at, int):
            raise BadStatement(f"sealedAt must be whole seconds, not {self.sealed_at!r}", self.sealed_at)
        # Zero would pass `sealedAt <= until` for every signer that was never authorised.
        if not 1 <= self.sealed_at <= SEALED_AT_MAX:
            raise BadStatement(
                f"sealedAt is {self.sealed_at}; it must be from 1 to {SEALED_AT_MAX}", self.sealed_at
            )
        _require_lines(self.lines)

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash; computed once, since everybody on the way asks for it again."""
        if not self._hashed:
            self._hashed.append(statement_hash(self.tariff_id, self.sealed_at, self.line_hashes()))
        return self._hashed[0]

    def line_hashes(self) -> tuple[bytes, ...]:
        """Return the struct hash of each line; computed once, too."""
        if not self._hashed_lines:
            self._hashed_lines[:] = _line_hashes(self.lines)
        return tuple(self._hashed_lines)

    def digest(self, domain: Domain) -> bytes:
        """Return the 32 bytes that the meter signs."""
        return domain.digest(self.struct_hash())


def statement_hash(tariff_id: bytes, sealed_at: int, line_hashes: Sequence[bytes]) -> bytes:
    """Return a statement's struct hash from those of its lines: a proof about one shows no other."""
    lines = keccak256(b"".join(line_hashes))
    return keccak256(_STATEMENT_HASH + tariff_id + pack_word(sealed_at) + lines)


def _line_hashes(lines: Sequence[Line]) -> list[bytes]:
    """Return the struct hash of each line: what `Line.struct_hash` says, all lines at once."""
    usage = keccak256_rows(joined((line.usage.to_bytes() for line in lines), USAGE_BYTES))
    rows = np.zeros((len(lines), 4 * DIGEST_BYTES), dtype=np.uint8)
    rows[:, :32] = np.frombuffer(_LINE_HASH, dtype=np.uint8)
    rows[:, 44:64] = joined((line.payer.raw for line in lines), ADDRESS_BYTES)
    rows[:, 64:96] = usage
    rows[:, 96:] = joined((line.head for line in lines), DIGEST_BYTES)
    return cells(keccak256_rows(rows).tobytes(), DIGEST_BYTES)


def _require_lines(lines: Sequence[Line]) -> None:
    if not 1 <= len(lines) <= LINES_MAX:
        raise BadStatement(f"a statement has 1 to {LINES_MAX} lines, not {len(lines)}", len(lines))
    seen: set[Address] = set()
    for line in lines:
        if line.payer in seen:
            raise BadStatement(f"payer {line.payer} has two lines in one statement", line.payer)
        seen.add(line.payer)


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement with its signer and signature, ready for anyone to submit."""

    domain: Domain
    statement: Statement
    signer: Address
    signature: bytes

    def digest(self) -> bytes:
        """Return the 32 bytes that were signed."""
        return self.statement.digest(self.domain)


@dataclass(frozen=True, slots=True)
class ClaimAuthorization:
    """A party's permission to pay one claim to somebody else (section 5).

    Attributes:
        split_id: 32 bytes.
        offset: where the party's interval begins.
        account: the party.
        recipient: who is paid; never the contract itself.
        nonce: the account's next nonce on the contract.
        deadline: seconds since 1970; refused afterwards.
    """

    split_id: bytes
    offset: int
    account: Address
    recipient: Address
    nonce: int
    deadline: int

    def __post_init__(self) -> None:
        for name, value in (("offset", self.offset), ("nonce", self.nonce), ("deadline", self.deadline)):
            require_int(name, value, 0, UINT256_MAX)

    def struct_hash(self) -> bytes:
        """Return the EIP-712 struct hash."""
        return keccak256(
            _CLAIM_HASH
            + self.split_id
            + pack_word(self.offset)
            + _pad_address(self.account)
            + _pad_address(self.recipient)
            + pack_word(self.nonce)
            + pack_word(self.deadline)
        )

    def digest(self, domain: Domain) -> bytes:
        """Return the 32 bytes that the party signs."""
        return domain.digest(self.struct_hash())

    def abi_tuple(self) -> tuple[bytes, int, str, str, int, int]:
        """Return the struct as the contract takes it."""
        return (
            self.split_id,
            self.offset,
            str(self.account),
            str(self.recipient),
            self.nonce,
            self.deadline,
        )


def _pad_address(address: Address) -> bytes:
    return address.to_bytes().rjust(32, b"\0")


def require_sealed_after(sealed_at: int, last: int | None) -> None:
    """Check that a log's statements strictly increase in time.

    Raises:
        BadStatement: when `sealed_at` is not later than the last one.
    """
    require_int("sealedAt", sealed_at, 0, UINT64_MAX)
    if last is not None and sealed_at <= last:
        raise BadStatement(f"sealedAt {sealed_at} is not after the log's last one, {last}", sealed_at)
