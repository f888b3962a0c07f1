"""The demo from its first step to its last, and the chain it runs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meterbridge.adapters.chain import Gateway, SplitterClient, TokenClient
from meterbridge.adapters.devnet import Deployment, Devnet, embedded_chain, rpc_chain
from meterbridge.adapters.formats import ColumnMap
from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.addresses import Address
from meterbridge.entrypoints.cli.output import Output
from meterbridge.entrypoints.demo import payout, steps, trust
from meterbridge.entrypoints.demo.setting import HOUR
from meterbridge.entrypoints.demo.usage import UsageLog
from meterbridge.entrypoints.demo.world import PROVIDER, ROLES, Memory, World
from meterbridge.services.ports import StatementSigner

SECONDS_ON_A_REAL_NODE = 10
GAS_OF_THE_PROVIDER = 20_000_000
"""What deploying both contracts, publishing, and submitting every statement takes, twice over."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for.

    Attributes:
        folder: where everything is left.
        usage: a usage log; None makes one.
        rpc: a node; None runs a chain inside this process.
        funded: a key with money for gas on that node; None takes an account that the node manages.
    """

    folder: Path
    usage: Path | None
    column_map: ColumnMap | None
    skip_bad: bool
    rpc: str | None
    funded: StatementSigner | None


def run(options: Options, output: Output) -> payout.Summary:
    """Do the main job, for real. An interrupted run in the same folder goes on."""
    with _world(options, output) as world:
        output.heading("1  A split, a tariff, and three payers that deposit in three ways")
        steps.publish(world)
        steps.open_accounts(world)
        steps.read_log(world)
        steps.deposit_all(world)
        output.heading("2  From a usage log to settled statements")
        statements = steps.settle_rounds(world)
        output.heading("3  What makes it trustworthy")
        trust.submit_twice(world, statements)
        trust.run_dry(world, statements)
        trust.correct_one(world, statements)
        trust.refuse_forgeries(world, statements)
        output.heading("4  Everybody gets what is theirs")
        payout.claim_everything(world)
        payout.withdraw(world)
        output.heading("5  The audit")
        report = payout.audit_all(world)
        payout.prove_one(world, statements)
        return payout.summarise(world, report)


@contextmanager
def _world(options: Options, output: Output) -> Iterator[World]:
    options.folder.mkdir(parents=True, exist_ok=True)
    memory = Memory(options.folder)
    keys = memory.keys()
    with output.progress("Starting the chain, deploying the contracts"):
        devnet = rpc_chain(options.rpc, options.funded) if options.rpc else embedded_chain()
        chain = _contracts(devnet, memory, keys[PROVIDER], embedded=options.rpc is None)
        if memory.get("funded") != chain.splitter.address.to_bytes().hex() or options.rpc is None:
            devnet.fund([keys[role].address for role in ROLES if role != PROVIDER])
            memory.keep(funded=chain.splitter.address.to_bytes().hex())
    log = (
        UsageLog(options.usage, False, options.column_map, options.skip_bad)
        if options.usage
        else UsageLog.sample(options.folder)
    )
    with open_ledger(options.folder) as ledger:
        segments = FolderSegments(options.folder / "segments")
        yield World(options.folder, output, memory, devnet, chain, keys, ledger, segments, log)


def _contracts(devnet: Devnet, memory: Memory, provider: StatementSigner, *, embedded: bool) -> Deployment:
    """Deploy the contracts, or find those of an interrupted run on the same chain.

    On the embedded chain, which is a new one each time, the provider's key and its first two transactions
    give the contracts the same addresses again, so that the ledger of an interrupted run fits.
    """
    chain_id = Gateway(devnet.w3).chain_id()
    if not embedded and (kept := memory.get(f"chain-{chain_id}")):
        splitter, token = Address.parse(kept["splitter"]), Address.parse(kept["token"])
        gateway = devnet.gateway(provider)
        if Gateway(devnet.w3).code(splitter):
            return Deployment(SplitterClient(gateway, splitter), TokenClient(gateway, token), kept["block"])
    devnet.fund([provider.address], gas=GAS_OF_THE_PROVIDER)
    deployment = devnet.deploy(provider)
    places = {"splitter": str(deployment.splitter.address), "token": str(deployment.token.address)}
    thaw_period = HOUR if embedded else SECONDS_ON_A_REAL_NODE
    memory.keep(**{f"chain-{chain_id}": {**places, "block": deployment.block}, "thaw_period": thaw_period})
    return deployment
