"""The records of the master in ledger order, in bounded memory.

A cut's files are by topic, and each holds a run of ledger rows. Ledger order is (seq, topic, partition, offset), so
some rows are read at a time, out of all files, and sorted; of a row that is too large by itself, some offsets at a time,
which is the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from braid.adapters.master import Cut, Master

MOST = 100_000  # records held at once
_COLUMNS = ["seq", "topic", "partition", "offset", "append_us", "raw"]


class Archived(NamedTuple):
    """One record of the master: what ledger row counted it, where it stood, when it was appended, its bytes."""

    seq: int
    topic: str
    partition: int
    offset: int
    append_us: int
    raw: bytes | None


def records(master: Master, cut: Cut, topics: Sequence[str], most: int = MOST) -> Iterator[Archived]:
    """Yield the records of some topics of a cut, in ledger order; its files were checked by the caller."""
    paths = {topic: master.files([cut], topic) for topic in sorted(topics)}
    tally = {seq: records for seq, (records, _) in master.tally([cut]).items() if records}
    for first, last in spans(tally, most):
        rows = [("seq", ">=", first), ("seq", "<=", last)]
        if first < last or tally[first] <= most:
            yield from _read([path for held in paths.values() for path in held], rows)
            continue
        for topic, held in paths.items():
            for (_, partition), start, end in _places(cut, topic):
                for offset in range(start, end, most):
                    place = [("partition", "=", partition), ("offset", ">=", offset), ("offset", "<", offset + most)]
                    yield from _read(held, rows + place)


def spans(tally: Mapping[int, int], most: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of ledger rows that follow one another, together at most `most` records, or a row alone.

    Examples
    --------
    >>> list(spans({1: 4, 2: 5, 4: 20, 5: 1}, 10))
    [(1, 2), (4, 4), (5, 5)]
    """
    first, last, held = None, 0, 0
    for seq, records_ in sorted(tally.items()):
        if first is not None and held + records_ > most:
            yield first, last
            first, held = None, 0
        first = seq if first is None else first
        last, held = seq, held + records_
    if first is not None:
        yield first, last


def _places(cut: Cut, topic: str) -> Iterator[tuple[tuple[str, int], int, int]]:
    for place, end in sorted(cut.end.items()):
        if place[0] == topic:
            yield place, cut.start.get(place, 0), end


def _read(paths: Sequence[Path], rows: list[tuple[str, str, Any]]) -> Iterator[Archived]:
    found = [pq.read_table(path, columns=_COLUMNS, filters=rows, partitioning=None) for path in paths]
    if not found:
        return
    ordered = pa.concat_tables(found).sort_by([(name, "ascending") for name in _COLUMNS[:4]])
    for batch in ordered.to_batches(10_000):
        columns = [batch.column(name).to_pylist() for name in _COLUMNS]
        yield from map(Archived._make, zip(*columns, strict=True))
