"""`meterbridge rebuild`: after a loss, the ledger from its segments and statements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.shared import Given, with_options
from meterbridge.entrypoints.cli.workspace import splitter_of

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.domain.statements import SignedStatement


@with_options("ledger")
def rebuild(
    given: Given,
    statements: Annotated[
        list[Path] | None,
        typer.Argument(help="Signed statements; those of the ledger's folder by default."),
    ] = None,
    signers: Annotated[
        list[str] | None,
        typer.Option(
            "--signer", metavar="ADDRESS", help="The meter that may have signed; repeat for others."
        ),
    ] = None,
    rpc: Annotated[
        str | None,
        typer.Option("--rpc", metavar="URL", envvar="METERBRIDGE_RPC", help="Ask the contract who may sign."),
    ] = None,
) -> None:
    """Put back into a ledger what it has lost and its segments and statements still hold.

    The database may be gone, or older than the segments. What was imported and not sealed was in no segment:
    import those files again, and what is sealed is recognised. Doing so again changes nothing.

    Statements say which times are used up, so only those of your meter are taken: by --signer, or by
    whom the contract lets sign.

    Example: meterbridge rebuild --ledger books --signer 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    """
    from meterbridge.adapters.statement_files import read_statement
    from meterbridge.domain.addresses import Address
    from meterbridge.library.rebuilding import rebuild_folder

    output, folder = given.output(), Path(given.ledger)
    files = statements or sorted((folder / "statements").glob("*.json"))
    signed = [read_statement(file) for file in files]
    named = [Address.parse(one) for one in signers or ()]
    report = rebuild_folder(folder, signed, signers=named, chain=_contract(rpc, signed))
    output.say(
        f"Put back: {report.receipts:,} receipts in {report.batches:,} batches, {report.statements:,} "
        f"statements, {report.tariffs:,} tariffs. What was not sealed yet is to be imported again."
    )
    output.result(
        {
            "tariffs": report.tariffs,
            "batches": report.batches,
            "receipts": report.receipts,
            "statements": report.statements,
        }
    )


def _contract(rpc: str | None, signed: list[SignedStatement]) -> SplitterClient | None:
    """Return the contract that the statements are for."""
    if rpc is None or not signed:
        return None
    return splitter_of(rpc, signed[0].domain)
