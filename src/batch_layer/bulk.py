"""History taken in as one ledger row: the stream stops, what was sent is archived and counted, committed, and published.

`steps` is a generator that yields the name of each step when it is done; a test stops after any of them, which is a crash, and
runs again.

    stopped ─► sent (once for some files) ─► the master brought up to head ─► counted ─► committed ─► archived
            ─► a batch run: read, views, audited, written, partition_added, published, served, tidied ─► built ─► started

The order is the protocol. Records are in the log before anything counts them, so a crash while they are sent leaves a log with
more in it, and nothing else: the stream, started again, counts what came; the load, run again, sends the rest, and what it
sends twice is a copy. The archive of the range is written under a name that nobody reads, and counted there: each id once, and
not when it was counted before. One compare-and-set commits the row with these counts (`braid.bulk` says what it means). Only
then the archive gets its name; should that be lost, the batch run archives the range again, out of Kafka, and checks it
against the row. The generation is published as ever, and the stream starts behind it.

The row's writer names the load, so a load that runs again knows by the ledger alone whether its row is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pyspark.sql import DataFrame

from batch_layer import archive, run
from batch_layer.apply import Stream
from batch_layer.recompute import parsed, tally, together
from braid import bulk, change, ledger, sql
from braid.adapters import files
from braid.adapters.master import topic_folder
from braid.bulk import Counted
from braid.declaration import Declaration
from braid.definitions import in_force
from braid.errors import BeingApplied, BulkPending
from braid.ledger import LedgerRow, Range
from braid.ports import Clock, DeadLetterRow, DeadLetters, Ledger, Log
from braid.sql import RAW_SHOWN

LETTERS_AT_ONCE = 1000
_STAGED, _COUNTED = "braid_bulk_parsed", "braid_bulk_counted"


class Taking(Protocol):
    """The batch layer as history in bulk needs it: one range beyond head."""

    def archived(self, head: LedgerRow) -> Iterator[str]:
        """Bring the master up to head."""
        ...

    def counted(self, head: LedgerRow, offered: Range) -> Counted:
        """Write the records of the range aside and count them; the master holds everything before them."""
        ...

    def dead(self) -> Iterator[DeadLetterRow]:
        """Yield the dead among them."""
        ...

    def keep(self, row: LedgerRow) -> None:
        """Give what was written aside its name, as the cut of the committed row."""
        ...

    def drop(self) -> None:
        """Remove what was written aside, if anything is."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of one dataset that takes in history.

    Attributes
    ----------
    send : sends what the load is to send, yielding a word for each part
    alone : holds off batch runs
    build : runs a batch to its end, yielding its steps
    """

    log: Log
    ledger: Ledger
    dead_letters: DeadLetters
    stream: Stream
    clock: Clock
    taking: Taking
    send: Callable[[], Iterator[str]]
    alone: Callable[[], AbstractContextManager[None]]
    build: Callable[[], Iterator[str]]


def check(log: Log, store: Ledger) -> Declaration:
    """Check that a load can begin; return the declaration in force.

    Raises
    ------
    BeingApplied
        A changed declaration waits for its generation.
    Gap
        The log lacks what should be counted first.
    """
    current = store.current()  # before head, as every reader does
    head = store.head()
    declaration = in_force(store, head)
    if change.pending(head, current):
        raise BeingApplied(f"{declaration.dataset}: {change.remedy(declaration.dataset, head)}")
    topics = [topic.name for topic in declaration.topics]
    ledger.check_log(head, log.earliest(topics), log.topic_ids(topics), declaration.dataset)
    return declaration


def steps(ports: Ports, load: str, writer: str) -> Iterator[str]:
    """Send history and take it in, yielding the name of each step when it is done; safe to run again.

    Parameters
    ----------
    load : name of the load, the same when it is run again
    writer : unique to this process

    Raises
    ------
    BeingApplied, Gap
        Nothing was done.
    LostRace
        Somebody moved the ledger's head meanwhile: run it again.
    BraidError
        Whatever sending or the batch run raised.
    """
    declaration = check(ports.log, ports.ledger)
    ports.stream.stop()
    yield "stopped"
    if not committed(ports.ledger, load):
        yield from ports.send()
        yield from _taken_in(ports, declaration, f"{load}:{writer}")
    if bulk.pending(ports.ledger.head(), ports.ledger.current()):
        yield from ports.build()
    head = ports.ledger.head()
    if bulk.pending(head, ports.ledger.current()):
        raise BulkPending(f"{declaration.dataset}: {bulk.remedy(declaration.dataset, head)}")
    yield "built"
    ports.stream.start()
    yield "started"


def committed(store: Ledger, load: str) -> bool:
    """Return whether the newest bulk row is that of a load."""
    seq = bulk.newest(store.head())
    return bool(seq) and store.rows(seq - 1, seq)[0].writer.startswith(f"{load}:")


def _taken_in(ports: Ports, declaration: Declaration, writer: str) -> Iterator[str]:
    """Count everything after head and commit it as one row."""
    topics = [topic.name for topic in declaration.topics]
    with ports.alone():
        head = ports.ledger.head()
        ledger.check_log(head, ports.log.earliest(topics), ports.log.topic_ids(topics), declaration.dataset)
        offered = Range(dict(head.end), ports.log.latest(topics))
        if offered.empty:
            return
        yield from ports.taking.archived(head)
        try:
            row = bulk.row_of(head, offered, ports.taking.counted(head, offered), writer, ports.clock.now_us())
            _set_aside(ports, row)
            yield "counted"
            ports.ledger.append(row)
            yield "committed"
            ports.taking.keep(row)
        finally:
            ports.taking.drop()
        yield "archived"


def _set_aside(ports: Ports, row: LedgerRow) -> None:
    """Write the dead of the range where people look for them; nobody sees them before the row is there."""
    letters: list[DeadLetterRow] = []
    for letter in ports.taking.dead():
        letters.append(letter)
        if len(letters) == LETTERS_AT_ONCE:
            ports.dead_letters.write(row.seq, row.attempt, letters)
            letters = []
    if letters:
        ports.dead_letters.write(row.seq, row.attempt, letters)


@dataclass(slots=True)
class SparkTaking:
    """The port `Taking` with Spark, on the ports of a batch run."""

    ports: run.Ports
    declaration: Declaration
    report: run.Report = field(default_factory=run.Report)
    _stage: Path | None = None

    def archived(self, head: LedgerRow) -> Iterator[str]:
        """Bring the master up to head."""
        yield from run.archived(self.ports, self.report, self.declaration, head)

    def counted(self, head: LedgerRow, offered: Range) -> Counted:
        """Write the records of the range aside and count them."""
        spark, declaration, master = self.ports.spark(), self.declaration, self.ports.master
        # only its seq and range are read; the counts are what is looked for
        row = LedgerRow(head.seq + 1, "bulk", 0, "", offered)
        self._stage = archive.aside(spark, declaration, [row], master, self.ports.read)
        records, dead = files.tally(self._stage.rglob("*.parquet")).get(row.seq, (0, 0))
        everything = [parsed(spark, declaration, master, master.cuts()), *self._staged()]
        together(everything).createOrReplaceTempView(_STAGED)
        spark.sql(sql.dedupe(declaration, declaration.topics, _STAGED)).createOrReplaceTempView(_COUNTED)
        good, fp = tally(spark, f"{_COUNTED} WHERE seq = {row.seq}")
        return Counted(records, good, fp, dead)

    def dead(self) -> Iterator[DeadLetterRow]:
        """Yield the dead of the range, with their first bytes."""
        for frame in self._staged(raw=True):
            shown = f"substr(raw, 1, {RAW_SHOWN})"
            rows = frame.where("reason IS NOT NULL").selectExpr(
                "topic", "`partition`", "`offset`", "append_us", "reason", shown
            )
            for topic, partition, offset, append_us, reason, raw in rows.toLocalIterator():
                yield DeadLetterRow(topic, partition, offset, append_us, reason, bytes(raw or b""))

    def keep(self, row: LedgerRow) -> None:
        """Make a cut of what was written aside."""
        if self._stage is not None:
            for _ in archive.seal(self.declaration, [row], self.ports.master, self._stage):
                pass
            self._stage = None

    def drop(self) -> None:
        """Remove what was written aside."""
        if self._stage is not None:
            shutil.rmtree(self._stage, ignore_errors=True)
            self._stage = None

    def _staged(self, *, raw: bool = False) -> Iterator[DataFrame]:
        """Yield the records that were written aside, topic by topic."""
        for topic in self.declaration.topics:
            paths = [str(p) for p in (self._stage or Path()).glob(f"{topic_folder(topic.name)}/**/*.parquet")]
            if paths:
                frame = self.ports.spark().read.schema(archive.columns(topic)).parquet(*paths)
                yield frame if raw else frame.drop("raw")
