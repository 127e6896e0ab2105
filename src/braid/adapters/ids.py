"""The ids counted up to a cut of the master, sorted: what an incremental batch run asks whether an event came before.

    ids/<dataset>/run=<after>-<through>/   id64, salted64 (little-endian unsigned 64-bit, one an id), run.json

Theory. An id is 16 bytes, two hashes. The ids are kept in *runs*: a run holds those first counted after one cut of the
master and up to another, sorted, so that a look-up is one binary search a run. A run is never changed. Each batch adds
one, and takes in those before it that are less than twice as large as what it has gathered; so the runs at least halve
in size from the oldest to the newest, there are at most log2 of them, and an id is written again about as often.

It is a cache and can be lost at any time. Nothing is believed because it is there: the runs continue one another from the
beginning of the log, each names the sha256 of the master's manifest at its end, is sorted and has the sums it was written
with; and all of them together have as many ids, and the same Σ id64, as the ledger counted up to there. What fails is
dropped, and read again from the id columns of the master, which is also how the newest run is made: the ids of a batch
enter with the next one, when it is known that they count.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from braid.adapters import durable
from braid.adapters.master import Cut

FORMAT = 1
RUN, COLUMNS = "run.json", ("id64", "salted64")
_KIND = np.dtype("<u8")
_MODULUS = 1 << 64
_AT_ONCE = 1 << 20  # ids held in memory of each run that is looked through or merged
_CHUNK = 1 << 22  # ids sorted in memory at once

Column: TypeAlias = npt.NDArray[np.uint64]
Pair: TypeAlias = tuple[Column, Column]
Files: TypeAlias = Callable[[Cut], Iterable[Path]]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run says of itself.

    Attributes
    ----------
    after, through : its ids first counted in the ledger rows after < seq <= through; both are ends of cuts
    cut : sha256 of the master's manifest at `through`, which vouches for all before it
    count, sum64, sum_salted : how many ids, and the sums of both halves modulo 2^64
    """

    definition: str
    after: int
    through: int
    cut: str
    count: int
    sum64: int
    sum_salted: int

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"run={self.after}-{self.through}"


