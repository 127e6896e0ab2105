"""Rows of a Parquet file, as records would hold them: numbers as they are written, times as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from braid.errors import UsageError
from braid.names import column_name
from braid.samples import Number

ROWS = 10_000  # read at once


def rows(path: Path) -> Iterator[dict[str, object]]:
    """Yield the rows of a file, by field; a column is the field that its name says (`PULocationID`: `pu_location_id`).

    Raises
    ------
    UsageError
        The file is not Parquet, or two of its columns are one field.
    """
    with _opened(path) as file:
        names = _named(path, file)
        for batch in file.iter_batches(ROWS):
            columns = [map(_cell, _microseconds(column).to_pylist()) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                yield dict(zip(names, cells, strict=True))


def fields(path: Path) -> tuple[str, ...]:
    """Return the columns of a file by field; raises as `rows` does."""
    with _opened(path) as file:
        return _named(path, file)


def groups(path: Path) -> list[int]:
    """Return how many rows each row group of a file has."""
    with _opened(path) as file:
        return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def tokens(path: Path, group: int, wanted: Sequence[str]) -> Iterator[list[pa.Array]]:
    """Yield some rows of a row group at a time: per wanted field its cells as JSON, null where there is none.

    They are the cells that `rows` gives, as `braid.samples.json_of` writes them; each value that comes again is written once.
    """
    with _opened(path) as file:
        at = {name: i for i, name in enumerate(_named(path, file))}
        originals = [file.schema_arrow.names[at[name]] for name in wanted]
        for batch in file.iter_batches(ROWS, row_groups=[group], columns=originals):
            held = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield [_tokens(held[name]) for name in originals]


def _tokens(column: pa.Array) -> pa.Array:
    column = _microseconds(column)
    try:
        coded = column.dictionary_encode()
    except pa.ArrowException:  # lists and the like
        return pa.array(map(_token, column.to_pylist()), pa.string())
    written = pa.array(map(_token, coded.dictionary.to_pylist()), pa.string())
    return written.take(coded.indices)


def _token(value: object) -> str | None:
    cell = _cell(value)
    if cell is None or isinstance(cell, Number):
        return cell
    return json.dumps(cell, ensure_ascii=False, default=str)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: expected a Parquet file, got {' '.join(str(error).split())[:200]}") from error


def _named(path: Path, file: pq.ParquetFile) -> tuple[str, ...]:
    names = [column_name(name) for name in file.schema_arrow.names]
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: expected columns of different names, got {', '.join(file.schema_arrow.names)}")
    return tuple(names)


def _microseconds(column: pa.Array) -> pa.Array:
    """Return a column of times in microseconds, as fine as a record's; of nanoseconds Python has none."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _cell(value: object) -> object:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return Number(value)
    if isinstance(value, float):
        # the shortest text that is this double; NaN and infinities are no numbers, so the cell is an absent one
        return Number(f"{Decimal(repr(value)):f}") if value - value == 0 else None
    if isinstance(value, Decimal):
        return Number(f"{value:f}")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
