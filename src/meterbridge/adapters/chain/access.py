"""Access lists (EIP-2930): what a transaction says beforehand that it reads, where saying it costs less.

A slot costs 1,900 gas in a list and 100 when it is read, 2,100 without; an address 2,400 and 100, or 2,600.
So a list saves 100 gas for each slot and each address of a token behind a proxy, seven of them in a claim of
USDC. The called contract is open anyway; listing it costs 2,400 gas, which its few slots do not bring in.
What a rollup publishes costs more than that, so lists are attached on chains of the first layer only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.types import TxParams

LISTED_CHAINS: Final = frozenset({1, 11_155_111, 560_048, 31_337})
"""Ethereum, Sepolia, Hoodi, and the chain id of local nodes."""
_SAVED_PER_SLOT: Final = 100
_SAVED_PER_ADDRESS: Final = 100
_COST_OF_AN_OPEN_ADDRESS: Final = 2_400


def paying_access_list(w3: Web3, transaction: TxParams) -> list[dict[str, Any]]:
    """Ask the node what a transaction reads; return the entries whose listing saves gas, possibly none.

    A node that cannot tell leaves the transaction as it is: the list changes what it costs, nothing else.
    """
    try:
        if w3.eth.chain_id not in LISTED_CHAINS:
            return []
        answer = w3.provider.make_request("eth_createAccessList", [_plain(w3, transaction), "latest"])  # type: ignore[arg-type]
        entries = answer["result"]["accessList"]
        open_already = {str(transaction.get(name, "")).lower() for name in ("to", "from")}
        return [
            {"address": Web3.to_checksum_address(entry["address"]), "storageKeys": entry["storageKeys"]}
            for entry in entries
            if _saved(entry, open_already) > 0
        ]
    except (Web3Exception, NotImplementedError, KeyError, TypeError, ValueError):
        return []


def _saved(entry: Mapping[str, Any], open_already: set[str]) -> int:
    """Return the gas that listing an address with its slots saves; negative where it costs."""
    slots = _SAVED_PER_SLOT * len(entry["storageKeys"])
    if entry["address"].lower() in open_already:
        return slots - _COST_OF_AN_OPEN_ADDRESS
    return slots + _SAVED_PER_ADDRESS


def _plain(w3: Web3, transaction: TxParams) -> dict[str, Any]:
    data = transaction["data"]
    return {
        "from": transaction["from"],
        "to": transaction["to"],
        "data": data if isinstance(data, str) else w3.to_hex(data),
    }
