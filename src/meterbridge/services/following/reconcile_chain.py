"""The asset side of a reconciliation: events, what they add up to, and what contract and token say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meterbridge.domain.units import AssetAmount
from meterbridge.services.audit_books import AccountBook, AccountId, Law
from meterbridge.services.audit_replay import Books
from meterbridge.services.chain_ports import StakeKey
from meterbridge.services.following.reconcile import BooksOfALedger, Findings, Item, ReconciledChain, apart
from meterbridge.services.following.states import (
    EscrowKey,
    EscrowState,
    PotKey,
    PotState,
    SignerKey,
    StakeState,
    State,
    StateKey,
)
from meterbridge.services.following.views import disagreements, told
from meterbridge.services.records import TariffRecord

EVENTS, LAWS = "ledger = events added up", "events: by the rules of the protocol"
VIEWS, TOKENS = "ledger = contract's views", "token: the contract holds what it owes"
NAMES = {
    "balance": "balance",
    "settled": "settled",
    "sealedAt": "sealed-at",
    "thawing": "thaw",
    "thaw end": "thaw",
    "pot": "pot",
    "share": "share",
    "claimed": "claims",
    "until": "signer",
}


def check(
    ledger: BooksOfALedger,
    chain: ReconciledChain,
    records: Sequence[TariffRecord],
    block: int,
    findings: Findings,
) -> None:
    """Check what was followed of a contract as of the end of a block."""
    books = Books(ledger.chain_events(chain.domain, up_to=block))
    _check_laws(books, findings)
    states = dict(_states(ledger, chain, records))
    _check_states(states, books, findings)
    _check_views(chain, states, block, findings)
    _check_tokens(chain, books, records, block, findings)


def _states(
    ledger: BooksOfALedger, chain: ReconciledChain, records: Sequence[TariffRecord]
) -> Iterable[tuple[StateKey, State]]:
    """Yield what the ledger says of everything that concerns these tariffs."""
    domain, pots = chain.domain, ledger.followed_pots(chain.domain)
    for record in records:
        escrows = ledger.followed_escrows(domain, record.id)
        # Accounts that the ledger meters and the chain has never seen are compared with nothing.
        payers = dict.fromkeys([a.key.payer for a in ledger.accounts(record.id)]) | dict.fromkeys(escrows)
        for payer in payers:
            yield EscrowKey(record.id, payer), escrows.get(payer, EscrowState())
    for split_id in {record.split.id for record in records}:
        yield PotKey(split_id), pots.get(split_id, PotState())
        yield from ledger.followed_stakes(domain, split_id).items()
    for provider in {record.tariff.provider for record in records}:
        for signer, state in ledger.followed_signers(domain, provider).items():
            yield SignerKey(provider, signer), state


def _check_laws(books: Books, findings: Findings) -> None:
    """Every draw is what its usage costs, every claim what the share is worth: the replay has checked it."""
    for law in Law:
        findings.count(LAWS, books.findings.checked(law))
        for found in books.findings.found(law):
            findings.differs(Item("law", law.value, found))


def _check_states(states: dict[StateKey, State], books: Books, findings: Findings) -> None:
    """What the ledger keeps of accounts, pots and stakes is what all its events add up to."""
    for key, state in states.items():
        pairs: list[tuple[str, AssetAmount, AssetAmount]] = []
        match key, state:
            case EscrowKey(), EscrowState():
                book = books.accounts.get(AccountId(key.tariff_id, key.payer), AccountBook())
                pairs = [
                    ("balance", state.balance, book.balance),
                    ("settled", state.settled, book.settled),
                ]
            case PotKey(), PotState():
                pot = books.pots[key.split_id]
                pairs = [("pot", state.allocated, pot.allocated), ("claims", state.claimed, pot.claimed)]
            case StakeKey(), StakeState():
                stake = books.pots[key.split_id].stakes.get(key)
                claimed = stake.claimed if stake is not None else AssetAmount.zero()
                pairs = [("claims", state.claimed, claimed)]
        for name, mine, events in pairs:
            findings.count(EVENTS)
            if mine != events:
                message = f"the ledger says {mine}; its events add up to {events}"
                findings.differs(Item(f"ledger-{name}", told(key), message, apart(mine, events)))


def _check_views(
    chain: ReconciledChain, states: dict[StateKey, State], block: int, findings: Findings
) -> None:
    findings.count(VIEWS, len(states))
    for each in disagreements(chain, states, block):
        amount = None
        if isinstance(each.events, AssetAmount) and isinstance(each.contract, AssetAmount):
            amount = apart(each.events, each.contract)
        message = f"the contract's {each.name} is {each.contract}; the ledger says {each.events}"
        findings.differs(Item(f"chain-{NAMES[each.name]}", told(each.key), message, amount))


def _check_tokens(
    chain: ReconciledChain, books: Books, records: Sequence[TariffRecord], block: int, findings: Findings
) -> None:
    """The contract holds at least all balances and all that waits in pots, of each token."""
    for asset in {record.split.asset for record in records}:
        owed = AssetAmount.total(
            book.balance
            for key, book in books.accounts.items()
            if books.asset_of_tariff(key.tariff_id) == asset
        ) + AssetAmount.total(
            pot.allocated.minus_or_zero(pot.claimed)
            for split_id, pot in books.pots.items()
            if books.asset_of(split_id) == asset
        )
        held = chain.token_balance(asset, block=block)
        findings.count(TOKENS)
        if held < owed:
            message = f"the contract holds {held} and owes {owed}"
            findings.differs(Item("token-short", f"token {asset}", message, apart(held, owed)))
