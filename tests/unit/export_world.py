"""A master of a few cuts, with what every record in it says, and readers of exports that share nothing with the writers."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from braid import records
from braid.adapters import durable
from braid.adapters.master import MANIFEST, TALLY, Cut, Master, tally_text, topic_folder
from braid.declaration import Declaration
from braid.declaration_reader import parse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z

CALLS = parse(
    """
dataset: calls
topic: calls.in
event_id: [call]
event_time: {field: at, zone: UTC}
fields:
  call:   {type: string}
  at:     {type: time}
  hour:   {type: integer}
  cost:   {type: decimal, scale: 6, unit: EUR, meaning: what it cost, optional: true}
  tiny:   {type: decimal, scale: 9, optional: true}
views:
  calls_all: {by: [call], window: all, measures: {cost: {of: cost, stats: [mean]}}}
""",
    where="tests/unit/export_world.py",
)
_TEXTS = parse(
    CALLS.text.replace("calls.in", "texts").replace("  hour:   {type: integer}\n", "  body:   {type: string}\n"),
    "texts",
)
# two topics of other shapes
BOTH = replace(CALLS, topics=(CALLS.topics[0], replace(_TEXTS.topics[0], event_time=CALLS.topics[0].event_time)))


@dataclass(frozen=True)
class Sent:
    """One record as it stands in a topic; `values` is what it says, None when it is bad."""

    topic: str
    partition: int
    offset: int
    seq: int
    append_us: int
    raw: bytes | None
    values: dict[str, Any] | None


def call(
    number: int, seq: int, append_us: int, cost: str | None = "0.5", tiny: str | None = None, partition: int = 0
) -> Sent:
    """Return a good record of the first topic."""
    at = EPOCH + timedelta(microseconds=append_us - 5_000_001)
    raw = f'{{"call": "c, \\"{number}\\"", "at": "{at:%Y-%m-%dT%H:%M:%S.%fZ}", "hour": {number}'
    raw += "".join(f', "{name}": {text}' for name, text in (("cost", cost), ("tiny", tiny)) if text is not None) + "}"
    scales = {"cost": Decimal("0.000001"), "tiny": Decimal("0.000000001")}
    values: dict[str, Any] = {"call": f'c, "{number}"', "at": at, "hour": number}
    for name, text in (("cost", cost), ("tiny", tiny)):
        values[name] = None if text is None else Decimal(text).quantize(scales[name])
    return Sent("calls.in", partition, number, seq, append_us, raw.encode(), values)


def text(number: int, seq: int, append_us: int, body: str) -> Sent:
    """Return a good record of the second topic."""
    at = (EPOCH + timedelta(microseconds=append_us)).replace(microsecond=0)
    said = {"call": str(number), "at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "body": body}
    raw = json.dumps(said, ensure_ascii=False, indent=1).replace("\n", "\r\n").encode()  # on lines of its own
    values = {"call": str(number), "at": at, "body": body, "cost": None, "tiny": None}
    return Sent("texts", 0, number, seq, append_us, raw, values)


def bad(number: int, seq: int, append_us: int, raw: bytes | None) -> Sent:
    """Return a dead letter of the first topic."""
    return Sent("calls.in", 0, number, seq, append_us, raw, None)


@dataclass
class Archive:
    """A master under construction; `archive` adds a cut as the batch layer does."""

    root: Path
    declaration: Declaration = BOTH
    sent: list[Sent] = field(default_factory=list)

    @property
    def master(self) -> Master:
        """The master."""
        return Master(self.root, self.declaration.dataset)

    def archive(self, sent: Sequence[Sent], through: int, declaration: Declaration | None = None) -> Cut:
        """Write records, of seqs after the newest cut up to `through`, as one cut."""
        declared, cuts, master = declaration or self.declaration, self.master.cuts(), self.master
        master.path.mkdir(parents=True, exist_ok=True)
        stage = durable.stage(master.path, f"cut={through}")
        for topic in declared.topics:
            if rows := [s for s in sent if s.topic == topic.name]:
                (stage / topic_folder(topic.name)).mkdir()
                pq.write_table(archived(declared, rows), stage / topic_folder(topic.name) / "records-00000.parquet")
        after = cuts[-1].seq if cuts else 0
        tally = dict.fromkeys(range(after + 1, through + 1), (0, 0))
        for one in sent:
            records_, dead = tally[one.seq]
            tally[one.seq] = (records_ + 1, dead + (one.values is None))
        (stage / TALLY).write_text(tally_text(tally), encoding="utf-8")
        start = dict(cuts[-1].end) if cuts else {(t.name, p): 0 for t in declared.topics for p in (0, 1)}
        end = start | {(s.topic, s.partition): s.offset + 1 for s in sorted(sent, key=lambda s: s.offset)}
        cut = Cut(
            declared.dataset, after, through, start, end, declared.hash, len(sent), cuts[-1].digest if cuts else "",
            durable.sums(stage),
        )  # fmt: skip
        (stage / MANIFEST).write_text(cut.text(), encoding="utf-8")
        durable.rename_new(stage, master.path / cut.folder)
        self.sent += sent
        return cut


def archived(declaration: Declaration, sent: Sequence[Sent]) -> pa.Table:
    """Return records in the columns of the archive's files of a topic, read by the reference."""
    topic = declaration.topic(sent[0].topic)
    read = [records.parse(topic, s.raw, s.append_us) for s in sent]
    good = [event if isinstance(event, records.Event) else None for event in read]
    assert [event is None for event in good] == [s.values is None for s in sent], read
    columns: dict[str, pa.Array] = {
        "seq": pa.array([s.seq for s in sent], pa.int64()),
        "topic": pa.array([s.topic for s in sent]),
        "partition": pa.array([s.partition for s in sent], pa.int32()),
        "offset": pa.array([s.offset for s in sent], pa.int64()),
        "append_us": pa.array([s.append_us for s in sent], pa.int64()),
        "reason": pa.array([e.reason if isinstance(e, records.DeadLetter) else None for e in read], pa.string()),
        "id64": pa.array([e and e.id64 for e in good], pa.int64()),
        "salted64": pa.array([e and e.salted64 for e in good], pa.int64()),
        "event_us": pa.array([e and e.event_us for e in good], pa.int64()),
    }
    for name, one in topic.fields.items():
        values = [e and e.values[name] for e in good]
        columns[f"f_{name}"] = pa.array(values, pa.string() if one.type == "string" else pa.int64())
    return pa.table(columns | {"raw": pa.array([s.raw for s in sent], pa.binary())})


