"""`meterbridge init`, `signer` and `account`: what a provider sets up once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.keys import FromOption, KeystoreOption, PasswordFileOption, find_sender
from meterbridge.entrypoints.cli.running import (
    DEFAULT_LEDGER,
    DEFAULT_RPC,
    JsonOption,
    LedgerOption,
    RpcOption,
    command,
)
from meterbridge.entrypoints.cli.workspace import TariffOption, splitter_at, splitter_of, workspace

if TYPE_CHECKING:
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.splits import Party
    from meterbridge.domain.statements import Domain
    from meterbridge.services.records import TariffRecord

accounts = typer.Typer(
    no_args_is_help=True, help="Payers that a ledger meters.\n\nExample: meterbridge account list"
)
FOREVER = 2**64 - 1


@command
def init(
    contract: Annotated[str, typer.Option("--contract", metavar="ADDRESS", help="The splitter.")],
    asset: Annotated[str, typer.Option("--asset", metavar="ADDRESS", help="The token that payers deposit.")],
    parties: Annotated[
        Path, typer.Option("--parties", metavar="FILE", help="JSON: [{account, role, share}, …] in order.")
    ],
    terms: Annotated[
        Path, typer.Option("--terms", metavar="FILE", help="JSON: the tariff's document, with its prices.")
    ],
    scale: Annotated[
        int, typer.Option("--scale", min=0, max=36, help="Rates are base units per 10^scale of a meter.")
    ] = 9,
    thaw_period: Annotated[
        int, typer.Option("--thaw-period", min=0, metavar="SECONDS", help="From thawing to withdrawing.")
    ] = 3600,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Publish a split and a tariff, and begin a ledger for them.

    The account that sends is the tariff's provider. Doing the same again changes nothing.

    Example: meterbridge init --contract 0x5FbD… --asset 0xe7f1… --parties parties.json --terms terms.json
    """
    from meterbridge.domain.addresses import Address
    from meterbridge.entrypoints.cli.output import Output

    output, provider = Output(as_json), find_sender(keystore, password_file, sender)
    client = splitter_at(rpc, Address.parse(contract), provider)
    record = _record(
        client.domain, provider.address, Address.parse(asset), parties, terms, scale, thaw_period
    )
    with workspace(ledger, create=True) as opened:
        if record.id not in {known.id for known in opened.ledger.tariffs()}:
            client.publish_split(record.split, record.parties)
            client.publish_tariff(record.tariff, record.document)
        opened.ledger.add_tariff(record)
        opened.segments.put_tariff(record)
    output.say(f"Tariff 0x{record.id.hex()} on {contract}, split 0x{record.split.id.hex()}.")
    output.say("Next: meterbridge signer ADDRESS, and meterbridge account add ADDRESS --customer NAME")
    output.result({"tariff": f"0x{record.id.hex()}", "split": f"0x{record.split.id.hex()}", "ledger": ledger})


def _record(
    domain: Domain,
    provider: Address,
    asset: Address,
    parties: Path,
    terms: Path,
    scale: int,
    thaw_period: int,
) -> TariffRecord:
    from meterbridge.domain.errors import BadTariff
    from meterbridge.domain.splits import PartyTable
    from meterbridge.domain.tariffs import terms_document
    from meterbridge.domain.terms import tariff_from_document
    from meterbridge.entrypoints.json_files import read_json
    from meterbridge.services.records import TariffRecord

    document = read_json(terms)
    if not isinstance(document, dict):
        raise BadTariff(f"{terms} holds no JSON object", str(terms))
    table = PartyTable(_parties(parties))
    split = table.split(asset)
    tariff = tariff_from_document(document, provider, split.id, scale, thaw_period)
    return TariffRecord(domain, tariff, split, table.parties, terms_document(document))


def _parties(file: Path) -> list[Party]:
    from meterbridge.entrypoints.json_files import read_json
    from meterbridge.services.json_fields import Fields
    from meterbridge.services.struct_json import PARTY_KEYS, read_party

    listed = Fields(str(file), {"parties": read_json(file)}, ["parties"])
    return [read_party(entry) for entry in listed.objects("parties", PARTY_KEYS)]


@command
def signer(
    address: Annotated[str, typer.Argument(help="The meter's address.")],
    until: Annotated[
        int,
        typer.Option(
            "--until", min=0, metavar="SECONDS", help="Last time it may sign, since 1970; 0 revokes."
        ),
    ] = FOREVER,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Let a key sign statements for you, retire it, or revoke it.

    A key whose --until is over keeps what it sealed before; --until 0 revokes all of it.

    Example: meterbridge signer 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --keystore provider.json
    """
    from meterbridge.domain.addresses import Address
    from meterbridge.entrypoints.cli.output import Output

    output, provider = Output(as_json), find_sender(keystore, password_file, sender)
    meter = Address.parse(address)
    with workspace(ledger) as opened:
        record = opened.tariff(tariff)
    receipt = splitter_of(rpc, record.domain, provider).set_signer(meter, until)
    output.say(f"{meter} may sign for {provider.address} until {until}." if until else f"{meter} is revoked.")
    if provider.address != record.tariff.provider:
        output.warn(f"the tariff's provider is {record.tariff.provider}, not {provider.address}")
    output.result({"signer": str(meter), "until": str(until), "transaction": f"0x{receipt.tx_hash.hex()}"})


@accounts.command()
@command
def add(
    payer: Annotated[str, typer.Argument(help="The payer's address.")],
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="NAME", help="The name in usage logs.")
    ] = None,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    as_json: JsonOption = False,
) -> None:
    """Open an account for a payer, with a fresh secret blind.

    Doing so again changes nothing.

    Example: meterbridge account add 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC --customer acme
    """
    from meterbridge.domain.addresses import Address
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.metering import ensure_account
    from meterbridge.services.records import AccountKey

    output = Output(as_json)
    with workspace(ledger) as opened:
        record = opened.tariff(tariff)
        key = AccountKey(record.domain, record.id, Address.parse(payer))
        account = ensure_account(opened.ledger, key, customer)
    output.say(f"{account.customer or 'no name'}: {account.key.payer}")
    output.result({"payer": str(account.key.payer), "customer": account.customer})


@accounts.command(name="list")
@command
def list_(
    tariff: TariffOption = None, ledger: LedgerOption = DEFAULT_LEDGER, as_json: JsonOption = False
) -> None:
    """List the payers of a tariff.

    Example: meterbridge account list
    """
    from meterbridge.entrypoints.cli.output import Output

    output = Output(as_json)
    with workspace(ledger) as opened:
        found = opened.ledger.accounts(opened.tariff(tariff).id)
    output.table("", ["customer", "payer"], [(a.customer or "", str(a.key.payer)) for a in found])
    output.result({"accounts": [{"customer": a.customer, "payer": str(a.key.payer)} for a in found]})
