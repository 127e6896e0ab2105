"""The stream: Spark's query, and each of its micro-batches handed to the protocol. Nothing else knows it is a stream.

A large micro-batch is counted and written by another thread, while Spark goes on to read the next one: reading takes all cores and
counting one. Spark then notes a range as done that may not be committed yet, which nobody believes: a start goes by the ledger, in a
checkpoint of its own. What goes wrong in that thread ends the query before it counts anything more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from braid import sql
from braid.adapters import failpoints
from braid.adapters import spark as frames
from braid.adapters.behind import Behind
from braid.declaration import Declaration
from braid.errors import BraidError
from braid.ledger import LedgerRow, Range
from braid.settings import Settings
from speed_layer import checkpoint, microbatch, unusual
from speed_layer.microbatch import Driver

MAX_OFFSETS = 100_000  # bounds a micro-batch after an outage, and with it the driver's Arrow table
# a micro-batch of fewer records is read by one task, as a second one costs more than it saves; and it is counted by the thread
# that has read it, as its cost is not in the records
LARGE = 5_000
_LOOK_S = 0.5  # how often the waiting main thread looks whether it shall stop


class StreamSource:
    """One micro-batch as Spark hands it over: the range from its checkpoint, the rows by one action.

    Parameters
    ----------
    frame : its slim rows, of which those that are not usual are unread
    thorough : returns the slim rows of a range with every record read, by another action
    """

    def __init__(
        self, path: Path, batch: int, frame: DataFrame, declaration: Declaration, thorough: Callable[[Range], Any]
    ) -> None:
        self.range: Range = checkpoint.range_of(path, batch)
        self._frame = frame
        self._declaration = declaration
        self._thorough = thorough
        self._read: Callable[[], Any] | None = None
        self.seconds = 0.0  # of reading ahead

    def rows(self) -> Any:
        """Run the one action, unless it was run ahead, and return the slim rows as an Arrow table, every record read."""
        if self._read is not None:
            return self._read()
        frame = self._frame.coalesce(1) if self.range.size < LARGE else self._frame
        return unusual.read(self._declaration, frame.toArrow(), lambda: self._thorough(self.range))

    def read_ahead(self) -> None:
        """Run the action now. What goes wrong in it is raised where the rows are asked for."""
        began = time.monotonic()
        done: Future[Any] = Future()
        try:
            done.set_result(self.rows())
        except Exception as error:  # noqa: BLE001 - of whatever kind, it is told there
            done.set_exception(error)
        self._read, self.seconds = done.result, time.monotonic() - began


@dataclass
class Counting:
    """Counts micro-batches one after the other, by the protocol's steps, and tells of them.

    Attributes
    ----------
    driver, stop, beat, committed, measured, rest : as `run` has them
    behind : the thread that counts a large micro-batch, while its caller goes on to read the next one
    at_it : set while one is counted
    """

    driver: Driver
    stop: Event
    beat: Callable[[str], None]
    committed: Callable[[LedgerRow, float], None]
    measured: Callable[[int, Mapping[str, float]], None]
    rest: Callable[[float], float]
    behind: Behind = field(default_factory=Behind)
    at_it: Event = field(default_factory=Event)

    def take(self, source: StreamSource) -> None:
        """Count a micro-batch when the one before is counted: now, or if it is large, read now and counted soon.

        Raises
        ------
        BraidError
            What the protocol raised in it, or in one before it: then nothing of this one is counted.
        """
        large = source.range.size >= LARGE and not self.rest(1.0)  # beside other streams there is no core for it
        if large:
            source.read_ahead()
        self.behind.settle()
        if large:
            self.behind.begin(partial(self._count, source))
        else:
            self._count(source)

    def _count(self, source: StreamSource) -> None:
        began, before = time.monotonic(), self.driver.head.seq
        spent, last = {"computed": source.seconds}, began
        self.at_it.set()
        try:
            for stage in microbatch.steps(self.driver, source):
                spent[stage] = spent.get(stage, 0.0) + time.monotonic() - last
                last = time.monotonic()
                self.beat(stage)
                failpoints.hit(f"speed.{stage}")
        finally:
            self.at_it.clear()
        if self.driver.head.seq != before:
            took_s = source.seconds + time.monotonic() - began
            self.measured(self.driver.head.seq, spent)
            self.committed(self.driver.head, took_s)
            self.stop.wait(self.rest(took_s))


def run(
    spark: SparkSession,
    settings: Settings,
    driver: Driver,
    root: Path,
    *,
    stop: Event,
    beat: Callable[[str], None] = lambda _stage: None,
    trigger: str = "0 seconds",
    max_offsets: int = MAX_OFFSETS,
    committed: Callable[[LedgerRow, float], None] = lambda _row, _seconds: None,
    measured: Callable[[int, Mapping[str, float]], None] = lambda _seq, _seconds: None,
    look: Callable[[], None] = lambda: None,
    rest: Callable[[float], float] = lambda _worked: 0.0,
) -> None:
    """Run the stream until `stop` is set.

    Parameters
    ----------
    driver : Driver, at head
    root : Path, where the dataset's checkpoints are kept
    stop : Event, set by a signal: the query is stopped and the function returns
    beat : called with each stage of a micro-batch, and twice a second while none runs: the job's heartbeat
    committed : called with the new head and the seconds its micro-batch took
    measured : called with the seq of a committed micro-batch and the seconds of each of its stages
    look : called twice a second while no micro-batch runs; raises what went wrong behind the newest
    rest : given the seconds of a committed micro-batch, returns those to wait before the next one

    Raises
    ------
    BraidError
        Whatever the protocol raised in a micro-batch, as it was raised.
    """
    path = checkpoint.fresh(root, driver.writer)
    text = sql.slim(driver.declaration, frames.RECORDS, usual_only=True)
    raised: list[BaseException] = []
    reading, counting = Event(), Counting(driver, stop, beat, committed, measured, rest)

    def thorough(offered: Range) -> Any:
        whole = sql.slim(driver.declaration, frames.RECORDS)
        return frames.rows(frames.static(spark, settings, offered), whole)

    def micro_batch(frame: DataFrame, batch: int) -> None:
        reading.set()
        try:
            counting.take(StreamSource(path, batch, frame, driver.declaration, thorough))
        except BaseException as error:  # never return: Spark would go on
            raised.append(error)
            if not isinstance(error, frames.FAILURES):
                raise
            # in the words of it, Spark looks for its own by a pattern that recurses at every letter: a trace overflows the stack
            raise BraidError(frames.complaint(error)) from None
        finally:
            reading.clear()

    topics = [t.name for t in driver.declaration.topics]
    records = frames.streaming(spark, settings, topics, driver.head.end, max_offsets)
    # the text is read and resolved once, here; a micro-batch only optimises the plan for its own offsets
    slim = frames.query(records, text)
    writer = slim.writeStream.foreachBatch(micro_batch).option("checkpointLocation", str(path))
    query = writer.queryName(driver.declaration.dataset).trigger(processingTime=trigger).start()
    try:
        while not stop.is_set() and not query.awaitTermination(_LOOK_S):  # type: ignore[arg-type] # seconds, fractions too
            counting.behind.look()
            # a micro-batch that hangs must not be kept alive from here
            if not reading.is_set() and not counting.at_it.is_set():
                look()
                beat("streaming")
    except frames.FAILURES as error:
        if not stop.is_set():  # a JVM that got the same signal goes away while we stop
            raise _cause(raised, error, driver.declaration.dataset) from error
    finally:
        if unstopped := frames.end(query):
            say(f"{driver.declaration.dataset}: Spark did not stop in order: {unstopped}")
        counting.behind.close()
    try:
        counting.behind.settle()
    except Exception as error:  # noqa: BLE001 - as the others: what it means depends on whether we stop
        raised.append(error)
    if raised and not (stop.is_set() and isinstance(raised[0], frames.FAILURES)):
        raise _cause(raised, raised[0], driver.declaration.dataset)


def _cause(raised: list[BaseException], error: BaseException, dataset: str) -> BaseException:
    """Return what the protocol raised in a micro-batch, or Spark's own complaint in one line."""
    if raised and not isinstance(raised[0], frames.FAILURES):
        return raised[0]
    return BraidError(f"{dataset}: the stream ended: {frames.complaint(error)}; start it again")


def report(head: LedgerRow, seconds: float) -> None:
    """Write one line about a committed micro-batch to stderr."""
    counts = f"{head.good} good, {head.copies} copies, {head.dead} dead, {head.alerts} alerts"
    say(f"seq {head.seq}: {counts} in {seconds * 1000:.0f} ms")


def say(text: str) -> None:
    """Write a line to stderr at once."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress of a long-running job
