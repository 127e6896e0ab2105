"""History taken in on a real Spark: counted as the reference counts it, archived, published, and its ids read back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch_layer.bulk import SparkTaking
from batch_layer.run import run
from braid import bulk, records, views
from braid.declaration_reader import parse
from braid.generations import Unaudited
from braid.ledger import Range
from braid.seen import id_bytes
from speed_layer.history import SparkHistory
from tests.spark.speed import NOW_US, Speed
from tests.spark.test_apply import first_of_each, read_by
from tests.spark.test_batch import LANDCOVER, check_served, ports_of

EVERY = parse(LANDCOVER.text.replace("dedupe: by_id", "dedupe: none"))


@pytest.mark.parametrize("kept", [True, False], ids=["archived", "archived again"])
@pytest.mark.parametrize("declared", [LANDCOVER, EVERY], ids=["by_id", "none"])
def test_history_is_counted_archived_and_published(
    spark: SparkSession, tmp_path: Path, declared: Any, kept: bool
) -> None:
    if declared is EVERY and not kept:
        return
    assert declared.dedupe == ("by_id" if declared is LANDCOVER else "none")
    speed, root = Speed(declared), tmp_path / "warehouse"
    speed.send(200)
    speed.count(40)
    run(ports_of(speed, spark, root))
    speed.count(30)  # not archived yet
    before = speed.ledger.head()
    ports = ports_of(speed, spark, root)
    taking = SparkTaking(ports, declared)
    list(taking.archived(before))
    assert ports.master.cuts()[-1].seq == before.seq
    offered = Range(dict(before.end), speed.log.latest(speed.names))
    found = taking.counted(before, offered)
    row = bulk.row_of(before, offered, found, "load-1:me", NOW_US)
    letters = list(taking.dead())
    speed.ledger.append(row)
    if kept:
        taking.keep(row)
        assert ports.master.cuts()[-1].seq == row.seq
    taking.drop()
    assert not list(ports.master.path.glob(".stage-*"))

    every = read_by(speed, declared)
    events = first_of_each(every) if declared is LANDCOVER else [
        e for seq in sorted(every) for e in every[seq] if isinstance(e, records.Event)
    ]  # fmt: skip
    dead = [one for one in every[row.seq] if isinstance(one, records.DeadLetter)]
    assert (row.good, row.dead) == (len(events) - before.totals["good"], len(dead)) and row.copies + row.absent
    assert row.totals["fp"] == sum(e.id64 for e in events) % 2**64
    assert sorted(d.reason for d in letters) == sorted(d.reason for d in dead)

    speed.truth[row.seq] = {v.name: views.fold(v, events) for v in declared.views}
    report = run(ports)
    assert (report.gen, report.cut_seq, report.audited.checked) == (2, row.seq, 1)
    assert report.audited.unaudited == (Unaudited(row.seq, row.seq, "bulk"),)
    check_served(speed, ports)
    settings: Any = SimpleNamespace(warehouse_dir=root)
    (read,) = [
        ids
        for r, ids in SparkHistory(lambda: spark, settings, declared, speed.log).ids(speed.ledger.rows(0, row.seq))
        if r == row
    ]
    good = [e for e in every[row.seq] if isinstance(e, records.Event)]
    assert sorted(read) == sorted(id_bytes(e.id64, e.salted64) for e in good)

    speed.seen = {(e.id64, e.salted64) for e in events}
    speed.send(20)
    speed.count()
    assert run(ports).audited.unaudited == ()
    check_served(speed, ports)
