"""What the crash matrix settles: a ledger with three statements, copied for each run."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, text

from faults.books import Books, register
from faults.checks import ChainState, money_problems, nonce_problems
from faults.crashes import Point, Run, Scenario, Servant, Where
from faults.stage import DEPOSITS, RETIRED, Stage
from meterbridge.adapters.ledger import DATABASE_NAME, SqlLedger, open_ledger
from meterbridge.adapters.postgres import PostgresDatabase
from meterbridge.adapters.segments import FolderSegments


@dataclass
class Case:
    """A ledger before anything is settled, in SQLite or on PostgreSQL, and what it must come to.

    Attributes:
        server: URL of a PostgreSQL server; None for SQLite.
        books: what was used and stated, by hand.
    """

    stage: Stage
    folder: Path
    server: str | None
    books: Books | None = None
    _template: str = ""
    _runs: int = 0

    def prepare(self) -> None:
        """Write four statements: the second covers the first, and the last, which fails, the third."""
        self.stage.reset()
        self._template = f"crash_{uuid4().hex}"
        if self.server is not None:
            self._administer(f"CREATE DATABASE {self._template}")
        ledger = self._open()
        register(ledger, self.stage.record)
        segments = FolderSegments(self.folder / "segments")
        books = Books(ledger, segments, self.stage.record, random.Random(3))
        for number, payers in enumerate(([0], [0, 1], [2])):
            books.use(payers)
            books.state(self.stage.now() - 10 + number)
        books.use([2])
        books.state(self.stage.now() - 5, RETIRED)
        ledger.close()
        self.books = books

    def play(self, servant: Servant, point: Point | None = None) -> Run:
        """Settle a copy of it all, dying at a point."""
        self.stage.reset()
        job = self._copy()
        run = Scenario(self.stage, servant, job).play(point)
        shutil.rmtree(job["folder"])
        if self.server is not None:
            self._administer(f"DROP DATABASE {Path(job['folder']).name}")
        return run

    def problems(self, run: Run) -> list[str]:
        """Say what does not fit after a run."""
        assert self.books is not None
        if not run.finished or run.chain is None:
            return [f"not everything came to its end: {run.said}"]
        known = {bytes.fromhex(tx_hash) for tx_hash in run.said["known"]}
        problems = [each for each in run.said["problems"] if " is failed: " not in each]
        if len(run.said["problems"]) != 1 + len(problems):
            problems.append(f"the retired signer's statement did not fail: {run.said['problems']}")
        problems += money_problems(self.books, DEPOSITS, run.chain)
        return problems + nonce_problems(run.chain, run.said["nonces"], known)

    def _open(self) -> SqlLedger:
        if self.server is None:
            return open_ledger(self.folder / self._template)
        return SqlLedger(PostgresDatabase.open(self._url(self._template)))

    def _copy(self) -> dict[str, Any]:
        self._runs += 1
        name = f"{self._template}_{self._runs}"
        folder = self.folder / name
        folder.mkdir()
        if self.server is None:
            shutil.copyfile(self.folder / self._template / DATABASE_NAME, folder / DATABASE_NAME)
            return {"folder": str(folder), "database": None}
        self._administer(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return {"folder": str(folder), "database": self._url(name)}

    def _url(self, name: str) -> str:
        assert self.server is not None
        return self.server.rsplit("/", 1)[0] + "/" + name

    def _administer(self, statement: str) -> None:
        assert self.server is not None
        engine = create_engine(
            self.server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def points_of(undisturbed: Run) -> list[Point]:
    """Return every point at which a process can die: around each request and around each commit."""
    requests = [Where.BEFORE_REQUEST, Where.AFTER_REQUEST]
    commits = [Where.BEFORE_COMMIT, Where.AFTER_COMMIT]
    return [Point(where, n) for n in range(1, undisturbed.requests + 1) for where in requests] + [
        Point(where, n) for n in range(1, undisturbed.commits + 1) for where in commits
    ]


def money_of(run: Run) -> tuple[Any, ...]:
    """Return where the money is after a run, and how it got there: what must be the same in every run."""
    chain: ChainState | None = run.chain
    assert chain is not None
    return chain.money, chain.drawn, chain.draws
