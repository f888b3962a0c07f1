"""The chain that gas is measured on: a USDC-like proxied token, the splitter, payers, parties, a meter.

Everything is fixed (keys, addresses, times, usage), so the same contracts give the same figures to the unit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from _forge import OUT, run_forge
from eth_account import Account
from web3 import Web3
from web3.contract import Contract

from meterbridge.adapters.chain import calls
from meterbridge.adapters.chain.access import paying_access_list
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256, keccak256_rows
from meterbridge.domain.merkle import path_positions
from meterbridge.domain.splits import Party, ShareNode, ShareProof, ShareSibling, Split
from meterbridge.domain.statements import Domain, Line, SignedStatement, Statement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import Rates, UsageVector

SOURCES: Final = (
    "contracts/SettlementSplitter.sol",
    "contracts/mocks/bench",
    "contracts/mocks/TestUSD.sol",
    "contracts/mocks/TokenProxy.sol",
    "node_modules/openzeppelin-contracts-4/finance/PaymentSplitter.sol",
)
START: Final = 1_800_000_000
# Below the cap of EIP-7825, 2^24, so that whatever is measured fits a transaction on mainnet.
GAS_LIMIT: Final = 16_000_000
PAYERS: Final = 1000
MILLION: Final = 1_000_000
METER_KEY: Final = keccak256(b"the meter of the gas benchmark")
DEPOSIT: Final = 900_000_000_000
# 0.30 to 15 US dollars a million: input, cache read, cache write and output, as most providers charge; and a
# tariff that uses every meter.
FOUR_RATES: Final = Rates.of((3_000_000, 300_000, 3_750_000, 15_000_000, 0, 0, 0, 0))
EIGHT_RATES: Final = Rates.of(
    (3_000_000, 300_000, 3_750_000, 15_000_000, 10_000_000, 20_000_000, 500_000, 40_000)
)


def compile_contracts() -> None:
    """Compile what is measured, with the settings of foundry.toml."""
    done = run_forge("build", *SOURCES)
    if done.returncode:
        raise RuntimeError(f"the contracts do not compile:\n{done.stdout}{done.stderr}")


def artifact(name: str) -> dict[str, Any]:
    """Return a contract's ABI and bytecode as forge wrote them."""
    loaded: dict[str, Any] = json.loads((OUT / f"{name}.sol" / f"{name}.json").read_text())
    return loaded


def account_of(purpose: str, number: int) -> Address:
    """Return an address that nobody has the key of."""
    return Address(keccak256(f"{purpose} {number}".encode())[12:])


@dataclass(frozen=True, slots=True)
class BigTree:
    """A share tree over a million parties, every node of it hashed: (n, 32) hashes and (n,) sums a level."""

    accounts: npt.NDArray[np.uint8]
    shares: npt.NDArray[np.int64]
    levels: tuple[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]], ...]

    @classmethod
    def of(cls, parties: int) -> BigTree:
        """Hash the whole tree of protocol section 5, level by level."""
        index = np.arange(parties, dtype=np.int64)
        numbers = np.ascontiguousarray(index.astype(">i8")).view(np.uint8).reshape(-1, 8)
        accounts = keccak256_rows(numbers)[:, 12:]
        shares = 1 + index * 7919 % 1_000_003
        leaves = np.zeros((parties, 54), dtype=np.uint8)
        leaves[:, 1:21] = accounts
        leaves[:, 21] = 1 + index % 5
        leaves[:, 46:54] = _bytes_of(shares)
        levels = [(keccak256_rows(leaves), shares)]
        while len(levels[-1][1]) > 1:
            levels.append(_level_above(*levels[-1]))
        return cls(accounts, shares, tuple(levels))

    def split(self, asset: Address) -> Split:
        """Return the split that pays `asset` to all of them."""
        hashes, sums = self.levels[-1]
        return Split(asset, hashes[0].tobytes(), int(sums[0]))

    def proof(self, index: int) -> ShareProof:
        """Return the domain's proof of one party."""
        party = Party(Address(self.accounts[index].tobytes()), 1 + index % 5, int(self.shares[index]))
        path = tuple(
            ShareSibling(side, ShareNode(self.levels[level][0][at].tobytes(), int(self.levels[level][1][at])))
            for side, level, at in path_positions(index, len(self.shares))
        )
        return ShareProof(party, path)


