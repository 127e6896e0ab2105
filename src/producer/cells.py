"""Rows of files as Arrow, read where Spark runs its tasks: the producer's own reading, some thousand rows at a time.

A file is read from its beginning by one task, so a row knows the line at which it begins, whatever its quotes hold and however
the file is packed. What cannot be a row is one all the same, with a reason in the place of its cells: nothing is dropped here.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa

from braid.adapters import parquet
from braid.errors import UsageError
from braid.grammar import MAX_BYTES
from producer.files import Kind, Part
from producer.tables import DataError, Refusal, checked, lines_of, opened

ROWS = 20_000  # handed over at once
LONGEST_LINE = 1 << 24  # characters; a record has at most 1 MB, and a file of one line may be anything
BROKEN = "cannot be read any further: "  # how a reason begins after which nothing of its file follows
# of every batch, before the cells: which file, the line (of Parquet: the row) at which the row begins, how many came before it,
# why it is none and in which column, and its bytes where they are wanted
HEAD = (
    ("file", pa.int32(), "INT"), ("line", pa.int64(), "BIGINT"), ("nth", pa.int64(), "BIGINT"),
    ("problem", pa.string(), "STRING"), ("place", pa.string(), "STRING"), ("raw", pa.binary(), "BINARY"),
)  # fmt: skip


class Row(NamedTuple):
    """One row as it was read: its cells as they are wanted, or why it has none."""

    line: int
    problem: str | None
    place: str
    raw: bytes | None
    cells: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Task:
    """What one task reads.

    Attributes
    ----------
    file : number by which its rows name the file
    wanted : fields whose cells are wanted, in order
    group : of a Parquet file, the row group
    before : rows of the table before the first of this task
    line : number of its first row, of a Parquet file
    raw : whether the bytes of rows are wanted
    """

    file: int
    path: Path
    kind: Kind
    columns: tuple[str, ...]
    wanted: tuple[str, ...]
    group: int = 0
    before: int = 0
    line: int = 1
    raw: bool = False


def schema(wanted: int) -> str:
    """Return Spark's schema of the rows, with so many cells: `c0`, `c1`, …"""
    return ", ".join([*(f"{name} {kind}" for name, _, kind in HEAD), *(f"c{i} STRING" for i in range(wanted))])


def tasks(file: int, part: Part, wanted: Sequence[str], before: int, raw: bool) -> list[Task]:
    """Return what reads a file: one task, or one a row group of Parquet."""
    own = tuple(name for name in wanted if name in part.columns)
    if part.kind != "parquet":
        return [Task(file, part.path, part.kind, part.columns, tuple(wanted), 0, before, 1, raw)]
    found, line = [], 1
    for group, rows in enumerate(parquet.groups(part.path)):
        found.append(Task(file, part.path, part.kind, own, tuple(wanted), group, before + line - 1, line, raw))
        line += rows
    return found


