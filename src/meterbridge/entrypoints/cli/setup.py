"""`meterbridge init`, `signer` and `account`: what a provider sets up once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.shared import LEDGER, SENDING, Given, with_options
from meterbridge.entrypoints.cli.values import parse_time, time_text
from meterbridge.entrypoints.cli.workspace import splitter_at, splitter_of, workspace

if TYPE_CHECKING:
    from meterbridge.domain.splits import Party

accounts = typer.Typer(
    no_args_is_help=True, help="Payers that a ledger meters.\n\nExample: meterbridge account list"
)
FOREVER = 2**64 - 1


@with_options(*SENDING, "ledger", "rpc")
def init(
    given: Given,
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
) -> None:
    """Publish a split and a tariff, and begin a ledger for them.

    The account that sends is the tariff's provider. Doing the same again changes nothing.

    Example: meterbridge init --contract 0x5FbD… --asset 0xe7f1… --parties parties.json --terms terms.json
    """
    from meterbridge.domain.addresses import Address
    from meterbridge.library.publishing import publish, tariff_record

    output, provider = given.output(), given.by()
    client = splitter_at(given.rpc, Address.parse(contract), provider)
    record = tariff_record(
        client.domain,
        provider.address,
        Address.parse(asset),
        _parties(parties),
        _document(terms),
        scale=scale,
        thaw_period=thaw_period,
    )
    with workspace(given.ledger, create=True) as opened:
        publish(client, opened, record)
    output.say(f"Tariff 0x{record.id.hex()} on {contract}, split 0x{record.split.id.hex()}.")
    output.say("Next: meterbridge signer ADDRESS, and meterbridge account add ADDRESS --customer NAME")
    output.result(
        {"tariff": f"0x{record.id.hex()}", "split": f"0x{record.split.id.hex()}", "ledger": given.ledger}
    )


def _document(file: Path) -> dict[str, object]:
    from meterbridge.adapters.json_files import read_json
    from meterbridge.domain.errors import BadTariff

    document = read_json(file)
    if not isinstance(document, dict):
        raise BadTariff(f"{file} holds no JSON object", str(file))
    return document


def _parties(file: Path) -> list[Party]:
    from meterbridge.adapters.json_files import read_json
    from meterbridge.services.json_fields import Fields
    from meterbridge.services.struct_json import PARTY_KEYS, read_party

    listed = Fields(str(file), {"parties": read_json(file)}, ["parties"])
    return [read_party(entry) for entry in listed.objects("parties", PARTY_KEYS)]


@with_options(*SENDING, *LEDGER, "rpc")
def signer(
    given: Given,
    address: Annotated[str, typer.Argument(help="The meter's address.")],
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="TIME",
            help="Last time it may sign: 2026-12-31, 2026-12-31T12:00:00Z, or seconds since 1970; 0 revokes.",
        ),
    ] = None,
) -> None:
    """Let a key sign statements for you, retire it, or revoke it.

    A key whose --until is over keeps what it sealed before; --until 0 revokes all of it.

    Example: meterbridge signer 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --keystore provider.json
    """
    from meterbridge.domain.addresses import Address

    output, provider = given.output(), given.by()
    meter, last = Address.parse(address), FOREVER if until is None else parse_time(until)
    with workspace(given.ledger) as opened:
        record = opened.tariff(given.tariff)
    receipt = splitter_of(given.rpc, record.domain, provider).set_signer(meter, last)
    allowed = "for ever" if last == FOREVER else f"until {time_text(last)}"
    output.say(f"{meter} may sign for {provider.address} {allowed}." if last else f"{meter} is revoked.")
    if provider.address != record.tariff.provider:
        output.warn(f"the tariff's provider is {record.tariff.provider}, not {provider.address}")
    output.result({"signer": str(meter), "until": str(last), "transaction": f"0x{receipt.tx_hash.hex()}"})


@accounts.command()
@with_options(*LEDGER)
def add(
    given: Given,
    payer: Annotated[str, typer.Argument(help="The payer's address.")],
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="NAME", help="The name in usage logs.")
    ] = None,
) -> None:
    """Open an account for a payer, with a fresh secret blind.

    Doing so again changes nothing.

    Example: meterbridge account add 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC --customer acme
    """
    from meterbridge.domain.addresses import Address
    from meterbridge.services.metering import ensure_account
    from meterbridge.services.records import AccountKey

    output = given.output()
    with workspace(given.ledger) as opened:
        record = opened.tariff(given.tariff)
        key = AccountKey(record.domain, record.id, Address.parse(payer))
        account = ensure_account(opened.ledger, key, customer)
    output.say(f"{account.customer or 'no name'}: {account.key.payer}")
    output.result({"payer": str(account.key.payer), "customer": account.customer})


@accounts.command(name="list")
@with_options(*LEDGER)
def list_(given: Given) -> None:
    """List the payers of a tariff.

    Example: meterbridge account list
    """
    output = given.output()
    with workspace(given.ledger) as opened:
        found = opened.ledger.accounts(opened.tariff(given.tariff).id)
    output.table("", ["customer", "payer"], [(a.customer or "", str(a.key.payer)) for a in found])
    output.result({"accounts": [{"customer": a.customer, "payer": str(a.key.payer)} for a in found]})
