"""Cassandra writes: Braid's way of writing a micro-batch's fragments, beside a bare driver loop on the same table."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

from cassandra.concurrent import execute_concurrent_with_args

from bench import stats, wide
from bench.lab import Lab, say
from bench.results import Result, Row, Size, Target
from braid import cql
from braid.adapters import cassandra
from braid.adapters.cassandra.states import _columns
from braid.aggregates import Moments, State
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.views import Fragment

NAME = "written"
LOOPS = (32, 128, 512)  # statements in flight
BRAID = 0  # among the ways of writing
_TRIES = 4  # turns that find the best loop, the first of which warms up
SHAPES = {10: 200, 1_000: 8, 10_000: 3}  # by keys of a micro-batch: how many pairs of them a turn


def run(lab: Lab, size: Size) -> Result:
    """Write micro-batches of 10, 1,000 and 10,000 fragments by every loop, then by Braid and the best loop, one after the other.

    A pair is two micro-batches side by side, for Cassandra writes by a quarter faster or slower for tens of seconds; a turn counts
    the middle one of several. Python's collector is run before each: a full one takes 0.3 s, which is all of Braid's largest
    micro-batch, and it is the loop that leaves it something to collect.
    """
    found = Result("writes", "Cassandra: fragments written per second", "rows/s")
    declaration = parse(wide.text(NAME), NAME)
    gc.collect()
    gc.freeze()  # or collecting before each micro-batch would go through all that the benchmark has imported
    with cassandra.connect(lab.settings) as store:
        store.apply_schema(declaration)
        table = Table(store, declaration)
        best = _best(table, size)
        rates: dict[int, list[tuple[float, float]]] = {keys: [] for keys in SHAPES}
        for turn in range(size.whole(12, 1)):
            for keys, loop in best.items():
                pairs = _pairs(table, keys, loop, size.whole(SHAPES[keys], 2))
                found.samples.append({"keys": keys, "in_flight": loop, "turn": turn, "seconds_braid_loop": pairs})
                ours, theirs = (keys / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
                rates[keys].append((ours, theirs))
            say(f"writes: turn {turn}")
        missing = {keys: table.missing(keys) for keys in SHAPES}
        store._session.define(f"DROP KEYSPACE {NAME}")
    gc.unfreeze()
    for keys, counted in rates.items():
        if missing[keys]:
            found.failed(f"micro-batches of {keys:,} fragments", missing[keys])
        else:
            _tabled(found, keys, best[keys], counted)
    return found


def _best(table: Table, size: Size) -> dict[int, int]:
    """Return by keys the loop that is quickest, of several tries after one turn that warms up.

    A single try of 10,000 rows is off by an eighth, and the best loop and the next lie a quarter apart.
    """
    tried: dict[tuple[int, int], list[float]] = defaultdict(list)
    for turn in range(size.whole(_TRIES, 1)):
        for keys, way in itertools.product(SHAPES, (*LOOPS, BRAID)):
            took = [table.wrote(way, keys) for _ in range(size.whole(-(-SHAPES[keys] // 2), 1))]
            if turn or size.quick:
                tried[keys, way] += took
    return {keys: min(LOOPS, key=lambda loop: statistics.median(tried[keys, loop])) for keys in SHAPES}


def _pairs(table: Table, keys: int, loop: int, count: int) -> list[tuple[float, float]]:
    """Return the seconds of Braid's micro-batch and the loop's, so many times, whichever is first in turn."""
    found = []
    for i in range(count):
        took = {way: table.wrote(way, keys) for way in ((BRAID, loop) if i % 2 else (loop, BRAID))}
        found.append((took[BRAID], took[loop]))
    return found


class Table:
    """The table of fragments, into which every way writes: each micro-batch a partition of its own."""

    def __init__(self, store: cassandra.Cassandra, declaration: Declaration) -> None:
        self._view = declaration.views[0]
        self._kept, self._session = store.stores(declaration).fragments, store._session
        self._table = cql.fragments(declaration, self._view)
        self._insert = self._session._prepare(self._table.insert())
        self._seqs = itertools.count(1)
        self._written: dict[int, list[int]] = {}

    def wrote(self, way: int, keys: int) -> float:
        """Write one micro-batch one way; return the seconds it took."""
        seq = next(self._seqs)
        made = fragments(seq, keys)
        gc.collect()
        began = time.monotonic()
        if way == BRAID:
            self._kept.write(self._view, 0, 1, made)
        else:
            values = [(0, f.seq, f.window_start_us, *f.key, 1, *_columns(f.state)) for f in made]
            execute_concurrent_with_args(self._session._session, self._insert, values, concurrency=way)
        took = time.monotonic() - began
        self._written.setdefault(keys, []).append(seq)
        return took

    def missing(self, keys: int) -> str:
        """Return which micro-batch of a size does not have every row, empty when all have."""
        asked = f"SELECT count(*) FROM {self._table.path} WHERE bucket = 0 AND seq = ?"
        for seq in self._written[keys]:
            if (held := self._session.run(asked, (seq,))[0][0]) != keys:
                return f"micro-batch {seq}: expected {keys} rows, found {held}"
        return ""


def _tabled(found: Result, keys: int, loop: int, rates: Sequence[tuple[float, float]]) -> None:
    """Put the row and the bars of a shape into a result."""
    mine, theirs = zip(*rates, strict=True)
    found.rows.append(
        Row(
            f"micro-batches of {keys:,} fragments", "rows/s", stats.quantile(mine, 0.5), stats.quantile(theirs, 0.5),
            f"driver loop, best of {', '.join(map(str, LOOPS))} in flight", stats.ratio(mine, theirs), Target("ratio", "at least", 0.8),
            f"{loop} in flight",
        )
    )  # fmt: skip
    found.bars |= {
        f"braid, {keys:,} keys": stats.quantile(mine, 0.5),
        f"driver loop, {keys:,} keys": stats.quantile(theirs, 0.5),
    }


def fragments(seq: int, keys: int) -> Sequence[Fragment]:
    """Return a micro-batch's fragments, one a key."""
    return [
        Fragment(
            seq,
            600_000_000 * (seq % 144),
            (f"k{k:05d}",),
            State(3, k * 7919 % 2**64, (Moments(3, 3 * k, 3 * k * k, k, k),)),
        )
        for k in range(keys)
    ]
