"""A followed contract: a chain with people on it, and ledgers in SQLite and in PostgreSQL."""

from __future__ import annotations

import runpy
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "settling"))

import _service as support  # found through the lines above
import books
from sqlalchemy import create_engine, text

from meterbridge.adapters.chain.followed import FollowedSplitter
from meterbridge.adapters.ledger import SqlLedger, open_ledger
from meterbridge.adapters.postgres import PostgresDatabase
from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.chain_events import ChainEvent
from meterbridge.services.chain_ports import StakeKey
from meterbridge.services.following.indexer import follow
from meterbridge.services.following.reconcile import Reconciliation, reconcile
from meterbridge.services.records import TariffRecord
from meterbridge.services.settlement import submit

ANVIL = Path(__file__).resolve().parents[2] / "bench" / "_anvil.py"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    missing = support.postgres_missing()
    if missing:
        pytest.skip(missing)
    with support.postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlLedger]:
    """An empty ledger, in each kind of database."""
    if request.param == "sqlite":
        with open_ledger(tmp_path / "ledger") as opened:
            yield opened
        return
    url = request.getfixturevalue("postgres_url")
    name = f"f{uuid.uuid4().hex}"
    admin = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    with SqlLedger(PostgresDatabase.open(f"{url.rsplit('/', 1)[0]}/{name}")) as opened:
        yield opened


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with open_ledger(tmp_path / "ledger") as opened:
        yield opened


@pytest.fixture
def followed() -> Callable[..., FollowedSplitter]:
    """Make a reader of a world's contract; a block is final with so many on top of it."""

    def make(world: Any, confirmations: int = 64, **options: Any) -> FollowedSplitter:
        gateway = world.net.gateway()
        return FollowedSplitter(
            gateway, world.splitter.address, finality="latest", confirmations=confirmations, **options
        )

    return make


@pytest.fixture
def own_anvil() -> Iterator[str]:
    """A node for one test alone, since it takes blocks back."""
    tools = runpy.run_path(str(ANVIL))
    try:
        tools["find_anvil"]()
    except tools["NoAnvil"] as error:
        pytest.skip(str(error))
    with tools["anvil"]() as w3:
        yield str(w3.provider.endpoint_uri)


def usage(*lanes: int) -> UsageVector:
    return UsageVector.of(lanes + (0,) * (8 - len(lanes)))


@pytest.fixture
def live_a_little() -> Callable[[Any], None]:
    """Let everything happen once that money can do."""

    def live(world: Any) -> None:
        first, second, _ = world.payers
        world.client(world.provider).publish_split(world.split, world.table.parties)
        world.client(world.provider).publish_tariff(world.tariff, world.document)
        world.splitter.announce_split(world.split, "https://parties.example/\0\N{SNOWMAN}")
        for payer, amount in ((first, 1_000_000), (second, 500)):
            world.deposit(payer, amount)
        world.client(first).thaw(world.tariff, AssetAmount(1000))
        world.splitter.settle(world.tariff, world.sign({first: usage(700, 30), second: usage(900)}))
        world.token.mint(world.payers[2].address, AssetAmount(77))
        funder = world.net.gateway(world.payers[2])
        world.token.as_sender(funder).approve(world.splitter.address, AssetAmount(77))
        world.splitter.as_sender(funder).fund(world.split, AssetAmount(77))
        party = world.table.parties[0]
        world.splitter.claim_first(world.split, world.table.proof(0))
        world.splitter.claim(world.split, 0, party.account)

    return live


@pytest.fixture
def in_agreement() -> Callable[..., None]:
    """Hold a ledger against the chain itself, by reads that have nothing to do with following."""

    def check(world: Any, ledger: SqlLedger) -> None:
        domain, splitter = world.splitter.domain, world.splitter
        cursor = ledger.cursor(domain)
        assert cursor is not None
        block = cursor.block.number
        said: list[ChainEvent] = list(splitter.events(0, block))
        assert list(ledger.chain_events(domain)) == said
        known = [b.number for b in ledger.kept_blocks(domain)]
        assert known[0] == block
        for payer, state in ledger.followed_escrows(domain, world.tariff.id).items():
            escrow = splitter.escrow(world.tariff.id, payer, block=block)
            assert (state.balance, state.settled, state.sealed_at) == (
                escrow.balance,
                escrow.settled,
                escrow.sealed_at,
            )
            thaw = splitter.thawing(world.tariff.id, payer, block=block)
            assert (state.thawing, state.thaw_end) == (thaw.amount, thaw.end)
        for split_id, pot in ledger.followed_pots(domain).items():
            assert pot.allocated == splitter.pot(split_id, block=block)
        for key, stake in ledger.followed_stakes(domain, world.split.id).items():
            assert isinstance(key, StakeKey)
            assert (stake.share, stake.claimed) == (
                splitter.stake(key, block=block).share,
                splitter.stake(key, block=block).claimed,
            )
        for signer, held in ledger.followed_signers(domain, world.provider.address).items():
            assert held.until == splitter.signer_until(world.provider.address, signer, block=block)

    return check


@dataclass
class Business:
    """A provider's ledger and segments, on a contract with payers."""

    world: Any
    books: Any
    chain: FollowedSplitter

    @property
    def ledger(self) -> SqlLedger:
        opened: SqlLedger = self.books.ledger
        return opened

    @property
    def record(self) -> TariffRecord:
        found: TariffRecord = self.books.record
        return found

    def deposit(self, payer: Any, amount: int) -> None:
        gateway = self.world.net.gateway(payer)
        self.world.token.mint(payer.address, AssetAmount(amount))
        self.world.token.as_sender(gateway).approve(self.world.splitter.address, AssetAmount(amount))
        client = self.world.splitter.as_sender(gateway)
        client.deposit(self.record.tariff, self.record.split, payer.address, AssetAmount(amount))

    def use(self, **tokens: int) -> None:
        """Count and seal tokens of payers, by their number: `p0=5`."""
        self.books.use({self.payer(name).address: count for name, count in tokens.items()})

    def payer(self, name: str) -> Any:
        return self.world.payers[int(name[1:])]

    def state(self) -> list[SignedStatement]:
        signed: list[SignedStatement] = self.books.state(self.world.splitter.now())
        return signed

    def settle(self, signed: list[SignedStatement] | None = None) -> None:
        for statement in self.state() if signed is None else signed:
            submit(self.world.splitter, self.ledger, self.record.tariff, statement)

    def reconcile(self, **options: Any) -> Reconciliation:
        follow(self.chain, self.ledger)
        segments = options.pop("segments", self.books.segments)
        return reconcile(self.ledger, segments, self.chain, **options)


@pytest.fixture
def open_business(
    make_world: Any, followed: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Business]]:
    """Open a business on a chain, with its ledger in SQLite or, where told, in PostgreSQL."""
    opened: list[Business] = []

    def make(net: Any, *, postgres: bool = False) -> Business:
        world = make_world(net)
        world.client(world.provider).set_signer(books.METER.address, 2**32 - 1)
        record = books.tariff_record(world.splitter.domain, world.provider.address, world.token.address)
        url = books.fresh_database(request.getfixturevalue("postgres_url")) if postgres else None
        made = books.Books(tmp_path / f"business{len(opened)}", record, url)
        opened.append(Business(world, made, followed(world)))
        return opened[-1]

    yield make
    for business in opened:
        business.ledger.close()


@pytest.fixture(params=["sqlite", "postgres"])
def business(request: pytest.FixtureRequest, embedded: Any, open_business: Any) -> Business:
    made: Business = open_business(embedded, postgres=request.param == "postgres")
    return made
