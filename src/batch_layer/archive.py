"""The archive: what the ledger has counted since the last cut, out of Kafka into the master, unchanged.

The records of every ledger row up to head are read by offset, each is given the seq of the row that counted it, and all
of them, the dead ones too, are written with their raw bytes and the columns that the speed layer's own SQL reads from
them. What was written is read again and must hold as many records of every seq as the ledger says, before it gets its
name. It continues at the end of the newest cut and not at the served generation's: a run that was killed, or whose
publication was blocked, has archived its part, and nothing is archived twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from pyspark.sql import DataFrame, SparkSession

from braid import gaps, sql
from braid.adapters import durable
from braid.adapters import spark as frames
from braid.adapters.files import tally
from braid.adapters.master import MANIFEST, TALLY, Cut, Master, Tally, tally_text, topic_folder
from braid.declaration import Declaration, Topic
from braid.errors import Gap
from braid.ledger import REMEDY, LedgerRow, Offsets, Range
from braid.ports import Log

Read: TypeAlias = Callable[[Range], DataFrame]

_BIN = 1024  # offsets; a record's ledger row is found among those of its bin
_RECORDS_A_FILE = 250_000  # a file is written by one task, so this is also how parsing is spread over the cores
_RECORDS, _ROWS = "braid_archive_records", "braid_archive_rows"


def steps(
    spark: SparkSession, declaration: Declaration, rows: Sequence[LedgerRow], master: Master, read: Read
) -> Generator[str, None, Cut]:
    """Archive some ledger rows, yielding the name of each step when it is done; return the new cut.

    Parameters
    ----------
    rows : ledger rows after the newest cut up to and with the new one, at least one
    read : returns the records of exactly a range (topic, partition, offset, timestamp, value), or fails

    Raises
    ------
    Gap
        What was written does not hold the records that the ledger counted.
    """
    stage = aside(spark, declaration, rows, master, read)
    yield "parquet"
    return (yield from seal(declaration, rows, master, stage))


def aside(spark: SparkSession, declaration: Declaration, rows: Sequence[LedgerRow], master: Master, read: Read) -> Path:
    """Write the records of some ledger rows into a folder that nobody reads, and return it: `seal` makes a cut of it."""
    master.path.mkdir(parents=True, exist_ok=True)
    durable.clear_stages(master.path)
    stage = durable.stage(master.path, f"cut={rows[-1].seq}")
    for topic in declaration.topics:
        for number, run in enumerate(runs(rows)):
            _write(spark, topic, run, read, stage / topic_folder(topic.name) / f"run-{number}")
    return stage


def seal(declaration: Declaration, rows: Sequence[LedgerRow], master: Master, stage: Path) -> Generator[str, None, Cut]:
    """Check what `aside` wrote against the ledger and give it its name, yielding each step; return the new cut.

    Raises
    ------
    Gap
        It does not hold the records that the ledger counted.
    """
    before, last = master.cuts()[-1:], rows[-1]
    found = _check(declaration, rows, stage)
    _tidy(stage)
    (stage / TALLY).write_text(tally_text(found), encoding="utf-8")
    cut = Cut(
        dataset=declaration.dataset,
        after=rows[0].seq - 1,
        seq=last.seq,
        start=before[0].end if before else rows[0].range.start,
        end=last.end,
        definition=declaration.hash,
        records=sum(records for records, _ in found.values()),
        previous=before[0].digest if before else "",
        files=durable.sums(stage),
    )
    yield "before_manifest"
    (stage / MANIFEST).write_text(cut.text(), encoding="utf-8")
    durable.sync_tree(stage)
    yield "before_rename"
    durable.rename_new(stage, master.path / cut.folder)
    yield "after_rename"
    return cut


def check_held(rows: Sequence[LedgerRow], log: Log, declaration: Declaration) -> None:
    """Check that Kafka still holds what is to be archived, of the same topics.

    Raises
    ------
    Gap
        A topic was created again, or retention has passed the newest cut.
    """
    topics = [topic.name for topic in declaration.topics]
    ids = log.topic_ids(topics)
    if dict(rows[-1].topic_ids) != ids:
        raise Gap(
            f"topic ids: expected {dict(rows[-1].topic_ids)} as in ledger seq {rows[-1].seq}, got {ids}; "
            f"the topic was deleted and created again before its records were archived; {REMEDY} {declaration.dataset}"
        )
    earliest = log.earliest(topics)
    for run in runs(rows):
        for topic, partition, start, end in Range(run[0].range.start, run[-1].end).partitions():
            if earliest.get((topic, partition), 0) > start:
                raise Gap(
                    f"{topic} partition {partition}: expected offsets {start} to {end - 1} for the archive, got "
                    f"{earliest[topic, partition]} as the earliest; retention deleted records that the speed layer "
                    "counted and the batch layer had not archived: answers stay as they are; restore the topic or the master, "
                    f"or {REMEDY} {declaration.dataset}"
                )


def runs(rows: Sequence[LedgerRow]) -> Iterator[list[LedgerRow]]:
    """Cut rows into runs without a gap row or one that a gap gave up: their offsets hold nothing any more."""
    lost = gaps.lost(rows)
    run: list[LedgerRow] = []
    for row in rows:
        if row.kind == "gap" or row.seq in lost:
            if run:
                yield run
            run = []
        else:
            run.append(row)
    if run:
        yield run


def columns(topic: Topic) -> str:
    """Return the columns of the master's files of a topic, as Spark's schema text."""
    fields = [f"f_{f.name} {'BIGINT' if f.type != 'string' else 'STRING'}" for f in topic.columns.values()]
    return ", ".join([
        "seq BIGINT", "topic STRING", "`partition` INT", "`offset` BIGINT", "append_us BIGINT", "reason STRING",
        "id64 BIGINT", "salted64 BIGINT", "event_us BIGINT", *fields, "raw BINARY",
    ])  # fmt: skip


def _write(spark: SparkSession, topic: Topic, run: Sequence[LedgerRow], read: Read, folder: Path) -> None:
    """Write one topic's records of a run of ledger rows."""
    wanted = Range(_of(run[0].range.start, topic), _of(run[-1].end, topic))
    if wanted.empty:
        return
    read(wanted).createOrReplaceTempView(_RECORDS)
    _seqs(spark, topic, run).createOrReplaceTempView(_ROWS)
    names = [part.split()[0] for part in columns(topic).split(", ")]
    selected = ", ".join("r.seq" if name == "seq" else f"p.{name}" for name in names)
    frame = spark.sql(
        f"SELECT /*+ BROADCAST(r) */ {selected} FROM ({sql.parsed(topic, _RECORDS)}) p JOIN {_ROWS} r "
        f"ON p.`partition` = r.part AND p.`offset` DIV {_BIN} = r.bin AND p.`offset` >= r.first AND p.`offset` < r.until"
    )
    files = 1 + wanted.size // _RECORDS_A_FILE
    frame.coalesce(files).write.option("compression", "zstd").parquet(str(folder))


