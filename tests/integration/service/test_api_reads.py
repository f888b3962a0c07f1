"""What was metered can be read page by page and proven; credit is what is secured less what is unsettled."""

from __future__ import annotations

import time

import _service as support
import pytest

from meterbridge.domain.signatures import require_signed_by
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_ports import Escrow
from meterbridge.services.exchange import statement_from_json
from meterbridge.services.proof_json import proof_from_json
from meterbridge.services.proofs import verify_proof


def tariff_path(live, rest=""):
    return f"/v1/tariffs/0x{live.book.record.id.hex()}{rest}"


@pytest.fixture
def sealed(live):
    """Three batches of ten receipts, each stated."""
    now = 1_800_000_000
    for batch in range(3):
        live.send(*(support.event(f"{batch}-{i}") for i in range(10)))
        live.deps.worker._work.now = lambda at=now + batch: at
        assert live.deps.worker.round()
    return live


def all_pages(live, path, limit=1, **params):
    items, after = [], 0
    while after is not None:
        page = live.http.get(path, params={"after": after, "limit": limit, **params}).json()
        assert len(page["items"]) <= limit
        items += page["items"]
        after = page["next"]
    return items


def test_statements_come_page_by_page_and_are_signed(sealed):
    statements = [
        statement_from_json(s) for s in all_pages(sealed, tariff_path(sealed, "/statements"), limit=2)
    ]
    assert [s.statement.lines[0].usage.lanes[:3] for s in statements] == [
        (120, 0, 30),
        (240, 0, 60),
        (360, 0, 90),
    ]
    for statement in statements:
        require_signed_by(sealed.book.signer.address, statement.digest(), statement.signature)


def test_the_complete_log_comes_page_by_page(sealed):
    batches = all_pages(sealed, sealed.path("/logs/charges"))
    assert [(b["seq"], b["size"], b["sum"][:3]) for b in batches] == [
        (n, 10, ["120", "0", "30"]) for n in range(3)
    ]
    receipts = [
        r for n in range(3) for r in all_pages(sealed, sealed.path(f"/logs/charges/{n}/receipts"), limit=4)
    ]
    assert sorted(r["event_id"] for r in receipts) == sorted(f"{n}-{i}" for n in range(3) for i in range(10))


def test_a_receipt_is_found_by_its_event_and_proven(sealed):
    found = sealed.http.get(
        tariff_path(sealed, "/receipts"), params={"source": "gateway", "event_id": "1-3"}
    ).json()
    assert (found["batch"], found["usage"][:3]) == (1, [12, 0, 3])
    assert sealed.http.get(sealed.path(f"/receipts/{found['id']}")).json()["event_id"] == "1-3"
    proof = sealed.http.get(sealed.path(f"/receipts/{found['id']}/proof"), params={"party": 1}).json()
    shown = verify_proof(proof_from_json(proof))
    # 12 in at 3 and 3 out at 15 dollars a million tokens: 81 millionths, of which party 1 has 40 percent.
    assert (shown.price, shown.part) == (AssetAmount(81), AssetAmount(32))


def test_a_pending_receipt_has_no_proof_yet(live):
    live.send(support.event("a"))
    found = live.http.get(
        tariff_path(live, "/receipts"), params={"source": "gateway", "event_id": "a"}
    ).json()
    assert found["batch"] is None
    answer = live.http.get(live.path(f"/receipts/{found['id']}/proof"))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:meterbridge:problem:not-sealed")


def test_consistency_is_proven_between_any_sizes(sealed):
    found = sealed.http.get(sealed.path("/logs/charges/consistency"), params={"old": 1, "new": 3}).json()
    assert (found["old"]["size"], found["new"]["size"], found["new"]["sum"][:3]) == (1, 3, ["360", "0", "90"])
    assert len(found["proof"]) == 3 or len(found["proof"]) == 2
    outside = sealed.http.get(sealed.path("/logs/charges/consistency"), params={"old": 2, "new": 9})
    assert outside.status_code == 422


def test_a_late_event_goes_into_the_next_batch(sealed):
    sealed.send(support.event("late", time="2020-01-01T00:00:00Z"))
    sealed.deps.worker._work.now = lambda: 1_800_000_100
    assert sealed.deps.worker.round()
    assert [b["size"] for b in all_pages(sealed, sealed.path("/logs/charges"))] == [10, 10, 10, 1]


def until(happened, seconds=300):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_sealing_begins_early_once_so_many_receipts_are_pending(book, serve):
    with serve(book, seal_receipts=10) as live:  # and after an hour, whatever is there
        live.send(*(support.event(str(i)) for i in range(9)))
        time.sleep(1.0)  # several looks of the worker, which would have sealed by now
        assert book.ledger.pending_count(book.record.id) == 9  # neither the hour nor the count is there yet
        live.send(support.event("one more"))
        until(lambda: list(book.ledger.statements(book.record.id)))
        (record,) = book.ledger.statements(book.record.id)
        assert record.signed.statement.lines[0].usage.lanes[:3] == (120, 0, 30)


def test_sealing_begins_after_the_interval_whatever_is_pending(book, serve):
    with serve(book, seal_seconds=1) as live:
        live.send(support.event("only one"))
        until(lambda: list(book.ledger.statements(book.record.id)))
        assert book.ledger.pending_count(book.record.id) == 0


class Chain:
    """A chain that says what a test wants; the contract itself is tested where it is."""

    def __init__(self, secured, settled):
        self.asked = []
        self._secured, self._settled = AssetAmount(secured), AssetAmount(settled)

    def newest_block(self):
        return 7

    def escrow(self, _tariff_id, _payer, *, block=None):
        assert block == 7
        return Escrow(self._secured, self._settled, 0)

    def secured(self, _tariff, _payer, until, *, block=None):
        assert block == 7
        self.asked.append(until)
        return self._secured


def test_credit_is_what_is_secured_less_what_is_unsettled(live):
    live.send(support.event("a"), support.event("b"))  # 2 x 81 base units, pending
    live.deps.now = lambda: 1_000.5
    live.deps.escrows = Chain(secured=1_000, settled=62)
    found = live.http.get(live.path("/credit")).json()
    assert found == {
        "allowed": True,
        "remaining": str(1_000 - (162 - 62)),
        "until": 1_000 + 3_240,  # the margin, within nine tenths of the thaw period
        "secured": "1000",
        "unsettled": "100",
    }
    live.deps.escrows = Chain(secured=100, settled=62)
    assert live.http.get(live.path("/credit"), params={"margin": 60}).json()["allowed"] is False
    assert live.deps.escrows.asked == [1_060]


def test_credit_without_a_chain_says_so(live):
    live.send(support.event("a"))
    answer = live.http.get(live.path("/credit"))
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:meterbridge:problem:no-chain")


def test_metrics_count_events_by_outcome(live):
    live.send(support.event("a"), support.event("a"), support.event("b", subject=None))
    text = live.http.get("/metrics").text
    assert 'meterbridge_events_total{outcome="accepted"} 1.0' in text
    assert 'meterbridge_events_total{outcome="repeated"} 1.0' in text
    assert 'meterbridge_events_total{outcome="refused"} 1.0' in text
