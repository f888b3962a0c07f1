"""Runs on disk, and their merge."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from meterbridge.domain.arrays import Bytes, Ints, Words
from meterbridge.domain.keccak import DIGEST_BYTES
from meterbridge.domain.receipt_rows import RECEIPT, Receipts, Rows
from meterbridge.services.bulk.order import Order, take_texts
from meterbridge.services.bulk.pool import KEY_WORDS, ReceiptPool
from meterbridge.services.bulk.runs import PoolRun, bisect

_NAMES = ("rows", "texts", "keys", "numbers", "order")
_BLOCK = 65_536
_MERGED_ROWS = 2 * _BLOCK
"""Rows that a merge holds of all its runs together; of very many, at least a thousand each."""
_KEY_BYTES = 8 * KEY_WORDS
_ORDER_BYTES = 4 + DIGEST_BYTES


class SpillFolder:
    """Where runs go while a seal is made; see `services.bulk.ports.Spilling`."""

    def __init__(self, folder: Path) -> None:
        """Use a folder of its own; what an interrupted sealing left in it is removed."""
        self._folder = folder
        self._runs: list[SpilledRun] = []

    def spill(self, pool: ReceiptPool, counts: Ints) -> SpilledRun:
        """Write a pool to disk, of which each account has `counts` rows."""
        run = SpilledRun(pool, counts, self._folder / str(len(self._runs)))
        self._runs.append(run)
        return run

    def merged(self) -> MergedRuns:
        """Return all runs as one."""
        return MergedRuns(self._runs)

    def clear(self) -> None:
        """Forget and remove all runs."""
        for run in self._runs:
            run.close()
        self._runs.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


class SpilledRun:
    """A pool's receipts on disk, in the order of their batches; numbers are places in that order.

    Attributes:
        size: how many receipts it has, dropped ones too.
    """

    def __init__(self, pool: ReceiptPool, counts: Ints, folder: Path) -> None:
        """Sort a pool and write it to a folder of its own; the pool can be filled anew then."""
        folder.mkdir(parents=True)
        run = PoolRun(pool, counts)
        self.size: Final = run.size
        self._origins = pool.origins()
        order, by_key = run.orders()
        self._rows, self._texts = (folder / name for name in ("rows", "texts"))
        with self._rows.open("wb") as rows, self._texts.open("wb") as texts:
            _write_receipts(run, rows, texts)
        place = np.empty(self.size, dtype=np.uint32)
        place[order] = np.arange(self.size, dtype=np.uint32)
        place[by_key].tofile(folder / "numbers")
        with (folder / "keys").open("wb") as keys:
            for first in range(0, self.size, _BLOCK):
                keys.write(run.sorted_keys(first, first + _BLOCK).data)
        order.tofile(folder / "order")
        self._files = {name: (folder / name).open("rb") for name in _NAMES}
        self._dropped = np.zeros(self.size, dtype=np.bool_)

    def close(self) -> None:
        """Close the files; whoever owns the folder removes it."""
        for file in self._files.values():
            file.close()

    def keys_between(self, low: int, high: int) -> tuple[Words, Order]:
        """Return (m, 3) keys whose first word is from `low` up to `high`, sorted, and their receipts."""
        first, stop = (bisect(self.size, bound, self._first_word) for bound in (low, high))
        keys = _read(self._files["keys"], np.uint64, first * KEY_WORDS, (stop - first) * KEY_WORDS)
        return keys.reshape(-1, KEY_WORDS), _read(self._files["numbers"], np.uint32, first, stop - first)

    def drop(self, numbers: Order) -> None:
        """Leave receipts out."""
        self._dropped[numbers] = True

    def forget_keys(self) -> None:
        """Judging is over."""

    def load(self, first: int, stop: int) -> Receipts:
        """Return those of receipts `first` to `stop` that stay, their texts as they stand on disk."""
        rows = _read(self._files["rows"], RECEIPT, first, stop - first)
        start = int(rows["event_start"][0])
        end = int(rows["event_start"][-1]) + int(rows["event_length"][-1])
        texts = _read(self._files["texts"], np.uint8, start, end - start)
        rows = rows[~self._dropped[first:stop]]
        rows["event_start"] -= start
        return Receipts(rows, texts, np.empty(0, dtype=np.int64))

    def receipt(self, number: int) -> tuple[Any, str]:
        """Return one receipt by number, and its event id."""
        row = _read(self._files["rows"], RECEIPT, number, 1)[0]
        text = _read(self._files["texts"], np.uint8, int(row["event_start"]), int(row["event_length"]))
        return row, text.tobytes().decode()

    def origin(self, number: int) -> tuple[str, int]:
        """Return the file and the row in it from which a receipt comes."""
        return self._origins.of(int(_read(self._files["order"], np.uint32, number, 1)[0]))

    def _first_word(self, at: int) -> int:
        return int(_read(self._files["keys"], np.uint64, at * KEY_WORDS, 1)[0])


def _write_receipts(run: PoolRun, rows: BinaryIO, texts: BinaryIO) -> None:
    written = 0
    for first in range(0, run.size, _BLOCK):
        part = run.read(first, min(run.size, first + _BLOCK))
        part.rows["event_start"] = part.offsets[:-1] + written
        written += len(part.texts)
        rows.write(part.rows.data)
        texts.write(part.texts.data)


def _read(file: BinaryIO, dtype: Any, first: int, count: int) -> npt.NDArray[Any]:
    """Read items of one type by number, in an array of their own."""
    size = np.dtype(dtype).itemsize
    data = bytearray(count * size)
    done = os.preadv(file.fileno(), [data], first * size)
    if done != len(data):
        raise OSError(f"{file.name} ends {len(data) - done} bytes early")
    return np.frombuffer(data, dtype=dtype)


@dataclass(slots=True)
class _Cursor:
    """One run of a merge: what is loaded of it, and where it goes on."""

    run: SpilledRun
    step: int
    at: int
    rows: Rows
    texts: Bytes
    keys: npt.NDArray[np.bytes_]

    @classmethod
    def at_start(cls, run: SpilledRun, step: int) -> _Cursor:
        return cls(run, step, 0, np.empty(0, RECEIPT), np.empty(0, np.uint8), np.empty(0, f"S{_ORDER_BYTES}"))

    @property
    def has_more(self) -> bool:
        return self.at < self.run.size

    def fill(self) -> None:
        """Load the next rows, unless some are left."""
        while not len(self.rows) and self.has_more:
            stop = min(self.run.size, self.at + self.step)
            part = self.run.load(self.at, stop)
            self.rows, self.texts, self.keys, self.at = part.rows, part.texts, _order_keys(part.rows), stop

    def take(self, bound: bytes | None) -> Rows:
        """Take the loaded rows up to and with a key, or all."""
        cut = len(self.rows) if bound is None else int(np.searchsorted(self.keys, bound, "right"))
        taken, self.rows, self.keys = self.rows[:cut], self.rows[cut:], self.keys[cut:]
        return taken


class MergedRuns:
    """Several runs on disk, read as one, from front to back."""

    def __init__(self, runs: Sequence[SpilledRun]) -> None:
        """Merge runs; nothing is read before `read`, so that what is dropped until then stays out."""
        step = max(1_024, _MERGED_ROWS // max(1, len(runs)))
        self._cursors = [_Cursor.at_start(run, step) for run in runs]
        self._ready: list[Receipts] = []
        self._ready_rows = 0
        self._next = 0

    def read(self, first: int, stop: int) -> Receipts:
        """Return receipts by their place among those that stay; each call goes on from the last."""
        if first != self._next:
            raise ValueError(f"a merge goes on at {self._next}, not at {first}")
        while self._ready_rows < stop - first:
            self._merge()
        whole = _concatenate(self._ready)
        count = stop - first
        rest = whole.rows[count:]
        self._ready = [Receipts(rest, whole.texts, whole.offsets)]
        self._ready_rows, self._next = len(rest), stop
        rows = whole.rows[:count].copy()
        return Receipts(rows, *take_texts(rows, whole.texts))

    def _merge(self) -> None:
        """Take all that is not behind the first run that would have to load more."""
        for cursor in self._cursors:
            cursor.fill()
        lasts = [cursor.keys[-1] for cursor in self._cursors if len(cursor.rows) and cursor.has_more]
        bound = bytes(min(lasts)) if lasts else None
        parts = []
        for cursor in self._cursors:
            parts.append(Receipts(cursor.take(bound), cursor.texts, np.empty(0, dtype=np.int64)))
        merged = _concatenate(parts)
        rows = merged.rows[np.argsort(_order_keys(merged.rows), kind="stable")]
        texts, offsets = take_texts(rows, merged.texts)
        rows["event_start"] = offsets[:-1]
        self._ready.append(Receipts(rows, texts, offsets))
        self._ready_rows += len(rows)


def _order_keys(rows: Rows) -> npt.NDArray[np.bytes_]:
    """Return account and id of each row as bytes that compare as the rows do."""
    keys = np.empty((len(rows), _ORDER_BYTES), dtype=np.uint8)
    keys[:, :4] = rows["account"].astype(">u4").view(np.uint8).reshape(-1, 4)
    keys[:, 4:] = np.ascontiguousarray(rows["id"]).view(np.uint8)
    return keys.reshape(-1).view(f"S{_ORDER_BYTES}")


def _concatenate(parts: Sequence[Receipts]) -> Receipts:
    rows = np.concatenate([part.rows for part in parts])
    at = shift = 0
    for part in parts:
        rows["event_start"][at : at + len(part.rows)] += shift
        at, shift = at + len(part.rows), shift + len(part.texts)
    return Receipts(rows, np.concatenate([part.texts for part in parts]), np.empty(0, dtype=np.int64))
