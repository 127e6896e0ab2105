"""One file of an export while it is written: rows of the master in, a file in the chosen format out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.csv as pc
import pyarrow.parquet as pq

from braid.adapters.hours import Sink
from export import avro, columns
from export.columns import Column


class ParquetSink:
    """Zstandard-compressed Parquet, a row group for every batch; without the topic, which is a folder."""

    def __init__(self, path: Path, wanted: Sequence[Column]) -> None:
        self._columns = [c for c in wanted if c.name != "topic"]
        self._writer = pq.ParquetWriter(path, columns.schema(self._columns), compression="zstd")

    def write(self, batch: Any) -> None:
        """Write rows."""
        self._writer.write_batch(columns.typed(self._columns, batch))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class CsvSink:
    """CSV in UTF-8 with a header line: text is quoted, nothing at all is null."""

    def __init__(self, path: Path, wanted: Sequence[Column]) -> None:
        self._columns = wanted
        self._writer = pc.CSVWriter(path, columns.text_schema(wanted))

    def write(self, batch: Any) -> None:
        """Write rows."""
        self._writer.write_batch(columns.text(self._columns, batch))

    def close(self) -> None:
        """End the file."""
        self._writer.close()


SINKS: dict[str, Callable[[Path, Sequence[Column]], Sink]] = {
    "avro": avro.AvroSink,
    "csv": CsvSink,
    "parquet": ParquetSink,
}
