"""Several settling processes on one database, each stepping as fast as it can; no test itself.

Run as `python -m faults.workers JOB`: forks them, kills one of them after a while, waits for all, and says in
one line how each ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from faults.crash_child import open_books
from faults.riding import Ride
from faults.stage import SENDERS
from meterbridge.services.settling.policy import Policy

GIVE_UP_SECONDS = 600
PAUSE_SECONDS = 0.05


class Start:
    """A line that nobody crosses before all stand at it: what they do then is done at the same time."""

    def __init__(self) -> None:
        """Draw it; to be called before the processes are forked."""
        self._ready, self._stands = os.pipe()
        self._open, self._gun = os.pipe()

    def wait(self) -> None:
        """Say that this process is ready, and wait for the others."""
        os.close(self._gun)
        os.write(self._stands, b".")
        os.close(self._stands)
        os.read(self._open, 1)

    def fire(self, workers: int) -> None:
        """Wait until so many are ready, or one of them has died, and let them all go."""
        os.close(self._stands)
        ready = 0
        while ready < workers and os.read(self._ready, 1):
            ready += 1
        os.close(self._gun)


def work(job: dict[str, Any], number: int, start: Start) -> int:
    """Step until nothing is left to be delivered, by the clock on the wall; return how many steps it took."""
    ledger, database = open_books(job)
    (record,) = ledger.tariffs()
    policy = Policy(
        confirmations=job["confirmations"],
        lease_seconds=job["lease"],
        in_flight_max=job["in_flight"],
    )
    ride = Ride(ledger, [job["url"]], record, SENDERS[number % job["senders"]], 0, policy)
    start.wait()
    give_up, steps = time.monotonic() + GIVE_UP_SECONDS, 0
    while time.monotonic() < give_up:
        ride.clock.now = int(time.time()) + job["ahead"]
        ride.step()
        steps += 1
        if ride.nothing_left():
            break
        time.sleep(PAUSE_SECONDS)
    database.close()
    return steps


def main() -> None:
    """Fork the workers of one job."""
    job = json.loads(sys.argv[1])
    children, start = [], Start()
    for number in range(job["workers"]):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, str(work(job, number, start)).encode())
                os._exit(0)
            except BaseException:  # noqa: BLE001  # whatever it is, the parent must see it
                import traceback

                traceback.print_exc()
                os._exit(1)
        os.close(writer)
        children.append((child, reader))
    start.fire(job["workers"])
    time.sleep(job["kill_after"])
    os.kill(children[0][0], signal.SIGKILL)
    ended = []
    for child, reader in children:
        with os.fdopen(reader) as said:
            steps = said.read()
        ended.append({"steps": steps, "code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])})
    sys.stdout.write(json.dumps(ended) + "\n")


if __name__ == "__main__":
    main()
