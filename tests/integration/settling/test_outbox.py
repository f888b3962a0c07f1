"""The outbox: who may move a delivery, and that each transition happens whole, once, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from books import DOMAIN, Books, address, fresh_database
from outbox_worker import NOW, SENDER, attempt, sign_all, signed_at

from meterbridge.domain.units import AssetAmount
from meterbridge.services.records import Draw, SubmissionRecord, SubmissionState
from meterbridge.services.settling.ports import LeaseLost, NonceTaken
from meterbridge.services.settling.records import (
    AttemptState,
    Change,
    Delivery,
    DeliveryState,
    Lease,
    MinedIn,
)

MINE, OTHER = Lease("mine", NOW, NOW + 60), Lease("other", NOW, NOW + 60)
LATER = Lease("other", NOW + 61, NOW + 121)


@pytest.fixture(params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Books]:
    url = None
    if request.param == "postgresql":
        url = fresh_database(request.getfixturevalue("postgres_url"))
    made = Books(tmp_path, database=url)
    yield made
    made.ledger.close()


def one_delivery(books: Books, lease: Lease = MINE) -> Delivery:
    books.use({address(1): 100})
    books.state(NOW)
    assert books.ledger.enroll(DOMAIN, NOW) == 1
    [taken] = books.ledger.take(DOMAIN, lease, 10)
    return taken


def test_each_statement_gets_one_delivery_and_keeps_its_content(books: Books) -> None:
    books.use({address(1): 100, address(2): 7})
    [signed] = books.state(NOW)
    assert [books.ledger.enroll(DOMAIN, NOW) for _ in range(3)] == [1, 0, 0]
    [found] = books.ledger.deliveries()
    assert (found.state, found.digest, found.lines) == (DeliveryState.WAITING, signed.digest(), 2)
    assert books.ledger.signed_statement(found) == signed
    elsewhere = replace(DOMAIN, chain_id=5)
    assert books.ledger.enroll(elsewhere, NOW) == 0
    assert books.ledger.take(elsewhere, MINE, 10) == []


def test_statement_with_credits_reads_as_it_was_signed(books: Books) -> None:
    books.use({address(n): n for n in range(1, 30)})
    books.state(NOW - 5)
    books.use({address(n): 1000 + n for n in range(1, 20)})
    books.state(NOW)
    books.ledger.enroll(DOMAIN, NOW)
    stored = {record.signed.digest(): record.signed for record in books.ledger.statements(books.record.id)}
    for delivery in books.ledger.deliveries():
        assert books.ledger.signed_statement(delivery) == stored[delivery.digest]


def test_lease_keeps_others_away_until_it_ends(books: Books) -> None:
    taken = one_delivery(books)
    assert books.ledger.take(DOMAIN, OTHER, 10) == []
    assert books.ledger.take(DOMAIN, LATER, 10) == [taken]
    with pytest.raises(LeaseLost):
        books.ledger.renew(taken, MINE)
    with pytest.raises(LeaseLost):
        books.ledger.change(MINE, taken, Change(replace(taken, state=DeliveryState.READY)))
    assert books.ledger.deliveries() == [taken]


def test_released_delivery_is_due_when_it_says(books: Books) -> None:
    taken = one_delivery(books)
    books.ledger.release(MINE, replace(taken, next_at=NOW + 30, reason="later", failures=2))
    assert books.ledger.take(DOMAIN, OTHER, 10) == []
    [again] = books.ledger.take(DOMAIN, replace(OTHER, now=NOW + 30), 10)
    assert (again.reason, again.failures) == ("later", 2)


def test_transition_from_a_state_that_is_no_more_does_not_happen(books: Books) -> None:
    taken = one_delivery(books)
    ready = books.ledger.change(MINE, taken, Change(replace(taken, state=DeliveryState.READY)))
    with pytest.raises(LeaseLost):
        books.ledger.change(MINE, taken, Change(replace(taken, state=DeliveryState.FAILED)))
    assert books.ledger.deliveries() == [ready]


def test_nonce_and_transaction_are_stored_together_or_not_at_all(books: Books) -> None:
    books.use({address(1): 100, address(2): 100})
    books.state(NOW)
    books.use({address(3): 100})
    books.state(NOW + 1)
    books.ledger.enroll(DOMAIN, NOW)
    first, second = books.ledger.take(DOMAIN, MINE, 10)
    change = Change(signed_at(first, 5), attempt(5), takes_nonce=True, nonce_seen=None)
    stored = books.ledger.change(MINE, first, change)
    assert books.ledger.next_nonce(DOMAIN.chain_id, SENDER) == 6
    for stale in (None, 5):
        rival = Change(signed_at(second, 5), attempt(5, b"\xbb" * 32), takes_nonce=True, nonce_seen=stale)
        with pytest.raises(NonceTaken):
            books.ledger.change(MINE, second, rival)
    assert books.ledger.attempts(second) == []
    assert books.ledger.deliveries() == [stored, second]
    assert books.ledger.held_nonces(DOMAIN.chain_id, SENDER) == {5}
    [kept] = books.ledger.attempts(stored)
    assert replace(kept, id=0) == attempt(5)
    mark = replace(kept, state=AttemptState.SENT, sent_at=NOW + 3)
    books.ledger.change(MINE, stored, Change(replace(stored, state=DeliveryState.SENT), marks=(mark,)))
    assert books.ledger.attempts(stored) == [mark]


def test_final_delivery_is_a_submission_with_its_draws(books: Books) -> None:
    taken = one_delivery(books)
    final = replace(
        taken, state=DeliveryState.FINAL, mined=MinedIn(b"\xaa" * 32, 9, b"\xbb" * 32), owing=True
    )
    draws = (Draw(address(1), AssetAmount(2**111)),)
    submission = SubmissionRecord(
        books.record.id, taken.digest, NOW, b"\xaa" * 32, SubmissionState.SETTLED, 9, draws
    )
    books.ledger.change(MINE, taken, Change(final, submission=submission))
    assert books.ledger.settlements(books.record.id) == [submission]
    assert books.ledger.deliveries(states=[DeliveryState.FINAL]) == [final]
    assert books.ledger.counts(DOMAIN) == {DeliveryState.FINAL: 1}


def test_later_statements_cover_an_older_one_only_with_all_of_its_payers(books: Books) -> None:
    books.use({address(1): 100, address(2): 100})
    books.state(NOW - 100)
    books.use({address(1): 5})
    books.state(NOW - 50)
    books.ledger.enroll(DOMAIN, NOW)
    assert [d.state for d in books.ledger.deliveries()] == [DeliveryState.WAITING] * 2
    books.use({address(2): 5})
    books.state(NOW)
    books.ledger.enroll(DOMAIN, NOW)
    old, middle, new = books.ledger.deliveries()
    assert [d.state for d in (old, middle, new)] == ["superseded", "waiting", "waiting"]
    assert [d.since for d in (middle, new)] == [NOW - 100] * 2


def test_what_a_failed_statement_covered_is_open_again(books: Books) -> None:
    books.use({address(1): 100})
    books.state(NOW - 100)
    books.use({address(1): 100})
    books.state(NOW)
    books.ledger.enroll(DOMAIN, NOW)
    [new] = books.ledger.take(DOMAIN, MINE, 10)
    books.ledger.change(MINE, new, Change(replace(new, state=DeliveryState.FAILED, reason="refused")))
    books.ledger.enroll(DOMAIN, NOW)
    assert [d.state for d in books.ledger.deliveries()] == ["waiting", "failed"]


def test_signed_statement_is_not_covered_any_more(books: Books) -> None:
    taken = one_delivery(books)
    change = Change(signed_at(taken, 0), attempt(0), takes_nonce=True)
    books.ledger.change(MINE, taken, change)
    books.use({address(1): 1})
    books.state(NOW + 5)
    books.ledger.enroll(DOMAIN, NOW + 5)
    assert [d.state for d in books.ledger.deliveries()] == ["signed", "waiting"]


def test_what_was_settled_before_there_was_an_outbox_is_final(books: Books) -> None:
    books.use({address(1): 100})
    [signed] = books.state(NOW)
    books.ledger.record_submission(
        SubmissionRecord(books.record.id, signed.digest(), NOW, b"\xaa" * 32, SubmissionState.SETTLED, 9)
    )
    books.ledger.enroll(DOMAIN, NOW)
    assert [d.state for d in books.ledger.deliveries()] == [DeliveryState.FINAL]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_workers_in_processes_share_deliveries_and_nonces_without_collision(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = fresh_database(request.getfixturevalue("postgres_url")) if database == "postgresql" else None
    books = Books(tmp_path, database=url)
    for number in range(16):
        books.use({address(number + 1): 5})
        books.state(NOW - 100 + number)
    books.ledger.enroll(DOMAIN, NOW)
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(sign_all, tmp_path, url, f"worker {n}") for n in range(3)]
        done = [pair for job in jobs for pair in job.result()]
    assert Counter(delivery for delivery, _ in done) == Counter(d.id for d in books.ledger.deliveries())
    assert sorted(nonce for _, nonce in done) == list(range(16))
    assert {d.state for d in books.ledger.deliveries()} == {DeliveryState.SIGNED}
    books.ledger.close()
