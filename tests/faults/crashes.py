"""Kill a settling process at one point, let another go on, and see where the chain ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

from faults.checks import ChainState, read_chain
from faults.kinds import Exchange
from faults.proxy import FaultProxy
from faults.stage import SENDERS, Stage

TESTS: Final = Path(__file__).resolve().parents[1]
LEASE_PASSES: Final = 3_600  # seconds: longer than any lease
TURNS_MAX: Final = 80
CONFIRMATIONS: Final = 2


class Where(StrEnum):
    """At which kind of point a process dies."""

    BEFORE_REQUEST = "before a request reaches the node"
    AFTER_REQUEST = "after the node answered, before the answer arrives"
    BEFORE_COMMIT = "before a commit"
    AFTER_COMMIT = "after a commit"


@dataclass(frozen=True, slots=True)
class Point:
    """One point of an undisturbed run: the nth request or commit."""

    where: Where
    number: int

    def __str__(self) -> str:
        return f"{self.where.name.lower()} {self.number}"

    def is_within(self, run: Run) -> bool:
        """Tell whether the run had as many requests, or commits."""
        of_requests = self.where in (Where.BEFORE_REQUEST, Where.AFTER_REQUEST)
        return self.number <= (run.requests if of_requests else run.commits)


@dataclass
class Run:
    """What came of one run.

    Attributes:
        requests, commits: how many there were, of the last process.
        killed: whether a process died where it should.
        finished: whether everything came to its end.
        said: what the last process said last.
    """

    chain: ChainState | None = None
    requests: int = 0
    commits: int = 0
    killed: bool = False
    finished: bool = False
    said: dict[str, Any] = field(default_factory=dict)


class Death(Exception):
    """The process is gone."""


class Servant:
    """A process that forks settling processes."""

    def __init__(self, folder: Path) -> None:
        """Start it; it imports everything once."""
        self._address = folder / "line"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._address))
        self._listener.listen()
        self._listener.settimeout(300)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "bench")])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.crash_child", str(self._address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def close(self) -> None:
        """End it."""
        self._input.close()
        self._process.wait(300)
        self._output.close()
        self._listener.close()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @contextmanager
    def child(self, job: dict[str, Any]) -> Iterator[Child]:
        """Run a child until the end of the block, or until it dies."""
        self._input.write(json.dumps(job).encode() + b"\n")
        self._input.flush()
        pid = int(json.loads(self._output.readline())["pid"])
        line, _ = self._listener.accept()
        line.settimeout(300)
        child = Child(pid, line)
        try:
            yield child
        finally:
            child.hang_up()
            child.end = json.loads(self._output.readline())


class Child:
    """One settling process.

    Attributes:
        end: how it ended, once it has.
    """

    def __init__(self, pid: int, line: socket.socket) -> None:
        """Talk to it over a line."""
        self.pid = pid
        self.end: dict[str, Any] = {}
        self._line = line
        self._pipe = line.makefile("rwb")

    def tell(self, do: str, clock: int) -> dict[str, Any]:
        """Let it do something, and return what it says.

        Raises:
            Death: when it died meanwhile.
        """
        try:
            self._pipe.write(json.dumps({"do": do, "clock": clock}).encode() + b"\n")
            self._pipe.flush()
            said = self._pipe.readline()
        except ConnectionError:
            said = b""
        if not said:
            raise Death(self.pid)
        answer: dict[str, Any] = json.loads(said)
        return answer

    def kill(self) -> None:
        """Kill -9."""
        os.kill(self.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Close the line; the process ends."""
        with _quietly():
            self._pipe.close()
        self._line.close()


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


class Scenario:
    """What the chain does while statements are settled: turn by turn, the same in every run."""

    def __init__(self, stage: Stage, servant: Servant, job: dict[str, Any]) -> None:
        """Take a chain that is set back, and a job with a fresh ledger."""
        self._stage, self._servant, self._job = stage, servant, job
        self._since = stage.height()
        self._clock = stage.now()
        self._turn = 0
        self.run = Run()

    def play(self, point: Point | None = None) -> Run:
        """Settle everything, dying once at a point, and going on in another process."""
        with FaultProxy(self._stage.url) as proxy:
            self._job["url"] = proxy.url
            if point is not None:
                self._until_death(proxy, point)
            first = 0 if self.run.finished else proxy.requests
            if not self.run.finished:
                self._undisturbed()
            self.run.requests = proxy.requests - first
        self.run.chain = read_chain(self._stage, SENDERS[0].address, self._since)
        return self.run

    def _until_death(self, proxy: FaultProxy, point: Point) -> None:
        job = {**self._job, "clock": self._clock, "confirmations": CONFIRMATIONS}
        if point.where is Where.BEFORE_COMMIT:
            job["die_before"] = point.number
        elif point.where is Where.AFTER_COMMIT:
            job["die_after"] = point.number
        with self._servant.child(job) as child:
            self._arm(proxy, point, child)
            try:
                self._go_on(child)
            except Death:
                self.run.killed = True
        proxy.before = proxy.after = None
        assert not self.run.killed or child.end["code"] == -signal.SIGKILL, child.end
        self._clock += LEASE_PASSES
        self._world()

    def _arm(self, proxy: FaultProxy, point: Point, child: Child) -> None:
        def strike(exchange: Exchange) -> None:
            if exchange.number == point.number:
                child.kill()

        if point.where is Where.BEFORE_REQUEST:
            proxy.before = strike
        elif point.where is Where.AFTER_REQUEST:
            proxy.after = strike

    def _undisturbed(self) -> None:
        with self._servant.child(
            {**self._job, "clock": self._clock, "confirmations": CONFIRMATIONS}
        ) as child:
            self._go_on(child)
        assert child.end["code"] == 0, child.end

    def _go_on(self, child: Child) -> None:
        while self._turn < TURNS_MAX:
            said = child.tell("step", self._clock)
            self.run.commits = said["commits"]
            self.run.said = said
            if not said["left"]:
                self.run.finished = True
                return
            self._clock += 30
            self._world()

    def _world(self) -> None:
        """Let the chain do what it does at this turn: lose the mempool, raise the fee, mine, lose a block."""
        self._turn += 1
        turn, stage = self._turn, self._stage
        if turn == 1:
            stage.node.rpc("anvil_dropAllTransactions")
            stage.node.rpc("anvil_setNextBlockBaseFeePerGas", hex(100 * 10**9))
            stage.mine(1)
        elif turn == 3:
            stage.node.rpc("anvil_reorg", 2, [])
        else:
            stage.mine(1)
