"""Records of the master by what stands in their bytes, or by their position: DuckDB scans the files, nothing is parsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

AT_ONCE = 1_000


class Record(NamedTuple):
    """One raw record and its place."""

    topic: str
    partition: int
    offset: int
    append_us: int
    raw: bytes | None


def containing(paths: Sequence[Path], texts: Sequence[str], position: tuple[str, int, int] | None) -> Iterator[Record]:
    """Yield the records of files that hold every text as it is, and those with an escape, which may hide one.

    Parameters
    ----------
    position : (topic, partition, offset) of the one record that is wanted, None to go by the texts
    """
    if not paths:
        return
    wanted: list[object] = [[str(path) for path in paths]]
    if position:
        where = 'topic = ? AND "partition" = ? AND "offset" = ?'
        wanted += position
    else:
        # bytes that are no UTF-8 are looked at as DuckDB writes them, \xFF: escaped, so they are always handed out
        held = " AND ".join("contains(t, ?)" for _ in texts) or "true"
        where = f"contains(t, '\\') OR ({held})"
        wanted += texts
    with duckdb.connect() as database:
        cursor = database.execute(
            f'SELECT topic, "partition", "offset", append_us, raw FROM (SELECT *, coalesce(try(decode(raw)), CAST(raw AS VARCHAR)) AS t '
            f"FROM read_parquet(?)) WHERE {where}",
            wanted,
        )
        while found := cursor.fetchmany(AT_ONCE):
            yield from (Record(*row) for row in found)
