"""A key in AWS KMS that never leaves it: secp256k1, asymmetric, made for signing.

KMS signs the digest that it is given, and answers in DER with an s in either half and without the parity;
both are brought into the form that the contract accepts, and each signature is checked before it is returned.
Credentials and region come from where boto3 looks for them.
"""

from __future__ import annotations

from typing import Any, Final

from meterbridge.adapters.signers import SignerError
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSignature
from meterbridge.domain.keccak import DIGEST_BYTES, keccak256
from meterbridge.domain.signatures import encode_signature, recover_signer

KEY_SPEC: Final = "ECC_SECG_P256K1"
KEY_USAGE: Final = "SIGN_VERIFY"
_ALGORITHM: Final = "ECDSA_SHA_256"
# SubjectPublicKeyInfo of an uncompressed point on secp256k1, up to the point's two numbers (RFC 5480).
_PUBLIC_KEY_PREFIX: Final = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")
_SEQUENCE, _INTEGER = 0x30, 0x02


class KmsSigner:
    """Signs with a key of AWS KMS; fits the `StatementSigner` port.

    Attributes:
        key_id: how KMS is asked for the key: id, ARN or alias.
    """

    __slots__ = ("_address", "_client", "key_id")

    def __init__(self, key_id: str, client: Any = None) -> None:
        """Ask KMS for the public key.

        Args:
            key_id: id, ARN, or `alias/NAME`.
            client: a boto3 client of `kms`; None makes one as the environment says.

        Raises:
            SignerError: when boto3 is missing, KMS does not answer or refuses, or the key is of another kind.
        """
        self.key_id: Final = key_id
        self._client: Final = _client() if client is None else client
        answer = self._ask("get_public_key")
        # The second name is the older one; not every server of this API gives the first.
        spec, usage = answer.get("KeySpec", answer.get("CustomerMasterKeySpec")), answer.get("KeyUsage")
        if spec != KEY_SPEC or usage != KEY_USAGE:
            raise SignerError(
                f"the KMS key {key_id} is {spec} for {usage}; "
                f"make one with key spec {KEY_SPEC} for {KEY_USAGE}",
                key_id,
            )
        self._address: Final = _address_of(bytes(answer["PublicKey"]))

    @property
    def address(self) -> Address:
        """Who signs."""
        return self._address

    def sign_digest(self, digest: bytes) -> bytes:
        """Have 32 bytes signed; return r, s and v as 65 bytes, s in the lower half.

        Raises:
            SignerError: when the digest is not 32 bytes, KMS does not answer or refuses, or its answer is no
                signature of this key over the digest.
        """
        if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES:
            raise SignerError(f"a digest is {DIGEST_BYTES} bytes, not {digest!r}", digest)
        answer = self._ask("sign", Message=digest, MessageType="DIGEST", SigningAlgorithm=_ALGORITHM)
        r, s = _numbers(bytes(answer["Signature"]))
        for parity in (0, 1):
            try:
                signature = encode_signature(r, s, parity)
                if recover_signer(digest, signature) == self._address:
                    return signature
            except BadSignature:
                continue
        raise SignerError(
            f"KMS answered with a signature that is not by {self._address} over 0x{digest.hex()}", digest
        )

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, operation)(KeyId=self.key_id, **parameters)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error without a code")
            raise SignerError(f"KMS refuses {operation} with key {self.key_id}: {code}", code) from None
        except BotoCoreError as error:
            # Its text may hold what the environment configures; its name says what went wrong.
            raise SignerError(
                f"KMS cannot be asked for {operation} with key {self.key_id}: {type(error).__name__}"
            ) from None
        return answer

    def __repr__(self) -> str:
        return f"KmsSigner({self._address}, {self.key_id!r})"


def _client() -> Any:
    try:
        import boto3
    except ImportError:
        raise SignerError("signing with AWS KMS needs boto3: pip install 'meterbridge[kms]'") from None
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.client("kms")
    except BotoCoreError as error:
        raise SignerError(
            f"KMS cannot be used as AWS is configured here: {type(error).__name__}; "
            "set AWS_REGION and credentials"
        ) from None


def _address_of(public_key: bytes) -> Address:
    point = public_key.removeprefix(_PUBLIC_KEY_PREFIX)
    if len(point) != 64 or not public_key.startswith(_PUBLIC_KEY_PREFIX):
        raise SignerError("KMS answered with a public key that is none of secp256k1", public_key)
    return Address(keccak256(point)[12:])


def _numbers(signature: bytes) -> tuple[int, int]:
    """Return r and s of a DER signature: SEQUENCE of two INTEGERs, each at most 33 bytes long."""
    try:
        if signature[0] != _SEQUENCE or signature[1] != len(signature) - 2:
            raise ValueError(signature)
        r, rest = _number(signature[2:])
        s, rest = _number(rest)
        if rest:
            raise ValueError(signature)
    except (IndexError, ValueError):
        raise SignerError(f"KMS answered 0x{signature.hex()}, which is no DER signature", signature) from None
    return r, s


def _number(encoded: bytes) -> tuple[int, bytes]:
    end = 2 + encoded[1]
    if encoded[0] != _INTEGER or not 2 < end <= len(encoded) or encoded[1] > 33:
        raise ValueError(encoded)
    return int.from_bytes(encoded[2:end], "big", signed=True), encoded[end:]
