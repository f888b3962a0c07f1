"""Pains of metering that users of neighbouring systems reported, each shown not to happen here.

The names in the docstrings are those systems' public reports; README.md lists all of them with their tests.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from Crypto.Hash import keccak

from faults.books import Books, register
from faults.offline import offline_record
from faults.stage import PAYERS
from meterbridge.adapters.ledger import open_ledger
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.receipts import receipt_id
from meterbridge.services.metering import correct, import_usage
from meterbridge.services.proofs import verify_proof
from meterbridge.services.proving import prove
from meterbridge.services.records import AccountKey

Node = tuple[bytes, tuple[int, ...]]
SEALED_AT = 1_800_000_000


def books_in(folder: Path, seed: int = 1) -> Books:
    ledger, record = open_ledger(folder), offline_record()
    register(ledger, record)
    return Books(ledger, FolderSegments(folder / "segments"), record, random.Random(seed))


def account_of(books: Books, payer: int) -> AccountKey:
    return AccountKey(books.record.domain, books.record.id, PAYERS[payer].address)


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def eight(sums: Sequence[int]) -> bytes:
    return b"".join(lane.to_bytes(8, "big", signed=True) for lane in sums)


def tree(nodes: Sequence[Node]) -> Node:
    """The protocol's tree (section 4) from its text alone."""
    if not nodes:
        return bytes(32), (0,) * 8
    if len(nodes) == 1:
        return nodes[0]
    cut = 1 << (len(nodes) - 1).bit_length() - 1
    (left, left_sum), (right, right_sum) = tree(nodes[:cut]), tree(nodes[cut:])
    both = tuple(a + b for a, b in zip(left_sum, right_sum, strict=True))
    return keccak256(b"\x01" + left + eight(left_sum) + right + eight(right_sum)), both


def batch_of(file: Path) -> tuple[int, Node]:
    """Return size and root of a batch from the rows of its file."""
    leaves = []
    for row in sorted(pq.read_table(file).to_pylist(), key=lambda row: bytes(row["id"])):
        usage = tuple(row[f"usage_{lane}"] for lane in range(8))
        moment = round(row["occurred_at"].timestamp() * 1000).to_bytes(6, "big")
        leaves.append((keccak256(b"\0" + row["id"] + moment + eight(usage) + row["details_hash"]), usage))
    return len(leaves), tree(leaves)


def head_of(folder: Path, payer: int) -> bytes:
    """Return the head of a payer's account as the payer computes it from the files that it was given."""
    parts = b""
    for kind in ("charges", "credits"):
        files = sorted((folder / "segments").glob(f"*/{PAYERS[payer].address}/{kind}/*.parquet"))
        elements = []
        for size, (root, sums) in map(batch_of, files):
            elements.append((keccak256(b"\x02" + size.to_bytes(8, "big") + root + eight(sums)), sums))
        root, sums = tree(elements)
        parts += len(files).to_bytes(8, "big") + root + eight(sums)
    return keccak256(b"\x03" + parts)


def test_two_parties_compute_the_same_roots_from_the_same_data(tmp_path: Path) -> None:
    """Xmtpd #1216: a payer who only follows the protocol's text gets the head that the provider signed."""
    books = books_in(tmp_path)
    signed = None
    for number in range(4):
        books.use([0, 1, 2], calls=3 + 2 * number)
        (signed,) = books.state(SEALED_AT + number)
    assert signed is not None
    heads = {line.payer: line.head for line in signed.statement.lines}
    assert heads == {payer.address: head_of(tmp_path, i) for i, payer in enumerate(PAYERS)}
    books.ledger.close()


def test_the_order_of_arrival_changes_no_root(tmp_path: Path) -> None:
    """Xmtpd #1216: two meters that heard of the same calls in other orders and pieces sign the same heads."""
    heads = []
    for name in ("one", "other"):
        books = books_in(tmp_path / name)
        rows = books.rows([0, 1, 2], calls=9)
        if name == "other":
            random.Random(5).shuffle(rows)
            for row in rows:
                import_usage(books.ledger, books.record, [row])
        import_usage(books.ledger, books.record, rows)
        (signed,) = books.state(SEALED_AT)
        heads.append({line.payer: line.head for line in signed.statement.lines})
        books.ledger.close()
    assert heads[0] == heads[1]
    assert len(heads[0]) == 3


def test_a_charge_can_be_reversed_and_a_late_one_backfilled(tmp_path: Path) -> None:
    """Lago #67, flexprice #605: both change the next statement by exactly what they are worth."""
    books = books_in(tmp_path)
    (row, *others) = books.rows([0], calls=3)
    import_usage(books.ledger, books.record, [row, *others])
    (before,) = books.state(SEALED_AT)
    account = account_of(books, 0)
    wrong = receipt_id(books.ledger.account(account).blind, row.event.source, row.event.id)
    correct(
        books.ledger, books.segments, account, wrong, replacement=None, occurred_at=1, reason="not this payer"
    )
    (late,) = books.rows([0], calls=1)
    months_ago = late.event.occurred_at - 90 * 86_400_000
    import_usage(books.ledger, books.record, [late._replace(event=late.at(months_ago))])
    (after,) = books.state(SEALED_AT + 1)
    old, new = before.statement.lines[0].usage.lanes, after.statement.lines[0].usage.lanes
    taken, added = row.event.buckets, late.event.buckets
    assert new[0] - old[0] == added["input"] - taken["input"]
    assert new[1] - old[1] == added["output"] - taken["output"]
    books.ledger.close()


@pytest.mark.parametrize("party", [0, 1, 2])
def test_an_author_is_told_which_share_of_which_call_is_theirs(tmp_path: Path, party: int) -> None:
    """Ornn #38, agentskit #204: one proof leads from a call to the party's part of its price."""
    books = books_in(tmp_path)
    (row,) = books.rows([1], calls=1)
    import_usage(books.ledger, books.record, [row])
    books.state(SEALED_AT)
    account = account_of(books, 1)
    receipt = receipt_id(books.ledger.account(account).blind, row.event.source, row.event.id)
    shown = verify_proof(prove(books.ledger, books.segments, account, receipt, party=party))
    share = (60, 40, 20)[party]  # of 120, as the split was published
    price = row.event.buckets["input"] * 3 + row.event.buckets["output"] * 15
    assert (shown.proven.source, shown.proven.event_id) == (row.event.source, row.event.id)
    assert shown.share.party == books.record.parties[party]
    assert shown.part.base_units == price * share // 120
    books.ledger.close()
