"""Chain access: clients of the splitter and of tokens over any JSON-RPC node, or the embedded chain."""

from meterbridge.adapters.chain.calls import Permit, TokenSignature, TransferAuthorization
from meterbridge.adapters.chain.errors import from_revert
from meterbridge.adapters.chain.gateway import Gateway, NodeRefuses, ReadOnly
from meterbridge.adapters.chain.senders import KeySender, NodeSender, Sender
from meterbridge.adapters.chain.splitter import SplitterClient
from meterbridge.adapters.chain.token import TokenClient
from meterbridge.adapters.chain.views import SplitterViews

__all__ = [
    "Gateway",
    "KeySender",
    "NodeRefuses",
    "NodeSender",
    "Permit",
    "ReadOnly",
    "Sender",
    "SplitterClient",
    "SplitterViews",
    "TokenClient",
    "TokenSignature",
    "TransferAuthorization",
    "from_revert",
]
