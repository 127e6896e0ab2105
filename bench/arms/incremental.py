"""Batch runs after a history: the real ones, from the ledger's head to a served generation, in a process of its own.

    python -m bench.arms.incremental '{"root": …, "dataset": …, "declaration": …, "history": 5000000, "out": …}'

Spark, the master, the ids and the views are the real ones; ledger, catalogue and fragments are the twins in memory, which
cost nothing, so that what is timed is the batch layer. Each cut is one ledger row of bulk with the counts of its records as numpy
finds them in the files: the audit holds every run to them. The first run reads the history; then, for each
line of stdin, that many more records are archived and a run adds them. After a 0 what is served goes to `out`, to be compared outside.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from batch_layer.publish import Stores
from batch_layer.run import Ports, Report, run
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
    """Say of each run its seconds, by step too, mode, records read and held: the first, then one for each line of stdin."""
    declaration, root = parse(spec["declaration"], spec["dataset"]), Path(spec["root"])
    sessions = Sessions(environment.load())
    spark = sessions.get()
    ports = _ports(spark, declaration, root)
    held = 0
    for count in chain([int(spec["history"])], map(int, sys.stdin)):
        if not count:
            break
        _archive(ports, declaration, spark, root, held, count)
        held += count
        _say(_timed(ports) | {"records": held})
    window = next(view for view in declaration.views if view.window_us)
    served = ports.stores.files.view(ports.stores.ledger.current(), window)
    states = {
        f"{start}|{key[0]}": [state.n, state.fp, *astuple(state.measures[0])] for (start, key), state in served.items()
    }
    Path(spec["out"]).write_text(json.dumps(states), "utf-8")
    _say({"out": spec["out"]})
    sessions.close()


def _timed(ports: Ports) -> dict[str, Any]:
    steps: dict[str, float] = {}
    began = before = time.monotonic()

    def said(step: str, _: Report) -> None:
        nonlocal before
        now = time.monotonic()
        steps[step] = steps.get(step, 0.0) + now - before
        before = now

    report = run(ports, said=said)
    return {"seconds": time.monotonic() - began, "mode": report.mode, "read": report.read, "steps": steps}


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


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
    """Write one more cut, and the ledger row that it holds."""
    cut = master.made(spark, root, declaration, first, count, per=count)
    head = ports.stores.ledger.head()
    ports.stores.ledger.append(ledger.with_totals(head, _row(ports.master, declaration, cut, head)))


def _row(made: Master, declaration: Declaration, cut: Cut, head: LedgerRow) -> LedgerRow:
    """Return the ledger row of a cut: no record of it is a copy of one before it."""
    names = ["id64", "salted64"]
    paths = [str(path) for path in made.files([cut], declaration.topics[0].name)]
    columns = pq.read_table(paths, columns=names, partitioning=None)
    good = columns.filter(columns.column("id64").is_valid())
    ids = np.unique(np.stack([good.column(name).to_numpy().view(np.uint64) for name in names], axis=1), axis=0)
    return LedgerRow(
        cut.seq, "bulk", 0, "bench", Range(dict(cut.start), dict(cut.end)), good=len(ids), copies=good.num_rows - len(ids),
        dead=cut.records - good.num_rows, fp=int(ids[:, 0].sum(dtype=np.uint64)), definition=declaration.hash,
        topic_ids=head.topic_ids,
    )  # fmt: skip


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
