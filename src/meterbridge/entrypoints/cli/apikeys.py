"""`meterbridge apikeys`: who may use the metering service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.running import DEFAULT_LEDGER, JsonOption, LedgerOption, command
from meterbridge.entrypoints.cli.serve import DatabaseOption, require_extra

if TYPE_CHECKING:
    from meterbridge.adapters.intake.api_keys import ApiKey, ApiKeys
    from meterbridge.domain.addresses import Address

app = typer.Typer(
    no_args_is_help=True, help="Make, list, rotate and revoke API keys of the metering service."
)
KeyId = Annotated[str, typer.Argument(help="The key's id: the part between mb_ and the next underscore.")]
_SHOWN_ONCE = "It is shown this once: only its hash is kept."


@app.command()
@command
def new(
    scope: Annotated[
        list[str], typer.Option("--scope", "-s", help="ingest, read or operate; repeat for several.")
    ],
    provider: Annotated[
        str | None, typer.Option(help="The provider's address; left out where the ledger has one provider.")
    ] = None,
    tariff: Annotated[str | None, typer.Option(help="Where events go that name no tariff: its id.")] = None,
    name: Annotated[str, typer.Option(help="For people: who uses it.")] = "",
    days: Annotated[int | None, typer.Option(help="Let it expire after so many days.", min=1)] = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an API key.

    Example: meterbridge apikeys new --scope ingest --name gateway-eu
    """
    require_extra()
    from meterbridge.adapters.intake.api_keys import Scope
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.errors import OutOfBounds
    from meterbridge.entrypoints.api.deps import tariff_id_of
    from meterbridge.entrypoints.api.serving import open_database

    unknown = [given for given in scope if given not in set(Scope)]
    if unknown:
        raise OutOfBounds(f"there is no scope {unknown[0]!r}; there are {', '.join(Scope)}", unknown[0])
    book, _ = open_database(ledger, database)
    wanted = None if provider is None else Address.parse(provider)
    if tariff is not None:
        owner = book.tariff(tariff_id_of(tariff)).tariff.provider
    else:
        owner = wanted or _only([record.tariff.provider for record in book.tariffs()])
    if wanted not in (None, owner):
        raise OutOfBounds(f"the tariff is another provider's, {owner}", owner)
    text, key = _keys(ledger, database).create(
        owner,
        [Scope(given) for given in scope],
        name=name,
        tariff_id=None if tariff is None else tariff_id_of(tariff),
        expires_at=None if days is None else int(time.time()) + days * 86_400,
    )
    _show(text, key, as_json)


@app.command("list")
@command
def list_keys(
    ledger: LedgerOption = DEFAULT_LEDGER, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """List all keys; their secrets are nowhere.

    Example: meterbridge apikeys list --ledger books
    """
    from meterbridge.entrypoints.cli.output import Output

    output, now = Output(as_json), time.time()
    rows = [
        (
            key.key_id,
            str(key.provider),
            " ".join(sorted(key.scopes)),
            key.name,
            "usable" if key.usable(now) else "ended",
        )
        for key in _keys(ledger, database).listed()
    ]
    names = ("id", "provider", "scopes", "name", "state")
    output.table("API keys", names, rows)
    output.result({"keys": [dict(zip(names, row, strict=True)) for row in rows]})


@app.command()
@command
def rotate(
    key_id: KeyId,
    grace: Annotated[int, typer.Option(help="Seconds for which the old key still works.", min=0)] = 3_600,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a key by one with the same rights.

    Example: meterbridge apikeys rotate k3j5h2l1m0n9 --grace 600
    """
    text, key = _keys(ledger, database).rotate(key_id, grace=grace)
    _show(text, key, as_json)


@app.command()
@command
def revoke(
    key_id: KeyId,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key; running services refuse it within five seconds.

    Example: meterbridge apikeys revoke k3j5h2l1m0n9
    """
    from meterbridge.entrypoints.cli.output import Output

    _keys(ledger, database).revoke(key_id)
    output = Output(as_json)
    output.say(f"{key_id} is revoked.")
    output.result({"id": key_id, "state": "ended"})


def _keys(ledger: str, database: str | None) -> ApiKeys:
    require_extra()
    from meterbridge.adapters.intake.api_keys import ApiKeys
    from meterbridge.entrypoints.api.serving import open_database

    return ApiKeys(open_database(ledger, database)[1])


def _only(found: list[Address]) -> Address:
    from meterbridge.domain.errors import OutOfBounds

    if len(set(found)) != 1:
        raise OutOfBounds(f"the ledger has {len(set(found))} providers; name one with --provider", found)
    return found[0]


def _show(text: str, key: ApiKey, as_json: bool) -> None:
    from meterbridge.entrypoints.cli.output import Output

    output = Output(as_json)
    output.say(f"{text}\n{_SHOWN_ONCE} Scopes: {', '.join(sorted(key.scopes))}. Provider: {key.provider}.")
    output.result(
        {"key": text, "id": key.key_id, "scopes": sorted(key.scopes), "provider": str(key.provider)}
    )
