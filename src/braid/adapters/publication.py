"""The messages of a published topic as Parquet: each once, by hour of append time, readable by any tool.

    <root>/published/<dataset>/topic=<topic>/year=<yyyy>/month=<mm>/day=<dd>/hour=<hh>/run-<number>-<k>.parquet
    <root>/published/<dataset>/_archive/<topic>/run-<number>.json      what a run added
    <root>/published/<dataset>/_archive/<topic>/stage/                  files being written

A run adds the messages of one span of offsets. Its note says which span, of which topic (one created again has another
id), how many messages that were, the sha256 of its files and of the note before: where the newest note ends the next run
begins, so a message is in the archive once, however often the topic has it. Files come in by note (`noted`), so a run
that was killed anywhere is finished or begun again by the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from braid import published
from braid.adapters import durable
from braid.adapters.durable import FileSum
from braid.adapters.hours import Columns, Hours
from braid.adapters.master import topic_folder
from braid.adapters.noted import Noted
from braid.errors import MasterRefused
from braid.ports import Message
from braid.published import Column

FORMAT = 1
BATCH_ROWS = 10_000
_TYPES = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "time": pa.timestamp("us", tz="UTC")}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run added.

    Attributes
    ----------
    number : from 1 on
    topic_id : the broker's id of the topic
    start, end : offsets by partition, start <= offset < end
    missing : [from, to) by partition: what the broker had deleted before it was archived
    records : how many messages there were; fewer than offsets where an offset holds no record
    previous : sha256 of the note before, empty for the first
    files : by path within `<root>/published/<dataset>`
    """

    number: int
    topic: str
    topic_id: str
    start: Mapping[int, int]
    end: Mapping[int, int]
    missing: Mapping[int, tuple[int, int]]
    records: int
    previous: str
    files: Mapping[str, FileSum]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self) | {
            "format": FORMAT,
            "start": _keyed(self.start),
            "end": _keyed(self.end),
            "missing": {str(p): list(span) for p, span in self.missing.items()},
        }

    @property
    def digest(self) -> str:
        """Sha256 of the note: what the next one holds as `previous`."""
        return hashlib.sha256(durable.json_text(self.plain()).encode()).hexdigest()


class Publication:
    """The archive of one topic."""

    def __init__(self, root: Path, dataset: str, topic: str) -> None:
        self.topic = topic
        self.path = root / "published" / dataset
        self.kept = self.path / "_archive" / topic
        self._noted = Noted(self.path, self.kept, lambda note: _name(note["number"]))

    @property
    def folder(self) -> Path:
        """What readers read: Parquet files in folders by hour."""
        return self.path / topic_folder(self.topic)

    def recover(self) -> None:
        """Finish what a killed run had noted, and remove what it had not."""
        self._noted.recover()

    def runs(self) -> list[Run]:
        """Return what every run added, in order.

        Raises
        ------
        MasterRefused
            A note is missing, was changed, or does not continue the one before.
        """
        found: list[Run] = []
        for path in sorted(self.kept.glob("run-*.json")):
            try:
                text = path.read_text(encoding="utf-8")
                run = _run_of(json.loads(text))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise MasterRefused(f"{path}: expected a note, got {error}; restore it from a backup") from error
            before = found[-1] if found else None
            expected = (before.number + 1, before.digest) if before else (1, "")
            if (run.number, run.previous) != expected or path.name != _name(run.number):
                raise MasterRefused(
                    f"{path}: expected note {expected[0]} after {expected[1][:12] or 'none'}, got note {run.number} after "
                    f"{run.previous[:12] or 'none'}; restore the notes and files of {self.topic} from one backup"
                )
            found.append(run)
        return found

    def damage(self) -> str | None:
        """Return what is wrong with the first file that is not as it was written, None when all are."""
        found = (durable.first_difference(self.path, run.files) for run in self.runs())
        return next((wrong for wrong in found if wrong), None)

    def add(self, run: Run, held: Sequence[Column], messages: Iterable[Message]) -> Iterator[str]:
        """Write the messages of a span, yielding the name of each step when it is done.

        Parameters
        ----------
        run : number, topic and span; records and files are filled in
        held : the columns of the topic's messages
        """
        stage = self._noted.begin()
        hours = Hours(stage, f"run-{run.number:010}", "parquet", _Sink)
        records = 0
        coming = iter(messages)
        while some := list(islice(coming, BATCH_ROWS)):
            hours.add(self.topic, held, _batch(held, some))
            records += len(some)
        hours.close()
        files = {name: durable.sum_of(stage / name) for name in sorted(hours.files)}
        written = sum(pq.read_metadata(stage / name).num_rows for name in files)
        if written != records:
            raise MasterRefused(f"{stage}: expected {records} messages as they were read, got {written}; run it again")
        for step in self._noted.commit({**run.plain(), "records": records, "files": _plain(files)}):
            yield f"messages_{step}"


class _Sink:
    """Zstandard-compressed Parquet; append_us, by which the hours are told, becomes a time."""

    def __init__(self, path: Path, held: Columns) -> None:
        self._writer = pq.ParquetWriter(path, _schema(held), compression="zstd")

    def write(self, batch: Any) -> None:
        """Write rows."""
        self._writer.write_batch(
            pa.RecordBatch.from_arrays(
                [c.cast(f.type) for c, f in zip(batch.columns, self._writer.schema, strict=True)],
                schema=self._writer.schema,
            )
        )

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


def _schema(held: Columns) -> Any:
    return pa.schema([
        pa.field("partition", pa.int32(), nullable=False), pa.field("offset", pa.int64(), nullable=False),
        pa.field("append_time", pa.timestamp("us", tz="UTC"), nullable=False), ("key", pa.string()),
        pa.field("removed", pa.bool_(), nullable=False), *((c.name, _TYPES[c.kind]) for c in held), ("raw", pa.binary()),
    ])  # fmt: skip


def _batch(held: Sequence[Column], some: Sequence[Message]) -> Any:
    values = list(zip(*(published.values_of(held, m.value) for m in some), strict=True))
    columns: list[tuple[str, Any]] = [
        ("partition", pa.array([m.partition for m in some], pa.int32())),
        ("offset", pa.array([m.offset for m in some], pa.int64())),
        ("append_us", pa.array([m.append_us for m in some], pa.int64())),
        ("key", pa.array([_text(m.key) for m in some], pa.string())),
        ("removed", pa.array([m.value is None for m in some], pa.bool_())),
    ]
    columns += [(c.name, pa.array(v, _TYPES[c.kind])) for c, v in zip(held, values, strict=True)]
    columns.append(("raw", pa.array([m.value for m in some], pa.binary())))
    return pa.RecordBatch.from_arrays([array for _, array in columns], names=[name for name, _ in columns])


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode("utf-8", "backslashreplace")


def _name(number: int) -> str:
    return f"run-{number:010}.json"


def _keyed(offsets: Mapping[int, int]) -> dict[str, int]:
    return {str(partition): offset for partition, offset in offsets.items()}


def _plain(files: Mapping[str, FileSum]) -> dict[str, Any]:
    return {name: asdict(held) for name, held in files.items()}


def _run_of(plain: dict[str, Any]) -> Run:
    if plain.pop("format") != FORMAT:
        raise ValueError(f"another format than {FORMAT}")
    start, end = ({int(p): offset for p, offset in plain.pop(key).items()} for key in ("start", "end"))
    missing = {int(p): (first, until) for p, (first, until) in plain.pop("missing").items()}
    files = {name: FileSum(**held) for name, held in plain.pop("files").items()}
    return Run(**plain, start=start, end=end, missing=missing, files=files)
