"""`meterbridge receipts`: a payer's sealed receipts of a period, as NDJSON or Parquet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.entrypoints.cli.running import DEFAULT_LEDGER, JsonOption, LedgerOption, command
from meterbridge.entrypoints.cli.workspace import TariffOption, workspace


class NoPlace(MeterbridgeError):
    """What is written does not belong where it would go."""


class Format(StrEnum):
    """How receipts are written."""

    NDJSON = "ndjson"
    PARQUET = "parquet"


class Logs(StrEnum):
    """Of which logs."""

    CHARGES = "charges"
    CREDITS = "credits"
    BOTH = "both"


@command
def receipts(
    payer: Annotated[str, typer.Option("--payer", metavar="WHO", help="Customer name or address.")],
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="First time, e.g. 2026-11-01; the beginning by default."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Up to this time, itself excluded; the end by default."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.NDJSON,
    log: Annotated[
        Logs, typer.Option("--log", help="Charges, credits, or both one after another.")
    ] = Logs.BOTH,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write; stdout by default.")
    ] = None,
    tariff: TariffOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    as_json: JsonOption = False,
) -> None:
    """Write a payer's sealed receipts of a period, however many, with source, event id and details.

    They come batch by batch, in the order of the logs, and only some thousand are in memory at a time.
    Receipts that await sealing are not among them. A file appears once it is whole.

    Example: meterbridge receipts --payer acme --from 2026-11-01 --until 2026-12-01 -o november.ndjson
    """
    from meterbridge.adapters.bulk.streaming import SealedPeriods, write_ndjson, write_parquet
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.periods import lost_batches, receipts_of_period
    from meterbridge.services.records import LogKind

    output = Output(as_json)
    if out is None and as_json:
        raise NoPlace(
            "--json says what was written, so the receipts need a place of their own: add --out", None
        )
    first, stop = _period(since, until)
    kinds = tuple(LogKind) if log is Logs.BOTH else (LogKind(log.value),)
    with workspace(ledger) as opened:
        account = opened.account(opened.tariff(tariff), payer).key
        if lost := lost_batches(opened.ledger, account):
            output.warn(f"{lost} batches were lost with their log; their receipts are nowhere")
        source = SealedPeriods(opened.folder / "segments")
        tables = receipts_of_period(opened.ledger, source, account, first, stop, kinds)
        with _sink(out, format_) as sink:
            written = (write_ndjson if format_ is Format.NDJSON else write_parquet)(tables, sink)
    if out is not None:
        output.say(f"{out}: {written:,} receipts")
    output.result({"file": str(out), "format": format_.value, "receipts": written})


def _period(since: str | None, until: str | None) -> tuple[int, int]:
    """Return the first millisecond since 1970, and the one behind the last."""
    from meterbridge.domain.moments import parse_time
    from meterbridge.domain.receipts import OCCURRED_AT_MAX

    end = OCCURRED_AT_MAX + 1
    first, stop = (None if text is None else min(end, parse_time(text) * 1000) for text in (since, until))
    return first or 0, end if stop is None else stop


@contextmanager
def _sink(out: Path | None, format_: Format) -> Iterator[BinaryIO]:
    """Open where the receipts go; a file has its name once it is whole."""
    if out is None:
        if format_ is Format.PARQUET and sys.stdout.isatty():
            raise NoPlace("Parquet is not for a terminal: add --out FILE", None)
        with _quiet_when_nobody_reads():
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            yield sink
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _quiet_when_nobody_reads() -> Iterator[None]:
    """End in peace where what reads our output has seen enough, as `head` has."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more fails at exit
        raise typer.Exit from None
