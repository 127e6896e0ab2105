"""The sorted runs of ids: exactly what was counted, however it came in pieces, and never believed when damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braid.adapters import durable, ids
from braid.adapters.ids import RUN, Ids
from braid.adapters.master import Cut

Id = tuple[int, int]
# few values, so that ids share a half, and both ends of what is unsigned
HALVES = st.sampled_from([0, 1, 2, 3, 7, 2**63 - 1, 2**63, 2**64 - 1])
COLUMNS = st.lists(st.tuples(HALVES, HALVES), max_size=30)


class World:
    """Cuts of a master that hold nothing but ids."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cuts: list[Cut] = []
        self.counted: list[set[Id]] = []  # up to each cut
        self.read: list[int] = []  # the seqs of the cuts whose files were asked for

    def add(self, found: Sequence[Id | None]) -> None:
        """Archive some ids; None is a record without one."""
        seq = 2 * (len(self.cuts) + 1)
        before = self.cuts[-1] if self.cuts else None
        after, previous = (before.seq, before.digest) if before else (0, "")
        self.cuts.append(Cut("d", after, seq, {}, {}, "def", len(found), previous, {}))
        self.write(seq, found)
        held = {one for one in found if one is not None}
        self.counted.append((self.counted[-1] if self.counted else set()) | held)

    def write(self, seq: int, found: Sequence[Id | None]) -> Path:
        """Write ids into a Parquet file of their own."""
        columns = [pa.array([None if one is None else signed(one[i]) for one in found], pa.int64()) for i in (0, 1)]
        path = self.root / f"{seq}.parquet"
        pq.write_table(pa.table(columns, ["id64", "salted64"]), path)
        return path

    def files(self, cut: Cut) -> list[Path]:
        """Return the files of a cut."""
        self.read.append(cut.seq)
        return [self.root / f"{cut.seq}.parquet"]

    def sums(self, upto: int) -> tuple[int, int]:
        """Return what a ledger says of the first cuts."""
        held = self.counted[upto - 1]
        return len(held), sum(a for a, _ in held) % 2**64

    def brought_up(self, upto: int | None = None, definition: str = "def") -> Ids:
        """Return the cache, brought up to the first cuts."""
        upto = len(self.cuts) if upto is None else upto
        made = Ids(self.root, "d", definition)
        assert made.bring_up(self.cuts[:upto], self.files, self.sums(upto))
        return made

    def check(self, made: Ids, upto: int | None = None) -> None:
        """The cache tells every id that was counted, and no other."""
        held = self.counted[(len(self.cuts) if upto is None else upto) - 1]
        asked = sorted(held | {(a, b) for a, _ in held for b in (0, 5, 2**64 - 1)} | {(4, 4), (2**64 - 2, 0)})
        path = self.write(1, [None, *asked, *asked])
        found = made.copies([path])
        got = list(zip(*(column.view(np.uint64).tolist() for column in found.values()), strict=True))
        assert got == sorted(held)
        assert [(run.after, run.through) for run in made.runs] == [
            (a, b) for a, b in zip([0, *(r.through for r in made.runs)], [r.through for r in made.runs], strict=False)
        ]


def signed(half: int) -> int:
    return half - 2**64 if half >> 63 else half


def random_ids(count: int, seed: int) -> list[Id]:
    return [(int(a), int(b)) for a, b in np.random.default_rng(seed).integers(0, 2**64, (count, 2), np.uint64)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for seed, count in enumerate([900, 40, 30, 5, 1]):
        made.add([*random_ids(count, seed), *random_ids(2, 0), None])  # some of the first cut come again
    return made


@given(cuts=st.lists(COLUMNS, min_size=1, max_size=8), at_once=st.integers(1, 5), chunk=st.integers(1, 9))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_pieces_every_id_is_known_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[list[Id]], at_once: int, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "_AT_ONCE", at_once)
        patch.setattr(ids, "_CHUNK", chunk)
        world = World(tmp_path_factory.mktemp("ids"))
        for number, found in enumerate(cuts, start=1):
            world.add([*found, None])
            if number % 3:  # and some come two cuts at once
                world.check(world.brought_up())
        world.check(world.brought_up())


def test_each_run_reads_the_ids_of_the_newest_cut_alone(world: World) -> None:
    for upto in range(1, len(world.cuts) + 1):
        world.check(world.brought_up(upto), upto)
    assert world.read == [cut.seq for cut in world.cuts]
    world.brought_up()
    assert len(world.read) == len(world.cuts)


