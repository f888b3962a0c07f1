"""`meterbridge settle`: from a signed statement to money in the pot."""

from __future__ import annotations

from collections.abc import Iterable
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
from meterbridge.entrypoints.cli.workspace import NotOne, TariffOption, splitter_of, workspace

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Sender, SplitterClient
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.domain.tariffs import Tariff
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.settlement import Settlement

FromBlockOption = Annotated[
    int,
    typer.Option("--from-block", min=0, help="Where to begin to read events: the contract's first block."),
]


@command
def settle(
    statements: Annotated[
        list[Path] | None,
        typer.Option("--statement", "-s", metavar="FILE", help="A signed statement; no ledger is needed."),
    ] = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    from_block: FromBlockOption = 0,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    rpc: RpcOption = DEFAULT_RPC,
    as_json: JsonOption = False,
) -> None:
    """Submit signed statements; anyone may.

    Doing so again draws nothing twice.

    Without --statement, submits those of the ledger that may still draw something, oldest first. The account
    that pays the gas is --keystore's, or with --from one that the node manages.

    Try:

      meterbridge settle --from 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266

      meterbridge settle --statement 9c12ab34-1767571200-a0b1c2d3.json --keystore gas.json
    """
    from meterbridge.entrypoints.cli.output import Output

    output, payer_of_gas = Output(as_json), find_sender(keystore, password_file, sender)
    if statements:
        done = list(_from_files(statements, rpc, payer_of_gas, from_block, output))
    else:
        done = list(_from_ledger(ledger, tariff, rpc, payer_of_gas, output))
        if not done:
            output.say("Nothing to settle: every statement is settled as far as its payers' balances go.")
    output.result({"settled": [_answer(signed, settlement) for signed, settlement in done]})


Settled = Iterable[tuple["SignedStatement", "Settlement"]]


def _from_files(files: list[Path], rpc: str, sender: Sender, from_block: int, output: Output) -> Settled:
    from meterbridge.entrypoints.statement_files import read_statement
    from meterbridge.services.settlement import submit

    for file in files:
        signed = read_statement(file)
        client = splitter_of(rpc, signed.domain, sender)
        tariff = tariff_on_chain(client, signed.statement.tariff_id, from_block)
        settlement = submit(client, None, tariff, signed)
        _tell(output, file.name, settlement)
        yield signed, settlement


def _from_ledger(folder: str, wanted: str | None, rpc: str, sender: Sender, output: Output) -> Settled:
    from meterbridge.services.settlement import submit

    with workspace(folder) as opened:
        record = opened.tariff(wanted)
        client = splitter_of(rpc, record.domain, sender)
        for stored in opened.ledger.statements(record.id):
            if not _may_draw(client, record.tariff, stored.signed):
                continue
            settlement = submit(client, opened.ledger, record.tariff, stored.signed)
            _tell(output, f"statement of {stored.signed.statement.sealed_at}", settlement)
            yield stored.signed, settlement


def _may_draw(client: SplitterClient, tariff: Tariff, signed: SignedStatement) -> bool:
    """Tell whether a statement would change anything: a newer time, or a balance for what is still due."""
    lines = signed.statement.lines
    escrows = client.escrows(tariff.id, [line.payer for line in lines])
    return any(
        escrow.sealed_at < signed.statement.sealed_at
        or (
            escrow.sealed_at == signed.statement.sealed_at
            and escrow.balance
            and tariff.price_down(line.usage) > escrow.settled
        )
        for line, escrow in zip(lines, escrows, strict=True)
    )


def tariff_on_chain(client: SplitterClient, tariff_id: bytes, from_block: int) -> Tariff:
    """Return a tariff from the contract's own events, so that nobody depends on a provider's server.

    Raises:
        NotOne: when no event named it.
    """
    from meterbridge.services.chain_events import AccountOpened, TariffPublished

    for event in client.events(from_block, client.newest_block()):
        if isinstance(event, (AccountOpened, TariffPublished)) and event.tariff_id == tariff_id:
            return event.tariff
    raise NotOne(
        f"no event of {client.address} names tariff 0x{tariff_id.hex()} from block {from_block} on", tariff_id
    )


def _tell(output: Output, title: str, settlement: Settlement) -> None:
    rows = [
        (
            str(line.payer),
            f"{line.drawn.base_units:,}",
            f"{line.unpaid.base_units:,}",
            "" if line.skipped_for is None else f"skipped: settled up to {line.skipped_for}",
        )
        for line in settlement.lines
    ]
    output.table(
        f"{title}, transaction 0x{settlement.tx_hash.hex()}",
        ["payer", ">drawn, base units", ">still unpaid", ""],
        rows,
    )


def _answer(signed: SignedStatement, settlement: Settlement) -> dict[str, object]:
    return {
        "sealed_at": signed.statement.sealed_at,
        "transaction": f"0x{settlement.tx_hash.hex()}",
        "block": settlement.block,
        "gas_used": settlement.gas_used,
        "drawn": str(settlement.drawn),
        "unpaid": str(settlement.unpaid),
        "lines": [
            {
                "payer": str(line.payer),
                "price": str(line.price),
                "drawn": str(line.drawn),
                "unpaid": str(line.unpaid),
                "skipped": line.skipped_for is not None,
            }
            for line in settlement.lines
        ],
    }
