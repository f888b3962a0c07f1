"""`meterbridge serve`: the metering service."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from typing import Annotated

import typer

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.entrypoints.cli.keys import KeystoreOption, PasswordFileOption
from meterbridge.entrypoints.cli.running import DEFAULT_LEDGER, LedgerOption, command

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="METERBRIDGE_DATABASE",
        help="PostgreSQL (postgresql://user@host/name) when several processes share the work; else SQLite.",
    ),
]


_PACKAGES = ("fastapi", "uvicorn", "psycopg", "opentelemetry", "prometheus_client", "httpx")


class MissingExtra(MeterbridgeError):
    """A package of an optional part is not installed."""


@command
def serve(
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8787,
    workers: Annotated[int, typer.Option(help="Processes that share the port.", min=1, max=64)] = 1,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    rpc: Annotated[
        str | None,
        typer.Option(
            "--rpc",
            metavar="URL",
            envvar="METERBRIDGE_RPC",
            help="A node, for credit and settling; several in quotes: the next is asked where one fails.",
        ),
    ] = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="Submit statements, and see them through until they are final.")
    ] = False,
    gas_keystore: Annotated[
        str | None,
        typer.Option(
            "--gas-keystore",
            metavar="FILE|kms:KEY|web3signer:URL#ADDRESS",
            help="Who pays the gas for --settle; without it the key that signs statements.",
        ),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=NUMBER", help="A limit or rhythm, such as seal_seconds=60; repeat."
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Take usage over HTTP, count every call once, seal and sign statements.

    Without --keystore it meters and seals but signs nothing. Make a key for your gateway first:
    meterbridge apikeys new --scope ingest

    Example: meterbridge serve --ledger books --keystore meter.json --set seal_seconds=60
    """
    require_extra()
    from meterbridge.entrypoints.api.serving import ServeConfig, run
    from meterbridge.entrypoints.api.settings import Settings

    settings = _settings(limits or [])
    Settings.of(settings)
    config = ServeConfig(
        ledger=ledger,
        database=database,
        keystore=None if keystore is None else str(keystore),
        password_file=None if password_file is None else str(password_file),
        rpc=rpc,
        settle=settle,
        gas_keystore=gas_keystore,
        log_level=log_level.upper(),
        settings=settings,
    )
    if workers == 1:
        run(config, host, port, workers)
        return
    with tempfile.TemporaryDirectory(prefix="meterbridge-metrics-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)  # before any worker makes a metric
        run(config, host, port, workers)


def require_extra() -> None:
    """Check that the packages of the service are installed.

    Raises:
        MissingExtra: saying how to install them.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"the metering service needs {', '.join(missing)}: pip install 'meterbridge[serve]'", missing
        )


def _settings(limits: list[str]) -> dict[str, int]:
    from meterbridge.domain.errors import OutOfBounds

    found = {}
    for limit in limits:
        name, equals, value = limit.partition("=")
        if not equals or not value.isascii() or not value.isdigit():
            raise OutOfBounds(f"--set takes NAME=NUMBER, not {limit!r}", limit)
        found[name] = int(value)
    return found
