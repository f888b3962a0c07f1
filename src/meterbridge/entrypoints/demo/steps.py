"""The demo's steps up to settled rounds.

Each looks first at what is there, so that an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from meterbridge.adapters.chain import SplitterClient, TokenClient
from meterbridge.adapters.formats import Row
from meterbridge.adapters.statement_files import keep_statement
from meterbridge.domain.splits import Party, PartyTable
from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.tariffs import terms_document
from meterbridge.domain.terms import tariff_from_document
from meterbridge.domain.units import AssetAmount
from meterbridge.entrypoints.cli.metering import increments
from meterbridge.entrypoints.demo.setting import CUSTOMERS, DOCUMENT, MEMBERS, SCALE
from meterbridge.entrypoints.demo.usage import customer_of, deposits, forecast, rounds_of
from meterbridge.entrypoints.demo.world import METER, PROVIDER, World
from meterbridge.services.chain_events import Deposited
from meterbridge.services.ledger_errors import NothingToState
from meterbridge.services.metering import ensure_account, import_usage
from meterbridge.services.records import AccountKey, TariffRecord
from meterbridge.services.sealing import seal
from meterbridge.services.settlement import Settlement, submit
from meterbridge.services.statements import make_statement

FOREVER: Final = 2**64 - 1


def publish(world: World) -> None:
    """Publish the split and the tariff, let the meter sign, and keep the tariff in the ledger."""
    table = PartyTable([Party(world.address(m.name), m.role, m.share) for m in MEMBERS])
    split = table.split(world.chain.token.address)
    thaw_period = world.memory.get("thaw_period")
    tariff = tariff_from_document(DOCUMENT, world.address(PROVIDER), split.id, SCALE, thaw_period)
    world.record = TariffRecord(
        world.chain.splitter.domain, tariff, split, table.parties, terms_document(DOCUMENT)
    )
    provider = world.splitter(PROVIDER)
    if not provider.signer_until(tariff.provider, world.address(METER)):
        provider.publish_split(split, table.parties)
        provider.publish_tariff(tariff, world.record.document)
        provider.set_signer(world.address(METER), FOREVER)
    world.ledger.add_tariff(world.record)
    world.segments.put_tariff(world.record)
    names = f"Split 0x{split.id.hex()[:8]}, tariff 0x{tariff.id.hex()[:8]}"
    world.output.table(
        f"{names}, contract {world.record.domain.verifying_contract}",
        ["party", ">share", "account"],
        [(m.name, f"{m.share / 10:g} %", str(world.address(m.name))) for m in MEMBERS],
    )


def open_accounts(world: World) -> None:
    """Open an account for each customer, with a blind of its own."""
    for customer in CUSTOMERS:
        key = AccountKey(world.record.domain, world.record.id, world.address(customer.name))
        world.accounts[customer.name] = ensure_account(world.ledger, key, customer.name).key


def read_log(world: World) -> None:
    """Read the log once, to know what the payers have to deposit."""
    with world.output.progress(f"Reading {world.log.file.name}") as advance:
        world.plan = forecast(world.log, world.record.meter_map(), advance)
    made = " (made up, in the shapes of three providers)" if world.log.made else ""
    world.output.say(f"{world.plan.rows:,} calls in {world.log.file}{made}")
    if world.plan.bad:
        world.output.warn(f"{world.plan.bad:,} of {world.plan.rows:,} rows left out: they cannot be read")


def deposit_all(world: World) -> None:
    """Three payers deposit, each in another way; who has deposited before does not do so again."""
    amounts = deposits(world.plan, world.record.tariff)
    ways = {"acme": ("approve", approve_and_deposit), "globex": ("permit (EIP-2612)", _permitted)}
    rows = []
    for customer in CUSTOMERS:
        way, deposit = ways.get(customer.name, ("authorisation (EIP-3009)", _authorised))
        amount = amounts[customer.name]
        if not arrived(world, customer.name):
            world.token(PROVIDER).mint(world.address(customer.name), amount)
            deposit(world, customer.name, amount)
        rows.append((customer.name, way, world.money(amount)))
    world.output.table("Deposits", ["payer", "way", ">TUSD"], rows)


def arrived(world: World, customer: str) -> AssetAmount:
    """Return all that a customer has deposited so far, as the contract's events tell."""
    splitter, payer = world.chain.splitter, world.address(customer)
    events = splitter.events(world.chain.block, splitter.newest_block())
    return AssetAmount.total(
        event.arrived
        for event in events
        if isinstance(event, Deposited) and (event.tariff_id, event.payer) == (world.record.id, payer)
    )


