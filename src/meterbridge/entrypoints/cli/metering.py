"""`meterbridge import` and `statement`: from a usage log to receipts, and from logs to what is signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.columns import MapOption, SkipBadOption, parse_map
from meterbridge.entrypoints.cli.keys import KeystoreOption, PasswordFileOption, open_signer
from meterbridge.entrypoints.cli.running import DEFAULT_LEDGER, JsonOption, LedgerOption, command
from meterbridge.entrypoints.cli.values import parse_time, time_text
from meterbridge.entrypoints.cli.workspace import TariffOption, workspace

if TYPE_CHECKING:
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.events import UsageEvent
    from meterbridge.entrypoints.cli.output import Advance, Output
    from meterbridge.services.metering import ImportReport

SHOWN = 20
DAY = 24 * 3600
CLOCK_TOLERANCE = 300
"""Seconds that a statement may be ahead of this machine's clock: chains and clocks differ."""


def latest_time() -> int:
    """Return the latest time that a row may have, in milliseconds: clocks differ, by less than a day."""
    import time

    return (int(time.time()) + DAY) * 1000


def increments(advance: Advance) -> Callable[[int], None]:
    """Turn "so many are done" into "so many more are done"."""
    before = 0

    def tell(done: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return tell


@command
def import_(
    files: Annotated[list[Path], typer.Argument(help="Usage logs: CSV, NDJSON or Parquet, also gzipped.")],
    payer: Annotated[
        str | None,
        typer.Option("--payer", metavar="WHO", help="Customer name or address that pays for all rows."),
    ] = None,
    columns: MapOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="NAME", help="Who reports rows that do not say so; `log` by default."
        ),
    ] = None,
    skip_bad: SkipBadOption = False,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    as_json: JsonOption = False,
) -> None:
    """Read usage logs into receipts that await sealing.

    What is there already is not counted again. Stops at the first row that cannot be used, naming it, and
    goes on there when run again; with --skip-bad
    it goes on at once and lists what it left out.

    Example: meterbridge import calls.csv --map "id=request_id time=ts payer=customer input=prompt_tokens"
    """
    from meterbridge.adapters.formats import read_usage
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.metering import import_usage

    output, column_map = Output(as_json), parse_map(columns)
    latest = latest_time()
    answers: list[dict[str, object]] = []
    empty = False
    with workspace(ledger) as opened:
        record = opened.tariff(tariff)
        payer_of = None if payer is None else _always(opened.account(record, payer).key.payer)
        for file in files:
            with output.progress(f"Importing {file.name}") as advance:
                report = import_usage(
                    opened.ledger,
                    record,
                    read_usage(file, column_map=column_map, source=source, latest=latest),
                    payer_of=payer_of,
                    skip_bad=skip_bad,
                    on_progress=increments(advance),
                )
            answers.append(_tell(output, file, report))
            empty |= bool(report.bad) and not report.added and not report.repeated
    output.result({"files": answers})
    if empty:  # --skip-bad goes on after some bad rows; a file of nothing else is the wrong file
        raise typer.Exit(1)


def _always(payer: Address) -> Callable[[UsageEvent], Address]:
    return lambda _event: payer


def _tell(output: Output, file: Path, report: ImportReport) -> dict[str, object]:
    output.say(
        f"{file}: {report.added:,} receipts added, {report.repeated:,} were there already, "
        f"rows left out: {len(report.bad):,}"
    )
    rows = [(f"{bad.row_number:,}", bad.reason) for bad in report.bad]
    if rows:
        output.table("Left out", [">row", "why"], rows[:SHOWN])
        if len(rows) > SHOWN:
            output.say(f"... and {len(rows) - SHOWN:,} more; --json lists all of them")
    return {
        "file": str(file),
        "added": report.added,
        "repeated": report.repeated,
        "left_out": [{"row": bad.row_number, "reason": bad.reason, "id": bad.id} for bad in report.bad],
        "usage": [str(lane) for lane in report.totals.lanes],
    }


@command
def statement(
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sealed_at: Annotated[
        str | None,
        typer.Option(
            "--sealed-at",
            metavar="TIME",
            help="Time of the statement: 2026-12-31T12:00:00Z, or seconds since 1970; now by default.",
        ),
    ] = None,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    as_json: JsonOption = False,
) -> None:
    """Sign what every account has used by now.

    Writes the statement as JSON, for anyone to submit. Only accounts whose logs have grown since their
    last statement are in it. The key is the meter's, which
    the provider has authorised on the contract.

    Example: meterbridge statement --keystore meter.json
    """
    import time

    from meterbridge.adapters.statement_files import keep_statement
    from meterbridge.domain.currency import Currency
    from meterbridge.domain.errors import BadStatement
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.statements import LeftOut, make_statements

    output, signer = Output(as_json), open_signer(keystore, password_file)
    with workspace(ledger) as opened:
        record = opened.tariff(tariff)
        now = int(time.time())
        at = now if sealed_at is None else parse_time(sealed_at)
        if at > now + CLOCK_TOLERANCE:
            raise BadStatement(
                f"--sealed-at {time_text(at)} lies in the future; nothing could be stated before then", at
            )
        left: list[LeftOut] = []
        made = make_statements(opened.ledger, record, at, signer, on_left_out=left.append)
        if left and not made:
            raise left[0].error
        for out in left:
            output.warn(f"{out.payer} is left out: {out.error}")
        files = [keep_statement(opened.folder, signed) for signed in made]
        names, terms = opened.names(record), record.terms()
    currency = Currency(terms.symbol, terms.decimals)
    if not made:
        output.say("No account has anything new to state.")
    for signed, file in zip(made, files, strict=True):
        prices = [record.tariff.price_down(line.usage) for line in signed.statement.lines]
        rows = [
            (names[line.payer], currency.number(price), str(price), line.head.hex()[:16])
            for line, price in zip(signed.statement.lines, prices, strict=True)
        ]
        output.table(
            f"{file}, sealed at {time_text(signed.statement.sealed_at)} by {signed.signer}",
            ["payer", f">price so far, {currency.symbol}", ">base units", "head"],
            rows,
        )
    output.result({"statements": [str(file) for file in files], "signer": str(signer.address)})
