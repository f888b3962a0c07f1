"""A node on this machine whose state stays in a folder: anvil, or the embedded chain where there is none."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from meterbridge.adapters import deployment
from meterbridge.adapters.anvil_state import AnvilState, die_with_parent
from meterbridge.adapters.chain import TokenClient
from meterbridge.adapters.devnet import Devnet, rpc_chain
from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainError, ChainUnavailable

LOOPBACK: Final = "127.0.0.1"
ANVIL, EMBEDDED = "anvil", "embedded"
ANVIL_PACKAGE: Final = Path("node_modules") / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
TOKENS_EACH: Final = 1_000_000 * 10**6  # base units of TUSD
START_SECONDS: Final = 30
STOP_SECONDS: Final = 30
LOCK_SECONDS: Final = 3
"""How long the node of a devnet that was killed may take to write its state."""

RECORD: Final = "devnet.json"


class DevnetError(ChainError):
    """A local node cannot be started, or not with this folder."""


class LocalNode(Protocol):
    """A running node."""

    @property
    def url(self) -> str:
        """Where it answers."""

    def failure(self) -> str | None:
        """Tell why it ended by itself; None while it runs."""


@dataclass(frozen=True, slots=True)
class DevnetRecord:
    """What is on the chain of a folder, as `devnet.json` keeps it.

    Attributes:
        node: which kind of node the state belongs to, `anvil` or `embedded`.
        chain_id: of the chain.
        splitter: address of the SettlementSplitter.
        token: address of the test token, 6 decimals, which anyone can mint.
        block: the first block that an audit has to read.
        accounts: the accounts that the node sends for, each with money for gas and test tokens.
    """

    node: str
    chain_id: int
    splitter: str
    token: str
    block: int
    accounts: tuple[str, ...]


def find_anvil() -> Path | None:
    """Return anvil from PATH, else the native one of npm in the working folder; None if there is none."""
    on_path = shutil.which("anvil")
    # A script in node_modules is a wrapper around the binary: signals would end the wrapper only.
    if on_path and "node_modules" not in on_path:
        return Path(on_path)
    bundled = Path.cwd() / ANVIL_PACKAGE
    return bundled if os.access(bundled, os.X_OK) else None


@contextmanager
def local_node(kind: str, port: int, folder: Path) -> Iterator[LocalNode]:
    """Run a node while the block runs; its state is in the folder before and after.

    Args:
        kind: `anvil` or `embedded`.
        port: where it listens on this machine's own address, 0 for a free one.
        folder: where the state is; made if there is none.

    Raises:
        DevnetError: when the port is taken, the folder is in use or holds the other kind, or it does not
            start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder) as lock:
        record = read_record(folder)
        if record is not None and record.node != kind:
            raise DevnetError(
                f"{folder} holds the state of the {record.node} node, which {kind} cannot read: "
                f"give --node {record.node}, or another folder with --state",
                record.node,
            )
        wanted = _free_port(port)
        with _anvil(wanted, folder, lock) if kind == ANVIL else _embedded(wanted, folder) as node:
            yield node


def prepare(node: LocalNode, kind: str, folder: Path) -> DevnetRecord:
    """Deploy the contract and a test token and hand out tokens, unless the state has them already.

    Raises:
        ChainError: when the node does not do what a test node does.
    """
    net = rpc_chain(node.url)
    gateway = net.gateway()
    known = read_record(folder)
    if known and all(gateway.code(Address.parse(at)) for at in (known.splitter, known.token)):
        return known
    record = _deploy(net, kind)
    _write_record(folder, record)
    return record


def _deploy(net: Devnet, kind: str) -> DevnetRecord:
    gateway = net.gateway()
    accounts = gateway.managed_accounts()
    block = gateway.newest_block() + 1
    splitter = deployment.deploy(gateway).address
    token = TokenClient.deploy_test_usd(gateway)
    for account in accounts:
        token.mint(account, AssetAmount(TOKENS_EACH))
    return DevnetRecord(
        kind, gateway.chain_id(), splitter, str(token.address), block, tuple(str(each) for each in accounts)
    )


def read_record(folder: Path) -> DevnetRecord | None:
    """Return what is on the chain of a folder; None if it is a new one.

    Raises:
        DevnetError: when the file is damaged.
    """
    file = folder / RECORD
    try:
        fields = json.loads(file.read_bytes())
        return DevnetRecord(**{**fields, "accounts": tuple(fields["accounts"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise DevnetError(f"{file} is damaged; remove the folder to begin anew", str(file)) from error


def _write_record(folder: Path, record: DevnetRecord) -> None:
    fresh = folder / f"{RECORD}.new"
    fresh.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    fresh.replace(folder / RECORD)


@contextmanager
def _only_one(folder: Path) -> Iterator[tuple[int, ...]]:
    """Hold the folder until the process ends, however it does: two nodes would overwrite each other.

    Yields the lock's descriptor for the node to inherit: where this process is killed, the node writes its
    state as it ends, and holds the folder until it has.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover  # Windows
        yield ()
        return
    with (folder / "lock").open("w") as file:
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    message = f"another devnet runs with the state in {folder}"
                    raise DevnetError(message, str(folder)) from None
                time.sleep(0.05)
        yield (file.fileno(),)


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise DevnetError(
                f"port {port} cannot be used ({error.strerror}); choose another with --port", port
            ) from None
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class _Anvil:
    url: str
    process: subprocess.Popen[bytes]

    def failure(self) -> str | None:
        code = self.process.poll()
        return None if code is None else f"anvil ended by itself with exit code {code}"


@contextmanager
def _anvil(port: int, folder: Path, lock: tuple[int, ...]) -> Iterator[_Anvil]:
    binary = find_anvil()
    if binary is None:
        raise DevnetError("anvil is not installed: install Foundry, or give --node embedded")
    state = AnvilState(folder)
    state.restore()
    options = ["--host", LOOPBACK, "--port", str(port), "--state", str(state.file), "--state-interval", "5"]
    # In a session of its own: Ctrl-C in the terminal reaches this process, which then ends the node in order.
    process = subprocess.Popen(
        [str(binary), *options, "--silent"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=lock,
        preexec_fn=die_with_parent(),  # noqa: PLW1509  # two system calls, and nothing that takes a lock
    )
    try:
        node = _Anvil(f"http://{LOOPBACK}:{port}", process)
        _await_answer(node)
        with state.kept_safe():
            yield node
    finally:
        process.terminate()  # anvil writes its state then
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(node: LocalNode) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if why := node.failure():
            raise DevnetError(f"{why}; is its state file in the folder from another version?")
        try:
            rpc_chain(node.url)
        except ChainUnavailable:
            time.sleep(0.05)
        else:
            return
    raise DevnetError(f"the node did not answer within {START_SECONDS} seconds")


@contextmanager
def _embedded(port: int, folder: Path) -> Iterator[LocalNode]:
    from meterbridge.adapters.embedded_node import EmbeddedNode

    node = EmbeddedNode(port, folder / "embedded.db")
    try:
        node.start()
        yield node
    finally:
        node.stop()