def reader(some: Sequence[Task]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return what Spark maps over the numbers of tasks: the rows of each."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from batches_of(some[number])

    return read


def batches_of(task: Task) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a task."""
    if task.kind == "parquet":
        yield from _typed(task)
        return
    nth, some = task.before, list[Row]()
    for row in _csv(task) if task.kind == "csv" else _json(task):
        some.append(row)
        if len(some) == ROWS:
            yield _batch(task, nth, some)
            nth, some = nth + ROWS, []
    if some:
        yield _batch(task, nth, some)


def count(part: Part) -> int:
    """Return how many rows a CSV file has, those that are none included."""
    return sum(1 for _ in _csv(Task(0, part.path, "csv", part.columns, ())))


def _batch(task: Task, nth: int, rows: Sequence[Row]) -> pa.RecordBatch:
    lines, problems, places, raws, cells = zip(*rows, strict=True)
    columns = list(zip(*cells, strict=True)) or [()] * len(task.wanted)
    head = ([task.file] * len(rows), lines, range(nth, nth + len(rows)), problems, places, raws)
    arrays = [pa.array(values, kind) for values, (_, kind, _) in zip(head, HEAD, strict=True)]
    arrays += [pa.array(values, pa.string()) for values in columns]
    return pa.RecordBatch.from_arrays(arrays, [*(name for name, _, _ in HEAD), *(f"c{i}" for i in range(len(columns)))])


# ---- CSV -----------------------------------------------------------------------------------------------------------


def _csv(task: Task) -> Iterator[Row]:
    name, at = task.path.name, {column: i for i, column in enumerate(task.columns)}
    picked = [at.get(field, -1) for field in task.wanted]
    nothing = (None,) * len(picked)
    number = 1
    try:
        with opened(task.path) as file:
            kept: list[str] = []
            texts = _kept(file, kept) if task.raw else _bounded(file)
            lines = lines_of(name, csv.reader(texts, strict=True))
            next(lines, None)  # the header, which was looked at before
            kept.clear()
            for one in lines:
                line = checked(name, task.columns, one)
                raw = None
                if task.raw:
                    raw = "".join(kept).strip("\r\n").encode("utf-8", "surrogateescape")
                    kept.clear()
                if isinstance(line, Refusal):
                    number = line.line
                    yield Row(number, line.reason, line.column, raw, nothing)
                else:
                    number, values = line
                    yield Row(number, None, "", raw, [values[i] if i >= 0 else None for i in picked])
    except (OSError, EOFError, zlib.error, DataError) as error:
        yield Row(number + 1, f"{BROKEN}{error}", "", None, nothing)


def _bounded(file: IO[str]) -> Iterator[str]:
    while text := file.readline(LONGEST_LINE):
        if len(text) == LONGEST_LINE and not text.endswith(("\n", "\r")):
            raise DataError(f"expected lines of at most {LONGEST_LINE} characters, got a longer one")
        yield text


def _kept(file: IO[str], kept: list[str]) -> Iterator[str]:
    """Yield lines, and keep them for the row that they are."""
    for text in _bounded(file):
        kept.append(text)
        yield text


# ---- JSON lines and Parquet ----------------------------------------------------------------------------------------


def _json(task: Task) -> Iterator[Row]:
    number = 0
    try:
        with gzip.open(task.path) if task.path.name.endswith(".gz") else task.path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                raw = line.rstrip(b"\r\n")
                while not line.endswith(b"\n") and (line := file.readline(LONGEST_LINE)):
                    raw = raw[: MAX_BYTES + 1]  # longer than any record: its beginning shows what it was
                if raw.strip():
                    yield Row(number, None, "", raw[: MAX_BYTES + 1], ())
    except (OSError, EOFError, zlib.error) as error:
        yield Row(number + 1, f"{BROKEN}{error}", "", None, ())


def _typed(task: Task) -> Iterator[pa.RecordBatch]:
    line = task.line
    try:
        for columns in parquet.tokens(task.path, task.group, task.columns):
            rows = len(columns[0])
            held = dict(zip(task.columns, columns, strict=True))
            cells = [held[name] if name in held else pa.nulls(rows, pa.string()) for name in task.wanted]
            yield _joined(task, line, rows, cells)
            line += rows
    except (UsageError, ValueError) as error:  # text that is no UTF-8 is a ValueError
        nothing: list[Any] = [None] * len(task.wanted)
        row = Row(line, f"{BROKEN}{' '.join(str(error).split())}", "", None, nothing)
        yield _batch(task, task.before + line - task.line, [row])


def _joined(task: Task, line: int, rows: int, cells: Sequence[pa.Array]) -> pa.RecordBatch:
    nth = task.before + line - task.line
    head = [
        pa.array([task.file] * rows, pa.int32()), pa.array(range(line, line + rows), pa.int64()),
        pa.array(range(nth, nth + rows), pa.int64()), pa.nulls(rows, pa.string()), pa.array([""] * rows, pa.string()),
        pa.nulls(rows, pa.binary()),
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(
        [*head, *cells], [*(name for name, _, _ in HEAD), *(f"c{i}" for i in range(len(cells)))]
    )
