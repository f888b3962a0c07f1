"""From options to settlers: one for each contract that a ledger has tariffs on and that the chain holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meterbridge.domain.statements import Domain
from meterbridge.services.chain_errors import WrongChain

if TYPE_CHECKING:
    from meterbridge.adapters.chain.endpoints import Endpoints
    from meterbridge.services.settling.context import Moved
    from meterbridge.services.settling.ports import Account, Outbox
    from meterbridge.services.settling.settler import Settler


@dataclass(frozen=True, slots=True)
class SettleConfig:
    """How to reach the chain, and what to decide otherwise than the chain's profile does.

    Attributes:
        rpc: URLs of endpoints of one chain, in the order in which they are to be asked.
        quorum: how many of them must agree on what is final.
        profile: name of a chain profile; None takes that of the chain.
        profiles: the user's own file of profiles.
        decided: fields of `Policy` by name.
    """

    rpc: Sequence[str] = field(repr=False)
    quorum: int = 1
    profile: str | None = None
    profiles: Path | None = None
    decided: dict[str, Any] = field(default_factory=dict)

    def endpoints(self, timeout: float | None = None) -> Endpoints:
        """Connect to the endpoints; each may take so many seconds to answer, or as many as is usual."""
        from meterbridge.adapters.chain.endpoints import Endpoints
        from meterbridge.adapters.chain.rpc import TIMEOUT_SECONDS

        return Endpoints(list(self.rpc), self.quorum, TIMEOUT_SECONDS if timeout is None else timeout)


def make_settlers(
    config: SettleConfig,
    outbox: Outbox,
    domains: Sequence[Domain],
    sender: Account,
    on_move: Callable[[Moved], None] | None = None,
) -> list[Settler]:
    """Return a settler for each contract that is on the chain of the endpoints.

    Raises:
        WrongChain: when none of them is.
        ChainUnavailable: when no endpoint answers.
        BadProfile: when there is no such profile.
    """
    from meterbridge.adapters.chain.delivery import DeliveryClient
    from meterbridge.adapters.profiles import profile_for
    from meterbridge.services.settling.settler import Settler

    first = config.endpoints()
    found = int(first.ask("eth_chainId"), 16)
    first.close()
    here = [domain for domain in domains if domain.chain_id == found]
    if domains and not here:
        meant = ", ".join(str(domain.chain_id) for domain in domains)
        raise WrongChain(f"the node is on chain {found}; {meant} is meant", found)
    profile = profile_for(found, config.profile, config.profiles)
    policy = profile.policy(**config.decided)
    clients = (DeliveryClient(config.endpoints(profile.rpc_timeout_seconds), domain) for domain in here)
    return [Settler(client, outbox, sender, policy, on_move=on_move) for client in clients]
