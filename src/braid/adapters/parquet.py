"""Rows of a Parquet file, as records would hold them: numbers as they are written, times as text."""

from __future__ import annotations

from collections.abc import Iterator
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
    try:
        with pq.ParquetFile(path) as file:
            names = [column_name(name) for name in file.schema_arrow.names]
            if len(set(names)) < len(names):
                raise UsageError(
                    f"{path}: expected columns of different names, got {', '.join(file.schema_arrow.names)}"
                )
            for batch in file.iter_batches(ROWS):
                columns = [map(_cell, _microseconds(column).to_pylist()) for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    yield dict(zip(names, cells, strict=True))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: expected a Parquet file, got {' '.join(str(error).split())[:200]}") from error


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