def _bytes_of(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(sums.astype(">i8")).view(np.uint8).reshape(-1, 8)


def _level_above(
    hashes: npt.NDArray[np.uint8], sums: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    pairs = len(sums) // 2 * 2
    rows = np.zeros((pairs // 2, 129), dtype=np.uint8)
    rows[:, 0] = 1
    rows[:, 1:33], rows[:, 57:65] = hashes[0:pairs:2], _bytes_of(sums[0:pairs:2])
    rows[:, 65:97], rows[:, 121:129] = hashes[1:pairs:2], _bytes_of(sums[1:pairs:2])
    above, added = keccak256_rows(rows), sums[0:pairs:2] + sums[1:pairs:2]
    return np.concatenate([above, hashes[pairs:]]), np.concatenate([added, sums[pairs:]])


@dataclass(slots=True)
class Spent:
    """What one transaction cost: all of it, and what of it pays for being a transaction with these bytes."""

    total: int
    intrinsic: int

    @property
    def execution(self) -> int:
        """Return the gas that the code used, refunds taken off."""
        return self.total - self.intrinsic


@dataclass(frozen=True, slots=True)
class TokenKind:
    """A token and the proxy in front of it, and how its permits name their domain."""

    contract: str
    proxy: str
    has_admin: bool
    permit_name: str
    permit_version: str


# What USDC does on every call, slot by slot; and the least that a proxied token can do.
FIAT: Final = TokenKind("FiatToken", "FiatTokenProxy", True, "USD Coin", "2")
PLAIN: Final = TokenKind("TestUSD", "TokenProxy", False, "Test USD", "1")


class World:
    """The deployed contracts, and how to send them transactions."""

    def __init__(self, w3: Web3, kind: TokenKind) -> None:
        """Deploy token, proxy and splitter, and let the meter sign."""
        self.w3, self.kind = w3, kind
        self.users: list[str] = list(w3.eth.accounts)
        self.relayer, self.provider, self.funder, self.payer = self.users[:4]
        implementation = self.deploy(kind.contract)
        admin = [self.users[9]] if kind.has_admin else []
        proxy = self.deploy(kind.proxy, implementation.address, *admin)
        self.token = w3.eth.contract(address=proxy.address, abi=artifact(kind.contract)["abi"])
        self.splitter = self.deploy("SettlementSplitter")
        self.domain = Domain(w3.eth.chain_id, Address.parse(self.splitter.address))
        self.asset = Address.parse(self.token.address)
        self.meter = Account.from_key(METER_KEY)
        self.send(self.provider, self.splitter.functions.setSigner(self.meter.address, 2**32 - 1))
        self.send(self.relayer, self.token.functions.mint(self.funder, 10**18))
        self.send(self.funder, self.token.functions.approve(self.splitter.address, 2**128))

    def deploy(self, name: str, *arguments: Any) -> Contract:
        """Deploy a contract by name."""
        found = artifact(name)
        factory = self.w3.eth.contract(abi=found["abi"], bytecode=found["bytecode"]["object"])
        sent = factory.constructor(*arguments).transact({"from": self.relayer, "gas": GAS_LIMIT})
        address = self.w3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
        return self.w3.eth.contract(address=address, abi=found["abi"])

    def send(self, sender: str, call: Any, listed: bool = False) -> Spent:
        """Send a call of a contract, or calldata of the splitter, as a transaction; it must succeed.

        Args:
            sender: who sends.
            call: a bound function, or the bytes that the client sends to the splitter.
            listed: with the access list that the client attaches.
        """
        to = self.splitter.address if isinstance(call, bytes) else call.address
        data = Web3.to_hex(call) if isinstance(call, bytes) else call._encode_transaction_data()
        request: Any = {"from": sender, "to": to, "data": data, "gas": GAS_LIMIT}
        if listed:
            request["accessList"] = paying_access_list(self.w3, request)
        sent = self.w3.eth.send_transaction(request)
        receipt = self.w3.eth.wait_for_transaction_receipt(sent)
        if receipt["status"] != 1:
            raise RuntimeError(f"a call to {to} failed in the benchmark: {data[:10]}")
        data = bytes(self.w3.eth.get_transaction(sent)["input"])
        zeros = data.count(0)
        return Spent(int(receipt["gasUsed"]), 21_000 + 4 * zeros + 16 * (len(data) - zeros))

    def tariff(self, split: Split, salt: str, rates: Rates = FOUR_RATES) -> Tariff:
        """Return a tariff of the provider on a split."""
        terms = keccak256(salt.encode())
        return Tariff(Address.parse(self.provider), split.id, rates, 6, 86_400, terms)

    def deposit_for(self, tariff: Tariff, split: Split, payers: Sequence[Address]) -> None:
        """Fill the accounts of many payers, fifty a transaction."""
        for start in range(0, len(payers), 50):
            calls = [
                self.splitter.encode_abi(
                    "deposit", [tariff.abi_tuple(), split.abi_tuple(), str(payer), DEPOSIT]
                )
                for payer in payers[start : start + 50]
            ]
            self.send(self.funder, self.splitter.functions.multicall(calls))

    def settle(self, tariff: Tariff, payers: Sequence[Address], moment: int) -> Spent:
        """Sign and submit a statement of these payers' usage at a moment; check what it drew."""
        meters = sum(rate > 0 for rate in tariff.rates.lanes)
        lines = tuple(
            Line(payer, usage_at(i, moment, meters), head_of(i, moment)) for i, payer in enumerate(payers)
        )
        statement = Statement(tariff.id, START - 10_000 + moment, lines)
        signature = bytes(self.meter.unsafe_sign_hash(statement.digest(self.domain)).signature)
        signed = SignedStatement(self.domain, statement, Address.parse(self.meter.address), signature)
        spent = self.send(self.relayer, calls.settle(tariff, signed))
        for line in lines[:: max(1, len(lines) // 10)]:
            found = self.splitter.functions.account(tariff.id, str(line.payer)).call()
            expected = tariff.price_down(line.usage).base_units
            if found[1:] != (expected, statement.sealed_at):
                raise RuntimeError(f"the benchmark settled {found}, not {expected}")
        return spent


def usage_at(payer: int, moment: int, meters: int) -> UsageVector:
    """Return a payer's cumulative usage: millions to billions of tokens on each of the first meters."""
    step = 1_000_003 * moment + 7_919 * payer
    used = [411_734_561 + 3 * step, 1_812_345_679 + 5 * step, 91_234_567 + step, 67_812_345 + step]
    used += [5_123_457 + step // 8, 3_812_345 + step // 9, 1_234_567 + step, 31_234_567 + step]
    return UsageVector.of(lane if meter < meters else 0 for meter, lane in enumerate(used))


def head_of(payer: int, moment: int) -> bytes:
    """Return 32 bytes without a zero among them, as most heads are."""
    return bytes(1 + byte % 255 for byte in keccak256(f"head {payer} {moment}".encode()))