class Ids:
    """The cache of one dataset's ids under `<root>/ids/<dataset>`.

    Parameters
    ----------
    root : the warehouse
    definition : hash of the declaration in force: another one may count other ids
    """

    def __init__(self, root: Path, dataset: str, definition: str) -> None:
        self.path = root / "ids" / dataset
        self._definition = definition
        self._runs: list[tuple[Run, Pair]] = []

    @property
    def runs(self) -> list[Run]:
        """The runs in use, the oldest first."""
        return [run for run, _ in self._runs]

    def bring_up(self, cuts: Sequence[Cut], files: Files, expected: tuple[int, int]) -> bool:
        """Hold exactly the ids counted in some cuts of the master; return whether they are those of the ledger.

        Parameters
        ----------
        cuts : Cut, from the first on, at least one
        files : returns Parquet files with the id columns of a cut's good records, null in those that are not; checked
        expected : how many ids the ledger counted up to the last cut, and Σ id64 mod 2^64

        Returns
        -------
        bool, false when even the whole master, read anew, holds other ids: then no id is held
        """
        self._runs = list(self._sound(cuts))
        kept = bool(self._runs)
        self._drop_others()
        self._extend(cuts, files)
        if kept and self._sums() != expected:
            self._runs = []
            self._drop_others()
            self._extend(cuts, files)
        if self._sums() != expected:
            self._runs = []
            self._drop_others()
            return False
        return True

    def copies(self, paths: Iterable[Path]) -> dict[str, npt.NDArray[np.int64]]:
        """Return those ids of some files that were counted before, each once, as signed columns by name."""
        found = [(a[known], b[known]) for a, b in _gathered(_chunks(paths)) for known in (self._known(a, b),)]
        a, b = _unique(*_together(found))
        return dict(zip(COLUMNS, (a.view(np.int64), b.view(np.int64)), strict=True))

    # ---- what is there

    def _sound(self, cuts: Sequence[Cut]) -> Iterator[tuple[Run, Pair]]:
        """Yield the runs on the disk that continue one another and are as they were written, from the first on."""
        digests, at = {cut.seq: cut.digest for cut in cuts}, 0
        known = [run for run in map(_run_in, self.path.glob("run=*")) if run is not None]
        while True:
            here = [
                run
                for run in known
                if run.after == at < run.through
                and (run.cut, run.definition) == (digests.get(run.through), self._definition)
            ]
            if not here:
                return
            run = max(here, key=lambda one: one.through)  # beside one that took it in, when a crash left both
            pair = _pair_in(self.path / run.folder, run)
            if pair is None:
                return
            yield run, pair
            at = run.through

    def _drop_others(self) -> None:
        """Remove every folder here but those of the runs in use."""
        self.path.mkdir(parents=True, exist_ok=True)
        durable.clear_stages(self.path)
        kept = {run.folder for run in self.runs}
        for folder in self.path.glob("run=*"):
            if folder.name not in kept:
                shutil.rmtree(folder)

    def _sums(self) -> tuple[int, int]:
        return sum(run.count for run in self.runs), sum(run.sum64 for run in self.runs) % _MODULUS

    def _known(self, a: Column, b: Column) -> npt.NDArray[np.bool_]:
        """Return which of some ids are in a run."""
        found = np.zeros(len(a), dtype=bool)
        for _, (ids, salted) in self._runs:
            left = np.flatnonzero(~found)
            at = np.searchsorted(ids, a[left])
            while len(left):  # on over ids of the same first half: nearly never a second time
                inside = at < len(ids)
                left, at = left[inside], at[inside]
                same = ids[at] == a[left]
                left, at = left[same], at[same]
                whole = salted[at] == b[left]
                found[left[whole]] = True
                left, at = left[~whole], at[~whole] + 1
        return found

    # ---- what is added

    def _extend(self, cuts: Sequence[Cut], files: Files) -> None:
        """Add the ids of the cuts after the newest run, as one run."""
        at = self._runs[-1][0].through if self._runs else 0
        missing = [cut for cut in cuts if cut.seq > at]
        if not missing:
            return
        stage = durable.stage(self.path, f"run={missing[-1].seq}")
        pieces: list[Pair] = []
        for a, b in _gathered(pair for cut in missing for pair in _chunks(files(cut))):
            fresh = ~self._known(a, b)
            pieces.append(_put_aside(stage / f"piece-{len(pieces)}", a[fresh], b[fresh]))
        count, taken = sum(len(a) for a, _ in pieces), 0
        for run in reversed(self.runs):
            if run.count >= 2 * count:
                break
            count, taken = count + run.count, taken + 1
        older = self._runs[len(self._runs) - taken :]
        after = older[0][0].after if older else at
        folder, sums = stage / "run", (0, 0, 0)
        folder.mkdir()
        with (folder / COLUMNS[0]).open("wb") as first, (folder / COLUMNS[1]).open("wb") as second:
            for a, b in _merged([*(pair for _, pair in older), *pieces]):
                a.tofile(first)
                b.tofile(second)
                sums = (sums[0] + len(a), (sums[1] + _sum(a)) % _MODULUS, (sums[2] + _sum(b)) % _MODULUS)
        run = Run(self._definition, after, missing[-1].seq, missing[-1].digest, *sums)
        (folder / RUN).write_text(durable.json_text(asdict(run) | {"format": FORMAT}), encoding="utf-8")
        durable.sync_tree(folder)
        durable.rename_new(folder, self.path / run.folder)
        pair = _mapped(self.path / run.folder, run.count)
        self._runs = [*self._runs[: len(self._runs) - taken], (run, pair)]
        self._drop_others()


# ---- runs on the disk ------------------------------------------------------------------------------------------------


