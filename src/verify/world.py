"""What a check reads: the ledger, the raw records (master up to its end, Kafka after it), and what Braid made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from braid import gaps
from braid.adapters import cassandra, hive
from braid.adapters.cassandra import Stores
from braid.adapters.files import FileGenerations
from braid.adapters.hive import HiveCatalogue, HiveGenerations
from braid.adapters.kafka import KafkaLog, Seen, between
from braid.adapters.master import Cut, Master
from braid.declaration import Declaration
from braid.declaration_reader import load_all, parse
from braid.errors import Gap, LedgerError, ReceiptRefused, UnknownDataset
from braid.ledger import LedgerRow, Offsets
from braid.settings import Settings
from verify.positions import Span
from verify.second_path import SCHEMA, SecondPath

Say = Callable[[str], None]
AT_ONCE = 100_000  # Kafka records handed over together
FILES_AT_ONCE = 2  # of the master; a file is mostly one row group, which one thread reads


@dataclass(frozen=True, slots=True)
class World:
    """One dataset in its stores, with the declaration as its file has it."""

    settings: Settings
    declaration: Declaration
    stores: Stores
    hive: HiveGenerations
    catalogue: HiveCatalogue
    files: FileGenerations
    master: Master

    def declared(self, definition: str, rows: Sequence[LedgerRow]) -> Declaration:
        """Return the declaration of a hash, out of its file or the ledger. Raises ReceiptRefused when neither has it."""
        if self.declaration.hash == definition:
            return self.declaration
        for row in rows:
            if row.text and row.kind != "gap" and row.definition == definition:
                return parse(row.text, where=f"ledger seq {row.seq}")
        raise ReceiptRefused(
            f"{self.declaration.dataset}: expected the text of definition {definition[:12]} in the ledger, got none; "
            "it is of another dataset of this name, or the ledger is not the one that was answered from"
        )


@contextmanager
def opened(settings: Settings, dataset: str) -> Iterator[World]:
    """Open the stores of a dataset.

    Raises
    ------
    UnknownDataset
        No declaration of that name.
    StoreUnavailable
        Cassandra does not answer.
    LedgerError
        The dataset was never created.
    """
    known = load_all(settings.root / "datasets")
    if dataset not in known:
        raise UnknownDataset(f"dataset: expected one of {', '.join(known)}, got {dataset!r}")
    declaration = known[dataset]
    with cassandra.connect(settings) as store, hive.connect(settings) as connection:
        if not store.knows(dataset):
            raise LedgerError(f"{dataset}: expected a ledger in Cassandra, got none; create the dataset: braid up")
        yield World(
            settings,
            declaration,
            store.stores(declaration),
            HiveGenerations(connection, declaration),
            HiveCatalogue(connection, declaration),
            FileGenerations(settings.warehouse_dir, declaration),
            Master(settings.warehouse_dir, dataset),
        )


@dataclass(frozen=True, slots=True)
class Read:
    """What a recount was made from: records of the master and of Kafka, and bytes of the master's files."""

    master: int
    kafka: int
    bytes: int

    @property
    def text(self) -> str:
        """Say it."""
        found = [f"{self.master:,} from the master"] * bool(self.master) + [f"{self.kafka:,} from Kafka"] * bool(
            self.kafka
        )
        return f"{self.master + self.kafka:,} records ({', '.join(found) or 'none'})"


@contextmanager
def recounted(
    world: World, declaration: Declaration, rows: Sequence[LedgerRow], say: Say
) -> Iterator[tuple[SecondPath, Read]]:
    """Yield the second path over every record that some ledger rows cover, ready to be asked.

    Parameters
    ----------
    rows : from genesis on, none missing
    say : is told how far it is

    Raises
    ------
    MasterRefused
        A file of the master is not the one that was archived.
    Gap
        Neither the master nor Kafka holds records that the ledger counted.
    """
    cuts = [cut for cut in world.master.cuts() if cut.after < rows[-1].seq]
    checked = world.master.check_files(cuts)
    lost = gaps.lost(rows)
    counted = (row for row in rows if row.kind != "gap" and row.seq not in lost)
    spans = [Span(row.seq, *part, row.topic_ids.get(part[0], "")) for row in counted for part in row.range.partitions()]
    folder = world.settings.home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="verify-", dir=folder) as scratch,
        SecondPath(declaration, spans, Path(scratch)) as path,
    ):
        _from_master(world, path, rows, cuts, say)
        archived = path.records
        _from_kafka(world, path, rows, cuts, say)
        path.finish()
        yield path, Read(archived, path.records - archived, checked)


def _from_master(world: World, path: SecondPath, rows: Sequence[LedgerRow], cuts: Sequence[Cut], say: Say) -> None:
    ids = {row.seq: row.topic_ids for row in rows}
    total = sum(cut.records for cut in cuts)
    for cut in cuts:
        topic_ids = ids.get(cut.seq, rows[-1].topic_ids)
        for topic in sorted({name.split("/")[0].removeprefix("topic=") for name in cut.files if "/" in name}):
            files = world.master.files([cut], topic)
            for at in range(0, len(files), FILES_AT_ONCE):
                path.add_files(topic, files[at : at + FILES_AT_ONCE], topic_ids.get(topic, ""))
                say(f"read {path.records:,} of {total:,} records of the master")


def _from_kafka(world: World, path: SecondPath, rows: Sequence[LedgerRow], cuts: Sequence[Cut], say: Say) -> None:
    after = cuts[-1].seq if cuts else 0
    fresh = [row for row in rows if row.seq > after and not row.range.empty]
    lost = gaps.lost(rows)
    runs = [list(run) for gone, run in groupby(fresh, key=lambda r: r.kind == "gap" or r.seq in lost) if not gone]
    if not runs:
        return
    _same_topics(world, rows[-1])
    held: dict[str, list[Seen]] = {}
    for run in runs:
        for topic, records in between(world.settings.kafka_bootstrap, run[0].range.start, run[-1].end):
            held.setdefault(topic, []).extend(records)
            if len(held[topic]) >= AT_ONCE:
                path.add_records(topic, _table(topic, held.pop(topic)), rows[-1].topic_ids.get(topic, ""))
                say(f"read {path.records:,} records")
    for topic, records in held.items():
        path.add_records(topic, _table(topic, records), rows[-1].topic_ids.get(topic, ""))


def _same_topics(world: World, row: LedgerRow) -> None:
    with KafkaLog(world.settings.kafka_bootstrap) as log:
        ids = log.topic_ids(sorted(row.topic_ids))
    if ids != dict(row.topic_ids):
        raise Gap(
            f"topic ids: expected {dict(row.topic_ids)} as in ledger seq {row.seq}, got {ids}; "
            "the topic was deleted and created again: its offsets name other records"
        )


def _table(topic: str, records: Sequence[Seen]) -> pa.Table:
    partitions, offsets, times, _, values = zip(*records, strict=True) if records else ((),) * 5
    return pa.table([[topic] * len(records), partitions, offsets, times, values], schema=SCHEMA)


def ends(offsets: Offsets) -> str:
    """Return offsets as a person reads them."""
    return ", ".join(f"{topic}:{partition} < {end:,}" for (topic, partition), end in sorted(offsets.items()))