def test_runs_halve_so_they_are_few_and_little_is_written_again(tmp_path: Path) -> None:
    world, written, most = World(tmp_path), 0, 0
    for seed in range(64):
        world.add(random_ids(100, seed))
        before = {run.folder for run in Ids(tmp_path, "d", "def").runs}
        made = world.brought_up()
        sizes = [run.count for run in made.runs]
        assert all(a >= 2 * b for a, b in pairwise(sizes))
        most = max(most, len(sizes))
        written += sum(run.count for run in made.runs if run.folder not in before and run.through == world.cuts[-1].seq)
    assert most <= 7  # log2 of 64, and one
    assert written <= 6400 * 7  # so an id was written 7 times at most, and not 32 times as when every run rewrites all
    world.check(made)


def flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        held = bytearray((folder / name).read_bytes())
        held[len(held) // 2] ^= 4
        (folder / name).write_bytes(bytes(held))

    return change


def swap(folder: Path) -> None:
    """Two ids change places: all sums hold, but a search would pass them by."""
    for name in ("id64", "salted64"):
        column = np.fromfile(folder / name, "<u8")
        column[[0, -1]] = column[[-1, 0]]
        column.tofile(folder / name)


def shorten(folder: Path) -> None:
    with (folder / "salted64").open("rb+") as file:
        file.truncate(8)


def rewrite(**changed: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        plain = json.loads((folder / RUN).read_text())
        (folder / RUN).write_text(json.dumps(plain | changed))

    return change


DAMAGE = {
    "gone": shutil.rmtree,
    "no run.json": lambda folder: (folder / RUN).unlink(),
    "half a run.json": lambda folder: (folder / RUN).write_text("{"),
    "a bit of id64": flip("id64"),
    "a bit of salted64": flip("salted64"),
    "unsorted": swap,
    "short": shorten,
    "of another master": rewrite(cut="0" * 64),
    "of another declaration": rewrite(definition="other"),
    "of another format": rewrite(format=0),
    "another range": rewrite(after=1),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("which", [0, -1])
def test_a_damaged_run_is_made_anew(world: World, what: str, which: int) -> None:
    for upto in range(1, 5):
        made = world.brought_up(upto)
    assert len(made.runs) > 1
    DAMAGE[what](made.path / made.runs[which].folder)
    world.check(world.brought_up())
    assert len(list(made.path.glob("*"))) == len(world.brought_up().runs)


def test_sound_runs_that_the_ledger_does_not_know_are_made_anew(world: World) -> None:
    world.brought_up()
    held = {*random_ids(900, 99), *random_ids(2, 0)}
    world.write(world.cuts[0].seq, sorted(held))  # another master, whose manifests are alike
    world.counted = [held | (counted - world.counted[0]) for counted in world.counted]
    world.check(world.brought_up())


def test_a_master_of_other_ids_than_the_ledgers_is_told(world: World) -> None:
    count, total = world.sums(5)
    made = Ids(world.root, "d", "def")
    assert not made.bring_up(world.cuts, world.files, (count, total ^ 1))
    assert not made.bring_up(world.cuts, world.files, (count + 1, total))
    assert made.runs == [] and not list(made.path.glob("run=*"))
    world.check(world.brought_up())


def test_after_a_rollback_the_ids_beyond_the_older_cut_are_no_copies(world: World) -> None:
    for upto in (1, 3, 5, 3, 1, 4):
        world.check(world.brought_up(upto), upto)


@pytest.mark.parametrize("where", ["sync_tree", "rename_new", "clear_stages", "rmtree"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_crash_leaves_what_the_next_run_mends(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str, nth: int
) -> None:
    world.brought_up(2)
    world.brought_up(4)
    calls = 0
    holder: Any = shutil if where == "rmtree" else durable
    real = getattr(holder, where)

    def crash(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise KeyboardInterrupt
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(holder, where, crash)
        patch.setattr(ids, "_CHUNK", 1)
        made = Ids(world.root, "d", "def")
        try:
            made.bring_up(world.cuts, world.files, world.sums(5))
        except KeyboardInterrupt:
            world.check(world.brought_up())
    world.check(world.brought_up())
    assert not list(made.path.glob(".stage-*"))
