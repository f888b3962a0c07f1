"""Calldata of every function of the contract that changes something, from domain values.

Pure: nothing is sent here. `SplitterClient` sends one of them, or several as a `multicall`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.domain.addresses import ADDRESS_BYTES, Address
from meterbridge.domain.errors import BadSignature
from meterbridge.domain.signatures import SIGNATURE_BYTES, compact_signature, require_signed_by
from meterbridge.domain.splits import Party, ShareProof, Split
from meterbridge.domain.statements import ClaimAuthorization, SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, pack_word
from meterbridge.services.settling.parcels import Parcel

_ABI: Final = load_artifact("SettlementSplitter").abi
_WORD: Final = 32
_SETTLE_ARGUMENTS: Final = [entry["name"] for entry in _ABI.functions["settle"].inputs.entries]
_SETTLE_ONE_ARGUMENTS: Final = [entry["name"] for entry in _ABI.functions["settleOne"].inputs.entries]


@dataclass(frozen=True, slots=True)
class TokenSignature:
    """A payer's signature for a token, in the parts that EIP-2612 and EIP-3009 take."""

    v: int
    r: bytes
    s: bytes

    @classmethod
    def of(cls, signature: bytes) -> TokenSignature:
        """Cut 65 bytes (r, s, v) into parts."""
        if len(signature) != SIGNATURE_BYTES:
            raise ValueError(f"a signature is {SIGNATURE_BYTES} bytes, not {len(signature)}")
        return cls(signature[64], signature[:32], signature[32:64])

    def parts(self) -> tuple[int, bytes, bytes]:
        """Return v, r and s."""
        return self.v, self.r, self.s


@dataclass(frozen=True, slots=True)
class Permit:
    """An EIP-2612 permit: the signature, and until when it is good (seconds since 1970)."""

    deadline: int
    signature: TokenSignature


@dataclass(frozen=True, slots=True)
class TransferAuthorization:
    """An EIP-3009 authorization of a deposit: when it is good, its salt, and the signature.

    Attributes:
        valid_after: good later than this, seconds since 1970.
        valid_before: good earlier than this.
        salt: 32 bytes, new for each; the token's nonce is hashed from it and the tariff's id.
    """

    valid_after: int
    valid_before: int
    salt: bytes
    signature: TokenSignature


def set_signer(signer: Address, until: int) -> bytes:
    """Let `signer` sign what is sealed at or before `until`; 0 revokes it."""
    return _ABI.encode("setSigner", str(signer), until)


def publish_split(split: Split, parties: Sequence[Party]) -> bytes:
    """Emit the parties of a split, proven on chain."""
    rows = [(str(party.account), party.role, party.share) for party in parties]
    return _ABI.encode("publishSplit", split.abi_tuple(), rows)


def announce_split(split: Split, uri: str) -> bytes:
    """Emit where the parties of a split are to be found."""
    return _ABI.encode("announceSplit", split.abi_tuple(), uri)


def publish_tariff(tariff: Tariff, document: bytes) -> bytes:
    """Emit a tariff and its document, proven on chain."""
    return _ABI.encode("publishTariff", tariff.abi_tuple(), document)


def deposit(tariff: Tariff, split: Split, payer: Address, amount: AssetAmount) -> bytes:
    """Pull an approved amount from the sender into the payer's account."""
    return _ABI.encode("deposit", *_deposit(tariff, split, payer, amount))


def deposit_with_permit(
    tariff: Tariff, split: Split, payer: Address, amount: AssetAmount, permit: Permit
) -> bytes:
    """Pull an amount that the sender permits by signature."""
    values = _deposit(tariff, split, payer, amount)
    return _ABI.encode("depositWithPermit", *values, permit.deadline, *permit.signature.parts())


def deposit_with_authorization(
    tariff: Tariff, split: Split, payer: Address, amount: AssetAmount, given: TransferAuthorization
) -> bytes:
    """Receive an amount that the payer authorised by signature; anyone may submit it."""
    values = _deposit(tariff, split, payer, amount)
    window = (given.valid_after, given.valid_before, given.salt)
    return _ABI.encode("depositWithAuthorization", *values, *window, *given.signature.parts())


def thaw(tariff: Tariff, amount: AssetAmount) -> bytes:
    """Set how much of the sender's balance is thawing."""
    return _ABI.encode("thaw", tariff.abi_tuple(), amount.base_units)


def withdraw(tariff: Tariff, split: Split) -> bytes:
    """Pay the sender what it thawed."""
    return _ABI.encode("withdraw", tariff.abi_tuple(), split.abi_tuple())


