"""`meterbridge deploy`: the contract, at the same address on every chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meterbridge.entrypoints.cli.keys import FromOption, KeystoreOption, PasswordFileOption, find_sender
from meterbridge.entrypoints.cli.running import DEFAULT_RPC, JsonOption, RpcOption, command

DeploymentsOption = Annotated[
    Path, typer.Option("--deployments", metavar="DIR", help="Where <chainId>.json is written.")
]


@command
def deploy(
    rpc: RpcOption = DEFAULT_RPC,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    sender: FromOption = None,
    deployments: DeploymentsOption = Path("deployments"),
    as_json: JsonOption = False,
) -> None:
    """Put the contract at the address that it has on every chain, and check every byte of it.

    Does nothing where it is there already. Where the chain lacks the deterministic deployment proxy, that is
    put there first, which takes 0.01 of the chain's own money. Writes DIR/<chainId>.json.

    Example: meterbridge deploy --rpc http://127.0.0.1:8545 --keystore deployer.json
    """
    from dataclasses import asdict

    from meterbridge.adapters import deployment
    from meterbridge.adapters.chain.abi import load_artifact
    from meterbridge.adapters.chain.gateway import Gateway
    from meterbridge.adapters.devnet import connect
    from meterbridge.entrypoints.cli.output import Output

    output = Output(as_json)
    gateway = Gateway(connect(rpc), find_sender(keystore, password_file, sender))
    record = deployment.deploy(gateway)
    file = deployment.write_record(deployments, record)
    size = len(load_artifact(deployment.CONTRACT).runtime)
    done = f"created in block {record.block}" if record.transaction else "was there already"
    output.say(f"{record.address} on chain {record.chainId}: {done}; every byte is this release's.")
    output.say(
        f"Code: {size:,} bytes of at most {deployment.CODE_LIMIT:,} "
        f"({deployment.CODE_LIMIT - size:,} to spare). Record: {file}"
    )
    output.result(
        {**asdict(record), "codeBytes": size, "codeLimit": deployment.CODE_LIMIT, "file": str(file)}
    )
