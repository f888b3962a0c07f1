"""`meterbridge watch`: follow the chain and raise alerts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meterbridge.entrypoints.cli.profiles import ProfileOption, ProfilesOption
from meterbridge.entrypoints.cli.running import (
    DEFAULT_LEDGER,
    DEFAULT_RPC,
    JsonOption,
    LedgerOption,
    command,
)
from meterbridge.entrypoints.cli.serve import DatabaseOption
from meterbridge.entrypoints.cli.settling import RpcsOption

if TYPE_CHECKING:
    from meterbridge.adapters.profiles import ChainProfile
    from meterbridge.adapters.webhooks import Webhook
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.services.following.alerts import StoredAlert
    from meterbridge.services.following.guards import Limits
    from meterbridge.services.following.watching import Round, Watch

StartOption = Annotated[
    int | None,
    typer.Option("--from-block", min=0, help="Where to begin the first time; without it, that is found."),
]


@command
def watch(
    once: Annotated[bool, typer.Option("--once", help="One round, and end.")] = False,
    webhooks: Annotated[
        list[str] | None,
        typer.Option(
            "--webhook",
            metavar="URL",
            help="Post alerts there, signed with $METERBRIDGE_WEBHOOK_SECRET; repeat it.",
        ),
    ] = None,
    metrics: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Serve Prometheus metrics on this machine."),
    ] = None,
    every: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="Pause between rounds; about a block.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="A limit, such as stalled_seconds=600; repeat."),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what was followed, and begin again.")] = False,
    from_block: StartOption = None,
    rpc: RpcsOption = None,
    profile: ProfileOption = None,
    profiles: ProfilesOption = None,
    ledger: LedgerOption = DEFAULT_LEDGER,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the contract's events into the ledger, and raise alerts.

    Guards look at thaws, payers that run dry, signers, the queue of statements, what is unsettled and the
    chain itself. Alerts go to the log (stderr), to webhooks and into metrics; docs/operations.md says of each
    what to do. With --once the exit code is 2 while a critical alert is open. Needs no key.

    Try:

      meterbridge watch --once

      meterbridge watch --webhook https://alerts.example/hook --metrics 9109 --set stalled_seconds=600
    """
    from meterbridge.entrypoints.cli.output import Output
    from meterbridge.entrypoints.watching import (
        ChainOptions,
        followed_contracts,
        log_to_stderr,
        open_books,
        serve_metrics,
    )
    from meterbridge.services.following.metrics import metrics_text
    from meterbridge.services.following.watching import Watch

    output, receivers = Output(as_json), _receivers(webhooks or [])
    log_to_stderr()
    with open_books(ledger, database) as books:
        options = ChainOptions(rpc or [DEFAULT_RPC], profile, profiles)
        contracts, found = followed_contracts(options, books.tariffs())
        wanted = _limits(limits or [], found)
        if anew:
            for contract in contracts:
                books.forget_followed(contract.domain)
        with output.progress("blocks") as advance:
            watches = [
                Watch(
                    contract,
                    books,
                    wanted,
                    receivers,
                    lambda: int(time.time()),
                    from_block=from_block,
                    tries=1 if once else 3,
                    on_progress=lambda *_: advance(1),
                )
                for contract in contracts
            ]
            rounds = [each.round() for each in watches]
        _tell(output, rounds)
        if once:
            _end(rounds)
            return
        pause = every if every is not None else max(1, found.block_millis // 1000)
        with serve_metrics(metrics, lambda: metrics_text(books, int(time.time()))) as port:
            if port is not None:
                output.say(f"Metrics at http://127.0.0.1:{port}/metrics")
            sys.stdout.flush()
            _keep_on(watches, pause)


def _keep_on(watches: Sequence[Watch], pause: int) -> None:
    stopped = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopped.set())
    while not stopped.wait(pause):
        for watch_ in watches:
            watch_.round()


def _receivers(urls: Sequence[str]) -> list[Webhook]:
    if not urls:
        return []
    from meterbridge.adapters.webhooks import Webhook
    from meterbridge.entrypoints.watching import SECRET_VARIABLE, NoSecret

    secret = os.environ.get(SECRET_VARIABLE)
    if not secret:
        raise NoSecret(f"set ${SECRET_VARIABLE}: webhooks are signed, so that nobody else can send them")
    return [Webhook(url, secret) for url in urls]


def _limits(given: Sequence[str], profile: ChainProfile) -> Limits:
    import dataclasses

    from meterbridge.domain.errors import OutOfBounds
    from meterbridge.domain.units import AssetAmount
    from meterbridge.services.following.guards import Limits

    known = [each.name for each in dataclasses.fields(Limits)]
    values: dict[str, Any] = {"behind_seconds": profile.behind_seconds}
    for one in given:
        name, equals, number = one.partition("=")
        if name not in known:
            raise OutOfBounds(f"there is no limit {name!r}; there are: {', '.join(known)}", name)
        if not equals or not number.isascii() or not number.isdigit():
            raise OutOfBounds(f"--set takes NAME=NUMBER, not {one!r}", one)
        values[name] = AssetAmount(int(number)) if name == "unsettled_most" else int(number)
    return Limits(**values)


def _tell(output: Output, rounds: Sequence[Round]) -> None:
    for each in rounds:
        if each.followed is not None:
            at = each.followed.cursor
            final = "none is final yet" if at.final < 0 else f"final up to {at.final}"
            output.say(
                f"{each.domain.verifying_contract} followed to block {at.block.number}; {final}; "
                f"{each.followed.added} events added"
            )
        elif each.error:
            output.say(f"{each.domain.verifying_contract} cannot be followed: {each.error}")
        rows = [(a.alert.severity.value, a.alert.guard, a.alert.message) for a in each.open_alerts]
        if rows:
            output.table("Open alerts", ["", "guard", "message"], rows)
        else:
            output.say("No alerts.")
        if each.sent.waiting:
            output.say(f"{each.sent.waiting} notices wait for receivers.")
    output.result({"contracts": [_answer(each) for each in rounds]})


def _answer(each: Round) -> dict[str, object]:
    cursor = None if each.followed is None else each.followed.cursor
    return {
        "chainId": each.domain.chain_id,
        "contract": str(each.domain.verifying_contract),
        "error": each.error or None,
        "block": None if cursor is None else cursor.block.number,
        "final": None if cursor is None else cursor.final,
        "verified": None if cursor is None else cursor.verified.number,
        "alerts": [_alert(stored) for stored in each.open_alerts],
        "notices": {"received": each.sent.received, "waiting": each.sent.waiting},
    }


def _alert(stored: StoredAlert) -> dict[str, object]:
    alert = stored.alert
    return {
        "id": stored.id,
        "guard": alert.guard,
        "subject": alert.subject,
        "severity": alert.severity.value,
        "message": alert.message,
        "amount": None if alert.amount is None else str(alert.amount),
        "openedAt": stored.opened_at,
    }


def _end(rounds: Sequence[Round]) -> None:
    from meterbridge.services.following.alerts import Severity

    critical = [a for each in rounds for a in each.open_alerts if a.alert.severity is Severity.CRITICAL]
    if critical:
        raise typer.Exit(2)
