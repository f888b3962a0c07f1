"""Runs a provider's whole way in a process of its own, and dies where it is told to; no test itself.

Reads jobs from standard input, one JSON object a line, and answers each in one line. A job is {"folder": …,
"die_at": n or null, "kill_after": seconds or null}. Each runs in a forked child, so that a death is real
(SIGKILL) and costs no start of Python. `die_at` counts the steps that touch the disk: before and after every
sync of a file or folder, every rename, and every commit of the database.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from metered_world import TIME, World

from meterbridge.adapters.sql.database import Database
from meterbridge.domain.events import UsageEvent
from meterbridge.domain.receipts import receipt_id
from meterbridge.domain.units import UsageVector
from meterbridge.services import metering
from meterbridge.services.metering import correct

EVENTS = 90
ROUNDS = 3


class Steps:
    """Counts steps, and dies at one."""

    def __init__(self, die_at: int | None) -> None:
        self.die_at = die_at
        self.count = 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Count before and after every call of a function."""
        function = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.step()
            result = function(*args, **options)
            self.step()
            return result

        setattr(owner, name, counted)

    def watch_commits(self, database: Database) -> None:
        from sqlalchemy import event

        event.listen(database.engine, "commit", lambda _: self.step())


VOIDED_IN_PLACE, REPLACED_IN_PLACE = 0, 1
VOIDED = (3, 33)
REPLACED = (4, 34)
REPLACEMENT = UsageVector.of([3] + [0] * 7)


def whole_way(world: World, steps: Steps | None = None) -> None:
    """Import, correct, seal and state in rounds; whoever is interrupted runs it again from the start."""
    events = world.events(EVENTS)
    world.take(events[:2])
    fix(world, events[VOIDED_IN_PLACE], None)
    fix(world, events[REPLACED_IN_PLACE], REPLACEMENT)
    for number in range(ROUNDS):
        world.take(events[: (number + 1) * EVENTS // ROUNDS])
        if steps is not None:
            steps.step()
        if number > 0:  # what the round before has sealed
            fix(world, events[VOIDED[number - 1]], None)
            fix(world, events[REPLACED[number - 1]], REPLACEMENT)
        world.seal(max_receipts=8)
        last = world.ledger.last_signed(world.record.id).values()
        world.state(max([TIME, *(signed.sealed_at + 1 for signed in last)]))


def fix(world: World, wrong: UsageEvent, replacement: UsageVector | None) -> None:
    payer = int((wrong.payer or "c0")[1:])
    correct(
        world.ledger,
        world.segments,
        world.accounts[payer],
        receipt_id(world.blind(payer), wrong.source, wrong.id),
        replacement=replacement,
        occurred_at=1_700_000_100_000,
        reason="counted wrong",
    )


def run(job: dict[str, Any]) -> int:
    metering.CHUNK_ROWS = 20  # type: ignore[misc]  # several transactions an import
    steps = Steps(job["die_at"])
    world = World(Path(job["folder"]), fresh=False)
    steps.around(os, "fsync")
    steps.around(Path, "replace")
    steps.watch_commits(world.ledger._database)
    whole_way(world, steps)
    world.close()
    return steps.count


def serve() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, str(run(job)).encode())
                os._exit(0)
            except BaseException as error:  # noqa: BLE001  # the parent tells the test
                os.write(writer, repr(error).encode())
                os._exit(1)
        os.close(writer)
        if job["kill_after"] is not None:
            time.sleep(job["kill_after"])
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reader) as said:
            text = said.read()
        _, status = os.waitpid(child, 0)
        answer = {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None, "said": text}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
