"""History into the log: files read, joined, shaped and judged by Spark, the good rows sent through its Kafka sink.

Some files at a time are one Spark job: rows as `producer.cells` reads them, made records by `braid.shape`, judged by the SQL that
both layers judge by, and sent (`acks=all`, idempotent, to the partition that the producer would choose). The job counts as it
goes. Where some rows were refused, a second job over the same few files finds which and why, and they go to the file of rejects
with file, line, reason and the row. Then the journal notes the files, and the next are read.

So a load that is interrupted anywhere can be run again: it sends the files that are not noted. Those that were under way are sent
once more, which makes copies, and a copy of an id counts once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as sf

from braid import shape, sql
from braid.adapters import failpoints
from braid.declaration import Topic
from braid.grammar import MAX_BYTES, TOO_LONG
from braid.thorough import text
from producer import cells
from producer.files import Part, Source, at_once
from producer.notes import Journal, Rejects
from producer.sources import THE_FILE_HAS, Timeline, refusal
from producer.tables import DataError, Refusal, Row

_ROOT, _OTHER, _CELLS, _RECORDS, _READ, _BAD = (
    f"braid_load_{name}" for name in ("root", "other", "cells", "records", "read", "bad")
)
Send = Callable[[DataFrame, str], None]  # rows with key, value and partition, to a topic


@dataclass(slots=True)
class Told:
    """What became of rows: of one file, or of all."""

    rows: int = 0
    rejected: int = 0

    @property
    def sent(self) -> int:
        """Those that were good."""
        return self.rows - self.rejected


@dataclass(slots=True)
class Outcome:
    """What a load did, filled in as it goes.

    Attributes
    ----------
    files : by path; those that an earlier run had sent are in `before`
    reasons : rejected rows by reason, of this run and those it goes on from
    ignored : lines of joined files that belong to no row
    """

    files: dict[str, Told] = field(default_factory=dict)
    before: dict[str, Told] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    ignored: int = 0

    def recall(self, sources: Sequence[Source], journal: Journal) -> None:
        """Take over what the journal notes of earlier runs: also where nothing is left to send."""
        for source in sources:
            for part, mark in zip(source.parts, source.marks(), strict=True):
                if (done := journal.done(mark)) is not None:
                    self.before[str(part.path)] = Told(*done)
        self.reasons = Counter(journal.entry.reasons)
        self.ignored = journal.entry.ignored

    def total(self) -> Told:
        """Return the sums over all files."""
        every = [*self.files.values(), *self.before.values()]
        return Told(sum(one.rows for one in every), sum(one.rejected for one in every))


@dataclass(frozen=True, slots=True)
class Loading:
    """One run of a load.

    Attributes
    ----------
    partitions : by topic
    now_us : by which rows with a time in the future are judged, microseconds UTC
    send : None: nothing is sent, only judged
    """

    spark: SparkSession
    sources: Sequence[Source]
    partitions: Mapping[str, int]
    timeline: Timeline
    now_us: int
    journal: Journal
    rejects: Rejects
    outcome: Outcome
    send: Send | None

    def run(self) -> Iterator[str]:
        """Send what the journal does not note, yielding what was done after each job.

        Raises
        ------
        DataError
            A file ends in the middle, or was changed meanwhile. What stood before it is sent.
        """
        self.outcome.recall(self.sources, self.journal)
        for source in self.sources:
            marks = source.marks()
            left = [(place, part) for place, part in enumerate(source.parts) if self.journal.done(marks[place]) is None]
            # rows that join are read whole: which line of an id is the first shows only then
            for places in [[p for p, _ in left]] if source.others and left else at_once(left):
                yield self._part(source, places, marks)

    def _part(self, source: Source, places: Sequence[int], marks: Sequence[str]) -> str:
        """Send some parts of a source; return what was done in words."""
        parts = [source.parts[place] for place in places]
        job = Job(self.spark, source, places, self.timeline, self.partitions[source.topic.name], self.now_us)
        told = job.run(self.send)
        bad = sum(one.rejected for one in told)
        broken = None
        if bad:
            broken = self._reject(job)
        if source.others:
            self._ignore(job)
        for part in (*parts, *(p for table in source.others for p in table)):
            if _mark(part) != part.mark:
                raise DataError(f"{part.path}: expected it unchanged while it is read, got another; run the load again")
        for part, one in zip(parts, told, strict=True):
            self.outcome.files[str(part.path)] = one
        if broken is not None:
            raise DataError(f"{broken}; what stood before it was sent: mend the file and run the load again")
        self.rejects.sync()
        self.journal.note(
            {marks[place]: (one.rows, one.rejected) for place, one in zip(places, told, strict=True)},
            self.rejects.size, self.outcome.reasons, self.outcome.ignored,
        )  # fmt: skip
        if self.send is not None:
            failpoints.hit("load.sent")
        names = ", ".join(part.path.name for part in parts[:3]) + (
            f" and {len(parts) - 3} more" if len(parts) > 3 else ""
        )
        rows = sum(one.rows for one in told)
        return f"{names}: {rows:,} rows read, {rows - bad:,} {'sent' if self.send else 'good'}" + (
            f", {bad:,} rejected" if bad else ""
        )

    def _reject(self, job: Job) -> str | None:
        """Write the rows that were refused to the file of rejects; return what is wrong with a file that ends in the middle."""
        broken = None
        for one, raw in job.rejected():
            reason = one.reason.partition(THE_FILE_HAS)[0]
            if one.reason.startswith(cells.BROKEN):
                broken = str(one)
                reason = cells.BROKEN.strip(": ")
            self.outcome.reasons[f"{one.column}: {reason}" if one.column else reason] += 1
            self.rejects.write(one, raw, row=job.source.kind == "parquet")
        return broken

    def _ignore(self, job: Job) -> None:
        for one in job.ignored():
            self.outcome.ignored += 1
            self.rejects.write(one, None, row=False, ignored=True)


def _mark(part: Part) -> tuple[str, int, int]:
    try:
        stat = part.path.stat()
    except OSError:
        return str(part.path), -1, 0
    return str(part.path), stat.st_size, stat.st_mtime_ns


class Job:
    """Some parts of a source as Spark sees them.

    Parameters
    ----------
    places : of the parts among those of the source
    partitions : of the topic
    """

    def __init__(
        self,
        spark: SparkSession,
        source: Source,
        places: Sequence[int],
        timeline: Timeline,
        partitions: int,
        now_us: int,
    ) -> None:
        self._spark = spark
        self.source = source
        self._parts = [source.parts[place] for place in places]
        self._timeline = timeline
        self._partitions = partitions
        self._now_us = now_us
        self._before = self._rows_before(places)
        self._columns: list[str] = []

    def run(self, send: Send | None) -> list[Told]:
        """Send the good rows, or only count them; return what became of each part's rows."""
        self._read(raw=False)
        frame = self._spark.sql(self._judged())
        seen = Observation()
        counts = [
            sf.expr(f"count_if({what})").alias(f"{name}{i}")
            for i in range(len(self._parts))
            for name, what in (("rows", f"file = {i}"), ("bad", f"file = {i} AND reason IS NOT NULL"))
        ]
        frame = frame.observe(seen, *counts)
        good = frame.where("reason IS NULL").selectExpr("key", "value", "`partition`")
        if send is None:
            good.write.format("noop").mode("overwrite").save()
        else:
            send(good, self.source.topic.name)
        got = seen.get
        return [Told(got[f"rows{i}"], got[f"bad{i}"]) for i in range(len(self._parts))]

    # ---- the rows ------------------------------------------------------------------------------------------------

    def _rows_before(self, places: Sequence[int]) -> list[int]:
        """Return how many rows come before each part: only rows whose time is made need to know."""
        if not self.source.made:
            return [0] * len(places)
        known, total = [], 0
        for place, part in enumerate(self.source.parts[: max(places) + 1]):
            known.append(total)
            total += cells.count(part) if place < max(places) else 0
        return [known[place] for place in places]

    def _read(self, *, raw: bool) -> None:
        """Make the view of cells: rows of the parts, joined to those of other tables."""
        source = self.source
        if source.kind == "json":
            self._view(_CELLS, self._parts, (), self._before, raw=True)
            return
        fields = [name for name in source.topic.fields if name in (source.file_of or self._all_columns())]
        if not source.others:
            self._columns = fields
            self._view(_CELLS, self._parts, fields, self._before, raw=raw)
            return
        self._join(fields, raw=raw)

    def _all_columns(self) -> set[str]:
        return {column for part in self._parts for column in part.columns}

    def _view(
        self, name: str, parts: Sequence[Part], wanted: Sequence[str], before: Sequence[int], *, raw: bool
    ) -> None:
        some = [task for i, part in enumerate(parts) for task in cells.tasks(i, part, wanted, before[i], raw)]
        numbers = self._spark.range(0, len(some), 1, max(1, len(some)))
        numbers.mapInArrow(cells.reader(some), cells.schema(len(wanted))).createOrReplaceTempView(name)

    def _join(self, fields: Sequence[str], *, raw: bool) -> None:
        """Join the tables by their ids, the first line of each; a row without a partner says which it lacks."""
        source = self.source
        root = source.parts[0].columns
        keys = [table[0].columns[0] for table in source.others]
        wanted = [name for name in dict.fromkeys((root[0], *keys, *fields)) if name in root]
        self._view(_ROOT, self._parts, wanted, self._before, raw=raw)
        at = {name: f"r.c{i}" for i, name in enumerate(wanted)}
        doubled = any(key == root[0] for key in keys)
        first = f"first(struct(file, line)) OVER (PARTITION BY {at[root[0]].removeprefix('r.')}, problem IS NULL ORDER BY file, line)"
        text = f"(SELECT *, {first if doubled else 'struct(file, line)'} AS met FROM {_ROOT}) r"
        lacking, lines = [], []
        for i, (key, table) in enumerate(zip(keys, source.others, strict=True)):
            own = table[0].columns
            held = [name for name in dict.fromkeys((key, *keys, *fields)) if name in own]
            self._view(f"{_OTHER}{i}", table, held, [0] * len(table), raw=False)
            once = (
                f"(SELECT *, row_number() OVER (PARTITION BY c0 ORDER BY file, line) AS copy FROM {_OTHER}{i} "
                "WHERE problem IS NULL)"
            )
            text += f" LEFT JOIN {once} o{i} ON o{i}.copy = 1 AND {at[key]} = o{i}.c0"
            lacking.append(f"WHEN o{i}.c0 IS NULL THEN 'lacks {i}'")
            lines.append(f"o{i}.line")
            at |= {name: f"o{i}.c{j}" for j, name in enumerate(held) if name != key}
        self._columns = list(dict.fromkeys((*fields, *keys, root[0])))
        cells_ = ", ".join(f"{at[name]} AS c{i}" for i, name in enumerate(self._columns))
        problem = (
            "CASE WHEN r.problem IS NOT NULL THEN r.problem WHEN r.met <> struct(r.file, r.line) THEN 'doubled' "
            f"{' '.join(lacking)} END"
        )
        self._spark.sql(
            f"SELECT r.file, r.line, r.nth, {problem} AS problem, r.place, r.raw, r.met, array({', '.join(lines)}) AS lines, "
            f"{cells_} FROM {text}"
        ).createOrReplaceTempView(_CELLS)

    # ---- the verdict ---------------------------------------------------------------------------------------------

    def _judged(self) -> str:
        """Return the SELECT of every row: file, line, reason, and of a good one key, value, partition."""
        topic = self.source.topic
        # the grammar takes records with a position; theirs is file and line
        position = (
            f"{text(topic.name)} AS topic, file AS `partition`, line AS `offset`, "
            f"timestamp_micros({self._judged_at()}) AS `timestamp`"
        )
        records = f"(SELECT {position}, {self._value()} AS value FROM {_CELLS})"
        value = "raw" if self.source.kind == "json" else f"CAST({shape.record(topic)} AS BINARY)"
        key = shape.key(topic)
        read = f"SELECT `partition` AS file, `offset` AS line, reason, {value} AS value, {key} AS key FROM ({sql.parsed(topic, records)})"
        longer = f"CASE WHEN reason IS NULL AND length(value) > {MAX_BYTES} THEN {text(TOO_LONG)} ELSE reason END"
        return (
            f"SELECT file, line, {longer} AS reason, value, CAST(key AS BINARY) AS key, "
            f"{shape.partition('key', self._partitions)} AS `partition` FROM ({read})"
        )

    def _judged_at(self) -> str:
        return self._made() if self.source.made else f"{self._now_us}L"

    def _made(self) -> str:
        return f"({self._timeline.start_us}L + nth * {self._timeline.every_us}L)"

    def _value(self) -> str:
        """Return the SQL of a row as the bytes that are judged; null when the row is none."""
        if self.source.kind == "json":
            return "raw"
        at = {name: f"c{i}" for i, name in enumerate(self._columns)}
        made = self._made() if self.source.made else None
        text = shape.raw(self.source.topic, at, made, typed=self.source.kind == "parquet")
        return f"CASE WHEN problem IS NULL THEN CAST({text} AS BINARY) END"

    # ---- what is not sent ------------------------------------------------------------------------------------------

    def rejected(self) -> Iterator[tuple[Refusal, bytes]]:
        """Yield every row that is not sent, with the reason where it stands and its bytes."""
        self._read(raw=True)
        self._spark.sql(self._judged()).where("reason IS NOT NULL").select(
            "file", "line", "reason"
        ).createOrReplaceTempView(_BAD)
        shown = "raw" if self.source.kind != "parquet" else self._value()
        names = ", ".join(text(name) for name in self._columns)
        held = ", ".join(f"c{i}" for i in range(len(self._columns)))
        texts = f"map_from_arrays(array({names}), array({held}))" if self._columns else "map()"
        joined = "c.lines, c.met" if self.source.others else "array() AS lines, NULL AS met"
        rows = self._spark.sql(
            f"SELECT b.file, b.line, b.reason, c.problem, c.place, {shown} AS shown, {texts} AS texts, {joined} "
            f"FROM {_BAD} b JOIN {_CELLS} c ON b.file = c.file AND b.line = c.line ORDER BY b.file, b.line"
        )
        for row in rows.toLocalIterator():
            yield self._refusal(row), bytes(row.shown or b"")

    def _refusal(self, row: Any) -> Refusal:
        name = self._parts[row.file].path.name
        texts = {column: text or "" for column, text in row.texts.items()}
        if row.problem is None:
            held, lines = self._lines(row, name)
            return refusal(
                self.source.topic,
                row.reason,
                Row(texts, lines),
                {column: held[of] for column, of in self._file_of().items()},
            )
        others = self.source.others
        if row.problem == "doubled" and others:
            column = self.source.parts[0].columns[0]
            of = self._parts[row.met.file].path.name
            where = f"line {row.met.line}" if of == name else f"{of} line {row.met.line}"
            return Refusal(name, row.line, column, f"{texts[column]!r} stands in {where} already")
        if row.problem.startswith("lacks ") and others:
            table = others[int(row.problem.removeprefix("lacks "))]
            column = table[0].columns[0]
            held, lines = self._lines(row, name)
            file = held[self._file_of()[column]]
            return Refusal(file, lines[file], column, f"{texts[column]!r} has no line in {table[0].path.name}")
        return Refusal(name, row.line, row.place, row.problem)

    def _lines(self, row: Any, name: str) -> tuple[dict[str, str], dict[str, int]]:
        """Return the file that each table's row stands in, by the table's name, and the line in it."""
        held, lines = {self.source.parts[0].path.name: name}, {name: row.line}
        for table, line in zip(self.source.others, row.lines, strict=False):
            held[table[0].path.name] = table[0].path.name
            lines[table[0].path.name] = line or 0
        return held, lines

    def _file_of(self) -> Mapping[str, str]:
        root = self.source.parts[0].path.name
        if self.source.kind == "csv":
            return self.source.file_of or {}
        return dict.fromkeys(self._columns, root)

    def ignored(self) -> Iterator[Refusal]:
        """Yield the lines of joined tables that no row can have: they cannot be read, repeat an id, or belong to no row."""
        root = self.source.parts[0].columns
        for i, table in enumerate(self.source.others):
            column = table[0].columns[0]
            rows = f"SELECT *, first(struct(file, line)) OVER (PARTITION BY c0, problem IS NULL ORDER BY file, line) AS met FROM {_OTHER}{i}"
            alone = f"LEFT ANTI JOIN {_ROOT} r ON o.c0 = r.c0" if column == root[0] else "WHERE false"
            text = (
                f"SELECT file, line, problem, place, c0, met FROM ({rows}) WHERE problem IS NOT NULL OR met <> struct(file, line) "
                f"UNION ALL SELECT file, line, problem, place, c0, NULL FROM (SELECT * FROM ({rows}) WHERE problem IS NULL AND "
                f"met = struct(file, line)) o {alone} ORDER BY file, line"
            )
            for row in self._spark.sql(text).toLocalIterator():
                name = table[row.file].path.name
                if row.problem is not None:
                    yield Refusal(name, row.line, row.place, row.problem)
                elif row.met is None:
                    yield Refusal(name, row.line, column, f"{row.c0!r} has no line in {self._parts[0].path.name}")
                else:
                    yield Refusal(name, row.line, column, f"{row.c0!r} stands in line {row.met.line} already")


def topics_of(sources: Sequence[Source]) -> dict[str, Topic]:
    """Return the topics that some sources belong to, by name."""
    return {source.topic.name: source.topic for source in sources}


def words(outcome: Outcome) -> dict[str, Any]:
    """Return what a load did as JSON holds it."""
    total = outcome.total()
    return {
        "rows": total.rows, "good": total.sent, "rejected": total.rejected, "ignored": outcome.ignored,
        "reasons": dict(outcome.reasons.most_common()),
        "files": {path: {"rows": t.rows, "good": t.sent, "rejected": t.rejected, "sent_before": path in outcome.before}
                  for path, t in (outcome.before | outcome.files).items()},
    }  # fmt: skip


def text_of(value: Mapping[str, Any]) -> str:
    """Return one line of JSON."""
    return json.dumps(value, ensure_ascii=False)
