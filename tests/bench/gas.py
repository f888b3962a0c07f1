"""Gas of real transactions on anvil, against a token behind a proxy that does what USDC does.

Every figure is `gasUsed` of a receipt: 21,000, calldata, execution, and refunds taken off. "Warm" is the
state, not EIP-2929: every slot that is written was written before, in an earlier transaction.

  settle_1_cold              first settlement of a payer under a new tariff: pot and settled are still zero
  settle_1_warm              every later one; both by `settleOne`, as the client sends a statement of one line
  settle_100_per_line        the same for 100 payers in one statement, divided by 100
  settle_1000_per_line       for 1,000 payers, divided by 1,000; fits the cap of 2^24 gas a transaction
  settle_1000_first_per_line for 1,000 payers who were never settled before
  settle_100_eight_meters_per_line
                             for 100 payers and a tariff of eight meters; all others have four in use
  claim_first_3              a first claim with its proof, of a split with 3 parties, to an account that
                             holds the token; claim_first_3_fresh: to one that never held it
  claim_first_1000000        the same with 1,000,000 parties, whose leaves and nodes are all really hashed
  claim_later                a later claim, without proof, with the access list that the client attaches
                             (EIP-2930: what it reads of the token and its proxy, 100 gas cheaper each)
  claim_later_no_access_list the same as a plain transaction
  claim_10_splits_per_claim  ten later claims of one party on ten splits by multicall, divided by 10
  deposit                    by a payer with an account, from an allowance that stays above zero
  deposit_first              opens the account: emits the whole tariff and split
  deposit_permit             as deposit, with a permit in the same transaction
  thaw, withdraw             a part of the balance; the payer holds the token
  token_transfer_warm        one transfer of that token between two holders
  payment_splitter_release   OpenZeppelin 4.9.6 PaymentSplitter with three payees: a later release, the mean
                             of three; payment_splitter_release_first: the first one of each payee
  *_plain_proxy              the same with a token that does the least behind the plainest proxy (ERC-1967):
                             no administrator, pause flag or blocklist to look up
  settle_*_change_3_to_1000000
                             what settling costs more on a split of a million parties; without calldata, in
                             which the hashes of two splits have, by chance, different numbers of zeros
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from _anvil import NoAnvil, anvil
from _world import (
    DEPOSIT,
    EIGHT_RATES,
    FIAT,
    MILLION,
    PAYERS,
    PLAIN,
    START,
    BigTree,
    World,
    account_of,
    artifact,
    compile_contracts,
)
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from web3 import Web3

from meterbridge.adapters.chain import calls
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.splits import Party, PartyTable, ShareProof, Split
from meterbridge.domain.tariffs import Tariff

SNAPSHOT: Final = Path(__file__).with_name("gas-snapshot.json")
CODE_LIMIT: Final = 24_576  # EIP-170
BARS: Final = {
    "settle_1_warm": (47_000, 45_059),
    "settle_100_per_line": (10_500, 9_500),
    "settle_1000_per_line": (10_000, 9_000),
    "settle_1_cold_change_3_to_1000000": (0, 0),
    "settle_1_warm_change_3_to_1000000": (0, 0),
    "settle_100_change_3_to_1000000": (0, 0),
    "settle_1000_change_3_to_1000000": (0, 0),
    "claim_later": (57_000, 55_000),
    "claim_first_1000000": (113_000, 105_000),
}
Figures = dict[str, int]


def three_parties(salt: int = 0) -> PartyTable:
    """Return a split's parties: model, compute, data."""
    accounts = [account_of("party", number) for number in range(3)]
    return PartyTable.of(*(Party(a, 1 + i, (6000, 3000, 1000 + salt)[i]) for i, a in enumerate(accounts)))


def measure_settlements(world: World, tariff: Tariff, split: Split) -> dict[str, tuple[int, int]]:
    """Settle one payer, one again, 1,000, 1,000 again, 100; return (total, execution) of each."""
    payers = [account_of("payer", number) for number in range(PAYERS)]
    world.deposit_for(tariff, split, payers)
    order = (("1_cold", 1), ("1_warm", 1), ("1000_first", 1000), ("1000", 1000), ("100", 100))
    found = {}
    for moment, (name, count) in enumerate(order, start=1):
        spent = world.settle(tariff, payers[:count], moment)
        found[name] = (spent.total, spent.execution)
    return found


def measure_eight_meters(world: World, split: Split) -> Figures:
    """Settle 100 payers, again and warm, under a tariff that uses every meter."""
    tariff = world.tariff(split, "eight meters", EIGHT_RATES)
    payers = [account_of("payer", number) for number in range(100)]
    world.deposit_for(tariff, split, payers)
    world.settle(tariff, payers, 1)
    return {"settle_100_eight_meters_per_line": per(world.settle(tariff, payers, 2).total, 100)}


