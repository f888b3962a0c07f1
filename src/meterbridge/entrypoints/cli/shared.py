"""Options that many commands have in common, written once.

    @with_options(*SENDING, *FINDING)
    def deposit(given: Given, amount: AmountArgument) -> None: ...

The command gets its own parameters, then the shared ones, then `--json`; it finds them in `given`.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

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
from meterbridge.entrypoints.cli.workspace import TariffOption

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Sender
    from meterbridge.entrypoints.cli.output import Output

P = ParamSpec("P")

ContractOption = Annotated[
    str | None,
    typer.Option("--contract", metavar="ADDRESS", help="The splitter, if you have no ledger of it."),
]
FromBlockOption = Annotated[
    int,
    typer.Option("--from-block", min=0, help="Where to begin to read events: the contract's first block."),
]
SENDING: Final = ("keystore", "password_file", "sender")
LEDGER: Final = ("tariff", "ledger")
FINDING: Final = ("contract", "from_block", *LEDGER, "rpc")


@dataclass(frozen=True, slots=True)
class Given:
    """The shared options as they were given; those that a command does not have are as by default."""

    keystore: KeystoreOption = None
    password_file: PasswordFileOption = None
    sender: FromOption = None
    contract: ContractOption = None
    from_block: FromBlockOption = 0
    tariff: TariffOption = None
    ledger: LedgerOption = DEFAULT_LEDGER
    rpc: RpcOption = DEFAULT_RPC
    as_json: JsonOption = False

    def output(self) -> Output:
        """Return where the command says what it did."""
        from meterbridge.entrypoints.cli.output import Output

        return Output(self.as_json)

    def by(self) -> Sender:
        """Return who sends.

        Raises:
            SignerError: when nobody is named.
        """
        return find_sender(self.keystore, self.password_file, self.sender)


def with_options(
    *names: str,
) -> Callable[[Callable[Concatenate[Given, P], None]], Callable[..., None]]:
    """Give a command the shared options of these names, `--json`, and the way in which commands run."""

    def decorate(function: Callable[Concatenate[Given, P], None]) -> Callable[..., None]:
        own = _parameters(function)[1:]
        shared = [parameter for parameter in _SHARED if parameter.name in {*names, "as_json"}]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            given = Given(**{p.name: values.pop(p.name) for p in shared if p.name in values})
            function(given, **values)  # type: ignore[call-arg]  # typer passes all of them by name

        done = command(run)
        takes = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
        vars(done)["__signature__"] = inspect.Signature(takes)
        done.__annotations__ = {p.name: p.annotation for p in takes}
        del vars(done)["__wrapped__"]  # typer would ask the function inside for its parameters
        return done

    return decorate


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    """Return the parameters with their types, which stand as texts in the source."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters.values()
    return [parameter.replace(annotation=hints[parameter.name]) for parameter in found]


def _shared() -> list[inspect.Parameter]:
    hints = typing.get_type_hints(Given, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name])
        for field in fields(Given)
    ]


_SHARED: Final = _shared()
