"""`meterbridge devnet`: a chain to work against, with the contract and test tokens on it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterbridge.entrypoints.cli.running import JsonOption, command

if TYPE_CHECKING:
    from meterbridge.adapters.devnet_nodes import DevnetRecord, LocalNode
    from meterbridge.entrypoints.cli.output import Output


class NodeKind(StrEnum):
    """Which node runs."""

    AUTO = "auto"
    ANVIL = "anvil"
    EMBEDDED = "embedded"


@command
def devnet(
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8545,
    state: Annotated[
        Path, typer.Option("--state", metavar="DIR", help="Folder that keeps the chain between runs.")
    ] = Path("meterbridge-devnet"),
    node: Annotated[
        NodeKind, typer.Option(help="auto: what the folder holds, else anvil if installed, else embedded.")
    ] = NodeKind.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Run a local chain with the contract, a test token and funded accounts; Ctrl-C stops it.

    Only this machine reaches it. The node signs for its accounts, so every command takes one with --from.
    Blocks, balances and events are kept in DIR: by anvil every five seconds and at the end, by the embedded
    chain after each request; a clock that was set ahead is kept with the next block. Remove DIR to begin
    anew.
    However this command ends, its node ends with it and DIR can be used again.
    With --json, prints one object as soon as everything is there, and runs on.

    Example: meterbridge devnet --port 8545 --state devnet
    """
    from meterbridge.adapters.devnet_nodes import DevnetError, local_node, prepare
    from meterbridge.entrypoints.cli.output import Output

    with _until_stopped() as stopped:
        kind = _kind(node, state)
        with local_node(kind, port, state) as running:
            _tell(Output(as_json), running, prepare(running, kind, state), state)
            while not stopped.wait(0.2):
                if why := running.failure():
                    raise DevnetError(f"{why}; what it wrote is in {state}")


def _kind(wanted: NodeKind, folder: Path) -> str:
    """Prefer what the folder holds, so that the same command goes on with the same chain."""
    from meterbridge.adapters.devnet_nodes import find_anvil, read_record

    if wanted is not NodeKind.AUTO:
        return str(wanted)
    if (record := read_record(folder)) is not None:
        return record.node
    return str(NodeKind.ANVIL if find_anvil() else NodeKind.EMBEDDED)


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that the node ends in order whenever they come."""
    stopped = threading.Event()
    before = {each: signal.signal(each, lambda *_: stopped.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _tell(output: Output, node: LocalNode, record: DevnetRecord, folder: Path) -> None:
    output.say(f"{record.node} on chain {record.chain_id} answers at {node.url}; its state is in {folder}.")
    output.say(f"SettlementSplitter  {record.splitter}")
    output.say(f"TestUSD             {record.token}  (6 decimals, anyone mints)")
    output.table(
        "Accounts, each with money for gas and TUSD", ["--from"], [(each,) for each in record.accounts]
    )
    output.say("Ctrl-C stops it.")
    output.result(
        {
            "rpc": node.url,
            "node": record.node,
            "chainId": record.chain_id,
            "splitter": record.splitter,
            "token": record.token,
            "fromBlock": record.block,
            "accounts": list(record.accounts),
            "state": str(folder),
        }
    )
    sys.stdout.flush()  # whoever reads a pipe waits for this
