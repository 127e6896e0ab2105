"""How long `braid verify` takes: a dataset of any size, written straight into a master, a ledger and a generation, then timed.

    .venv/bin/python -m bench.time_verify --events 10000000        # needs `braid up` (Cassandra, Kafka and HiveServer2), no Spark

The records are those of the declaration, with copies and dead ones among them, in the archive's layout. The ledger rows,
fragments and the generation are what a correct engine would have written: numpy counts them from the same numbers, and so
is a third party to the comparison. The dataset is called `bench`, and is removed in the end (its topic, which is empty, stays).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_layer.audit import Own
from batch_layer.publish import Built, Stores, steps
from batch_layer.recompute import Recomputed
from bench.events import CLASSES, START_US, decimal, iso
from bench.events import declaration as declared
from bench.lab import checkout
from braid import hiveql
from braid import ledger as chain
from braid.adapters import cassandra, durable, hive
from braid.adapters.clock import SystemClock
from braid.adapters.environment import load
from braid.adapters.files import FileGenerations
from braid.adapters.hive import HiveCatalogue
from braid.adapters.kafka import KafkaLog
from braid.adapters.master import MANIFEST, TALLY, Cut, Master, tally_text, topic_folder
from braid.aggregates import Moments, State
from braid.declaration import Declaration, ViewSpec
from braid.declaration_reader import parse
from braid.generations import Audited
from braid.ledger import Current, LedgerRow, Range
from braid.settings import Settings
from braid.views import coarsen
from verify import xxh64

NAME = "bench"
PARTITIONS, FILE, SEQ = 3, 250_000, 50_000  # events of a file, and of a ledger row
MINUTE_US = 60_000_000


@dataclass
class Made:
    """What was counted while the records were made, by seq: fold inputs of good first records."""

    seqs: list[np.ndarray]
    windows: list[np.ndarray]
    classes: list[np.ndarray]
    values: list[np.ndarray]
    hashes: list[np.ndarray]


def main() -> int:
    """Make the dataset, run `braid verify` over it, say how long that took, and remove it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="how many records (default 1,000,000)")
    events = parser.parse_args().events
    settings = load()
    with tempfile.TemporaryDirectory() as folder:
        root = checkout(Path(folder) / "root")
        text = declared(settings.root, NAME)
        (root / "datasets" / f"{NAME}.yaml").write_text(text, encoding="utf-8")
        return _timed(settings, root, parse(text, NAME), events)


def _timed(settings: Settings, root: Path, declaration: Declaration, events: int) -> int:
    with (
        cassandra.connect(settings) as store,
        hive.connect(settings) as connection,
        KafkaLog(settings.kafka_bootstrap) as log,
    ):
        store.apply_schema(declaration)
        try:
            started = time.monotonic()
            _make(settings, store, connection, log, declaration, events)
            size = sum(p.stat().st_size for p in Master(settings.warehouse_dir, NAME).path.rglob("*.parquet"))
            _say(f"made {events:,} records, {size / 1e6:,.0f} MB of Parquet, in {time.monotonic() - started:.0f} s")
            started = time.monotonic()
            environ = {"BRAID_HOME": str(settings.home), "BRAID_ROOT": str(root), "PATH": "/usr/bin:/bin"}
            done = subprocess.run(
                [sys.executable, "-m", "cli.main", "verify", NAME],
                env=environ | {"PYTHONPATH": str(root / "src")},
                check=False,
            )
            _say(
                f"braid verify {NAME}: exit {done.returncode}, {time.monotonic() - started:.1f} s for {events:,} records"
            )
        finally:
            connection.rows(f"DROP DATABASE IF EXISTS {hiveql.name(NAME)} CASCADE", "dropping")
            store._session.define(f"DROP KEYSPACE IF EXISTS {NAME}")
            for part in ("master", "views"):
                shutil.rmtree(settings.warehouse_dir / part / NAME, ignore_errors=True)
        return done.returncode


