"""Options of `meterbridge seal --from`: what is read, how far back is looked, how much memory is taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.entrypoints.cli.columns import parse_map
from meterbridge.entrypoints.cli.metering import latest_time
from meterbridge.entrypoints.cli.workspace import Workspace

if TYPE_CHECKING:
    from meterbridge.adapters.bulk.folder import BulkFolder
    from meterbridge.adapters.bulk.scan import Files
    from meterbridge.services.bulk.sealing import SealOptions
    from meterbridge.services.records import TariffRecord

LEDGER_STORE: Final = "ledger"
_UNITS = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class BadOption(MeterbridgeError):
    """An option's value, or a combination of options, makes no sense."""


FromOption = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Seal these files at once, without importing them: Parquet, CSV or NDJSON of any size; patterns "
        "such as 'logs/*.parquet', and repeated.",
    ),
]
MoreArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE]...", help="More files for --from, as a shell spells out a pattern."),
]
PayerOption = Annotated[
    str | None,
    typer.Option("--payer", metavar="WHO", help="Customer name or address that pays for all rows (--from)."),
]
SourceOption = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="Who reports rows that do not say so; `log` by default."),
]
RetentionOption = Annotated[
    str | None,
    typer.Option(
        "--retention-days",
        metavar="DAYS",
        envvar="METERBRIDGE_RETENTION_DAYS",
        help="For how long an event is known to have been sealed (--from): 35 by default, or `forever`. "
        "Older ones are refused, since whether they are new is not looked up.",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        envvar="METERBRIDGE_SEAL_MEMORY",
        help="How much receipts may take in memory (--from), e.g. 2GiB; what exceeds it goes through disk. "
        "3GiB by default, or half of the machine's memory where that is less.",
    ),
]

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where segments go (--from): any fsspec URL, e.g. s3://bucket/segments, or `ledger` for the "
        "ledger's own folder. Where the last ones went by default.",
    ),
]
StoreOptionsOption = Annotated[
    str | None,
    typer.Option(
        "--store-options",
        metavar="JSON",
        envvar="METERBRIDGE_STORE_OPTIONS",
        help="What fsspec needs for the store, as a JSON object. Commands that read it take the variable.",
    ),
]


def files_of(
    opened: Workspace,
    record: TariffRecord,
    paths: Sequence[Path],
    columns: list[str] | None,
    payer: str | None,
    source: str | None,
) -> Files:
    """Return what to scan, from the options of the command."""
    from meterbridge.adapters.bulk.scan import Files

    who = None if payer is None else str(opened.account(record, payer).key.payer)
    return Files(paths, parse_map(columns), source, who, latest_time())


def options_of(retention: str | None, memory: str | None, skip_bad: bool) -> SealOptions:
    """Return how to seal, from the options of the command.

    Raises:
        BadOption: naming the one that makes no sense.
    """
    from meterbridge.adapters.bulk.folder import default_memory
    from meterbridge.services.bulk.sealing import SealOptions

    return SealOptions(
        memory_bytes=default_memory() if memory is None else parse_size(memory),
        retention_days=parse_retention(retention),
        skip_bad=skip_bad,
    )


def onto_store(bulk: BulkFolder, tariff_id: bytes, url: str | None, options: str | None) -> BulkFolder:
    """Return an open ledger whose new seals go where the command says.

    Args:
        bulk: the open ledger.
        tariff_id: whose seals.
        url: of a store, or `ledger` for the ledger's own folder; where the last seal went by default.
        options: of the store, as JSON. Whatever reads it in this process is told, too.

    Raises:
        BadOption: when it is a folder.
        StoreUnreachable: when it cannot be opened.
    """
    from meterbridge.adapters.bulk.stores import OPTIONS_VARIABLE, Store, is_local, parse_options

    if options is not None:
        parse_options(options, "--store-options")
        os.environ[OPTIONS_VARIABLE] = options
    if url is None:
        url = bulk.seals.last_store(tariff_id)
    elif url != LEDGER_STORE and is_local(url):
        raise BadOption(
            f"--store {url} is a folder: segments go to the ledger's own with --store {LEDGER_STORE}",
            url,
        )
    if url in (None, LEDGER_STORE):
        return bulk.onto(None)
    store = Store(str(url).rstrip("/"))
    store.open()
    return bulk.onto(store)


def parse_retention(text: str | None) -> int | None:
    """Return days, or None for ever; without a text, the default.

    Raises:
        BadOption: when it is neither.
    """
    from meterbridge.services.bulk.sealing import RETENTION_DAYS

    if text is None or text == "forever":
        return RETENTION_DAYS if text is None else None
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise BadOption(f"--retention-days {text!r} is neither a number of days nor `forever`", text)
    return int(text)


def parse_size(text: str) -> int:
    """Return bytes from a text like 2GiB, 1500MB or 3221225472.

    Raises:
        BadOption: when it is no such text, or less than 1 MiB.
    """
    digits = text.strip().rstrip("BbGgIiKkMm")
    unit = text.strip()[len(digits) :].upper()
    if not digits.isascii() or not digits.isdecimal() or unit not in _UNITS or len(digits) > 18:
        raise BadOption(f"--memory {text!r} is no size; write one like 2GiB", text)
    size = int(digits) * _UNITS[unit]
    if size < 2**20:
        raise BadOption(f"--memory {text!r} is too little to work with; grant 1MiB at least", text)
    return size


def find_files(patterns: Sequence[str]) -> list[Path]:
    """Return the files that names and patterns stand for, each once.

    Raises:
        BadOption: when one stands for none, or for a folder.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        base, rest = (
            (Path(path.anchor), str(path.relative_to(path.anchor))) if path.anchor else (Path(), pattern)
        )
        paths = [path] if path.exists() else sorted(base.glob(rest))
        if path.is_dir():
            raise BadOption(
                f"{pattern} is a folder; name its files, as in '{pattern.rstrip('/')}/*.parquet'", pattern
            )
        if not paths:
            raise BadOption(f"there is no file {pattern}", pattern)
        found.update((one.resolve(), one) for one in paths if not one.is_dir())
    return list(found.values())
