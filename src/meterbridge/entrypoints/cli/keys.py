"""`meterbridge keys`: encrypted keystores, and how commands find the key they need."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.running import JsonOption, command

if TYPE_CHECKING:
    from meterbridge.adapters.chain.senders import Sender
    from meterbridge.services.ports import StatementSigner

app = typer.Typer(
    no_args_is_help=True,
    help="Make and inspect encrypted keystores.\n\nExample: meterbridge keys new meter.json",
)

PASSWORD_VARIABLE = "METERBRIDGE_PASSWORD"
KEY_VARIABLE = "METERBRIDGE_PRIVATE_KEY"
KMS_PREFIX, WEB3SIGNER_PREFIX = "kms:", "web3signer:"
KeystoreOption = Annotated[
    str | None,
    typer.Option(
        "--keystore",
        "--signer",
        "-k",
        metavar="FILE|kms:KEY|web3signer:URL#ADDRESS",
        help="The key to sign with: an encrypted keystore, one of AWS KMS by its id, ARN or alias, or, "
        "for transactions only, an account of a signing server.",
    ),
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help=f"File whose first line opens the keystore; else ${PASSWORD_VARIABLE}, else you are asked.",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="ADDRESS", help="Send from an account that the node itself manages."),
]


@app.command()
@command
def new(
    file: Annotated[Path, typer.Argument(help="Where the keystore will be; never overwritten.")],
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a fresh key in an encrypted keystore (scrypt, readable by you only).

    Example: meterbridge keys new meter.json
    """
    from meterbridge.adapters.signers import KeystoreSigner
    from meterbridge.entrypoints.cli.output import Output

    signer = KeystoreSigner.create(file, _password(password_file, file, confirm=True))
    output = Output(as_json)
    output.say(f"{signer.address} in {file}. Keep its password: nobody can recover it.")
    output.result({"address": str(signer.address), "file": str(file)})


@app.command()
@command
def show(
    file: Annotated[Path, typer.Argument(help="A keystore.")],
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a keystore and print its address; the key itself is never shown.

    Example: meterbridge keys show meter.json
    """
    from meterbridge.adapters.signers import KeystoreSigner
    from meterbridge.entrypoints.cli.output import Output

    signer = KeystoreSigner.open(file, _password(password_file, file, confirm=False))
    output = Output(as_json)
    output.say(str(signer.address))
    output.result({"address": str(signer.address), "file": str(file)})


def open_signer(named: str | None, password_file: Path | None) -> StatementSigner:
    """Return the key that is named, or for development only that of the environment.

    Args:
        named: path of a keystore, or `kms:` and the id, ARN or alias of a key in AWS KMS.
        password_file: its first line opens the keystore.

    Raises:
        SignerError: when nothing is named, the keystore does not open, or KMS does not know the key.
    """
    from meterbridge.adapters.signers import KeystoreSigner, LocalSigner, SignerError

    if named is not None and named.startswith(WEB3SIGNER_PREFIX):
        raise SignerError("a signing server sends transactions only; sign this with a keystore or kms:KEY")
    if named is not None and named.startswith(KMS_PREFIX):
        from meterbridge.adapters.kms import KmsSigner

        return KmsSigner(named.removeprefix(KMS_PREFIX))
    if named is not None:
        keystore = Path(named)
        return KeystoreSigner.open(keystore, _password(password_file, keystore, confirm=False))
    if key := os.environ.get(KEY_VARIABLE):
        return LocalSigner.from_hex(key)
    raise SignerError(
        f"no key to sign with: give --keystore FILE (meterbridge keys new FILE makes one) or kms:KEY, "
        f"or for development set {KEY_VARIABLE}"
    )


def find_sender(keystore: str | None, password_file: Path | None, address: str | None) -> Sender:
    """Return who sends transactions: an account of the node, or a key of ours.

    Raises:
        SignerError: when none is named.
    """
    from meterbridge.adapters.chain.senders import KeySender, NodeSender
    from meterbridge.domain.addresses import Address

    if address is not None:
        return NodeSender(Address.parse(address))
    if keystore is not None and keystore.startswith(WEB3SIGNER_PREFIX):
        from meterbridge.adapters.web3signer import Web3SignerSender

        url, _, account = keystore.removeprefix(WEB3SIGNER_PREFIX).rpartition("#")
        return Web3SignerSender(url, Address.parse(account))
    return KeySender(open_signer(keystore, password_file))


def _password(password_file: Path | None, keystore: Path, *, confirm: bool) -> str:
    if password_file is not None:
        lines = password_file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return lines[0] if lines else ""
    if (password := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return password
    if not sys.stdin.isatty():
        from meterbridge.adapters.signers import SignerError

        raise SignerError(
            f"no password for {keystore}: set {PASSWORD_VARIABLE}, or give --password-file FILE"
        )
    prompted: str = typer.prompt(
        f"Password of {keystore}", hide_input=True, confirmation_prompt=confirm, err=True
    )
    return prompted
