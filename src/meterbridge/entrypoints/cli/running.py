"""How every command runs: errors become one clear line, with --json one object, and exit code 1."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

if TYPE_CHECKING:
    from meterbridge.domain.errors import MeterbridgeError

P = ParamSpec("P")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
LedgerOption = Annotated[
    str,
    typer.Option("--ledger", "-l", metavar="DIR", envvar="METERBRIDGE_LEDGER", help="The ledger's folder."),
]
RpcOption = Annotated[
    str,
    typer.Option("--rpc", metavar="URL", envvar="METERBRIDGE_RPC", help="JSON-RPC endpoint of the chain."),
]
DEFAULT_LEDGER = "meterbridge-ledger"
DEFAULT_RPC = "http://127.0.0.1:8545"


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Run a command; what Meterbridge refuses is printed, not thrown at the user.

    Set METERBRIDGE_DEBUG=1 to see the traceback instead.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from meterbridge.domain.errors import MeterbridgeError

        try:
            function(*args, **kwargs)
        except MeterbridgeError as error:
            _refuse(error, str(error), bool(kwargs.get("as_json")))
        except OSError as error:
            _refuse(error, _os_error(error), bool(kwargs.get("as_json")))

    return run


def _os_error(error: OSError) -> str:
    if error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _refuse(error: MeterbridgeError | OSError, message: str, as_json: bool) -> None:
    if os.environ.get("METERBRIDGE_DEBUG"):
        raise error
    if as_json:
        answer = {"error": type(error).__name__, "message": message}
        typer.echo(json.dumps(answer, separators=(",", ":")))
    typer.echo(f"error: {message}", file=sys.stderr)
    raise typer.Exit(1) from error
