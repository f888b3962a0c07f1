"""Revert data, turned into the exceptions of the services."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from web3.exceptions import ContractLogicError

from meterbridge.adapters.chain.abi import SELECTOR_BYTES, CustomError, load_artifact
from meterbridge.services import chain_errors, token_errors
from meterbridge.services.chain_errors import Panicked, Refusal, RefusedWithReason, UnknownRefusal

_REASON_SELECTOR: Final = bytes.fromhex("08c379a0")  # Error(string)
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")  # Panic(uint256)


def from_revert(error: ContractLogicError) -> Refusal:
    """Return the exception that says in plain words what a failed call means.

    Unknown data never raises: it becomes `UnknownRefusal`, a text `RefusedWithReason`.
    """
    data = revert_data(error)
    if data is None:
        return RefusedWithReason(reason=error.message or "no reason was given")
    return refusal_from_data(data)


def refusal_from_data(data: bytes) -> Refusal:
    """Return the exception for raw revert data."""
    selector, body = data[:SELECTOR_BYTES], data[SELECTOR_BYTES:]
    try:
        if selector == _REASON_SELECTOR:
            (text,) = decode(["bytes"], body)
            return RefusedWithReason(reason=text.decode("utf-8", "replace"))
        if selector == _PANIC_SELECTOR:
            (code,) = decode(["uint256"], body)
            return Panicked(code=code)
        if selector in _known_errors():
            found, exception = _known_errors()[selector]
            return exception(**found.decode(body))
    except DecodingError:
        pass  # the selector is known and the rest is not its encoding: not understood either
    return UnknownRefusal(data=data)


def revert_data(error: ContractLogicError) -> bytes | None:
    """Return the data of a revert as the node gave it, or None."""
    data = error.data
    if isinstance(data, dict):  # some nodes wrap it once more
        data = data.get("data")
    if not isinstance(data, str) or not data.startswith("0x"):
        return None
    return bytes.fromhex(data[2:])


def refusal_classes() -> dict[str, type[Refusal]]:
    """Return every exception that stands for a custom error, by the error's name."""
    general = {Refusal, UnknownRefusal, RefusedWithReason, Panicked}
    return {
        kind.__name__: kind
        for module in (chain_errors, token_errors)
        for kind in _refusals_of(module)
        if kind not in general
    }


def _refusals_of(module: ModuleType) -> Iterator[type[Refusal]]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Refusal):
            yield value


@cache
def _known_errors() -> dict[bytes, tuple[CustomError, type[Refusal]]]:
    """Return the errors of both contracts that have an exception, by selector."""
    classes = refusal_classes()
    return {
        selector: (error, classes[error.name])
        for name in ("TestUSD", "SettlementSplitter")
        for selector, error in load_artifact(name).abi.errors.items()
        if error.name in classes
    }
