"""How the library reaches a contract, and in whose name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, Union, cast

from meterbridge.domain.addresses import Address
from meterbridge.domain.currency import Currency
from meterbridge.library.workspace import NotOne

if TYPE_CHECKING:
    from meterbridge.adapters.chain import Sender, SplitterClient, TokenClient
    from meterbridge.services.ports import StatementSigner

DEFAULT_RPC = "http://127.0.0.1:8545"
Node: TypeAlias = str | Sequence[str]
"""A JSON-RPC endpoint by its URL, or several of one chain: the next is asked where one fails."""
Key: TypeAlias = Union["StatementSigner", "Sender", Address, str]
"""Who acts: a key that signs here (keystore, KMS, in memory), a sender, or the address of an account that the
node itself manages, as test nodes do."""


class NoKey(NotOne):
    """Something is to be signed or sent, and no key was given that can."""


def sender_of(key: Key) -> Sender:
    """Return who sends transactions for a key."""
    from meterbridge.adapters.chain import KeySender, NodeSender

    if isinstance(key, str):
        key = Address.parse(key)
    if isinstance(key, Address):
        return NodeSender(key)
    signer = signer_of(key)
    return KeySender(signer) if signer is not None else cast("Sender", key)


def signer_of(key: Key | None) -> StatementSigner | None:
    """Return what signs digests for a key, or None where only the node could."""
    return cast("StatementSigner", key) if hasattr(key, "sign_digest") else None


def account_of(key: Key | None, who: Address | str | None, role: str) -> Address:
    """Return whose account is meant: who is named, else the key's. `role` is how an error names it.

    Raises:
        NoKey: when neither is given.
    """
    if who is not None:
        return address_of(who)
    if key is None:
        raise NoKey(f"give the {role}'s key, or its address for looking only")
    return sender_of(key).address


def address_of(who: Address | str) -> Address:
    """Return an address that may have been given as text."""
    return who if isinstance(who, Address) else Address.parse(who)


def digits_of(wanted: bytes | str | None) -> str:
    """Return an id, or the first digits of one, as hex digits."""
    if isinstance(wanted, bytes):
        return wanted.hex()
    return (wanted or "").lower().removeprefix("0x")


def splitter(node: Node, contract: Address | str, key: Key | None = None) -> SplitterClient:
    """Return a client of a contract.

    Args:
        node: where the chain is.
        contract: the splitter's address.
        key: in whose name to send; None for reading only.

    Raises:
        ChainUnavailable: when nothing answers there.
    """
    from meterbridge.adapters.chain import Gateway, SplitterClient
    from meterbridge.adapters.chain.endpoints import connect_all
    from meterbridge.adapters.devnet import connect

    w3 = connect(node) if isinstance(node, str) else connect_all(list(node))
    return SplitterClient(Gateway(w3, None if key is None else sender_of(key)), address_of(contract))


def token_of(client: SplitterClient, asset: Address) -> TokenClient:
    """Return a client of a token on the same node, in the same name."""
    from meterbridge.adapters.chain import TokenClient

    return TokenClient(client.gateway, asset)


def currency_of(client: SplitterClient, asset: Address) -> Currency:
    """Ask a token how its amounts are shown; base units where it does not say, as ERC-20 allows."""
    from meterbridge.services.chain_errors import ChainUnavailable, Refusal

    token = token_of(client, asset)
    try:
        return Currency(token.symbol, token.decimals)
    except (ChainUnavailable, Refusal):
        return Currency(f"base units of {asset}", 0)


def urls_of(node: Node) -> list[str]:
    """Return the URLs of a node."""
    return [node] if isinstance(node, str) else list(node)


def now() -> int:
    """Return the time of this machine's clock, in seconds since 1970."""
    return int(time.time())
