"""Where `braid new` and `braid check` read records from: a file, a folder of CSV files, or a Kafka topic.

A CSV file has rows, which the producer makes records of; anything else has records as they are.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from braid.errors import StoreUnavailable, UsageError

if TYPE_CHECKING:
    from braid.samples import Sample
    from braid.settings import Settings
    from producer.tables import Joined

_TABLES, _LINES, _PARQUET = (".csv",), (".jsonl", ".ndjson", ".json"), (".parquet",)
_LONGEST_LINE = 1 << 24  # bytes; a record has at most 1 MB, and a file of one line may be anything


class Found(NamedTuple):
    """One record, where it stands, and when it was appended (for one of a file: now)."""

    place: str
    raw: bytes | None
    append_us: int


@dataclass(frozen=True, slots=True)
class Rows:
    """CSV files, joined."""

    label: str
    data: "Joined"

    typed = False


@dataclass(frozen=True, slots=True)
class Records:
    """Records of a file or a topic; read once. `topic` is that of Kafka, None of a file."""

    label: str
    records: Iterator[Found]
    topic: str | None = None

    typed = True


def opened(settings: "Settings", where: str, limit: int, now_us: int) -> Rows | Records:
    """Return what there is to read: the first `limit` records of a file, the newest of a topic.

    Raises
    ------
    UsageError
        There is no such file, or it is of another kind.
    StoreUnavailable
        No broker answers, or there is no such topic.
    """
    path = Path(where)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if path.is_dir():
        return _folder(path, limit)
    if not path.exists():
        if "/" in where or suffix in {*_TABLES, *_LINES, *_PARQUET}:
            raise UsageError(f"{where}: expected a file, a folder of CSV files or a Kafka topic, got no such file")
        return _topic(settings, where, limit)
    if suffix in _TABLES:
        return _table(path, limit)
    if suffix in _LINES:
        return Records(path.name, islice(_lines(path, now_us), limit))
    if suffix in _PARQUET and path.suffix != ".gz":
        return Records(path.name, islice(_parquet(path, now_us), limit))
    raise UsageError(
        f"{where}: expected .csv, .jsonl (also .ndjson, .json; each of these also .gz) or .parquet, got {path.name!r}"
    )


def samples(source: Rows | Records, now_us: int) -> "tuple[list[Sample], list[Found], int]":
    """Return the records to draft from, each as it was found (none of a table), and how many could not be read at all."""
    from braid.samples import Sample, document
    from producer.tables import Refusal

    if isinstance(source, Rows):
        rows = [row for row in source.data.rows if not isinstance(row, Refusal)]
        cells = [Sample({name: text or None for name, text in row.values.items()}, now_us) for row in rows]
        return cells, [], len(source.data.rows) - len(rows)
    found = list(source.records)
    documents = [(document(one.raw), one.append_us) for one in found]
    known = [Sample(cells, append_us) for cells, append_us in documents if cells is not None]
    return known, found, len(found) - len(known)


def _folder(path: Path, limit: int) -> Rows:
    from dataclasses import replace

    from producer.tables import read_folder

    data = read_folder(path)
    return Rows(f"{path.resolve().name}/", replace(data, rows=data.rows[:limit]))


def _table(path: Path, limit: int) -> Rows:
    from producer.tables import Line, join, read_table

    table = read_table(path, limit)
    texts = [line.values[0] for line in table.lines if isinstance(line, Line)]
    for sign in ";\t|" if len(table.columns) == 1 and texts else "":
        if all(sign in text for text in texts):
            raise UsageError(
                f"{path}: expected values separated by commas, got {sign!r} in every line; write it with commas"
            )
    return Rows(path.name, join([table]))


def _lines(path: Path, now_us: int) -> Iterator[Found]:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                raw = line.rstrip(b"\r\n")
                if number == 1 and raw.lstrip()[:1] == b"[":
                    raise UsageError(
                        f"{path}: expected JSON lines, a record each, got an array; write its items so: jq -c '.[]'"
                    )
                if raw.strip():
                    yield Found(f"{path.name}:{number}", raw, now_us)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: expected a readable file of JSON lines, got {error}") from error


def _parquet(path: Path, now_us: int) -> Iterator[Found]:
    from braid.adapters.parquet import rows
    from braid.samples import json_of

    for number, cells in enumerate(rows(path), start=1):
        yield Found(f"{path.name}:{number}", json_of(cells), now_us)


def _topic(settings: "Settings", topic: str, limit: int) -> Records:
    from braid.adapters import kafka

    try:
        start, end = kafka.newest_span(settings.kafka_bootstrap, topic, limit)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{topic}: no file is called so, and as a topic: {error}") from error

    def records() -> Iterator[Found]:
        for name, some in kafka.between(settings.kafka_bootstrap, start, end):
            for seen in some:
                yield Found(f"{name}:{seen.partition}:{seen.offset}", seen.value, seen.append_us)

    return Records(f"topic {topic}", records(), topic)