def _seqs(spark: SparkSession, topic: Topic, run: Sequence[LedgerRow]) -> DataFrame:
    """Return, for every bin of offsets that a ledger row touches, the row's seq and offsets."""
    found = [
        (row.seq, partition, bin_, start, end)
        for row in run
        for name, partition, start, end in row.range.partitions()
        if name == topic.name
        for bin_ in range(start // _BIN, (end - 1) // _BIN + 1)
    ]
    return frames.numbers(
        spark, dict(zip(("seq", "part", "bin", "first", "until"), zip(*found, strict=True), strict=True))
    )


def _check(declaration: Declaration, rows: Sequence[LedgerRow], stage: Path) -> Tally:
    """Compare the records of every seq with the ledger, as they were written; return how many there are."""
    found, lost = tally(stage.rglob("*.parquet")), gaps.lost(rows)
    for row in rows:
        expected, got = 0 if row.seq in lost else row.range.size - row.absent, found.get(row.seq, (0, 0))[0]
        if got != expected:
            raise Gap(
                f"{declaration.dataset}: ledger seq {row.seq}: expected {expected} records to archive "
                f"({row.range.size} offsets, {row.absent} absent), got {got} from Kafka; "
                "nothing was archived: compare the topic with the ledger"
            )
    return found


def _tidy(stage: Path) -> None:
    """Keep the Parquet files only, straight in their topic's folder, under names that say their order."""
    for path in sorted(p for p in stage.rglob("*") if p.is_file() and p.suffix != ".parquet"):
        path.unlink()
    for topic in stage.iterdir():
        for number, path in enumerate(sorted(topic.rglob("*.parquet"))):
            path.rename(topic / f"records-{number:05}.parquet")
        for folder in [p for p in topic.iterdir() if p.is_dir()]:
            folder.rmdir()


def _of(offsets: Offsets, topic: Topic) -> Offsets:
    return {place: offset for place, offset in offsets.items() if place[0] == topic.name}
