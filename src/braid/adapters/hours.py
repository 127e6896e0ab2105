"""Rows on their way into the files of their hours of append time, in bounded memory.

A cut of the master, or a span of a topic, holds a few hours, each partition's records in order, so the hours come again with every partition. Rows wait until
an hour has a row group of them or all together are too many. Few files are open at a time: the one longest unused is
ended, and further rows of its hour begin the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from braid.adapters.master import topic_folder

HOUR_US = 3_600_000_000
GROUP_ROWS = 65_536  # a row group of Parquet
WAITING_BYTES = 64 * 2**20
OPEN = 32  # files

Columns: TypeAlias = Sequence[Any]  # what a sink is told of the columns to write; here they are only handed on


class Sink(Protocol):
    """Takes rows, at least one; what was written is a file only after `close`."""

    def write(self, batch: Any) -> None:
        """Write a RecordBatch."""
        ...

    def close(self) -> None:
        """End the file."""
        ...


def hour_folder(topic: str, hour: int) -> str:
    """Return the folder of a topic's records of one hour since 1970, UTC.

    Examples
    --------
    >>> hour_folder("clicks", 490_918)
    'topic=clicks/year=2026/month=01/day=01/hour=22'
    """
    at = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{topic_folder(topic)}/year={at:%Y}/month={at:%m}/day={at:%d}/hour={at:%H}"


@dataclass
class _Hour:
    """The rows of one hour that wait, and the file they go to."""

    topic: str
    hour: int
    rows: int = 0
    bytes: int = 0
    waiting: list[Any] = field(default_factory=list)
    sink: Sink | None = None


class Hours:
    """Takes rows and writes them below `stage`, a file for every topic and hour, or a few."""

    def __init__(
        self, stage: Path, stem: str, suffix: str, open_sink: Callable[[Path, Columns], Sink], most: int = OPEN
    ) -> None:
        self._stage, self._stem, self._suffix, self._open_sink, self._most = stage, stem, suffix, open_sink, most
        self._hours: OrderedDict[tuple[str, int], _Hour] = OrderedDict()
        self._columns: dict[str, Columns] = {}
        self._numbers: dict[str, int] = {}
        self.files: list[str] = []

    def add(self, topic: str, columns: Columns, batch: Any) -> None:
        """Take rows of one topic (a RecordBatch with append_us, microseconds, among its columns)."""
        self._columns[topic] = columns
        hours = pc.divide(batch.column("append_us"), HOUR_US)
        found = pc.unique(hours).to_pylist()
        for hour in found:
            self._wait(topic, hour, batch if len(found) == 1 else batch.filter(pc.equal(hours, hour)))
        if sum(one.bytes for one in self._hours.values()) > WAITING_BYTES:
            for one in self._hours.values():
                self._write(one)

    def close(self) -> None:
        """Write what waits and end every file."""
        while self._hours:
            self._end(self._hours.popitem(last=False)[1])

    def _wait(self, topic: str, hour: int, rows: Any) -> None:
        one = self._hours.setdefault((topic, hour), _Hour(topic, hour))
        self._hours.move_to_end((topic, hour))
        one.waiting.append(rows)
        one.rows += rows.num_rows
        one.bytes += rows.nbytes
        if one.rows >= GROUP_ROWS:
            self._write(one)
        if len(self._hours) > self._most:
            self._end(self._hours.popitem(last=False)[1])

    def _write(self, one: _Hour) -> None:
        if not one.waiting:
            return
        if one.sink is None:
            one.sink = self._open_sink(self._next(hour_folder(one.topic, one.hour)), self._columns[one.topic])
        for batch in pa.Table.from_batches(one.waiting).combine_chunks().to_batches():
            one.sink.write(batch)
        one.waiting, one.rows, one.bytes = [], 0, 0

    def _end(self, one: _Hour) -> None:
        self._write(one)
        if one.sink is not None:
            one.sink.close()

    def _next(self, folder: str) -> Path:
        number = self._numbers.get(folder, 0)
        self._numbers[folder] = number + 1
        name = f"{folder}/{self._stem}-{number:03}.{self._suffix}"
        self.files.append(name)
        (self._stage / name).parent.mkdir(parents=True, exist_ok=True)
        return self._stage / name
