"""LMDB keeps the contract of the seen ids, refuses damaged and foreign files, and survives what a torn file can do."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from braid.adapters import lmdb
from braid.adapters.lmdb import LmdbSeenIds, LmdbSeenStore
from braid.errors import SeenIdsRefused
from tests import contracts
from tests.contracts import IDENTITY, fp_of, ident

PAGE = 4096


@pytest.fixture
def store(tmp_path: Path) -> LmdbSeenStore:
    return LmdbSeenStore(tmp_path / "speed", map_bytes=1 << 20)


class TestLmdbSeenStore(contracts.SeenStoreContract):
    pass


class TestLmdbSeenIds(contracts.SeenIdsContract):
    @pytest.fixture
    def opened(self) -> Iterator[list[LmdbSeenIds]]:
        held: list[LmdbSeenIds] = []
        yield held
        for seen in held:
            seen.close()

    @pytest.fixture
    def seen(self, store: LmdbSeenStore, opened: list[LmdbSeenIds]) -> LmdbSeenIds:
        opened.append(store.open(IDENTITY))
        return opened[-1]

    @pytest.fixture
    def reopened(self, store: LmdbSeenStore, opened: list[LmdbSeenIds]) -> Callable[[], LmdbSeenIds]:
        def again() -> LmdbSeenIds:
            opened[-1].close()
            opened.append(store.open(IDENTITY))
            return opened[-1]

        return again


class TestLmdbSeenIdsOnASlowDisk(TestLmdbSeenIds):
    """The same where pages come from the disk, so that they are looked up by several threads."""

    @pytest.fixture(autouse=True)
    def cold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reads = count(step=1_000)
        monkeypatch.setattr(lmdb, "_disk_reads", lambda: next(reads))

    def test_each_of_many_is_looked_up(self, seen: LmdbSeenIds) -> None:
        ids = [ident(k) for k in range(5_000)]
        seen.put(1, ids[::3])
        for some in (ids, ids[:1], ids[:17], ids[1::3], []):
            assert seen.known(some) == set(some) & set(ids[::3])


def test_pages_in_memory_are_looked_up_without_threads(store: LmdbSeenStore) -> None:
    seen = store.open(IDENTITY)
    seen.put(1, [ident(k) for k in range(1_000)])
    before = threading.active_count()
    assert len(seen.known([ident(k) for k in range(2_000)])) == 1_000
    assert threading.active_count() == before
    seen.close()


# ---- size ----------------------------------------------------------------------------------------------------------


def test_the_map_grows_before_it_is_full_and_when_it_is(store: LmdbSeenStore) -> None:
    seen = store.open(IDENTITY)
    assert seen.put(1, [ident(k) for k in range(60_000)])  # more than the whole map in one transaction
    ids = [ident(k) for k in range(90_000)]
    for seq in range(2, 32):
        assert seen.put(seq, ids[60_000 + (seq - 2) * 1000 : 60_000 + (seq - 1) * 1000])
        assert seen._used() < 0.9
    assert seen.scan() == (90_000, fp_of(ids))
    seen.close()
    again = store.open(IDENTITY)
    assert again.scan() == (90_000, fp_of(ids))
    assert again.put(32, [ident(90_000)])
    again.close()


def test_no_room_to_grow_is_an_error_with_a_name_and_changes_nothing(store: LmdbSeenStore) -> None:
    store.open(IDENTITY).close()
    script = f"""
import resource, sys
from braid.errors import StoreUnavailable
store = LmdbSeenStore(Path({str(store.current.parent)!r}), map_bytes=1 << 20)
seen = store.open(IDENTITY)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    seen.put(1, [ident(k) for k in range(60_000)])
except StoreUnavailable as error:
    print(error)
print(seen.through_seq, seen.scan())
"""
    said = python(script).stdout.splitlines()
    assert said == [
        f"seen ids {store.current}: expected 2 MB of disk for its map, got File too large; free some and start again",
        "0 (0, 0)",
    ]


# ---- two processes, and one that is killed -------------------------------------------------------------------------


def test_a_driver_that_was_replaced_cannot_put(store: LmdbSeenStore) -> None:
    old = store.open(IDENTITY)
    assert old.put(1, [ident(1)])
    successor = f"""
seen = LmdbSeenStore(Path({str(store.current.parent)!r}), map_bytes=1 << 20).open(IDENTITY)
for seq in range(2, 10):
    assert seen.put(seq, [ident(k) for k in range(seq * 10_000, seq * 10_000 + 9000)])  # the map grows under the old one
"""
    python(successor)
    assert not old.put(2, [ident(99)])
    assert old.through_seq == 9
    assert old.known([ident(99), ident(20_000)]) == {ident(20_000)}
    assert old.scan()[0] == 1 + 8 * 9000
    old.close()


def test_a_put_is_whole_or_not_there_under_kill_9(store: LmdbSeenStore) -> None:
    store.open(IDENTITY).close()
    put_for_ever = f"""
