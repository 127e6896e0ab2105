"""Ids of ranges already committed, read again for the seen ids: from the master where archived, from Kafka otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from braid import sql
from braid.adapters import spark as frames
from braid.adapters.master import Cut, Master
from braid.declaration import Declaration
from braid.errors import Gap
from braid.ledger import LedgerRow, Range
from braid.ports import Log
from braid.settings import Settings
from speed_layer.fold import Ints

_AT_ONCE = 500_000  # offsets read by one static frame
_AGAIN = "braid_history_raw"
_RAW = "seq BIGINT, topic STRING, `partition` INT, `offset` BIGINT, append_us BIGINT, raw BINARY"
_IDS = pa.schema({
    "topic": pa.string(), "partition": pa.int32(), "offset": pa.int64(), "id64": pa.int64(), "salted64": pa.int64(),
})  # fmt: skip


class SparkHistory:
    """The port `History`: the master's id columns where archived, static Kafka frames parsed by the stream's SQL after it.

    What another declaration archived is parsed again from its raw bytes: other records may be good, and ids other ones.

    Parameters
    ----------
    session : returns Spark's session, asked only when there is something to read
    declaration : Declaration in force
    log : where the earliest offsets are asked for
    """

    def __init__(
        self, session: Callable[[], SparkSession], settings: Settings, declaration: Declaration, log: Log
    ) -> None:
        self._session = session
        self._settings = settings
        self._declaration = declaration
        self._log = log
        self._master = Master(settings.warehouse_dir, declaration.dataset)

    def ids(self, rows: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
        """Yield each ledger row with the ids of its good records, copies among them.

        Raises
        ------
        Gap
            Neither the master nor Kafka holds the records of a row.
        MasterRefused
            A file of the master is not what its manifest says.
        """
        if not rows:
            return
        left = list(rows)
        for cut in self._cuts(rows[0].seq):
            held = [row for row in left if row.seq <= cut.seq]
            left = left[len(held) :]
            for run in _runs(held):
                yield from self._read_master(cut, run)
        earliest = self._log.earliest([t.name for t in self._declaration.topics]) if left else {}
        for run in _runs(left):
            self._check_held(run[0], earliest)
            yield from self._read_kafka(run)

    def _cuts(self, first: int) -> list[Cut]:
        """Return the archived cuts that hold rows from `first` on, their files checked."""
        cuts = [c for c in self._master.cuts() if c.seq >= first]
        self._master.check_files(cuts)
        return cuts

    def _check_held(self, row: LedgerRow, earliest: dict[tuple[str, int], int]) -> None:
        for partition, start in row.range.start.items():
            if self._may_count(row) and row.end[partition] > start and earliest.get(partition, 0) > start:
                raise Gap(
                    f"{partition[0]} partition {partition[1]}: expected offset {start} of ledger seq {row.seq} for the seen ids, "
                    f"got {earliest[partition]} as the earliest; neither Kafka nor the master holds the records between"
                )

    def _read_master(self, cut: Cut, run: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
        if not any(self._may_count(row) for row in run):
            return ((row, []) for row in run)
        if cut.definition != self._declaration.hash:
            return split(self._read_again(cut, run), run)
        files = [str(path) for topic in self._declaration.topics for path in self._master.files([cut], topic.name)]
        frame = (
            self._session().read.parquet(*files).where(f"reason IS NULL AND seq BETWEEN {run[0].seq} AND {run[-1].seq}")
        )
        table = frame.select("seq", "id64", "salted64").toArrow()
        return _by_row(table, table.column("seq").to_numpy() - run[0].seq, run)

    def _may_count(self, row: LedgerRow) -> bool:
        """Whether a row may hold good records: one that another declaration counted says nothing of that."""
        return bool(row.good if row.definition in {"", self._declaration.hash} else row.range.size - row.absent)

    def _read_again(self, cut: Cut, run: Sequence[LedgerRow]) -> pa.Table:
        """Return where the good records of a run stand, and their ids, out of the raw bytes of a cut."""
        found = []
        for topic in self._declaration.topics:
            files = [str(path) for path in self._master.files([cut], topic.name)]
            if files:
                raw = self._session().read.schema(_RAW).parquet(*files)
                raw.where(f"seq BETWEEN {run[0].seq} AND {run[-1].seq}").createOrReplaceTempView(_AGAIN)
                records = (
                    "(SELECT topic, `partition`, `offset`, timestamp_micros(append_us) AS `timestamp`, raw AS value "  # noqa: S608 - our own text
                    f"FROM {_AGAIN})"
                )
                text = f"SELECT topic, `partition`, `offset`, id64, salted64 FROM ({sql.parsed(topic, records)})"  # noqa: S608
                found.append(self._session().sql(f"{text} WHERE reason IS NULL").toArrow())
        return pa.concat_tables(found) if found else _IDS.empty_table()

    def _read_kafka(self, run: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
        if not any(self._may_count(row) for row in run):
            return ((row, []) for row in run)
        whole = Range(run[0].range.start, run[-1].end)
        text = sql.slim(self._declaration, frames.RECORDS)
        text = f"SELECT topic, partition, offset, id64, salted64 FROM ({text}) WHERE reason IS NULL"  # noqa: S608 - our own text
        return split(frames.rows(frames.static(self._session(), self._settings, whole), text), run)


def split(table: pa.Table, run: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
    """Yield each row of a gapless run with the 16-byte ids of the table's records inside its range.

    Parameters
    ----------
    table : pyarrow.Table of topic, partition, offset, id64, salted64, any order
    run : ledger rows, each starting where the one before it ended
    """
    index = np.full(table.num_rows, -1, dtype=np.int64)
    offsets = table.column("offset").to_numpy()
    topics, partitions = table.column("topic"), table.column("partition").to_numpy()
    for topic, partition in sorted(run[-1].end):
        here = np.asarray(pc.equal(topics, topic)) & (partitions == partition)
        ends = np.array([row.end[topic, partition] for row in run])
        index[here] = np.searchsorted(ends, offsets[here], side="right")
    return _by_row(table, index, run)


def _by_row(table: pa.Table, index: Ints, run: Sequence[LedgerRow]) -> Iterator[tuple[LedgerRow, list[bytes]]]:
    """Yield each row of a run with the ids of the table's records whose index is the row's place in the run."""
    pairs = np.empty((table.num_rows, 2), dtype=">i8")
    pairs[:, 0] = table.column("id64").to_numpy()
    pairs[:, 1] = table.column("salted64").to_numpy()
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(len(run) + 1))
    for row, (low, high) in zip(run, pairwise(bounds.tolist()), strict=True):
        raw = pairs[order[low:high]].tobytes()
        yield row, [raw[i : i + 16] for i in range(0, len(raw), 16)]


def _runs(rows: Sequence[LedgerRow]) -> Iterator[list[LedgerRow]]:
    """Cut rows into gapless runs of at most `_AT_ONCE` offsets; a gap row, whose records are gone, stands alone."""
    run: list[LedgerRow] = []
    size = 0
    for row in rows:
        apart = run and (row.kind == "gap" or run[-1].kind == "gap" or row.seq != run[-1].seq + 1)
        if apart or (run and size + row.range.size > _AT_ONCE):
            yield run
            run, size = [], 0
        run.append(row)
        size += row.range.size
    if run:
        yield run
