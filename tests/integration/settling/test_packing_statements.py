"""Statements as they are made: no line blocks another, and what failed is stated again when that can help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from books import DOMAIN, METER, Books, address
from sqlalchemy import update

from meterbridge.adapters.signers import LocalSigner
from meterbridge.adapters.sql.logs import NODES
from meterbridge.domain.errors import HeadDoesNotExtend
from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.units import AssetAmount
from meterbridge.services.records import Draw, LogKey, LogKind, SubmissionRecord, SubmissionState
from meterbridge.services.settling.packing import Packing
from meterbridge.services.settling.records import Change, DeliveryState, Lease
from meterbridge.services.statements import LeftOut, make_statements

NOW = 1_790_000_000
SMALL = Packing(gas_cap=400_000)  # 180,000 for lines: six that are new, or sixteen that are known


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    yield made
    made.ledger.close()


def payers_of(statements: list[SignedStatement]) -> list[list[int]]:
    return [[int.from_bytes(line.payer.raw) for line in s.statement.lines] for s in statements]


def test_most_valuable_lines_come_first_and_no_statement_exceeds_the_cap(books: Books) -> None:
    books.use({address(n): 100 * n for n in range(1, 9)})
    assert payers_of(books.state(NOW, packing=SMALL)) == [[3, 4, 5, 6, 7, 8], [1, 2]]
    # Value is what is new, not what is cumulative.
    books.use({address(n): 10 - n for n in range(1, 9)})
    assert payers_of(books.state(NOW + 1, packing=SMALL)) == [[1, 2, 3, 4, 5, 6], [7, 8]]


def test_accounts_that_were_settled_cost_less(books: Books) -> None:
    books.use({address(n): 100 * n for n in range(1, 9)})
    [signed] = books.state(NOW)
    draws = tuple(Draw(address(n), AssetAmount(1)) for n in range(1, 9))
    record = (books.record.id, signed.digest(), NOW, b"\x01" * 32, SubmissionState.SETTLED, 1, draws)
    books.ledger.record_submission(SubmissionRecord(*record))
    books.use({address(n): 100 * n for n in range(1, 9)})
    assert len(books.state(NOW + 1, packing=SMALL)) == 1


def test_one_broken_log_is_named_and_the_others_are_stated(books: Books) -> None:
    books.use({address(n): 100 for n in (1, 2, 3)})
    books.state(NOW)
    books.use({address(n): 100 for n in (1, 2, 3)})
    [broken] = [a for a in books.ledger.accounts(books.record.id) if a.key.payer == address(2)]
    row = books.ledger._log_row(LogKey(broken.key, LogKind.CHARGES))
    with books.ledger._database.write() as connection:  # somebody meddles with what was signed
        changed = update(NODES).where(NODES.c.log == row)
        connection.execute(changed.values(hash=b"\x66" * 32))
    with pytest.raises(HeadDoesNotExtend):
        books.state(NOW + 1)
    left: list[LeftOut] = []
    made = books.state(NOW + 1, on_left_out=left.append)
    assert sorted(payers_of(made)[0]) == [1, 3]
    assert [(out.payer, type(out.error)) for out in left] == [(address(2), HeadDoesNotExtend)]


def fail(books: Books, reason: str = "") -> None:
    lease = Lease("test", NOW + 10, NOW + 70)
    books.ledger.enroll(DOMAIN, NOW + 10)
    for delivery in books.ledger.take(DOMAIN, lease, 10):
        failed = replace(delivery, state=DeliveryState.FAILED, reason=reason)
        books.ledger.change(lease, delivery, Change(failed))


def test_statement_too_large_for_a_transaction_is_stated_again_in_parts(books: Books) -> None:
    books.use({address(n): 100 * n for n in range(1, 9)})
    [whole] = books.state(NOW)
    assert books.state(NOW + 1, packing=SMALL) == []
    fail(books)
    assert books.ledger.failed_statements(books.record.id) == [whole]
    again = books.state(NOW + 20, packing=SMALL)
    assert payers_of(again) == [[3, 4, 5, 6, 7, 8], [1, 2]]
    books.ledger.enroll(DOMAIN, NOW + 20)
    assert books.ledger.failed_statements(books.record.id) == []
    assert books.state(NOW + 30, packing=SMALL) == []


def test_what_a_retired_key_signed_is_stated_again_by_the_new_one_only(books: Books) -> None:
    books.use({address(1): 100})
    books.state(NOW)
    fail(books)
    assert books.state(NOW + 20) == []  # the same key would fail the same way
    fresh = LocalSigner.generate()
    [again] = make_statements(books.ledger, books.record, NOW + 30, fresh)
    assert (again.signer, payers_of([again])) == (fresh.address, [[1]])
    assert again.signer != METER.address
