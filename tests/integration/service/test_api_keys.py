"""API keys and the commands around the service."""

from __future__ import annotations

import json

import _service as support
import pytest
import typer
from typer.testing import CliRunner

from meterbridge.adapters.intake.api_keys import ApiKeys, BadApiKey, Scope, UnknownApiKey
from meterbridge.adapters.intake.rate_limit import RateLimit
from meterbridge.domain.errors import OutOfBounds
from meterbridge.entrypoints.api.settings import Settings
from meterbridge.entrypoints.cli import apikeys, quarantine, serve


@pytest.fixture
def clock():
    return [1_000.0]


@pytest.fixture
def keys(book, clock):
    yield ApiKeys(book.base, lambda: clock[0])
    book.close()


def test_the_secret_is_stored_nowhere(book, keys):
    text, _ = keys.create(support.PROVIDER, [Scope.READ], name="x")
    secret = text.split("_", 2)[2]
    book.base.close()
    held = b"".join(path.read_bytes() for path in book.folder.glob("ledger.db*"))
    assert text.split("_")[1].encode() in held
    assert secret.encode() not in held


def test_a_key_says_who_may_do_what(keys):
    text, made = keys.create(support.PROVIDER, [Scope.READ, Scope.INGEST], tariff_id=b"\1" * 32)
    assert keys.authenticate(text) == made
    assert (made.provider, made.scopes) == (support.PROVIDER, {Scope.READ, Scope.INGEST})


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"), lambda t: "x" + t, lambda _: ""]
)
def test_a_changed_key_is_refused(keys, change):
    text, _ = keys.create(support.PROVIDER, [Scope.READ])
    with pytest.raises(BadApiKey):
        keys.authenticate(change(text))


def test_an_expired_key_is_refused(keys, clock):
    text, _ = keys.create(support.PROVIDER, [Scope.READ], expires_at=2_000)
    keys.authenticate(text)
    clock[0] = 2_000.0
    with pytest.raises(BadApiKey):
        keys.authenticate(text)


def test_a_rotated_key_works_until_the_grace_ends(keys, clock):
    text, made = keys.create(support.PROVIDER, [Scope.READ], name="gateway")
    fresh, again = keys.rotate(made.key_id, grace=100)
    assert (again.scopes, again.name) == (made.scopes, "gateway")
    keys.authenticate(text)
    clock[0] += 100
    with pytest.raises(BadApiKey):
        keys.authenticate(text)
    keys.authenticate(fresh)


def test_a_revocation_in_another_process_holds_within_five_seconds(book, keys, clock):
    text, made = keys.create(support.PROVIDER, [Scope.READ])
    keys.authenticate(text)
    ApiKeys(book.base, lambda: clock[0]).revoke(made.key_id)
    clock[0] += 5
    with pytest.raises(BadApiKey):
        keys.authenticate(text)
    with pytest.raises(UnknownApiKey):
        keys.revoke("nobodysthing")


def test_rate_limits_hold_on_average_and_let_no_request_wait_for_ever():
    now = [0.0]
    limit = RateLimit(rate=10, burst=20, clock=lambda: now[0])
    assert limit.take("a", 20) == 0
    assert limit.take("a", 5) == pytest.approx(0.5)
    assert limit.take("b", 1) == 0  # another key's bucket
    now[0] = 2.0
    assert limit.take("a", 100) == 0  # above the burst: passes when the bucket is full
    assert limit.take("a", 1) == pytest.approx(8.1)  # and leaves it in debt


def test_settings_name_what_is_wrong():
    for values in ({"nothing": 1}, {"body_bytes": 0}, {"body_bytes": True}):
        with pytest.raises(OutOfBounds):
            Settings.of(values)


def app():
    commands = typer.Typer()
    commands.command()(serve.serve)
    commands.add_typer(apikeys.app, name="apikeys")
    commands.add_typer(quarantine.app, name="quarantine")
    return commands


def command(book, *arguments):
    result = CliRunner().invoke(app(), [*arguments, "--ledger", str(book.folder), "--json"])
    return result.exit_code, json.loads(result.output.splitlines()[0])


def test_keys_are_made_listed_rotated_and_revoked_from_the_command_line(book):
    status, made = command(book, "apikeys", "new", "--scope", "ingest", "--name", "eu")
    assert (status, made["scopes"], made["provider"]) == (0, ["ingest"], str(support.PROVIDER))
    assert book.keys.authenticate(made["key"]).name == "eu"
    assert command(book, "apikeys", "rotate", made["id"], "--grace", "0")[0] == 0
    with pytest.raises(BadApiKey):
        ApiKeys(book.base).authenticate(made["key"])
    states = {key["id"]: key["state"] for key in command(book, "apikeys", "list")[1]["keys"]}
    assert states[made["id"]] == "ended"
    assert command(book, "apikeys", "revoke", "nobodysthing")[0] == 1
    assert command(book, "apikeys", "new", "--scope", "everything")[0] == 1
    book.close()


def test_quarantine_is_decided_from_the_command_line(live):
    live.send(support.event("a"), support.event("b"))
    live.send(support.event("a", tokens=20), support.event("b", tokens=30))
    events = command(live.book, "quarantine", "list")[1]["events"]
    assert [event["event_id"] for event in events] == ["a", "b"]
    assert command(live.book, "quarantine", "release", "1", "--note", "cut off")[1]["state"] == "released"
    assert command(live.book, "quarantine", "reject", "2")[1]["state"] == "rejected"
    assert command(live.book, "quarantine", "reject", "2")[0] == 1
    assert live.usage()[0] == 32