def expected(declaration: Declaration, sent: Sequence[Sent]) -> list[dict[str, Any]]:
    """Return what an export must hold, as values, in (topic, partition, offset) order."""
    return sorted((_row(declaration, one) for one in sent), key=_place)


def _row(declaration: Declaration, one: Sent) -> dict[str, Any]:
    topic = declaration.topic(one.topic)
    parsed = records.parse(topic, one.raw, one.append_us)
    values = one.values or dict.fromkeys(topic.fields)
    fields = {"hour_" if name == "hour" else name: value for name, value in values.items()}
    return {
        "topic": one.topic,
        "partition": one.partition,
        "offset": one.offset,
        "seq": one.seq,
        "append_time": EPOCH + timedelta(microseconds=one.append_us),
        "reason": parsed.reason if isinstance(parsed, records.DeadLetter) else None,
        "event_time": values["at"],
        **fields,
        "raw": one.raw,
    }


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["topic"], row["partition"], row["offset"])


# ---- reading back --------------------------------------------------------------------------------------------------


def read(folder: Path, declaration: Declaration) -> list[dict[str, Any]]:
    """Return every row of an export; a row's folder must say its topic and the hour it was appended."""
    rows = []
    for path in sorted(p for p in folder.glob("topic=*/**/*") if p.is_file()):
        keys = dict(part.split("=") for part in path.relative_to(folder).parts[:-1])
        topic = keys.pop("topic")
        for row in {".parquet": _parquet, ".avro": _avro, ".csv": _csv}[path.suffix](path, declaration.topic(topic)):
            at = row["append_time"]
            assert [int(keys[word]) for word in ("year", "month", "day", "hour")] == [
                at.year,
                at.month,
                at.day,
                at.hour,
            ]
            assert row.setdefault("topic", topic) == topic
            rows.append(row)
    return sorted(rows, key=_place)


def _parquet(path: Path, _topic: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    assert all(row["append_time"].tzinfo is not None for row in rows)
    return rows


def _avro(path: Path, _topic: Any) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [dict(row) for row in fastavro.reader(file)]  # type: ignore[arg-type]


def _csv(path: Path, topic: Any) -> list[dict[str, Any]]:
    """Read by DuckDB, which tells an empty text from nothing."""
    fields = {"hour_" if name == "hour" else name: f for name, f in topic.fields.items()}
    words = "all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"', allow_quoted_nulls = false"
    found = duckdb.sql(f"from read_csv('{path}', {words}, max_line_size = 4000000)").to_arrow_table().to_pylist()
    return [_of_text(row, fields) for row in found]


def _of_text(row: dict[str, str | None], fields: dict[str, Any]) -> dict[str, Any]:
    kinds = {"string": str, "integer": int, "decimal": Decimal, "time": datetime.fromisoformat}
    own = {"topic": "string", "reason": "string", "append_time": "time", "event_time": "time"}
    own |= dict.fromkeys(("partition", "offset", "seq"), "integer")
    found: dict[str, Any] = {}
    for name, kind in (own | {name: one.type for name, one in fields.items()}).items():
        written = row[name]
        found[name] = None if written is None else kinds[kind](written)
    raw, other = row["raw"], row["raw_base64"]
    return found | {"raw": b64decode(other) if other is not None else raw.encode() if raw is not None else None}
