"""Keys in AWS KMS, against moto: what they sign, and that another library agrees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eth_account import Account

from meterbridge.adapters.chain import Gateway, KeySender, TokenClient
from meterbridge.adapters.devnet import embedded_chain
from meterbridge.adapters.embedded import GAS_LIMIT
from meterbridge.adapters.signers import SignerError
from meterbridge.domain.signatures import CURVE_ORDER
from meterbridge.domain.units import AssetAmount
from meterbridge.entrypoints.cli.keys import find_sender, open_signer
from meterbridge.services.ports import StatementSigner

boto3 = pytest.importorskip("boto3", reason="AWS KMS is an extra: pip install 'meterbridge[kms]'")
moto = pytest.importorskip("moto")

from cryptography.hazmat.primitives import hashes  # noqa: E402  # comes with moto
from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: E402
from moto.kms.models import kms_backends  # noqa: E402
from moto.kms.utils import ECDSAPrivateKey  # noqa: E402

from meterbridge.adapters.kms import KmsSigner  # noqa: E402

DIGESTS = [bytes([i]) * 32 for i in range(1, 33)]
SECRET = "a-secret-access-key-of-the-test"
moto_signs = ECDSAPrivateKey.sign


def sign_as_aws_does(key: Any, message: bytes, algorithm: str) -> bytes:
    """Moto hashes a digest once more, whatever MessageType says; AWS signs it as it is."""
    assert (len(message), algorithm) == (32, "ECDSA_SHA_256")
    signed: bytes = key.private_key.sign(message, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    return signed


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id-of-the-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(ECDSAPrivateKey, "sign", sign_as_aws_does)
    with moto.mock_aws():
        yield boto3.client("kms")


def make_key(kms: Any, spec: str = "ECC_SECG_P256K1", usage: str = "SIGN_VERIFY") -> str:
    made: str = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
    return made


def test_signatures_recover_to_the_address_and_are_low_s(kms: Any) -> None:
    signer: StatementSigner = KmsSigner(make_key(kms), kms)
    for digest in DIGESTS:  # KMS makes every second one high
        signature = signer.sign_digest(digest)
        assert Account._recover_hash(digest, signature=signature) == str(signer.address)
        assert int.from_bytes(signature[32:64], "big") <= CURVE_ORDER // 2
        assert signature[64] in (27, 28)


def test_every_key_has_its_own_address(kms: Any) -> None:
    assert len({KmsSigner(make_key(kms), kms).address for _ in range(4)}) == 4


def test_is_named_on_the_command_line_by_id_arn_or_alias(kms: Any) -> None:
    key = make_key(kms)
    kms.create_alias(AliasName="alias/meter", TargetKeyId=key)
    arn = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    address = KmsSigner(key, kms).address
    assert {open_signer(f"kms:{name}", None).address for name in (key, arn, "alias/meter")} == {address}
    assert find_sender(f"kms:{key}", None, None).address == address


def test_sends_a_transaction(kms: Any) -> None:
    net = embedded_chain()
    sender = KeySender(KmsSigner(make_key(kms), kms))
    net.fund([sender.address])
    token = net.deploy().token.address
    client = TokenClient(Gateway(net.w3, sender, fixed_gas=GAS_LIMIT), token)
    client.mint(sender.address, AssetAmount(7))
    assert client.balance_of(sender.address) == AssetAmount(7)


@pytest.mark.parametrize(
    ("spec", "usage"), [("ECC_NIST_P256", "SIGN_VERIFY"), ("RSA_2048", "ENCRYPT_DECRYPT")]
)
def test_keys_of_another_kind_are_refused(kms: Any, spec: str, usage: str) -> None:
    with pytest.raises(SignerError, match=f"{spec} for {usage}; make one with key spec ECC_SECG_P256K1"):
        KmsSigner(make_key(kms, spec, usage), kms)


def test_what_kms_refuses_is_said_without_the_credentials(kms: Any) -> None:
    with pytest.raises(SignerError, match=r"refuses get_public_key with key alias/none: NotFoundException"):
        KmsSigner("alias/none", kms)
    signer = KmsSigner(make_key(kms), kms)
    kms_backends.reset()  # the key is gone
    with pytest.raises(SignerError, match=r"refuses sign with key .*: NotFoundException") as caught:
        signer.sign_digest(DIGESTS[0])
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {signer!r}"


def test_a_signature_over_something_else_is_found(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = KmsSigner(make_key(kms), kms)
    monkeypatch.setattr(ECDSAPrivateKey, "sign", moto_signs)  # hashes the digest again
    with pytest.raises(SignerError, match="not by 0x"):
        signer.sign_digest(DIGESTS[0])


@pytest.mark.parametrize(
    "answer", [b"", b"0\0", b"0\x06\x02\x01\x01\x02\x01", b"0\x07\x02\x01\x01\x02\x01\x01\0"]
)
def test_what_is_no_signature_is_refused(kms: Any, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    signer = KmsSigner(make_key(kms), kms)
    monkeypatch.setattr(ECDSAPrivateKey, "sign", lambda *_: answer)
    with pytest.raises(SignerError, match="no DER signature"):
        signer.sign_digest(DIGESTS[0])


@pytest.mark.parametrize("bad", [b"", DIGESTS[0][:-1], DIGESTS[0].hex()])
def test_only_digests_are_signed(kms: Any, bad: Any) -> None:
    with pytest.raises(SignerError, match="a digest is 32 bytes"):
        KmsSigner(make_key(kms), kms).sign_digest(bad)


def test_without_a_region_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(SignerError, match="NoRegionError; set AWS_REGION"):
        open_signer("kms:alias/meter", None)