def approve_and_deposit(world: World, customer: str, amount: AssetAmount) -> None:
    """Let the contract pull an amount, and deposit it."""
    splitter: SplitterClient = world.splitter(customer)
    world.token(customer).approve(splitter.address, amount)
    splitter.deposit(world.record.tariff, world.record.split, world.address(customer), amount)


def _permitted(world: World, customer: str, amount: AssetAmount) -> None:
    splitter = world.splitter(customer)
    permit = world.token(customer).sign_permit(world.keys[customer], splitter.address, amount)
    splitter.deposit_with_permit(
        world.record.tariff, world.record.split, world.address(customer), amount, permit
    )


def _authorised(world: World, customer: str, amount: AssetAmount) -> None:
    token: TokenClient = world.token(PROVIDER)
    splitter = world.splitter(PROVIDER)  # the payer only signs; somebody else sends and pays the gas
    signed = token.sign_deposit(world.keys[customer], splitter.address, world.record.id, amount)
    splitter.deposit_with_authorization(
        world.record.tariff, world.record.split, world.address(customer), amount, signed
    )


def settle_rounds(world: World) -> list[SignedStatement]:
    """Meter, seal and state the log round by round; settle all but the last, and return all statements."""
    statements = [record.signed for record in world.ledger.statements(world.record.id)][: world.plan.rounds]
    rows = []
    with world.output.progress("Metering, sealing, settling", world.plan.rows) as advance:
        advance(world.plan.ends(len(statements) - 1) if statements else 0)
        for calls in rounds_of(world.log, world.plan, len(statements)):
            meter(world, calls, advance)
            with suppress(NothingToState):  # a round of bad rows only
                statements.append(state(world))
    for number, signed in enumerate(statements, start=1):
        if number == len(statements) and number > 1:
            rows.append((str(number), str(len(signed.statement.lines)), "held back", "", ""))
            continue
        settled = settle(world, signed)
        unpaid = ", ".join(world.name(line.payer) for line in settled.lines if line.unpaid)
        drawn, gas = world.money(settled.drawn), f"{settled.gas_used:,}"
        rows.append((str(number), str(len(settled.lines)), drawn, gas, unpaid))
    world.output.table("Statements", ["round", ">lines", ">drawn, TUSD", ">gas", "ran dry"], rows)
    return statements


def meter(world: World, rows: Iterable[Row], advance: Callable[[int], None]) -> None:
    """Turn a round's calls into receipts, and seal them."""
    import_usage(
        world.ledger,
        world.record,
        rows,
        payer_of=lambda event: world.address(customer_of(event)),
        skip_bad=world.log.skip_bad,
        on_progress=increments(advance),
    )
    seal(world.ledger, world.segments, world.record.id)


def state(world: World) -> SignedStatement:
    """Let the meter sign what every account has used by now, and keep the statement as JSON."""
    last = [record.signed.statement.sealed_at for record in world.ledger.statements(world.record.id)]
    sealed_at = max([world.chain.splitter.now(), *(time + 1 for time in last)])
    return make_statement(world.ledger, world.record, sealed_at, world.keys[METER])


def settle(world: World, signed: SignedStatement) -> Settlement:
    """Submit a statement once the chain's clock has reached it."""
    keep_statement(world.folder, signed)
    world.devnet.wait_until(signed.statement.sealed_at)
    return submit(world.splitter(PROVIDER), world.ledger, world.record.tariff, signed)