def settle(tariff: Tariff, signed: SignedStatement) -> bytes:
    """Draw what a signed statement says; see `settle_parcel`."""
    return settle_parcel(tariff, Parcel.of(signed))


def settle_parcel(tariff: Tariff, parcel: Parcel) -> bytes:
    """Draw what a signed statement says.

    A key's signature goes as the 64 bytes of EIP-2098; if there is a single line, by `settleOne`, which is
    cheaper. Packed by hand, in the order of the ABI: a thousand lines are four words each, and a general
    encoder takes longer for them than everything else on the way to the node.
    """
    static = {
        "signer": _pad_address(parcel.signer),
        "sealedAt": pack_word(parcel.sealed_at),
        "tariff": _pack_tariff(tariff),
    }
    compact = _key_signature(parcel)
    if compact is not None and len(parcel) == 1:
        static |= {"line": _pack_lines(parcel), "r": compact[:_WORD], "vs": compact[_WORD:]}
        return _ABI.functions["settleOne"].selector + _pack(_SETTLE_ONE_ARGUMENTS, static, {})
    dynamic = {
        "lines": pack_word(len(parcel)) + _pack_lines(parcel),
        "signature": _pack_bytes(compact or parcel.signature),
    }
    return _ABI.functions["settle"].selector + _pack(_SETTLE_ARGUMENTS, static, dynamic)


def fund(split: Split, amount: AssetAmount) -> bytes:
    """Add to a pot directly."""
    return _ABI.encode("fund", split.abi_tuple(), amount.base_units)


def claim_first(split: Split, proof: ShareProof) -> bytes:
    """Prove a party's share and pay its account."""
    party = proof.party
    row = (str(party.account), party.role, party.share)
    return _ABI.encode("claimFirst", split.abi_tuple(), row, proof.abi_tuple())


def claim(split: Split, offset: int, account: Address) -> bytes:
    """Pay a registered party's account."""
    return _ABI.encode("claim", offset, str(account), split.abi_tuple())


def claim_to(split: Split, offset: int, recipient: Address) -> bytes:
    """Pay the sender's own stake to a recipient."""
    return _ABI.encode("claimTo", split.abi_tuple(), offset, str(recipient))


def claim_with_authorization(split: Split, authorization: ClaimAuthorization, signature: bytes) -> bytes:
    """Pay a party's stake to the recipient that it authorised."""
    return _ABI.encode("claimWithAuthorization", split.abi_tuple(), authorization.abi_tuple(), signature)


def multicall(calls: Sequence[bytes]) -> bytes:
    """Make several calls in one transaction; all of them succeed or none."""
    return _ABI.encode("multicall", list(calls))


def _key_signature(parcel: Parcel) -> bytes | None:
    """Return the 64 bytes of a signature by the signer's key, or None where a contract is to judge it."""
    try:
        require_signed_by(parcel.signer, parcel.digest, parcel.signature)
    except BadSignature:
        return None
    return compact_signature(parcel.signature)


def _deposit(
    tariff: Tariff, split: Split, payer: Address, amount: AssetAmount
) -> tuple[object, object, str, int]:
    return tariff.abi_tuple(), split.abi_tuple(), str(payer), amount.base_units


def _pack(order: Sequence[str], static: Mapping[str, bytes], dynamic: Mapping[str, bytes]) -> bytes:
    """Put arguments side by side as the ABI does: static ones in place, of dynamic ones the offset."""
    heads = sum(len(static.get(name, bytes(_WORD))) for name in order)
    head, tail = b"", b""
    for name in order:
        if name in static:
            head += static[name]
        else:
            head += pack_word(heads + len(tail))
            tail += dynamic[name]
    return head + tail


def _pack_tariff(tariff: Tariff) -> bytes:
    numbers = map(pack_word, (*tariff.rates.to_words(), tariff.scale, tariff.thaw_period))
    return _pad_address(tariff.provider) + tariff.split_id + b"".join(numbers) + tariff.terms


def _pack_lines(parcel: Parcel) -> bytes:
    """Return payer, usage and head of each line, four words a line."""
    rows = np.zeros((len(parcel), 4 * _WORD), dtype=np.uint8)
    rows[:, _WORD - ADDRESS_BYTES : _WORD] = parcel.payers
    rows[:, _WORD : 3 * _WORD] = parcel.usage.astype(">i8").view(np.uint8).reshape(len(parcel), -1)
    rows[:, 3 * _WORD :] = parcel.heads
    return rows.tobytes()


def _pack_bytes(data: bytes) -> bytes:
    return pack_word(len(data)) + data + bytes(-len(data) % _WORD)


def _pad_address(address: Address) -> bytes:
    return address.to_bytes().rjust(_WORD, b"\0")
