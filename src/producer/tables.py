"""CSV files of one folder, joined on their ids into rows of text.

The first column of a file is its id. A file joins another when its id is a column there: `images.csv` (image_id,
class_id) draws `classes.csv` (class_id, class_name) and `ndvi_stats.csv` (image_id, ndvi_mean, …) to itself. The
*root* is the first file, by name, from which all others are reached so; each of its lines is one row, in their order.

Nothing is dropped in silence: a line that cannot be read, repeats an id or finds no partner becomes a `Refusal`, which
names file, line, column and reason, and the reading goes on. Only a file as a whole (no header, two columns of one
name) is an error.

A column is the field that its header says: `PULocationID` is `pu_location_id` (braid.names). A header that a declaration
takes as it is stays so.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from braid.errors import UsageError
from braid.names import column_name

MAX_TABLE_BYTES = 1 << 30  # of text: a table is held in memory, and a small .gz can hold anything


class DataError(UsageError):
    """The files as a whole cannot be used: which, what was expected, what stood there."""


class Refusal(NamedTuple):
    """A line that is not sent, and why. `column` is empty when the whole line is meant."""

    file: str
    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        """Return `file line 7, column x: reason`, safe to print whatever bytes stood in the file."""
        where = f"{self.file} line {self.line}" + (f", column {self.column}" if self.column else "")
        return f"{where}: {self.reason}".encode("utf-8", "backslashreplace").decode()


class Line(NamedTuple):
    """One line of a table: its number in the file (from 1, the header included) and its values."""

    number: int
    values: tuple[str, ...]


class Row(NamedTuple):
    """One joined row: the text of every column, and the line it came from per file."""

    values: Mapping[str, str]
    lines: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Table:
    """One file as read: its lines in order, those that cannot be read as refusals in their place."""

    file: str
    columns: tuple[str, ...]
    lines: tuple[Line | Refusal, ...]

    @property
    def id(self) -> str:
        """The first column: the name by which other files refer to a line."""
        return self.columns[0]


@dataclass(frozen=True, slots=True)
class Joined:
    """All files as one: `rows` by row number, `ignored` the lines of other files that belong to no row."""

    rows: tuple[Row | Refusal, ...]
    file_of: Mapping[str, str]
    ignored: tuple[Refusal, ...] = ()

    @property
    def digest(self) -> str:
        """A sha256 over the text of all rows in order: equal for the same data, packed or not."""
        digest = hashlib.sha256()
        for row in self.rows:
            text = str(row) if isinstance(row, Refusal) else json.dumps(dict(row.values), sort_keys=True)
            digest.update(text.encode() + b"\n")
        return digest.hexdigest()


def read_folder(folder: Path) -> Joined:
    """Read and join every `*.csv` and `*.csv.gz` of a folder; or read one such file.

    Raises
    ------
    DataError
        The folder or a file as a whole cannot be used.
    """
    if folder.is_file():
        return join([read_table(folder)])
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of CSV files, got none; name it with --data DIR")
    paths = sorted(p for p in folder.iterdir() if p.name.endswith((".csv", ".csv.gz")))
    if not paths:
        raise DataError(
            f"{folder}: expected at least one .csv or .csv.gz file, got none; name the folder with --data DIR"
        )
    stems = [p.name.removesuffix(".gz") for p in paths]
    for path, stem in zip(paths, stems, strict=True):
        if stems.count(stem) > 1:
            raise DataError(f"{path.parent}: expected one of {stem} and {stem}.gz, got both; remove one")
    return join([read_table(path) for path in paths])


def read_table(path: Path, limit: int | None = None) -> Table:
    """Read one CSV file: UTF-8 with or without BOM, any line ends, quoted values may span lines, `.gz` unpacked.

    Parameters
    ----------
    limit : how many lines after the header to read; None: all

    Raises
    ------
    DataError
        No header, a column without a name or twice, not readable, or larger than MAX_TABLE_BYTES.
    """
    try:
        with opened(path) as file:
            lines = lines_of(path.name, csv.reader(_bounded(path.name, file), strict=True))
            return _table(path.name, lines if limit is None else islice(lines, limit + 1))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a readable CSV file, got {error}") from error


def opened(path: Path) -> IO[str]:
    """Open a CSV file as text, `.gz` unpacked."""
    # surrogateescape: bytes that are not UTF-8 refuse their own line, not the file
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _bounded(name: str, file: IO[str]) -> Iterator[str]:
    size = 0
    while text := file.readline(MAX_TABLE_BYTES + 1):
        size += len(text)
        if size > MAX_TABLE_BYTES:
            raise DataError(f"{name}: expected at most {MAX_TABLE_BYTES} characters of text, got more; split the file")
        yield text


def lines_of(name: str, reader: Iterator[list[str]]) -> Iterator[Line | Refusal]:
    """Yield lines with the number at which they begin; what the CSV grammar refuses is a refusal in its place."""
    while True:
        first = reader.line_num + 1  # type: ignore[attr-defined]  # csv.reader has it, its stub's Iterator has not
        try:
            values = next(reader, None)
        except csv.Error as error:
            last: int = reader.line_num  # type: ignore[attr-defined]
            span = f" (lines {first} to {last})" if last > first else ""
            yield Refusal(name, first, "", f"expected CSV, got {error}{span}")
            continue
        if values is None:
            return
        if values:  # a blank line is no record
            yield Line(first, tuple(values))


def _table(name: str, lines: Iterator[Line | Refusal]) -> Table:
    header = next(lines, None)
    if not isinstance(header, Line):
        raise DataError(f"{name}: expected a header line, got {header.reason if header else 'an empty file'}")
    columns = tuple(map(column_name, header.values))
    for column in columns:
        if not column.strip() or columns.count(column) > 1:
            raise DataError(
                f"{name} line {header.number}: expected columns of different names, got {list(header.values)!a}"
            )
    return Table(name, columns, tuple(checked(name, columns, line) for line in lines))


def checked(name: str, columns: Sequence[str], line: Line | Refusal) -> Line | Refusal:
    """Return a line that has a value for every column, or why it is refused."""
    if isinstance(line, Refusal):
        return line
    if len(line.values) != len(columns):
        return Refusal(
            name, line.number, "", f"expected {len(columns)} values as in the header, got {len(line.values)}"
        )
    for column, value in zip(columns, line.values, strict=True):
        if not value.isascii() and any("\udc80" <= letter <= "\udcff" for letter in value):
            return Refusal(name, line.number, column, "not valid UTF-8")
    return line


# ---- joining ---------------------------------------------------------------------------------------------------------


def join(tables: Sequence[Table]) -> Joined:
    """Join tables on their ids.

    Raises
    ------
    DataError
        No file reaches all others, or a column stands in two files and is no id of either.

    Examples
    --------
    >>> patches = Table("a.csv", ("patch", "kind"), (Line(2, ("p1", "7")), Line(3, ("p2", "9"))))
    >>> kinds = Table("b.csv", ("kind", "name"), (Line(2, ("7", "soil")),))
    >>> joined = join([patches, kinds])
    >>> dict(joined.rows[0].values), str(joined.rows[1])
    ({'patch': 'p1', 'kind': '7', 'name': 'soil'}, "a.csv line 3, column kind: '9' has no line in b.csv")
    """
    order = ordered(tables)
    root, others = order[0], order[1:]
    file_of = owners(order)
    ignored: list[Refusal] = []
    partners = [_by_id(table, ignored) for table in others]
    doubled = _repeats(root) if any(t.id == root.id for t in others) else {}
    rows = tuple(doubled.get(i) or _row(root, line, others, partners, file_of) for i, line in enumerate(root.lines))
    own = {line.values[0] for line in root.lines if isinstance(line, Line)}
    for table, by_id in zip(others, partners, strict=True):
        if table.id == root.id:
            ignored += [
                Refusal(table.file, line.number, table.id, f"{key!r} has no line in {root.file}")
                for key, line in by_id.items()
                if key not in own
            ]
    return Joined(rows, file_of, tuple(ignored))


def ordered(tables: Sequence[Table]) -> list[Table]:
    """Return tables in the order in which they join: the root first. Raises DataError when no file reaches all others."""
    found = next((found for root in tables if (found := _reached(root, tables))), None)
    if found is None:
        names = ", ".join(f"{t.file} (id {t.id})" for t in tables)
        raise DataError(f"expected one file whose columns hold the id of every other, got {names}")
    return found


def _reached(root: Table, tables: Sequence[Table]) -> list[Table] | None:
    """Return the tables in the order in which they join `root`, or None when one cannot be reached."""
    order, columns = [root], set(root.columns)
    left = [t for t in tables if t is not root]
    while left:
        found = next((t for t in left if t.id in columns), None)
        if found is None:
            return None
        order.append(found)
        columns |= set(found.columns)
        left.remove(found)
    return order


def owners(order: Sequence[Table]) -> dict[str, str]:
    """Return the file of every column; an id belongs to the file that refers by it."""
    found: dict[str, str] = {}
    for table in order:
        for column in table.columns if table is order[0] else table.columns[1:]:
            if column in found:
                raise DataError(f"expected column {column!r} in one file, got it in {found[column]} and {table.file}")
            found[column] = table.file
    return found


def _by_id(table: Table, ignored: list[Refusal]) -> dict[str, Line]:
    """Return lines by id, the first of each; repeats and lines whose id cannot be read go to `ignored`."""
    found: dict[str, Line] = {}
    repeats = _repeats(table)
    for i, line in enumerate(table.lines):
        if isinstance(line, Refusal):
            ignored.append(line)
        elif i in repeats:
            ignored.append(repeats[i])
        else:
            found[line.values[0]] = line
    return found


def _repeats(table: Table) -> dict[int, Refusal]:
    """Return a refusal for each line, by index, whose id stood in an earlier one."""
    first: dict[str, int] = {}
    repeats = {}
    for i, line in enumerate(table.lines):
        if isinstance(line, Line):
            before = first.setdefault(line.values[0], line.number)
            if before != line.number:
                reason = f"{line.values[0]!r} stands in line {before} already"
                repeats[i] = Refusal(table.file, line.number, table.id, reason)
    return repeats


def _row(
    root: Table,
    line: Line | Refusal,
    others: Sequence[Table],
    partners: Sequence[Mapping[str, Line]],
    file_of: Mapping[str, str],
) -> Row | Refusal:
    if isinstance(line, Refusal):
        return line
    values = dict(zip(root.columns, line.values, strict=True))
    lines = {root.file: line.number}
    for table, by_id in zip(others, partners, strict=True):
        key = values[table.id]
        partner = by_id.get(key)
        if partner is None:
            file = file_of[table.id]
            return Refusal(file, lines[file], table.id, f"{key!r} has no line in {table.file}")
        values.update(zip(table.columns, partner.values, strict=True))
        lines[table.file] = partner.number
    return Row(values, lines)
