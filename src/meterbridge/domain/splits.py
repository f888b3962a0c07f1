"""Splits: who gets what share of a pot (protocol, section 5).

The root of a split is a sum tree over its parties, in published order. A party's proof shows its share
and its offset, the sum of all shares to its left, so that nobody has to trust whoever published it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from eth_abi.abi import encode

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadProof, BadSplit
from meterbridge.domain.keccak import DIGEST_BYTES, keccak256
from meterbridge.domain.merkle import Side, build_levels, fold_path, path_positions
from meterbridge.domain.units import UINT128_MAX, AssetAmount

SHARE_LEAF_TAG: Final = b"\x00"
SHARE_NODE_TAG: Final = b"\x01"
DEPTH_MAX: Final = 256
ROLE_MAX: Final = 255


class Role(IntEnum):
    """The roles that the protocol names; other numbers from 6 to 255 are free."""

    MODEL = 1
    COMPUTE = 2
    DATA = 3
    CHANNEL = 4
    SERVICE = 5


@dataclass(frozen=True, slots=True)
class ShareNode:
    """One node of a share tree: 32 bytes of hash and the shares below it."""

    hash: bytes
    shares: int


@dataclass(frozen=True, slots=True)
class Party:
    """One entry of a split.

    Attributes:
        account: who may claim.
        role: 1 to 255, see `Role`.
        share: above zero, at most 2**128 - 1.

    Raises:
        BadSplit: when role or share is out of bounds.
    """

    account: Address
    role: int
    share: int

    def __post_init__(self) -> None:
        if not _whole(self.role) or not 1 <= self.role <= ROLE_MAX:
            raise BadSplit(f"role {self.role!r} of {self.account} must be from 1 to {ROLE_MAX}", self.role)
        if not _whole(self.share) or not 1 <= self.share <= UINT128_MAX:
            raise BadSplit(f"share {self.share!r} of {self.account} must be from 1 to 2**128 - 1", self.share)

    def node(self) -> ShareNode:
        """Return the party's leaf."""
        body = self.account.to_bytes() + bytes([self.role]) + self.share.to_bytes(32, "big")
        return ShareNode(keccak256(SHARE_LEAF_TAG + body), self.share)


def join_shares(left: ShareNode, right: ShareNode) -> ShareNode:
    """Return the parent of two nodes.

    Raises:
        BadSplit: when the sum leaves uint128.
    """
    total = left.shares + right.shares
    if total > UINT128_MAX:
        raise BadSplit(f"shares add up to {total}; at most 2**128 - 1 are allowed", total)
    body = left.hash + left.shares.to_bytes(32, "big") + right.hash + right.shares.to_bytes(32, "big")
    return ShareNode(keccak256(SHARE_NODE_TAG + body), total)


@dataclass(frozen=True, slots=True)
class Split:
    """What a contract needs to know of a split; `id` is its key everywhere."""

    asset: Address
    root: bytes
    total_shares: int

    def __post_init__(self) -> None:
        if len(self.root) != DIGEST_BYTES:
            raise BadSplit(f"a split's root is 32 bytes, not {len(self.root)}", self.root)
        if not _whole(self.total_shares) or not 1 <= self.total_shares <= UINT128_MAX:
            raise BadSplit(f"total shares are {self.total_shares!r}", self.total_shares)

    def abi_tuple(self) -> tuple[str, bytes, int]:
        """Return the struct as the contract takes it."""
        return str(self.asset), self.root, self.total_shares

    @property
    def id(self) -> bytes:
        """keccak256(abi.encode(split))."""
        return keccak256(encode(["address", "bytes32", "uint128"], self.abi_tuple()))


@dataclass(frozen=True, slots=True)
class ShareSibling:
    """One step of a party's proof."""

    side: Side
    node: ShareNode


@dataclass(frozen=True, slots=True)
class ShareProof:
    """What a party shows at its first claim.

    Attributes:
        party: the leaf.
        path: its siblings, from the leaf up.
    """

    party: Party
    path: tuple[ShareSibling, ...]

    def offset(self) -> int:
        """Return the sum of all shares to the party's left."""
        return sum(step.node.shares for step in self.path if step.side is Side.LEFT)

    def abi_tuple(self) -> tuple[int, list[bytes], list[int]]:
        """Return `ShareProof {path, hashes, sums}` as the contract takes it; a set bit is a left sibling."""
        bits = sum(1 << i for i, step in enumerate(self.path) if step.side is Side.LEFT)
        return bits, [s.node.hash for s in self.path], [s.node.shares for s in self.path]

    def verify(self, split: Split) -> int:
        """Check the proof against a split and return the party's offset.

        Raises:
            BadProof: when it leads elsewhere, is too deep, or a sum on the way leaves uint128.
        """
        if len(self.path) > DEPTH_MAX:
            raise BadProof(f"the proof has {len(self.path)} steps; at most {DEPTH_MAX} are allowed", self)
        for step in self.path:
            if not 0 <= step.node.shares <= UINT128_MAX:
                raise BadProof(f"a sibling's shares {step.node.shares} leave uint128", step)
        try:
            reached = fold_path(self.party.node(), [(s.side, s.node) for s in self.path], join_shares)
        except BadSplit as error:
            raise BadProof(str(error), self) from error
        if reached != ShareNode(split.root, split.total_shares):
            raise BadProof(
                f"the proof leads to 0x{reached.hash.hex()} with {reached.shares} shares, "
                f"not to the split's root 0x{split.root.hex()} with {split.total_shares}",
                reached,
            )
        return self.offset()


class PartyTable:
    """The published parties of a split, with the tree over them: root, proofs and entitlements."""

    def __init__(self, parties: Sequence[Party]) -> None:
        """Build the tree over the parties in their published order.

        Raises:
            BadSplit: when there is none, or the shares leave uint128.
        """
        if not parties:
            raise BadSplit("a split has at least one party", 0)
        self.parties: Final = tuple(parties)
        self._levels = build_levels([party.node() for party in parties], join_shares)

    @classmethod
    def of(cls, *parties: Party) -> Self:
        """Build from parties one by one."""
        return cls(parties)

    def __len__(self) -> int:
        return len(self.parties)

    @property
    def root(self) -> ShareNode:
        """The root; its sum is the total of all shares."""
        return self._levels[-1][0]

    def split(self, asset: Address) -> Split:
        """Return the split that pays `asset` to these parties."""
        return Split(asset, self.root.hash, self.root.shares)

    def proof(self, index: int) -> ShareProof:
        """Return the proof of party `index`.

        Raises:
            OutOfBounds: when there is no such party.
        """
        path = tuple(
            ShareSibling(side, self._levels[level][position])
            for side, level, position in path_positions(index, len(self))
        )
        return ShareProof(self.parties[index], path)

    def offsets(self) -> Iterator[int]:
        """Yield each party's offset, in published order."""
        offset = 0
        for party in self.parties:
            yield offset
            offset += party.share


def entitled_down(pot: AssetAmount, share: int, total_shares: int) -> AssetAmount:
    """Return floor(pot * share / total_shares): what a party has ever been entitled to (section 5)."""
    return AssetAmount(pot.base_units * share // total_shares)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
