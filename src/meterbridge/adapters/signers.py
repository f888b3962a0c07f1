"""Keys that sign digests: fresh or given ones in memory, and encrypted keystore files.

All of them fit the `StatementSigner` port. A key never shows in `repr`, in errors or in logs, and is never
pickled or copied. Signatures are deterministic (RFC 6979), 65 bytes, with s in the lower half.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from eth_keys import keys  # type: ignore[attr-defined]  # the package does not say that it exports it
from eth_keys.datatypes import PrivateKey

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.signatures import CURVE_ORDER, encode_signature
from meterbridge.domain.strict_json import BadJson, require_shallow

if TYPE_CHECKING:
    from eth_account.account import Account as AccountFunctions

KEY_BYTES: Final = 32
SCRYPT_WORK: Final = 2**18
"""Rounds of scrypt, as Ethereum clients use them: about a second and 256 MiB for one guess."""


class SignerError(MeterbridgeError):
    """A key cannot be made, read or used."""


class WrongPassword(SignerError):
    """The password does not open the keystore."""


class BadKeystore(SignerError):
    """The file is no keystore, or a damaged one."""


class KeystoreExists(SignerError):
    """There is a file already; a keystore is never overwritten."""


class LocalSigner:
    """A private key in this process's memory."""

    __slots__ = ("_address", "_key")

    def __init__(self, private_key: bytes) -> None:
        """Take 32 bytes.

        Raises:
            SignerError: when they are no private key; they are not repeated in it.
        """
        if not isinstance(private_key, bytes) or len(private_key) != KEY_BYTES:
            raise SignerError(f"a private key is {KEY_BYTES} bytes")
        if not 0 < int.from_bytes(private_key, "big") < CURVE_ORDER:
            raise SignerError("the private key is zero or beyond the curve's order")
        self._key: Final[PrivateKey] = keys.PrivateKey(private_key)
        self._address: Final = Address(self._key.public_key.to_canonical_address())

    @classmethod
    def generate(cls) -> LocalSigner:
        """Make a fresh key from the operating system's randomness."""
        return LocalSigner(_fresh_key())

    @classmethod
    def from_hex(cls, text: str) -> LocalSigner:
        """Read a private key from 64 hex digits, with or without 0x.

        Raises:
            SignerError: when it is none; the text is not repeated in it.
        """
        try:
            return LocalSigner(bytes.fromhex(text.strip().removeprefix("0x")))
        except ValueError:
            # The cause would show what was given: a key with a typing error is still mostly a key.
            raise SignerError("a private key is 64 hexadecimal digits, with or without 0x") from None

    @property
    def address(self) -> Address:
        """Who signs."""
        return self._address

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes; return r, s and v as 65 bytes, s in the lower half.

        Raises:
            SignerError: when the digest is not 32 bytes.
        """
        if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES:
            raise SignerError(f"a digest is {DIGEST_BYTES} bytes, not {digest!r}", digest)
        signature = self._key.sign_msg_hash(digest)
        return encode_signature(signature.r, signature.s, signature.v)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address})"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} is not pickled or copied: its key stays where it is")


class KeystoreSigner(LocalSigner):
    """A private key from an encrypted file (Web3 Secret Storage, scrypt), decrypted in memory.

    Attributes:
        path: where the file is.
    """

    __slots__ = ("path",)

    def __init__(self, private_key: bytes, path: Path) -> None:
        """Use `create` or `open` instead."""
        super().__init__(private_key)
        self.path: Final = path

    @classmethod
    def create(cls, path: Path, password: str, *, work: int = SCRYPT_WORK) -> Self:
        """Make a fresh key and keep it encrypted in a new file that only its owner can read (mode 0600).

        Args:
            path: where the file will be; its folder must exist.
            password: what opens it; not empty.
            work: rounds of scrypt, a power of two.

        Raises:
            KeystoreExists: when there is a file already; it is left as it is.
            SignerError: when the password is empty, or the file cannot be written.
        """
        if not password:
            raise SignerError("a keystore needs a password")
        if path.exists():
            raise KeystoreExists(f"{path} exists already; a keystore is never overwritten", path)
        key = _fresh_key()
        encrypted = _account_functions().encrypt(key, password, kdf="scrypt", iterations=work)
        _write_new(path, json.dumps(encrypted).encode())
        return cls(key, path)

    @classmethod
    def open(cls, path: Path, password: str) -> Self:
        """Decrypt a keystore.

        Raises:
            WrongPassword: when the password is another one.
            BadKeystore: when there is no such file, or it is no keystore.
        """
        stored = _read_keystore(path)
        try:
            key = bytes(_account_functions().decrypt(stored, password))
        except ValueError as error:
            if "MAC mismatch" in str(error):
                raise WrongPassword(f"the password does not open {path}", path) from None
            raise BadKeystore(f"{path} is a damaged keystore: {error}", path) from error
        except (KeyError, TypeError, NotImplementedError) as error:
            raise BadKeystore(f"{path} is no keystore that is understood: {error!r}", path) from error
        signer = cls(key, path)
        _require_address(signer, stored.get("address"))
        return signer


def _fresh_key() -> bytes:
    return (secrets.randbelow(CURVE_ORDER - 1) + 1).to_bytes(KEY_BYTES, "big")


def _account_functions() -> AccountFunctions:
    """Load eth-account when a keystore is used: it brings a second of imports along."""
    from eth_account import Account

    return Account()


def _read_keystore(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
        require_shallow(text)
        stored = json.loads(text)
    except OSError as error:
        raise BadKeystore(f"{path} cannot be read: {error.strerror}", path) from error
    except (ValueError, BadJson) as error:
        raise BadKeystore(f"{path} is no keystore: it is not JSON", path) from error
    if not isinstance(stored, dict):
        raise BadKeystore(f"{path} is no keystore: it is JSON without fields", path)
    return stored


def _require_address(signer: KeystoreSigner, stated: object) -> None:
    """A file that names another address than its key's has been changed; statements would fail later."""
    if stated is None:
        return
    if not isinstance(stated, str) or stated.removeprefix("0x").lower() != signer.address.to_bytes().hex():
        raise BadKeystore(f"{signer.path} names {stated!r}, its key is that of {signer.address}", stated)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that must not exist, readable by its owner only, and durably."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeystoreExists(f"{path} exists already; a keystore is never overwritten", path) from None
    except OSError as error:
        raise SignerError(f"{path} cannot be written: {error.strerror}", path) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a keystore opens nothing, and would stand in the way
        raise SignerError(f"{path} cannot be written: {error.strerror}", path) from error
