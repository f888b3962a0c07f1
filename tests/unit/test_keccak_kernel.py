"""The compiled Keccak against pycryptodome's, which shares no code with it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from Crypto.Hash import keccak as pycryptodome_keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from meterbridge.domain import keccak, keccak_kernel
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.vector_code import LANES


def expected(message: bytes) -> bytes:
    return pycryptodome_keccak.new(digest_bits=256, data=message).digest()


def random_rows(count: int, length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 256, (count, length), dtype=np.uint8)


def digests_of(rows: np.ndarray) -> list[bytes]:
    return [digest.tobytes() for digest in keccak_kernel.hash_rows(rows)]


def hash_all(messages: list[bytes]) -> list[bytes]:
    offsets = np.cumsum([0, *map(len, messages)], dtype=np.int64)
    buffer = np.frombuffer(b"".join(messages), dtype=np.uint8)
    return [digest.tobytes() for digest in keccak_kernel.hash_ragged(buffer, offsets)]


@pytest.mark.parametrize("length", range(301))
def test_rows_of_every_length_agree_with_pycryptodome(length: int) -> None:
    rows = random_rows(LANES + 3, length)
    assert digests_of(rows) == [expected(row.tobytes()) for row in rows]


def test_known_digest_of_the_empty_message() -> None:
    # The code hash of every account without code.
    known = bytes.fromhex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
    assert keccak_kernel.hash_rows(np.empty((1, 0), dtype=np.uint8)).tobytes() == known


@given(st.lists(st.binary(max_size=700), max_size=30))
@settings(max_examples=200, deadline=None)
def test_ragged_messages_agree_with_pycryptodome(messages: list[bytes]) -> None:
    assert hash_all(messages) == [expected(message) for message in messages]


def test_every_length_beside_every_other_kind_of_neighbour() -> None:
    lengths = np.random.default_rng(7).permutation(np.repeat(np.arange(420), 3))
    messages = [bytes([length % 251]) * int(length) for length in lengths]
    assert hash_all(messages) == [expected(message) for message in messages]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 3_999, 4_000, 10_007])
def test_any_count_over_any_number_of_threads(count: int) -> None:
    rows = random_rows(count, 64)
    alone = keccak_kernel.hash_rows(rows, threads=1)
    assert alone[-1].tobytes() == expected(rows[-1].tobytes())
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(keccak_kernel.hash_rows(rows, threads), alone)


def test_no_rows_give_no_digests() -> None:
    assert keccak_kernel.hash_rows(np.empty((0, 135), dtype=np.uint8)).shape == (0, 32)
    assert hash_all([]) == []


def test_strided_transposed_and_read_only_rows() -> None:
    rows = random_rows(40, 200)
    rows.flags.writeable = False
    for view in (rows, rows[::-1], rows[3::2, 5:190:3], rows.T):
        assert digests_of(view) == [expected(row.tobytes()) for row in view]


def test_strided_buffer_and_offsets_that_leave_bytes_out() -> None:
    buffer = np.arange(200, dtype=np.uint8)[::2]
    offsets = np.array([10, 10, 17, 90], dtype=np.int64)
    wanted = [expected(buffer[a:b].tobytes()) for a, b in ((10, 10), (10, 17), (17, 90))]
    assert [d.tobytes() for d in keccak_kernel.hash_ragged(buffer, offsets)] == wanted


@pytest.mark.parametrize("offsets", [[0, 11], [-1, 3], [0, 5, 4, 10], []])
def test_offsets_that_would_read_foreign_memory_are_refused(offsets: list[int]) -> None:
    with pytest.raises(OutOfBounds, match="offsets must"):
        keccak_kernel.hash_ragged(np.zeros(10, dtype=np.uint8), np.array(offsets, dtype=np.int64))


def test_wrong_types_are_refused() -> None:
    with pytest.raises(OutOfBounds, match="int64"):
        keccak_kernel.hash_rows(np.zeros((2, 2), dtype=np.int64))
    with pytest.raises(OutOfBounds, match="float64"):
        keccak_kernel.hash_ragged(np.zeros(4, dtype=np.uint8), np.array([0.0, 4.0]))


@pytest.mark.parametrize("pays_from", [0, 10**9], ids=["kernel", "loop"])
def test_the_public_functions_agree_with_pycryptodome_with_and_without_the_kernel(
    pays_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keccak, "_KERNEL_PAYS_FROM", pays_from)
    rows = random_rows(100, 193)
    wanted = [expected(row.tobytes()) for row in rows]
    assert [digest.tobytes() for digest in keccak.keccak256_rows(rows)] == wanted
    offsets = np.arange(101, dtype=np.int64) * 193
    assert [digest.tobytes() for digest in keccak.keccak256_ragged(rows.reshape(-1), offsets)] == wanted
    assert keccak.keccak256_rows(rows[:0]).shape == keccak.keccak256_ragged(rows[0], offsets[:1]).shape


def test_small_work_does_not_load_the_compiler() -> None:
    program = (
        "import sys, numpy as np\n"
        "from meterbridge.domain.keccak import keccak256_rows\n"
        "keccak256_rows(np.zeros((1000, 135), dtype=np.uint8)); print('numba' in sys.modules)\n"
        "keccak256_rows(np.zeros((50000, 135), dtype=np.uint8)); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def hash_in_a_new_process(**environment: str) -> str:
    program = (
        "import numpy as np, warnings; warnings.simplefilter('error')\n"
        "from meterbridge.domain import keccak_kernel as k\n"
        "print(k.hash_rows(np.zeros((5, 135), dtype=np.uint8))[4].tobytes().hex())"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env=os.environ | environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_cache_folder_can_be_chosen(tmp_path: Path) -> None:
    assert hash_in_a_new_process(NUMBA_CACHE_DIR=str(tmp_path)) == expected(bytes(135)).hex()
    assert list(tmp_path.rglob("*.nbi"))
    assert hash_in_a_new_process(NUMBA_CACHE_DIR=str(tmp_path)) == expected(bytes(135)).hex()


def test_a_folder_without_any_place_for_a_cache_still_hashes(tmp_path: Path) -> None:
    """Numba refuses to decorate at all where it finds nowhere to write: a file in place of each folder."""
    package = tmp_path / "keccak_kernel.py"
    package.write_bytes(Path(keccak_kernel.__file__).read_bytes())
    (tmp_path / "__pycache__").write_text("not a folder")
    home = tmp_path / "home"
    home.write_text("not a folder")
    program = (
        "import keccak_kernel as k, numpy as np\n"
        "print(k.hash_rows(np.zeros((5, 135), dtype=np.uint8))[4].tobytes().hex(), k.hash_messages.stats)"
    )
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(tmp_path)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(expected(bytes(135)).hex())
    assert "cache_path=None" in done.stdout
    assert stat.S_ISREG((tmp_path / "__pycache__").stat().st_mode)


def test_proofs_one_by_one_never_wait_for_the_kernel() -> None:
    code = (
        "import numpy as np, sys\n"
        "from meterbridge.domain.keccak import keccak256_rows\n"
        "for _ in range(1000): keccak256_rows(np.zeros((63, 135), dtype=np.uint8))\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