def _make(
    settings: Settings,
    store: cassandra.Cassandra,
    connection: hive.Hive,
    log: KafkaLog,
    declaration: Declaration,
    events: int,
) -> None:
    topic, kept = declaration.topics[0], store.stores(declaration)
    log.create(topic.name, PARTITIONS)
    ids = log.topic_ids([topic.name])
    places = [(topic.name, p) for p in range(PARTITIONS)]
    genesis = chain.genesis(ids, places, declaration.hash, declaration.text, "bench")
    kept.ledger.create(genesis, Current(0, 0, genesis.end, declaration.hash, "{}", 0))
    master = Master(settings.warehouse_dir, NAME)
    master.path.mkdir(parents=True, exist_ok=True)
    seqs = -(-events // SEQ)
    stage = durable.stage(master.path, f"cut={seqs}")
    (stage / topic_folder(topic.name)).mkdir()
    made, tally, rows = Made([], [], [], [], []), {}, [genesis]
    ends = dict.fromkeys(places, 0)
    for number, first in enumerate(range(0, events, FILE)):
        count = min(FILE, events - first)
        _file(stage / topic_folder(topic.name) / f"records-{number:05}.parquet", topic.name, number, first, count, made)
        for at in range(first, first + count, SEQ):
            end = ends | {
                (topic.name, number % PARTITIONS): ends[topic.name, number % PARTITIONS] + min(SEQ, first + count - at)
            }
            rows.append(_row(rows[-1], Range(ends, end), made, number, at - first, declaration))
            tally[rows[-1].seq] = (rows[-1].range.size, rows[-1].dead)
            ends = end
        _say(f"made {first + count:,} of {events:,}")
    (stage / TALLY).write_text(tally_text(tally), encoding="utf-8")
    cut = Cut(NAME, 0, rows[-1].seq, genesis.end, rows[-1].end, declaration.hash, events, "", durable.sums(stage))
    (stage / MANIFEST).write_text(cut.text(), encoding="utf-8")
    durable.rename_new(stage, master.path / cut.folder)
    for row in rows[1:]:
        kept.ledger.append(row)
    fine = declaration.view("realtime_ndvi_by_class")
    view = _fold(made)
    states = {fine.name: view, "landcover_aggregates": coarsen(view, fine, declaration.view("landcover_aggregates"))}
    states["spectral_by_class"] = _spectral(states["landcover_aggregates"], declaration.view("spectral_by_class"))
    stores = Stores(
        FileGenerations(settings.warehouse_dir, declaration),
        HiveCatalogue(connection, declaration),
        kept.ledger,
        SystemClock(),
    )
    for _ in steps(
        stores,
        declaration,
        Built(rows[-1], (cut.folder,), Recomputed(states, Own(), events), Audited()),
        kept.ledger.current(),
    ):
        pass


def _file(path: Path, topic: str, number: int, first: int, count: int, made: Made) -> None:
    """Write one file: per thousand records one copy of an earlier one, and one dead."""
    rng = np.random.default_rng(number)
    at = np.arange(first, first + count)
    classes, minutes = rng.integers(0, len(CLASSES), count), at // 2_000
    values = rng.integers(-1_000_000, 1_000_001, count)
    copies, dead = at % 1_000 == 999, at % 1_000 == 500
    source = np.where(copies, at - 1, at)
    raws = [
        f'{{"image_id": "P-{i:09d}", "class_name": "{CLASSES[c]}", "timestamp": "{iso(m)}", "ndvi_mean": {decimal(v)}, "ndvi_std": 0.125, '
        f'"ndvi_min": {decimal(v)}, "ndvi_max": 1, "green_mean": 12.5, "red_mean": 1.25, "nir1_mean": null, "nir2_mean": 99}}'
        for i, c, m, v in zip(
            source.tolist(), classes.tolist(), (source // 2_000).tolist(), values.tolist(), strict=True
        )
    ]
    raws = [raw[:-1] if broken else raw for raw, broken in zip(raws, dead.tolist(), strict=True)]
    offsets = np.arange(count) + (number // PARTITIONS) * FILE
    append_us = np.full(count, START_US + 10**15 // 2)
    columns = [
        [topic] * count,
        np.full(count, number % PARTITIONS, np.int32),
        offsets,
        append_us,
        [raw.encode() for raw in raws],
    ]
    schema = pa.schema(
        [
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("append_us", pa.int64()),
            ("raw", pa.binary()),
        ]
    )
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd")
    good = ~copies & ~dead
    ids = pa.array([f"P-{i:09d}" for i in at[good].tolist()])
    made.seqs.append(np.flatnonzero(good) // SEQ)
    made.windows.append((START_US + minutes[good] * MINUTE_US) // (10 * MINUTE_US) * (10 * MINUTE_US))
    made.classes.append(classes[good])
    made.values.append(values[good])
    made.hashes.append(xxh64.chain(topic, [ids, START_US + minutes[good] * MINUTE_US], int(good.sum())))


def _row(before: LedgerRow, offered: Range, made: Made, number: int, first: int, declaration: Declaration) -> LedgerRow:
    here = made.seqs[number] == first // SEQ
    size, good, fp = offered.size, int(here.sum()), _fp(made.hashes[number][here])
    at = np.arange(first, first + size)
    copies = int((at % 1_000 == 999).sum())
    views = {view.name: good for view in declaration.fragment_views}
    row = LedgerRow(
        before.seq + 1, "micro", chain.attempt_of(offered, declaration.hash), "bench", offered, good=good, copies=copies,
        dead=size - good - copies, fp=fp, view_n=views, view_fp=dict.fromkeys(views, fp), definition=declaration.hash,
        topic_ids=before.topic_ids, committed_at_us=SystemClock().now_us(),
    )  # fmt: skip
    return chain.with_totals(before, row)


def _fold(made: Made) -> dict[tuple[int, tuple[str, ...]], State]:
    windows, classes, values, hashes = (
        np.concatenate(c) for c in (made.windows, made.classes, made.values, made.hashes)
    )
    found: dict[tuple[int, tuple[str, ...]], State] = {}
    keys, index = np.unique(windows * len(CLASSES) + classes, return_inverse=True)
    order = np.argsort(index, kind="stable")
    for key, chosen in zip(keys.tolist(), np.split(order, np.cumsum(np.bincount(index))[:-1]), strict=True):
        x = values[chosen]
        moments = Moments(len(x), int(x.sum()), int((x * x).sum()), int(x.min()), int(x.max()))
        found[key // len(CLASSES), (CLASSES[key % len(CLASSES)],)] = State(len(x), _fp(hashes[chosen]), (moments,))
    return found


def _spectral(
    states: dict[tuple[int, tuple[str, ...]], State], spec: ViewSpec
) -> dict[tuple[int, tuple[str, ...]], State]:
    """Return the view of the bands, whose values are all alike: 12.5, 1.25, none and 99."""
    constants = {"green_mean": 12_500_000, "red_mean": 1_250_000, "nir1_mean": None, "nir2_mean": 99_000_000}

    def of(state: State, x: int | None) -> Moments:
        return Moments() if x is None else Moments(state.n, state.n * x, state.n * x * x, x, x)

    return {
        place: State(s.n, s.fp, tuple(of(s, constants[m.of]) for m in spec.measures)) for place, s in states.items()
    }


def _fp(hashes: np.ndarray) -> int:
    low, high = int((hashes & np.uint64(0xFFFFFFFF)).sum()), int((hashes >> np.uint64(32)).sum())
    return (low + (high << 32)) % 2**64


def _say(text: str) -> None:
    print(json.dumps(text)[1:-1] if "\n" in text else text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
