"""What several processes do to one outbox at once; no test itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from books import DOMAIN, open_books

from meterbridge.domain.addresses import Address
from meterbridge.services.settling.ports import NonceTaken
from meterbridge.services.settling.records import Attempt, AttemptKind, Change, Delivery, DeliveryState, Lease

NOW = 1_790_000_000
SENDER = Address(b"\x77" * 20)


def attempt(nonce: int, tx_hash: bytes = b"\xaa" * 32) -> Attempt:
    return Attempt(AttemptKind.SETTLE, SENDER, nonce, tx_hash, b"\x02raw", 100_000, 2 * 10**30, 5, NOW, 7)


def signed_at(delivery: Delivery, nonce: int) -> Delivery:
    return replace(delivery, state=DeliveryState.SIGNED, sender=SENDER, nonce=nonce)


def sign_all(folder: Path, url: str | None, holder: str) -> list[tuple[int, int]]:
    """Take deliveries one by one and give each a nonce, as a worker does; return (delivery, nonce)."""
    ledger = open_books(folder, url)
    lease, done = Lease(holder, NOW, NOW + 60), []
    while taken := ledger.take(DOMAIN, lease, 1):
        delivery = taken[0]
        while True:
            seen = ledger.next_nonce(DOMAIN.chain_id, SENDER)
            nonce = seen or 0
            tx_hash = delivery.id.to_bytes(16, "big") + nonce.to_bytes(16, "big")
            change = Change(signed_at(delivery, nonce), attempt(nonce, tx_hash), True, seen)
            try:
                after = ledger.change(lease, delivery, change)
            except NonceTaken:
                continue
            break
        ledger.release(lease, replace(after, next_at=NOW + 1000))
        done.append((delivery.id, nonce))
    ledger.close()
    return done
