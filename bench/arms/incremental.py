"""Batch runs after a history: the real ones, from the ledger's head to a served generation, in a process of its own.

    python -m bench.arms.incremental '{"root": …, "dataset": …, "declaration": …, "history": 5000000, "new": 250000, "repeats": 4, "out": …}'

Spark, the master, the ids and the views are the real ones; ledger, catalogue and fragments are the twins in memory, which
cost nothing, so that what is timed is the batch layer. The ledger rows are of bulk, and hold the counts of each row's
records as numpy finds them in the files: the audit holds every run to them. The first run reads the history; then, `repeats`
times, more records are archived and a run adds them. What is served at the end goes to `out`, to be compared outside.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from batch_layer.publish import Stores
from batch_layer.run import Ports, run
from batch_layer.spark_batch import Sessions
from bench import master
from braid import ledger
from braid.adapters import environment
from braid.adapters.files import FileGenerations
from braid.adapters.master import Cut, Master
from braid.adapters.memory import FixedClock, MemoryCatalogue, MemoryFragments, MemoryLedger, MemoryLog
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.ledger import Current, LedgerRow, Range


def main(spec: dict[str, Any]) -> None:
    """Say {"full": {…}, "runs": [{…}, …]} on stdout: of each run its seconds, mode, records read and held."""
    declaration, root = parse(spec["declaration"], spec["dataset"]), Path(spec["root"])
    sessions = Sessions(environment.load())
    spark = sessions.get()
    ports = _ports(spark, declaration, root)
    held, told = 0, list[dict[str, Any]]()
    for count in (int(spec["history"]), *[int(spec["new"])] * int(spec["repeats"])):
        _archive(ports, declaration, spark, root, held, count)
        held += count
        began = time.monotonic()
        report = run(ports)
        told.append({"seconds": time.monotonic() - began, "mode": report.mode, "read": report.read, "records": held})
    window = next(view for view in declaration.views if view.window_us)
    served = ports.stores.files.view(ports.stores.ledger.current(), window)
    states = {
        f"{start}|{key[0]}": [state.n, state.fp, *astuple(state.measures[0])] for (start, key), state in served.items()
    }
    Path(spec["out"]).write_text(json.dumps(states), "utf-8")
    sys.stdout.write(json.dumps({"full": told[0], "runs": told[1:]}) + "\n")
    sys.stdout.flush()
    sessions.close()


def _ports(spark: SparkSession, declaration: Declaration, root: Path) -> Ports:
    store, topic = MemoryLedger(), declaration.topics[0].name
    zero = [(topic, partition) for partition in range(master.PARTITIONS)]
    genesis = ledger.genesis({topic: "one"}, zero, declaration.hash, declaration.text, "bench")
    store.create(genesis, Current(0, 0, genesis.end, declaration.hash))
    stores = Stores(FileGenerations(root, declaration), MemoryCatalogue(), store, FixedClock(1))

    def read(wanted: Range) -> Any:
        raise AssertionError(f"everything is archived, and {wanted} was asked for")

    made = Master(root, declaration.dataset)
    return Ports(MemoryLog(), stores, MemoryFragments(), made, lambda: spark, read)


def _archive(ports: Ports, declaration: Declaration, spark: SparkSession, root: Path, first: int, count: int) -> None:
    """Write one more cut, and the ledger rows that it holds."""
    cut = master.made(spark, root, declaration, first, count)
    for row in _rows(ports, declaration, cut, first, count):
        ports.stores.ledger.append(ledger.with_totals(ports.stores.ledger.head(), row))


def _rows(ports: Ports, declaration: Declaration, cut: Cut, first: int, count: int) -> Iterator[LedgerRow]:
    """Yield the ledger rows of a cut. A copy stands beside what it is a copy of, so each row counts by itself."""
    topic = declaration.topics[0].name
    columns = pq.read_table(
        [str(path) for path in ports.master.files([cut], topic)], columns=["seq", "id64", "salted64"], partitioning=None
    )
    good = columns.filter(columns.column("id64").is_valid())
    seqs = good.column("seq").to_numpy()
    pairs = np.stack([good.column(name).to_numpy().view(np.uint64) for name in ("id64", "salted64")], axis=1)
    tally = ports.master.tally([cut])
    for k, seq in enumerate(range(cut.after + 1, cut.seq + 1)):
        ids = np.unique(pairs[seqs == seq], axis=0)
        (records, dead), all_ = tally[seq], int((seqs == seq).sum())
        a = first + k * master.SEQ
        covered = Range(*(master.offsets(topic, n) for n in (a, min(a + master.SEQ, first + count))))
        yield LedgerRow(
            seq, "bulk", 0, "bench", covered, good=len(ids), copies=all_ - len(ids), dead=dead,
            fp=int(ids[:, 0].sum(dtype=np.uint64)), definition=declaration.hash, topic_ids={topic: "one"},
        )  # fmt: skip
        assert records == covered.size  # noqa: S101 - the generator's own arithmetic


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