def settlement_figures(small: dict[str, tuple[int, int]], big: dict[str, tuple[int, int]]) -> Figures:
    """Return the figures of both splits and how they differ."""
    figures = {
        "settle_1_cold": small["1_cold"][0],
        "settle_1_warm": small["1_warm"][0],
        "settle_1_warm_1000000_parties": big["1_warm"][0],
        "settle_100_per_line": per(small["100"][0], 100),
        "settle_1000_per_line": per(small["1000"][0], 1000),
        "settle_1000_first_per_line": per(small["1000_first"][0], 1000),
        "settle_1000_total": small["1000"][0],
    }
    for name in ("1_cold", "1_warm", "100", "1000"):
        figures[f"settle_{name}_change_3_to_1000000"] = big[name][1] - small[name][1]
    return figures


def per(total: int, count: int) -> int:
    """Divide, rounded up: no figure looks better than it is."""
    return -(-total // count)


def measure_first_claims(
    world: World, split: Split, proofs: tuple[ShareProof, ShareProof], name: str
) -> Figures:
    """Measure a first claim to an account that holds the token, and one to an account that never did."""
    figures = {}
    for proof, suffix in zip(proofs, ("", "_fresh"), strict=True):
        account = proof.party.account
        if proof.verify(split) != proof.offset():
            raise RuntimeError("the domain does not accept the benchmark's proof")
        if not suffix:
            world.send(world.relayer, world.token.functions.mint(str(account), 1))
        party = (str(account), proof.party.role, proof.party.share)
        call = world.splitter.functions.claimFirst(split.abi_tuple(), party, proof.abi_tuple())
        figures[f"claim_first_{name}{suffix}"] = world.send(world.relayer, call).total
        paid = world.token.functions.balanceOf(str(account)).call()
        if paid < 2:
            raise RuntimeError("the benchmark's claim paid nothing")
    return figures


def measure_later_claims(world: World, split: Split, proof: ShareProof) -> Figures:
    """Measure a later claim, and ten of one party on ten splits in one transaction."""
    world.send(world.funder, world.splitter.functions.fund(split.abi_tuple(), 5_000_000))
    holder = str(proof.party.account)
    later = calls.claim(split, proof.offset(), proof.party.account)
    figures = {"claim_later": world.send(world.relayer, later, listed=True).total}
    world.send(world.funder, world.splitter.functions.fund(split.abi_tuple(), 5_000_000))
    figures["claim_later_no_access_list"] = world.send(world.relayer, later).total
    batch = []
    for salt in range(1, 11):
        table = three_parties(salt)
        other, own = table.split(world.asset), table.proof(1)
        world.send(world.funder, world.splitter.functions.fund(other.abi_tuple(), 5_000_000))
        party = (holder, own.party.role, own.party.share)
        world.send(
            world.relayer, world.splitter.functions.claimFirst(other.abi_tuple(), party, own.abi_tuple())
        )
        world.send(world.funder, world.splitter.functions.fund(other.abi_tuple(), 5_000_000))
        batch.append(calls.claim(other, own.offset(), own.party.account))
    if own.party.account != proof.party.account:
        raise RuntimeError("the ten splits pay somebody else")
    ten = world.send(world.relayer, world.splitter.functions.multicall(batch))
    return figures | {"claim_10_splits_per_claim": per(ten.total, 10)}


def measure_escrow(world: World, tariff: Tariff, split: Split) -> Figures:
    """Measure deposits, a thaw and a withdrawal of a payer that holds the token."""
    send, functions = world.send, world.splitter.functions
    payer, key = world.payer, Account.from_key(keccak256(b"a payer that signs a permit"))
    send(world.relayer, world.token.functions.mint(payer, 10**15))
    send(payer, world.token.functions.approve(world.splitter.address, 10**14))
    deposit = functions.deposit(tariff.abi_tuple(), split.abi_tuple(), payer, DEPOSIT)
    figures = {"deposit_first": send(payer, deposit).total, "deposit": send(payer, deposit).total}
    figures["thaw"] = send(payer, functions.thaw(tariff.abi_tuple(), DEPOSIT // 2)).total
    world.w3.provider.make_request("evm_increaseTime", [tariff.thaw_period + 60])  # type: ignore[arg-type]
    figures["withdraw"] = send(payer, functions.withdraw(tariff.abi_tuple(), split.abi_tuple())).total
    world.w3.provider.make_request("anvil_impersonateAccount", [key.address])  # type: ignore[arg-type]
    world.w3.provider.make_request("anvil_setBalance", [key.address, hex(10**20)])  # type: ignore[arg-type]
    send(world.relayer, world.token.functions.mint(key.address, 10**15))
    for name in ("first", "deposit_permit"):
        figures[name] = send(key.address, permit_call(world, tariff, split, key)).total
    figures.pop("first")
    return figures


def permit_call(world: World, tariff: Tariff, split: Split, key: LocalAccount) -> Any:
    """Return a deposit with the next permit of `key`."""
    owner, deadline = str(key.address), START + 10**8
    kinds = ("owner:address", "spender:address", "value:uint256", "nonce:uint256", "deadline:uint256")
    fields = [dict(zip(("name", "type"), kind.split(":"), strict=True)) for kind in kinds]
    message = {
        "owner": owner,
        "spender": world.splitter.address,
        "value": DEPOSIT,
        "nonce": world.token.functions.nonces(owner).call(),
        "deadline": deadline,
    }
    domain = {
        "name": world.kind.permit_name,
        "version": world.kind.permit_version,
        "chainId": world.domain.chain_id,
        "verifyingContract": world.token.address,
    }
    signed = key.sign_message(encode_typed_data(domain, {"Permit": fields}, message))
    rest = (deadline, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big"))
    return world.splitter.functions.depositWithPermit(
        tariff.abi_tuple(), split.abi_tuple(), owner, DEPOSIT, *rest
    )


def measure_others(world: World) -> Figures:
    """Measure what the splitter is compared with: a transfer, and PaymentSplitter with three payees."""
    transfer = world.token.functions.transfer(str(account_of("party", 1)), 1_234_567)
    figures = {"token_transfer_warm": world.send(world.funder, transfer).total}
    payees = [str(account_of("payee", number)) for number in range(3)]
    other = world.deploy("PaymentSplitter", payees, [6000, 3000, 1000])
    for payee in payees:
        world.send(world.relayer, world.token.functions.mint(payee, 1))
    release = other.get_function_by_signature("release(address,address)")
    for name in ("payment_splitter_release_first", "payment_splitter_release"):
        world.send(world.funder, world.token.functions.transfer(other.address, 5_000_000))
        spent = [world.send(world.relayer, release(world.token.address, payee)).total for payee in payees]
        # The first of the three also writes what was released in all for the first time.
        figures[name] = per(sum(spent), 3)
    return figures


def code_sizes() -> Figures:
    """Return the splitter's size in bytes, and how far it is from the limit of EIP-170."""
    found = artifact("SettlementSplitter")
    size = len(found["deployedBytecode"]["object"]) // 2 - 1
    return {
        "contract_size_bytes": size,
        "contract_size_margin_bytes": CODE_LIMIT - size,
        "contract_initcode_bytes": len(found["bytecode"]["object"]) // 2 - 1,
    }


def measure(w3: Web3, say: Callable[[str], None]) -> Figures:
    """Measure everything on a fresh chain."""
    world = World(w3, FIAT)
    say(f"hashing a tree of {MILLION:,} parties")
    tree = BigTree.of(MILLION)
    small, big = three_parties().split(world.asset), tree.split(world.asset)
    say("settling on a split of 3 parties")
    settled = measure_settlements(world, world.tariff(small, "three"), small)
    say("settling on a split of 1,000,000 parties")
    figures = settlement_figures(settled, measure_settlements(world, world.tariff(big, "a million"), big))
    figures |= measure_eight_meters(world, small)
    say("claims, escrow, and what they are compared with")
    figures |= measure_tokens(world, tree)
    say("the same with a token behind the plainest proxy")
    plain = World(w3, PLAIN)
    figures |= {f"{name}_plain_proxy": gas for name, gas in measure_tokens(plain, tree).items()}
    return figures | code_sizes()


def measure_tokens(world: World, tree: BigTree) -> Figures:
    """Measure all that moves tokens, with both splits funded and somebody else's escrow beside them."""
    table = three_parties()
    small, big = table.split(world.asset), tree.split(world.asset)
    for split in (small, big):
        world.send(world.funder, world.splitter.functions.fund(split.abi_tuple(), 4_000_000_000_000))
    figures = measure_first_claims(world, small, (table.proof(1), table.proof(2)), "3")
    figures |= measure_first_claims(world, big, (tree.proof(333_333), tree.proof(222_222)), "1000000")
    figures |= measure_later_claims(world, small, table.proof(1))
    figures |= measure_escrow(world, world.tariff(small, "escrow"), small)
    return figures | measure_others(world)


def print_table(figures: Figures, before: Figures) -> None:
    """Print figures beside their bars and the committed snapshot."""
    sys.stdout.write(f"{'figure':44}{'gas':>12}{'bar':>10}{'moonshot':>10}{'snapshot':>12}\n")
    for name, value in figures.items():
        bar, moonshot = BARS.get(name, (None, None))
        marks = "".join(f"{'' if limit is None else f'{limit:,}':>10}" for limit in (bar, moonshot))
        change = (
            "" if before.get(name) == value else f"{value - before[name]:+,}" if name in before else "new"
        )
        verdict = "" if bar is None or value <= bar else "  ABOVE THE BAR"
        sys.stdout.write(f"{name:44}{value:>12,}{marks}{change or 'same':>12}{verdict}\n")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench gas", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--update", action="store_true", help=f"write {SNAPSHOT.name}")
    options = parser.parse_args()
    compile_contracts()
    try:
        with anvil("--hardfork", "osaka", "--timestamp", str(START), "--accounts", "10") as w3:
            figures = measure(w3, lambda text: print(text, file=sys.stderr))  # progress
    except NoAnvil as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    before: Figures = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    if options.update:
        SNAPSHOT.write_text(json.dumps(figures, indent=2) + "\n")
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        print_table(figures, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