seen = LmdbSeenStore(Path({str(store.current.parent)!r}), map_bytes=1 << 20).open(IDENTITY)
seq = seen.through_seq
print("ready", flush=True)
while True:
    seq += 1
    assert seen.put(seq, [ident(k) for k in range(seq * 2000, seq * 2000 + 2000)])
"""
    reached = 0
    for wait_s in (0.05, 0.11, 0.23):
        with subprocess.Popen([sys.executable, "-c", PRELUDE + put_for_ever], stdout=subprocess.PIPE, env=ENV) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(wait_s)  # any moment will do: it is never still
            child.send_signal(signal.SIGKILL)
        seen = store.open(IDENTITY)
        through = seen.through_seq
        ids = [ident(k) for seq in range(1, through + 1) for k in range(seq * 2000, seq * 2000 + 2000)]
        assert seen.scan() == (len(ids), fp_of(ids))
        seen.close()
        assert through > reached
        reached = through


# ---- damage --------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(store: LmdbSeenStore) -> Path:
    """Return the data file of a store with 20,000 ids through seq 4."""
    seen = store.open(IDENTITY)
    for seq in range(1, 5):
        assert seen.put(seq, [ident(k) for k in range(seq * 5000, seq * 5000 + 5000)])
    seen.close()
    return store.current / "data.mdb"


def test_a_file_cut_short_is_refused_and_rebuilt_beside_it(store: LmdbSeenStore, data: Path) -> None:
    for size in (300 * PAGE, 40 * PAGE, 3 * PAGE, 2 * PAGE, 100, 0):
        whole = data.read_bytes()
        data.write_bytes(whole[:size])
        with pytest.raises(SeenIdsRefused, match=r"expected a file that can be read whole, got .+; it is set aside"):
            store.open(IDENTITY)
        data.write_bytes(whole)
    data.write_bytes(data.read_bytes()[: 50 * PAGE])
    fresh = store.rebuild(IDENTITY)
    assert (store.refused / "data.mdb").stat().st_size == 50 * PAGE
    assert not store.current.exists()
    assert fresh.put(1, [ident(1)])
    adopted = store.adopt(fresh)
    assert adopted.path == store.current
    assert adopted.known([ident(1), ident(5000)]) == {ident(1)}
    adopted.close()


def test_damaged_pages_are_refused_or_show_in_the_scan_and_never_end_the_reader(
    store: LmdbSeenStore, data: Path
) -> None:
    whole, good = data.read_bytes(), (20_000, fp_of(ident(k) for k in range(5000, 25_000)))
    chance = random.Random(7)
    pages = len(whole.rstrip(b"\0")) // PAGE
    seen_as = set()
    for _ in range(24):
        at = chance.randrange(pages) * PAGE
        page = chance.choice([bytes(PAGE), chance.randbytes(PAGE), whole[PAGE * 9 : PAGE * 10]])
        data.write_bytes(whole[:at] + page + whole[at + PAGE :])
        try:
            seen = store.open(IDENTITY)
        except SeenIdsRefused:
            seen_as.add("refused")
            continue
        seen_as.add("whole" if (seen.through_seq, seen.scan()) == (4, good) else "differs")  # an unused page was hit
        seen.close()
    assert "refused" in seen_as


def test_a_file_that_was_never_whole_is_refused(store: LmdbSeenStore) -> None:
    store.current.mkdir(parents=True)
    with pytest.raises(SeenIdsRefused):
        store.open(IDENTITY)


def test_the_refusal_of_a_foreign_file_says_whose_it_is(store: LmdbSeenStore) -> None:
    store.open(IDENTITY).close()
    other = contracts.replace(IDENTITY, salt="pepper")
    with pytest.raises(SeenIdsRefused) as raised:
        store.open(other)
    assert str(raised.value) == (
        f"seen ids {store.current}: expected those of {other.text()}, got {IDENTITY.text()}; "
        "the file is set aside and rebuilt from the log"
    )


def test_only_what_was_rebuilt_may_be_adopted(store: LmdbSeenStore) -> None:
    seen = store.open(IDENTITY)
    with pytest.raises(TypeError, match="expected what rebuild"):
        store.adopt(seen)
    seen.close()


# ---- a process of its own ------------------------------------------------------------------------------------------

ENV = {"PYTHONPATH": ":".join(p for p in sys.path if p), "PATH": ""}
PRELUDE = """
from pathlib import Path
from braid.adapters.lmdb import LmdbSeenStore
from tests.contracts import IDENTITY, ident
"""


def python(script: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], env=ENV, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done
