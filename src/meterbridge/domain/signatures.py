"""ECDSA signatures over 32-byte digests, as the contract accepts them (protocol, section 8).

A signature is 65 bytes, r, s and v, with v 27 or 28 and s in the lower half of the curve's order. The
upper half would be a second signature for the same digest, and is refused.
"""

from __future__ import annotations

from typing import Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSignature

SIGNATURE_BYTES: Final = 65
CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
LOW_S_MAX: Final = CURVE_ORDER // 2
_V_VALUES: Final = (27, 28)


def encode_signature(r: int, s: int, y_parity: int) -> bytes:
    """Return r, s and v as 65 bytes, with s brought into the lower half.

    Args:
        r: 1 to the curve's order - 1.
        s: likewise; the upper half is mirrored, which flips the parity.
        y_parity: 0 or 1.

    Raises:
        BadSignature: when a number is out of range.
    """
    if not (0 < r < CURVE_ORDER and 0 < s < CURVE_ORDER and y_parity in (0, 1)):
        raise BadSignature("r, s or the parity of a signature is out of range", (r, s, y_parity))
    if s > LOW_S_MAX:
        s, y_parity = CURVE_ORDER - s, 1 - y_parity
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([_V_VALUES[y_parity]])


def compact_signature(signature: bytes) -> bytes:
    """Return the 65 bytes of a key's signature in the 64 of EIP-2098.

    The highest bit of s, which a low s does not need, says which v it is.

    Raises:
        BadSignature: when it is not 65 bytes, has another v, or a high s.
    """
    _require_canonical(signature)
    parity = signature[64] - 27
    return signature[:32] + bytes([signature[32] | parity << 7]) + signature[33:64]


def recover_signer(digest: bytes, signature: bytes) -> Address:
    """Return the address whose key signed `digest`.

    A signature over anything else recovers to some other address, so the caller compares.

    Raises:
        BadSignature: when it is not 65 bytes, has another v, a high s, or belongs to no key.
    """
    from eth_keys import keys  # type: ignore[attr-defined]  # loads a second of curve code: only when needed
    from eth_keys.exceptions import BadSignature as NoSuchKey
    from eth_utils.exceptions import ValidationError

    _require_canonical(signature)
    vrs = (signature[64] - 27, int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"))
    try:
        public_key = keys.Signature(vrs=vrs).recover_public_key_from_msg_hash(digest)
    except (NoSuchKey, ValidationError) as error:
        raise BadSignature(f"the signature 0x{signature.hex()} belongs to no key", signature) from error
    return Address(public_key.to_canonical_address())


def require_signed_by(signer: Address, digest: bytes, signature: bytes) -> None:
    """Check that the key of `signer` signed `digest`.

    Raises:
        BadSignature: when the signature is malformed, malleable, over something else, or by somebody else.
    """
    found = recover_signer(digest, signature)
    if found != signer:
        raise BadSignature(
            f"the signature is not by {signer} over 0x{digest.hex()} (it recovers to {found}): "
            "what was signed has been changed, or another key signed it",
            signature,
        )


def _require_canonical(signature: bytes) -> None:
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        raise BadSignature(
            f"a signature is {SIGNATURE_BYTES} bytes (r, s, v), not {len(signature)}", signature
        )
    if signature[64] not in _V_VALUES:
        raise BadSignature(f"v is {signature[64]}; it must be 27 or 28", signature)
    if int.from_bytes(signature[32:64], "big") > LOW_S_MAX:
        raise BadSignature("s is in the upper half of the curve's order; that is malleable", signature)
