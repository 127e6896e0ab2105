"""Cassandra writes: Braid's way of writing a micro-batch's fragments, beside a bare driver loop on the same table."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from cassandra.concurrent import execute_concurrent_with_args

from bench import stats, wide
from bench.lab import Failed, Lab, say
from bench.results import Result, Row, Size, Target
from braid import cql
from braid.adapters import cassandra
from braid.adapters.cassandra.states import _columns
from braid.aggregates import Moments, State
from braid.declaration_reader import parse
from braid.views import Fragment

NAME = "written"
_SWEEP = (32, 128, 512)
# by keys of a micro-batch: how many of them Braid writes in a turn, and how many the loop does
SHAPES = {10: (500, 150), 1_000: (20, 4), 10_000: (4, 1)}


def run(lab: Lab, size: Size) -> Result:
    """Write micro-batches of 10, 1,000 and 10,000 fragments both ways, in turn; a turn counts when all rows are there."""
    found = Result("writes", "Cassandra: fragments written per second", "rows/s")
    declaration = parse(wide.text(NAME), NAME)
    spec = declaration.views[0]
    bare: dict[tuple[int, int], list[float]] = {}
    ours: dict[int, list[float]] = {}
    with cassandra.connect(lab.settings) as store:
        store.apply_schema(declaration)
        kept, session = store.stores(declaration).fragments, store._session
        table = cql.fragments(declaration, spec)
        insert = session._prepare(table.insert())
        seqs = itertools.count(1)

        def wrote(turn: int, way: int, keys: int, batches: int) -> float:
            """Write micro-batches one way; return rows a second. Raises Failed when a row is not there."""
            took = list[float]()
            for seq in itertools.islice(seqs, batches):
                made = fragments(seq, keys)
                began = time.monotonic()
                if way:
                    values = [(0, f.seq, f.window_start_us, *f.key, 1, *_columns(f.state)) for f in made]
                    execute_concurrent_with_args(session._session, insert, values, concurrency=way)
                else:
                    kept.write(spec, 0, 1, made)
                took.append(time.monotonic() - began)
            held = session.run(f"SELECT count(*) FROM {table.path} WHERE bucket = 0 AND seq = ?", (seq,))[0][0]
            if held != keys:
                raise Failed(f"{way or 'braid'}, {keys} keys: expected {keys} rows, found {held}")
            rate = batches * keys / sum(took)
            found.samples.append(
                {"keys": keys, "way": way or "braid", "turn": turn, "rows_per_s": rate, "seconds": took}
            )
            return rate

        for turn in range(size.whole(5, 1) + 1):
            for keys, batches in SHAPES.items():
                for way in (0, *_SWEEP):
                    try:
                        # a loop's rows take many times as long; it has as many micro-batches as give both about the same time
                        rate = wrote(turn, way, keys, max(1, size.whole(batches[bool(way)], 1)))
                    except Failed as why:
                        found.void.append(str(why))
                        continue
                    if turn:  # the first warms up
                        (bare.setdefault((keys, way), []) if way else ours.setdefault(keys, [])).append(rate)
            say(f"writes: turn {turn}")
        session.define(f"DROP KEYSPACE {NAME}")
    for keys, mine in ours.items():
        best = max(
            (bare[keys, way] for way in _SWEEP if (keys, way) in bare), key=lambda rates: stats.quantile(rates, 0.5)
        )
        found.rows.append(
            Row(
                f"micro-batches of {keys:,} fragments", "rows/s", stats.quantile(mine, 0.5), stats.quantile(best, 0.5),
                f"driver loop, best of {', '.join(map(str, _SWEEP))} in flight", stats.ratio(mine, best), Target("ratio", "at least", 0.8),
            )
        )  # fmt: skip
        found.bars |= {
            f"braid, {keys:,} keys": stats.quantile(mine, 0.5),
            f"driver loop, {keys:,} keys": stats.quantile(best, 0.5),
        }
    return found


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