def _run_in(folder: Path) -> Run | None:
    """Return what a folder says it is; None when that cannot be read."""
    try:
        plain: dict[str, Any] = json.loads((folder / RUN).read_text(encoding="utf-8"))
        run = Run(**plain) if plain.pop("format") == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return run if run is not None and run.folder == folder.name else None


def _pair_in(folder: Path, run: Run) -> Pair | None:
    """Return the ids of a run; None when they are not those that were written."""
    try:
        if any((folder / name).stat().st_size != run.count * _KIND.itemsize for name in COLUMNS):
            return None
        a, b = _mapped(folder, run.count)
    except OSError:
        return None
    sum64 = sum_salted = last = 0
    for start in range(0, run.count, _AT_ONCE):
        some = a[start : start + _AT_ONCE]
        if some[0] < last or np.any(some[1:] < some[:-1]):
            return None
        last = some[-1]
        sum64 += _sum(some)
        sum_salted += _sum(b[start : start + _AT_ONCE])
    return (a, b) if (sum64 % _MODULUS, sum_salted % _MODULUS) == (run.sum64, run.sum_salted) else None


def _mapped(folder: Path, count: int) -> Pair:
    if not count:  # nothing cannot be mapped
        return np.empty(0, _KIND), np.empty(0, _KIND)
    a, b = (np.memmap(folder / name, _KIND, "r", shape=(count,)) for name in COLUMNS)
    return a, b


def _put_aside(folder: Path, a: Column, b: Column) -> Pair:
    folder.mkdir()
    for name, column in zip(COLUMNS, (a, b), strict=True):
        column.tofile(folder / name)
    return _mapped(folder, len(a))


# ---- sorted ids ------------------------------------------------------------------------------------------------------


def _chunks(paths: Iterable[Path]) -> Iterator[Pair]:
    """Yield the ids in some Parquet files, a part at a time, unsorted."""
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_AT_ONCE, columns=list(COLUMNS)):
            good = batch.filter(pc.is_valid(batch.column(COLUMNS[0])))
            a, b = (_unsigned(good.column(name)) for name in COLUMNS)
            yield a, b


def _unsigned(column: pa.Array) -> Column:
    found: Column = column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False).view(np.uint64)
    return found


def _gathered(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Yield ids sorted and each once, `_CHUNK` or a little more at a time."""
    held: list[Pair] = []
    for pair in pairs:
        held.append(pair)
        if sum(len(a) for a, _ in held) >= _CHUNK:
            yield _unique(*_together(held))
            held = []
    if held:
        yield _unique(*_together(held))


def _merged(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Yield the ids of some sorted columns, sorted and each once, in pieces of bounded size."""
    at = [0] * len(pairs)
    while left := [i for i, (a, _) in enumerate(pairs) if at[i] < len(a)]:
        # up to the least of what the next pieces end with; of one first half all ids come together
        until = min(pairs[i][0][min(at[i] + _AT_ONCE, len(pairs[i][0])) - 1] for i in left)
        some = []
        for i in left:
            a, b = pairs[i]
            end = int(np.searchsorted(a, until, side="right"))
            some.append((a[at[i] : end], b[at[i] : end]))
            at[i] = end
        yield _unique(*_together(some))


def _together(pairs: Sequence[Pair]) -> Pair:
    nothing = np.empty(0, _KIND)
    return np.concatenate([nothing, *(a for a, _ in pairs)]), np.concatenate([nothing, *(b for _, b in pairs)])


def _unique(a: Column, b: Column) -> Pair:
    """Return ids sorted by both halves, each once."""
    order = np.argsort(a, kind="stable")  # which merges what is sorted already in one pass
    a, b = a[order], b[order]
    tied = np.zeros(len(a), dtype=bool)
    tied[1:] = a[1:] == a[:-1]
    tied[:-1] |= tied[1:]
    b[tied] = b[tied][np.lexsort((b[tied], a[tied]))]
    first = np.ones(len(a), dtype=bool)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return a[first], b[first]


def _sum(column: Column) -> int:
    """Return the sum of a column modulo 2^64."""
    return int(column.sum(dtype=np.uint64))
