"""Settles in a process of its own, one step whenever it is told to, and dies where it is told to; no test.

Run as `python -m faults.crash_child SOCKET`: a server that forks a child for each job, so that a death is
real (SIGKILL) and costs no start of Python. A child connects to the socket, answers each command in one line,
and kills itself before or after its nth commit if the job says so. The parent kills it around its requests.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event

from faults.riding import Ride
from faults.stage import SENDERS
from meterbridge.adapters.ledger import SqlLedger, open_ledger
from meterbridge.adapters.sql.database import Database
from meterbridge.services.settling.policy import Policy


class Commits:
    """Counts the commits of transactions that write, and ends the process before or after one of them."""

    def __init__(self, database: Database, die_before: int | None, die_after: int | None) -> None:
        self.count = 0
        self._die_before, self._die_after = die_before, die_after
        self._writes = False
        event.listen(database.engine, "commit", self._about_to_commit)
        dialect = database.engine.dialect
        self._commit: Callable[[Any], None] = dialect.do_commit
        vars(dialect)["do_commit"] = self._counted

    def _about_to_commit(self, connection: Connection) -> None:
        self._writes = bool(connection.get_execution_options().get("meterbridge_writes"))

    def _counted(self, connection: Any) -> None:
        counts, self._writes = self._writes, False
        if counts:
            self.count += 1
            _die_if(self.count == self._die_before)
        self._commit(connection)
        if counts:
            _die_if(self.count == self._die_after)


def _die_if(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def open_books(job: dict[str, Any]) -> tuple[SqlLedger, Database]:
    """Open the ledger that a job names, in a folder or on PostgreSQL."""
    if job["database"] is None:
        ledger = open_ledger(Path(job["folder"]))
        return ledger, ledger._database
    from meterbridge.adapters.postgres import PostgresDatabase

    database = PostgresDatabase.open(job["database"])
    return SqlLedger(database), database


def ride(job: dict[str, Any], line: socket.socket) -> None:
    """Do what the parent says until it hangs up."""
    ledger, database = open_books(job)
    commits = Commits(database, job.get("die_before"), job.get("die_after"))
    (record,) = ledger.tariffs()
    policy = Policy(confirmations=job["confirmations"], bump_after_seconds=20)
    settling = Ride(ledger, [job["url"]], record, SENDERS[0], job["clock"], policy)
    with line.makefile("rwb") as pipe:
        for told in pipe:
            command = json.loads(told)
            settling.clock.now = command["clock"]
            getattr(settling, command["do"])()
            answer = {
                "commits": commits.count,
                "left": not settling.nothing_left(),
                "transitions": [list(each) for each in settling.transitions],
                "complaints": settling.complaints,
                "problems": settling.problems(),
                "nonces": settling.nonces_given(),
                "known": [tx_hash.hex() for tx_hash in settling.known_transactions()],
            }
            pipe.write(json.dumps(answer).encode() + b"\n")
            pipe.flush()
    database.close()


def main() -> None:
    """Fork a child for each line of standard input; say its process id, and how it ended."""
    for told in sys.stdin:
        job = json.loads(told)
        child = os.fork()
        if child == 0:
            try:
                with socket.socket(socket.AF_UNIX) as line:
                    line.connect(sys.argv[1])
                    ride(job, line)
                os._exit(0)
            except BaseException:  # noqa: BLE001  # whatever it is, the parent must see it
                import traceback

                traceback.print_exc()
                os._exit(1)
        _say({"pid": child})
        _, status = os.waitpid(child, 0)
        _say({"code": os.waitstatus_to_exitcode(status)})


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
