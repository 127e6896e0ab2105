"""A changed declaration on a real Spark: everything counted anew from raw bytes, and the ids of it, as the reference has them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyspark.sql import SparkSession

from batch_layer.run import Report, run, steps
from braid import change, generations, records, views
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.generations import Unaudited
from braid.ledger import LedgerRow
from braid.seen import id_bytes
from speed_layer.history import SparkHistory
from tests.spark.speed import NOW_US, Speed
from tests.spark.test_batch import CHANGED, LANDCOVER, check_served, ports_of

NEW = parse(CHANGED)


def read_by(speed: Speed, declaration: Declaration) -> dict[int, list[records.Event | records.DeadLetter]]:
    """Return every record by the ledger row that counted it, as a declaration reads it."""
    rows = speed.ledger.rows(0, speed.ledger.head().seq)
    topic = declaration.topics[0]
    return {row.seq: [records.parse(topic, r.value, r.append_us) for r in speed.log.read(row.range)] for row in rows}


def first_of_each(found: dict[int, list[Any]]) -> list[records.Event]:
    met: dict[tuple[int, int], records.Event] = {}
    for one in (one for seq in sorted(found) for one in found[seq]):
        if isinstance(one, records.Event):
            met.setdefault((one.id64, one.salted64), one)
    return list(met.values())


def changed(speed: Speed) -> LedgerRow:
    """Commit the row by which the new declaration comes into force."""
    row = change.row_of(speed.ledger.head(), NEW, "applier", NOW_US)
    speed.ledger.append(row)
    return row


def test_a_changed_declaration_counts_everything_anew_and_its_ids_too(spark: SparkSession, tmp_path: Path) -> None:
    speed = Speed(LANDCOVER)
    speed.send(300)
    for some in (1, 40, 20):
        speed.count(some)
    root = tmp_path / "warehouse"
    run(ports_of(speed, spark, root))
    first = check_served(speed, ports_of(speed, spark, root))
    speed.count(30)  # counted by the old declaration, and not archived yet
    row = changed(speed)
    speed.declaration = NEW
    ports = ports_of(speed, spark, root)
    report = run(ports)
    assert (report.gen, report.cut_seq, report.mode) == (2, row.seq, "full")
    assert report.why == "another declaration than that of the served generation"
    assert report.audited.unaudited == (Unaudited(4, 5, "definition"),)
    found = read_by(speed, NEW)
    events = first_of_each(found)
    current = speed.ledger.current()
    for spec in NEW.views:
        assert ports.stores.files.view(current, spec) == views.fold(spec, events)
    sums, all_ = generations.counts(row, current), [one for seq in found for one in found[seq]]
    dead = sum(isinstance(one, records.DeadLetter) for one in all_)
    assert (sums["good"], sums["dead"], sums["copies"]) == (len(events), dead, len(all_) - len(events) - dead)
    assert sums["fp"] == sum(e.id64 for e in events) % 2**64
    assert generations.base_of(first) == {} != generations.base_of(current)

    settings: Any = SimpleNamespace(warehouse_dir=root)
    history = SparkHistory(lambda: spark, settings, NEW, speed.log)
    read = {r.seq: sorted(set(ids)) for r, ids in history.ids(speed.ledger.rows(0, row.seq))}
    good = {seq: [e for e in ones if isinstance(e, records.Event)] for seq, ones in found.items()}
    assert read == {seq: sorted({id_bytes(e.id64, e.salted64) for e in ones}) for seq, ones in good.items()}

    speed.seen = {(e.id64, e.salted64) for e in events}
    speed.topic = NEW.topics[0]
    speed.truth[row.seq] = {v.name: views.fold(v, events) for v in NEW.views}
    speed.send(40)
    speed.count()
    report = run(ports)
    assert (report.audited.checked, report.audited.unaudited, report.mode) == (1, (), "incremental")
    assert generations.base_of(check_served(speed, ports)) == generations.base_of(current)


def test_a_run_killed_at_any_step_of_the_change_leaves_the_old_generation_or_the_new(
    spark: SparkSession, tmp_path: Path
) -> None:
    speed = Speed(LANDCOVER, seed=3)
    speed.send(120)
    speed.count(30)
    root = tmp_path / "warehouse"
    run(ports_of(speed, spark, root))
    old = check_served(speed, ports_of(speed, spark, root))
    speed.count()
    row = changed(speed)
    speed.declaration = NEW
    events = first_of_each(read_by(speed, NEW))
    for stop in ("after_rename", "views", "written", "partition_added", "published"):
        ports = ports_of(speed, spark, root)
        for step in steps(ports, Report()):
            if step == stop:
                break
        current = speed.ledger.current()
        if stop != "published":
            assert current == old
            for spec in LANDCOVER.views:
                assert ports.stores.files.view(old, spec) == speed.truth[old.cut_seq][spec.name]
    assert (current.cut_seq, current.definition) == (row.seq, NEW.hash)
    run(ports)
    for spec in NEW.views:
        assert ports.stores.files.view(current, spec) == views.fold(spec, events)
        assert speed.catalogue.served(spec) == current.gen
