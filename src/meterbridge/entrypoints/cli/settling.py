"""`meterbridge settle`: from signed statements to money in the pot, whatever the chain does in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterbridge.entrypoints.cli.keys import FromOption, KeystoreOption, PasswordFileOption, find_sender
from meterbridge.entrypoints.cli.profiles import ProfileOption, ProfilesOption
from meterbridge.entrypoints.cli.running import (
    DEFAULT_LEDGER,
    DEFAULT_RPC,
    JsonOption,
    LedgerOption,
    command,
)
from meterbridge.entrypoints.cli.serve import DatabaseOption
from meterbridge.entrypoints.cli.shared import FromBlockOption
from meterbridge.entrypoints.cli.workspace import NotOne, TariffOption, workspace
from meterbridge.library.workspace import beginning_with

if TYPE_CHECKING:
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.adapters.sql.loose import Loose
    from meterbridge.domain.statements import Domain
    from meterbridge.library.settlers import SettleConfig

RpcsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rpc",
        metavar="URL",
        envvar="METERBRIDGE_RPC",
        help="JSON-RPC endpoint of the chain; repeat it, and the next is asked where one fails.",
    ),
]


@command
def settle(
    statements: Annotated[
        list[Path] | None,
        typer.Option("--statement", "-s", metavar="FILE", help="A signed statement; no ledger is needed."),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Only show what waits, and why, and what is under way.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep on; Ctrl-C ends it after a step.")] = False,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    rpc: RpcsOption = None,
    quorum: Annotated[
        int, typer.Option("--quorum", min=1, help="So many endpoints must agree on what is final.")
    ] = 1,
    profile: ProfileOption = None,
    profiles: ProfilesOption = None,
    confirmations: Annotated[
        int | None, typer.Option(min=1, help="Blocks until final, instead of what the profile says.")
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(min=0, metavar="BASE_UNITS", help="What draws less waits for the next statement."),
    ] = None,
    coin_price: Annotated[
        int | None,
        typer.Option(min=0, metavar="BASE_UNITS", help="Price of a coin for gas: what costs more waits."),
    ] = None,
    max_age: Annotated[
        int | None, typer.Option(min=0, metavar="SECONDS", help="Nothing waits for longer; a day.")
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="Give up waiting after.")] = 3_600,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit signed statements and see them through until they are final; anyone may.

    Without --statement, those of the ledger: each is tried first, waits while it would draw less than it is
    worth, and is covered by the next one. Any number of processes may do this at once, and each takes over
    from one that died. Doing so again draws nothing twice. Gas is paid by --keystore's account, or with
    --from by one that the node manages.

    Try:

      meterbridge settle --keystore gas.json --rpc https://one.example --rpc https://two.example

      meterbridge settle --watch --keystore gas.json --minimum 5000000

      meterbridge settle --status

      meterbridge settle --statement 9c12ab34-1767571200-a0b1c2d3.json --keystore gas.json
    """
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.entrypoints.cli.settling_run import Run, show_status
    from meterbridge.library.settlers import SettleConfig, make_settlers

    output = Output(as_json)
    if status:
        with _ledger(ledger, database) as opened:
            show_status(output, opened, _domains(opened, tariff))
        return
    account = find_sender(keystore, password_file, sender)
    decided = _decided(confirmations, 0 if statements and minimum is None else minimum, coin_price, max_age)
    config = SettleConfig(rpc or [DEFAULT_RPC], quorum, profile, profiles, decided)
    run = Run(output, watch)
    if statements:
        with _loose(statements, config, from_block) as (outbox, domains):
            run.go(make_settlers(config, outbox, domains, account, run.on_move), timeout)
    else:
        with _ledger(ledger, database) as opened:
            settlers = make_settlers(config, opened, _domains(opened, tariff), account, run.on_move)
            run.go(settlers, timeout)


def _decided(
    confirmations: int | None, minimum: int | None, coin_price: int | None, max_age: int | None
) -> dict[str, Any]:
    from meterbridge.domain.units import AssetAmount

    decided: dict[str, Any] = {}
    if confirmations is not None:
        decided |= {"confirmations": confirmations, "finality": None}
    if minimum is not None:
        decided["minimum"] = AssetAmount(minimum)
    if coin_price is not None:
        decided["coin_price"] = AssetAmount(coin_price)
    if max_age is not None:
        decided["max_age_seconds"] = max_age
    return decided


@contextmanager
def _ledger(folder: str, database: str | None) -> Iterator[SqlLedger]:
    if database is None:
        with workspace(folder) as opened:
            yield opened.ledger
        return
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.adapters.postgres import PostgresDatabase

    with SqlLedger(PostgresDatabase.open(database)) as ledger:
        yield ledger


def _domains(ledger: SqlLedger, wanted: str | None) -> list[Domain]:
    """Return the contracts of the ledger's tariffs, or of the one that is named."""
    found = beginning_with(wanted, ledger.tariffs())
    if not found:
        raise NotOne(
            f"--tariff {wanted or '(none given)'} fits 0 tariffs; `meterbridge init` adds one", wanted
        )
    return list(dict.fromkeys(record.domain for record in found))


@contextmanager
def _loose(files: list[Path], config: SettleConfig, from_block: int) -> Iterator[tuple[Any, list[Domain]]]:
    """Read statements; the contract's own events tell their tariffs."""
    from web3 import Web3

    from meterbridge.adapters.chain import Gateway, SplitterClient
    from meterbridge.adapters.chain.endpoints import EndpointsProvider
    from meterbridge.adapters.chain.history import History
    from meterbridge.adapters.sql.loose import Loose, loose_outbox
    from meterbridge.adapters.statement_files import read_statement

    signed = [read_statement(file) for file in files]
    gateway = Gateway(Web3(EndpointsProvider(config.endpoints())))
    found: list[Loose] = []
    for each in signed:
        client = SplitterClient(gateway, each.domain.verifying_contract)
        found.append(Loose(each, History(client, from_block).tariff(each.statement.tariff_id)))
    with loose_outbox(found) as outbox:
        yield outbox, list(dict.fromkeys(each.domain for each in signed))
