"""`meterbridge deployment check`: is what stands at an address this source?"""

from __future__ import annotations

from typing import Annotated

import typer

from meterbridge.entrypoints.cli.running import DEFAULT_RPC, JsonOption, RpcOption, command

app = typer.Typer(no_args_is_help=True, help="Inspect a deployed contract.")
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", help="Where; else the address that it has on every chain."),
]


@app.callback()
def _group() -> None:
    """Keep `check` a subcommand while it is the only one."""


@app.command()
@command
def check(
    rpc: RpcOption = DEFAULT_RPC,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that the code at an address is this release's source, byte by byte, immutables included.

    The constructor is run here, as if on that chain and at that address; nothing is asked of the chain but
    its id and the code. Exit code 0 if every byte agrees; 1 otherwise.

    Example: meterbridge deployment check --rpc http://127.0.0.1:8545
    """
    from meterbridge.adapters import deployment
    from meterbridge.adapters.chain.gateway import Gateway
    from meterbridge.adapters.devnet import connect
    from meterbridge.domain.addresses import Address
    from meterbridge.entrypoints.cli.output import Output

    output = Output(as_json)
    where = None if address is None else Address.parse(address)
    report = deployment.check(Gateway(connect(rpc)), where)
    rows = [
        (
            f"{place.start:,}",
            place.meaning,
            "yes" if place.found == place.expected else f"0x{place.found.hex()}",
        )
        for place in report.immutables
    ]
    output.table(f"Immutables of {report.address}", [">byte", "must be", "is"], rows)
    if not report.ok:
        report.require_ok()
    output.say(
        f"{report.address} on chain {report.chain_id} is this release: all {report.size:,} bytes agree "
        f"({deployment.CODE_LIMIT - report.size:,} below the limit of code)."
    )
    output.result(
        {
            "ok": True,
            "chainId": report.chain_id,
            "address": str(report.address),
            "runtimeCodeHash": f"0x{report.code_hash.hex()}",
            "codeBytes": report.size,
            "codeLimit": deployment.CODE_LIMIT,
            "immutables": [
                {"start": place.start, "meaning": place.meaning, "value": f"0x{place.found.hex()}"}
                for place in report.immutables
            ],
        }
    )
