"""Signers: what they sign, what they refuse, and that a key never gets out."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account

from meterbridge.adapters.signers import (
    BadKeystore,
    KeystoreExists,
    KeystoreSigner,
    LocalSigner,
    SignerError,
    WrongPassword,
)
from meterbridge.domain.addresses import Address
from meterbridge.domain.signatures import CURVE_ORDER, recover_signer
from meterbridge.services.ports import StatementSigner

LIGHT = 2**4  # rounds of scrypt: the tests look at the file, not at how hard it is to guess
KEY = bytes.fromhex("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291")
ADDRESS = "0x71562b71999873DB5b286dF957af199Ec94617F7"  # of that key, well known from the tests of geth
DIGEST = bytes(range(32))


@pytest.fixture
def keystore(tmp_path: Path) -> KeystoreSigner:
    return KeystoreSigner.create(tmp_path / "meter.json", "a long password", work=LIGHT)


def test_address_and_signature_are_those_of_another_library() -> None:
    signer: StatementSigner = LocalSigner(KEY)
    assert str(signer.address) == ADDRESS == Account.from_key(KEY).address
    assert signer.sign_digest(DIGEST) == bytes(Account.from_key(KEY).unsafe_sign_hash(DIGEST).signature)


def test_signatures_are_low_s_and_recover() -> None:
    signer = LocalSigner(KEY)
    for i in range(64):  # every second one would be high without the rule
        digest = bytes([i]) * 32
        signature = signer.sign_digest(digest)
        assert int.from_bytes(signature[32:64], "big") <= CURVE_ORDER // 2
        assert recover_signer(digest, signature) == signer.address


def test_fresh_keys_differ() -> None:
    assert len({LocalSigner.generate().address for _ in range(8)}) == 8


@pytest.mark.parametrize("text", [KEY.hex(), "0x" + KEY.hex(), "0x" + KEY.hex().upper() + "\n"])
def test_key_is_read_from_hex(text: str) -> None:
    assert str(LocalSigner.from_hex(text).address) == ADDRESS


@pytest.mark.parametrize(
    "bad", [b"", KEY[:-1], KEY + b"\0", bytes(32), CURVE_ORDER.to_bytes(32, "big"), "0x" + KEY.hex()]
)
def test_what_is_no_key_is_refused(bad: bytes) -> None:
    with pytest.raises(SignerError, match="private key"):
        LocalSigner(bad)


@pytest.mark.parametrize("bad", [b"", DIGEST[:-1], DIGEST + b"\0", DIGEST.hex()])
def test_only_digests_are_signed(bad: bytes) -> None:
    with pytest.raises(SignerError, match="a digest is 32 bytes"):
        LocalSigner(KEY).sign_digest(bad)


def assert_no_secret(text: str, secret: bytes = KEY) -> None:
    for form in (secret.hex(), secret.hex().upper(), str(int.from_bytes(secret, "big")), repr(secret)[2:-1]):
        assert form not in text


def test_key_is_not_shown(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    for signer in (LocalSigner(KEY), KeystoreSigner(KEY, tmp_path / "file")):
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("test").debug("%s %r %s", signer, signer, {"signer": [signer]})
        signer.sign_digest(DIGEST)
        assert_no_secret(caplog.text + repr(signer) + f"{signer}" + str([signer]))
        assert ADDRESS in repr(signer)
        assert not hasattr(signer, "__dict__")


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_key_is_not_pickled_or_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match=ADDRESS) as caught:
        duplicate(LocalSigner(KEY))
    assert_no_secret(str(caught.value))


@pytest.mark.parametrize("text", [KEY.hex() + "zz", KEY.hex() + "00", "x" + KEY.hex()])
def test_mistyped_key_is_not_repeated_in_the_error(text: str) -> None:
    with pytest.raises(SignerError) as caught:
        LocalSigner.from_hex(text)
    assert_no_secret("".join(traceback.format_exception(caught.value)))
    assert caught.value.value is None
    assert caught.value.__cause__ is None


def test_keystore_opens_again_with_its_password(keystore: KeystoreSigner) -> None:
    again = KeystoreSigner.open(keystore.path, "a long password")
    assert again.address == keystore.address
    assert again.sign_digest(DIGEST) == keystore.sign_digest(DIGEST)


def test_keystore_is_one_that_another_library_reads(keystore: KeystoreSigner) -> None:
    stored = json.loads(keystore.path.read_text())
    assert stored["crypto"]["kdf"] == "scrypt"
    key = Account.decrypt(stored, "a long password")
    assert Address.parse(Account.from_key(key).address) == keystore.address
    assert bytes(key).hex() not in keystore.path.read_text()


def test_default_work_is_that_of_ethereum_clients(tmp_path: Path) -> None:
    signer = KeystoreSigner.create(tmp_path / "meter.json", "a long password")
    assert json.loads(signer.path.read_text())["crypto"]["kdfparams"]["n"] == 262144


def test_keystore_is_readable_by_its_owner_only(keystore: KeystoreSigner) -> None:
    assert stat.S_IMODE(keystore.path.stat().st_mode) == 0o600


def test_keystore_is_never_overwritten(keystore: KeystoreSigner) -> None:
    before = keystore.path.read_bytes()
    with pytest.raises(KeystoreExists, match=r"meter\.json exists already"):
        KeystoreSigner.create(keystore.path, "another password", work=LIGHT)
    assert keystore.path.read_bytes() == before


def test_keystore_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "meter.json"
    path.write_text("somebody else's")
    monkeypatch.setattr(Path, "exists", lambda _self: False)  # as it was when this process looked
    with pytest.raises(KeystoreExists):
        KeystoreSigner.create(path, "a password", work=LIGHT)
    assert path.read_text() == "somebody else's"


def test_wrong_password_is_a_clear_error(keystore: KeystoreSigner) -> None:
    guess = " ".join(["a", "wrong", "password"])
    with pytest.raises(WrongPassword, match=r"the password does not open .*meter\.json") as caught:
        KeystoreSigner.open(keystore.path, guess)
    assert guess not in "".join(traceback.format_exception(caught.value))


def test_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="needs a password"):
        KeystoreSigner.create(tmp_path / "meter.json", "")
    assert not (tmp_path / "meter.json").exists()


def test_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="cannot be written: No such file or directory"):
        KeystoreSigner.create(tmp_path / "missing" / "meter.json", "a password", work=LIGHT)


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"\xff\xfe", b"[]", b"{}", b'{"version": 3}', b'{"version": 9, "crypto": {}}'],
)
def test_file_that_is_no_keystore_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "meter.json"
    path.write_bytes(content)
    with pytest.raises(BadKeystore, match=r"meter\.json"):
        KeystoreSigner.open(path, "a password")


def test_missing_keystore_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadKeystore, match="cannot be read: No such file"):
        KeystoreSigner.open(tmp_path / "meter.json", "a password")


def test_keystore_with_another_address_is_refused(keystore: KeystoreSigner) -> None:
    stored = json.loads(keystore.path.read_text())
    stored["address"] = "00" * 20
    keystore.path.write_text(json.dumps(stored))
    with pytest.raises(BadKeystore, match=f"its key is that of {keystore.address}"):
        KeystoreSigner.open(keystore.path, "a long password")


def test_truncated_ciphertext_is_noticed(keystore: KeystoreSigner) -> None:
    stored = json.loads(keystore.path.read_text())
    stored["crypto"]["ciphertext"] = stored["crypto"]["ciphertext"][:-2]
    keystore.path.write_text(json.dumps(stored))
    with pytest.raises(WrongPassword):  # the same check covers both, and cannot tell them apart
        KeystoreSigner.open(keystore.path, "a long password")
