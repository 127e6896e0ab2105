"""A batch run on a real Spark and real files: exact, whole at every crash, and never believing what it did not check."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch_layer.publish import Stores
from batch_layer.run import Ports, Report, run, steps
from braid import records, sql
from braid.adapters.files import FileGenerations
from braid.adapters.master import Master
from braid.declaration_reader import load, parse
from braid.errors import AuditFailed, Gap, LostRace, MasterRefused
from braid.generations import Unaudited
from braid.ledger import Current
from speed_layer import accept
from tests.spark.speed import NOW_US, Speed

LANDCOVER = load(Path(__file__).parents[2] / "datasets" / "landcover.yaml")
STEPS = [
    "read", "parquet", "before_manifest", "before_rename", "after_rename", "views", "audited", "written",
    "partition_added", "partition_added", "partition_added", "published", "served", "tidied",
]  # fmt: skip


def ports_of(speed: Speed, spark: SparkSession, root: Path) -> Ports:
    files = FileGenerations(root, speed.declaration)
    stores = Stores(files, speed.catalogue, speed.ledger, speed.clock)
    master = Master(root, speed.declaration.dataset)
    return Ports(speed.log, stores, speed.fragments, master, lambda: spark, lambda wanted: speed.read(spark, wanted))


@pytest.fixture
def speed() -> Speed:
    made = Speed(LANDCOVER)
    made.send(300)
    for some in (1, 40, 20):
        made.count(some)
    return made


@pytest.fixture
def ports(speed: Speed, spark: SparkSession, tmp_path: Path) -> Ports:
    return ports_of(speed, spark, tmp_path / "warehouse")


def check_served(speed: Speed, ports: Ports) -> Current:
    """The served generation is whole and is the truth as of its cut."""
    current = speed.ledger.current()
    for spec in speed.declaration.views:
        assert ports.stores.files.view(current, spec) == speed.truth[current.cut_seq][spec.name]
    assert dict(current.cut) == dict(speed.ledger.rows(current.cut_seq - 1, current.cut_seq)[0].end)
    return current


def test_a_generation_is_the_truth_as_of_its_cut(speed: Speed, ports: Ports) -> None:
    report = run(ports)
    assert (report.gen, report.cut_seq, report.audited.checked, report.audited.unaudited) == (1, 3, 3, ())
    current = check_served(speed, ports)
    assert sum(len(view) for view in speed.truth[3].values()) > 100
    assert json.loads(current.audit)["views"]["landcover_aggregates"]["n"] == speed.ledger.head().totals["good"]
    assert all(speed.catalogue.served(v) == 1 for v in LANDCOVER.views)


def test_every_step_is_told(ports: Ports) -> None:
    assert list(steps(ports, Report())) == STEPS


def test_a_run_with_nothing_new_starts_no_spark(ports: Ports) -> None:
    run(ports)
    idle = replace(ports, spark=lambda: pytest.fail("Spark was started"))
    assert list(steps(idle, Report())) == ["read", "nothing new"]


def test_a_dataset_without_records_publishes_only_when_forced(spark: SparkSession, tmp_path: Path) -> None:
    empty = Speed(LANDCOVER)
    ports = ports_of(empty, spark, tmp_path)
    assert not run(ports).published
    assert run(ports, force=True).gen == 1
    check_served(empty, ports)


def test_more_records_make_the_next_generation(speed: Speed, ports: Ports) -> None:
    run(ports)
    speed.send(200)
    speed.count()
    report = run(ports)
    assert (report.gen, report.cut_seq, report.audited.checked) == (2, 4, 1)
    assert [(c.after, c.seq) for c in ports.master.cuts()] == [(0, 3), (3, 4)]
    check_served(speed, ports)


def test_what_comes_while_a_run_is_at_work_is_left_to_the_next(speed: Speed, ports: Ports) -> None:
    for step in steps(ports, Report()):
        if step == "after_rename":
            speed.send(50)
            speed.count()
    assert check_served(speed, ports).cut_seq == 3
    assert run(ports).cut_seq == 4
    check_served(speed, ports)


def test_runs_killed_after_every_step_leave_a_whole_generation(speed: Speed, ports: Ports) -> None:
    """One after the other, so that each run also meets what the one before it left behind."""
    for crash in range(len(STEPS)):
        speed.send(20)
        speed.count()
        before = speed.ledger.current().gen
        killed = steps(ports, Report())
        done = [next(killed) for _ in range(crash + 1)]
        killed.close()
        current = check_served(speed, ports)
        assert (current.gen > before) == ("published" in done), done
    speed.send(20)
    speed.count()
    run(ports)
    assert check_served(speed, ports).cut_seq == speed.ledger.head().seq
    assert all(speed.catalogue.served(v) == speed.ledger.current().gen for v in LANDCOVER.views)
    assert not list(ports.stores.files.root.rglob(".stage-*"))


@pytest.mark.parametrize("crash", [STEPS.index("published"), STEPS.index("served")])
def test_the_plain_names_in_hive_are_mended_by_a_run_that_has_nothing_to_do(
    speed: Speed, ports: Ports, crash: int
) -> None:
    run(ports)
    speed.send(20)
    speed.count()
    killed = steps(ports, Report())
    for _ in range(crash + 1):
        next(killed)
    late = crash == STEPS.index("published")
    assert {speed.catalogue.served(v) for v in LANDCOVER.views} == {1 if late else 2}
    report = run(ports)
    assert (report.published, report.repaired) == (False, [v.name for v in LANDCOVER.views] if late else [])
    assert {speed.catalogue.served(v) for v in LANDCOVER.views} == {2}


def test_three_generations_are_kept(speed: Speed, ports: Ports) -> None:
    for _ in range(5):
        speed.send(30)
        speed.count()
        run(ports)
    assert speed.catalogue.numbers(LANDCOVER.views[0]) == {3, 4, 5}
    assert ports.stores.files.chain(5, 9) == [5, 4, 3]
    check_served(speed, ports)


def test_a_number_that_a_killed_run_used_is_never_used_again(speed: Speed, ports: Ports) -> None:
    killed = steps(ports, Report())
    while next(killed) != "partition_added":
        pass
    assert run(ports).gen == 2
    assert ports.stores.files.numbers() == speed.catalogue.numbers(LANDCOVER.views[0]) == {2}
    check_served(speed, ports)


def test_two_runs_at_once_let_one_publish(speed: Speed, ports: Ports) -> None:
    first = steps(ports, Report())
    while next(first) != "audited":
        pass
    assert run(ports).gen == 1
    with pytest.raises(LostRace):
        list(first)
    assert check_served(speed, ports).gen == 1


# ---- what is wrong is named --------------------------------------------------------------------------------------


def test_a_wrong_fragment_blocks_the_publication(speed: Speed, ports: Ports) -> None:
    run(ports)
    speed.send(60)
    row = speed.count()
    spec = LANDCOVER.fragment_views[0]
    fragment = speed.fragments.read(spec, [row])[0]
    wrong = replace(fragment.state, measures=(replace(fragment.state.measures[0], sumsq=0),))
    speed.fragments.write(spec, row.bucket, row.attempt, [replace(fragment, state=wrong)])
    with pytest.raises(
        AuditFailed, match=rf"seq 4: {spec.name} \[.*, {fragment.key[0]}\] ndvi sumsq: batch \d+, speed 0, delta"
    ):
        run(ports)
    assert check_served(speed, ports).gen == 1
    speed.fragments.write(spec, row.bucket, row.attempt, [fragment])
    report = run(ports)
    assert (report.gen, report.archived) == (2, 0)


@pytest.mark.parametrize(("plant", "delta"), [("dropped", -1), ("doubled", 1)])
def test_one_row_that_the_batch_drops_or_doubles_blocks_the_publication(
    speed: Speed, ports: Ports, monkeypatch: pytest.MonkeyPatch, plant: str, delta: int
) -> None:
    run(ports)
    speed.send(60)
    speed.count()
    dedupe = sql.dedupe

    def planted(*given: Any) -> str:
        numbered = f"SELECT *, row_number() OVER (PARTITION BY seq ORDER BY `partition`, `offset`) AS nth FROM ({dedupe(*given)})"
        others = f"SELECT * EXCEPT (nth) FROM ({numbered}) WHERE NOT (seq = 4 AND nth = 1)"
        one = f"SELECT * EXCEPT (nth) FROM ({numbered}) WHERE seq = 4 AND nth = 1"
        return others if plant == "dropped" else f"{others} UNION ALL {one} UNION ALL {one}"

    with monkeypatch.context() as patched:
        patched.setattr(sql, "dedupe", planted)
        with pytest.raises(
            AuditFailed,
            match=rf"seq 4: \w+ \[.*, .+\] n: batch \d+, speed \d+, delta {re.escape(f'{delta:+d}')} \(1 of \d+ rows differ\)",
        ):
            run(ports)
    assert check_served(speed, ports).gen == 1
    assert ports.stores.files.publication(2) is None
    assert run(ports).gen == 2
    assert ports.stores.files.publication(2).previous == 1
    check_served(speed, ports)


def test_two_ids_of_one_hash_are_named_by_the_audit(speed: Speed, ports: Ports) -> None:
    """The speed layer tells ids apart by their hash; here it takes a new event for a copy."""
    value = speed.record()
    event = records.parse(speed.topic, value, NOW_US)
    assert isinstance(event, records.Event)
    speed.seen.add((event.id64, event.salted64))
    speed.log.send(speed.topic.name, 0, value, NOW_US)
    speed.count()
    with pytest.raises(AuditFailed, match=r"seq 4: realtime_ndvi_by_class \[.*\] n: batch \d+, speed \d+, delta \+1"):
        run(ports)


def test_expired_fragments_do_not_block(speed: Speed, ports: Ports) -> None:
    speed.fragments.expire(2)
    report = run(ports)
    assert (report.audited.checked, report.audited.unaudited) == (1, (Unaudited(1, 2, "expired"),))
    check_served(speed, ports)


def test_a_gap_is_archived_as_nothing(speed: Speed, ports: Ports) -> None:
    speed.count()
    speed.send(40)
    speed.lose()
    speed.send(40)
    speed.count()
    with pytest.raises(Gap, match="retention deleted records that the speed layer counted"):
        run(ports)


def test_a_gap_after_an_archive_is_passed_over(speed: Speed, ports: Ports) -> None:
    speed.count()
    run(ports)
    speed.send(40)
    speed.lose()
    speed.send(40)
    speed.count()
    report = run(ports)
    assert report.audited.unaudited == (Unaudited(5, 5, "gap"),)
    check_served(speed, ports)


def test_records_that_kafka_no_longer_hands_out_stop_the_archive(
    speed: Speed, spark: SparkSession, ports: Ports
) -> None:
    short = replace(
        ports, read=lambda wanted: speed.read(spark, wanted).where("NOT (`partition` = 0 AND `offset` = 2)")
    )
    with pytest.raises(Gap, match=r"ledger seq 2: expected \d+ records to archive .* from Kafka; nothing was archived"):
        run(short)
    assert ports.master.cuts() == []
    run(ports)
    check_served(speed, ports)


def test_a_topic_created_again_stops_the_archive(speed: Speed, ports: Ports) -> None:
    speed.log.delete(speed.topic.name)
    speed.log.create(speed.topic.name, 2)
    with pytest.raises(Gap, match="the topic was deleted and created again before its records were archived"):
        run(ports)


def test_rows_lost_with_a_topic_that_was_created_again_are_passed_over(speed: Speed, ports: Ports) -> None:
    def created_again() -> None:
        speed.log.delete(speed.topic.name)
        speed.log.create(speed.topic.name, 2)
        with pytest.raises(Gap, match=r"created again before its records were archived; .* braid accept-gap landcover"):
            run(ports, force=True)

    def accepted(archived: int) -> None:
        row = accept.offer(speed.log, speed.ledger, archived, "me", NOW_US)
        assert row is not None
        speed.ledger.append(row)
        speed.truth[row.seq], speed.seen = truth, seen

    run(ports)
    truth, seen = speed.truth[3], set(speed.seen)
    speed.send(50)
    speed.count()
    created_again()
    accepted(3)
    speed.send(40)
    speed.count()
    report = run(ports)
    assert (report.cut_seq, report.audited.unaudited) == (6, (Unaudited(4, 5, "gap"),))
    check_served(speed, ports)
    # and once more, so that a cut begins with the gap row itself
    truth, seen = speed.truth[6], set(speed.seen)
    speed.log.delete(speed.topic.name)
    speed.log.create(speed.topic.name, 3)
    accepted(6)
    speed.send(30)
    speed.count()
    assert run(ports).cut_seq == 8
    check_served(speed, ports)
    assert [cut.seq for cut in ports.master.cuts()] == [3, 6, 8]


def test_a_changed_byte_in_the_master_is_refused(speed: Speed, ports: Ports) -> None:
    run(ports)
    path = ports.master.files(ports.master.cuts(), speed.topic.name)[0]
    held = bytearray(path.read_bytes())
    held[200] ^= 1
    path.write_bytes(bytes(held))
    speed.send(10)
    speed.count()
    with pytest.raises(MasterRefused, match=rf"{path.name}: expected sha256"):
        run(ports)
    assert check_served(speed, ports).gen == 1


@pytest.mark.parametrize("what", ["gen=1.json", "landcover_aggregates/gen=1/part=*/rows.parquet"])
def test_a_damaged_generation_is_made_anew_though_nothing_came(speed: Speed, ports: Ports, what: str) -> None:
    run(ports)
    next(ports.stores.files.path.glob(what)).write_bytes(b"{")
    report = run(ports)
    assert (report.published, report.gen, report.cut_seq, report.archived) == (True, 2, 3, 0)
    check_served(speed, ports)
    assert not run(ports).published


def test_a_master_of_another_ledger_is_refused(speed: Speed, ports: Ports, spark: SparkSession, tmp_path: Path) -> None:
    run(ports)
    other = Speed(LANDCOVER, seed=2)
    other.send(500)
    for _ in range(3):
        other.count(50)
    with pytest.raises(MasterRefused, match=r"cut=3: expected to end at .* like ledger seq 3"):
        run(ports_of(other, spark, ports.master.path.parent.parent))


def test_an_older_ledger_than_the_master_is_refused(speed: Speed, ports: Ports, spark: SparkSession) -> None:
    run(ports)
    other = Speed(LANDCOVER)
    other.send(300)
    other.count(1)
    with pytest.raises(MasterRefused, match="expected a seq up to head, 1, got 3; the ledger is older than the master"):
        run(ports_of(other, spark, ports.master.path.parent.parent))


# ---- the master --------------------------------------------------------------------------------------------------


def test_the_master_holds_every_record_with_its_seq_and_reason(speed: Speed, ports: Ports, spark: SparkSession) -> None:
    run(ports)
    files = [str(p) for p in ports.master.files(ports.master.cuts(), speed.topic.name)]
    found = spark.read.parquet(*files).orderBy("seq", "partition", "offset").collect()
    rows = speed.ledger.rows(0, 3)
    expected = [
        (row.seq, r.partition, r.offset, r.append_us, r.value) for row in rows for r in speed.log.read(row.range)
    ]
    assert [(r.seq, r.partition, r.offset, r.append_us, r.raw and bytes(r.raw)) for r in found] == expected
    assert sum(r.reason is not None for r in found) == sum(row.dead for row in rows) > 0


def test_copies_are_told_by_the_id_and_the_first_in_ledger_order_counts(speed: Speed, ports: Ports) -> None:
    first = speed.record(ndvi_mean="0.25")
    changed = first.replace(b'"ndvi_mean": 0.25', b'"ndvi_mean": 0.75')
    speed.log.send(speed.topic.name, 1, changed, NOW_US)
    speed.count()
    speed.log.send(speed.topic.name, 0, first, NOW_US)
    speed.count()
    report = run(ports)
    assert report.audited.checked == 5
    check_served(speed, ports)


CHANGED = LANDCOVER.text.replace("max: 1, meaning: mean NDVI", "max: 0.5, meaning: mean NDVI").replace(
    "  landcover_aggregates:\n", "  by_image:\n    by: [image_id, class_name]\n    window: 1 hour\n"
    "    measures: {low: {of: ndvi_min, stats: [n, sum, mean]}}\n  landcover_aggregates:\n"
)  # fmt: skip


@pytest.mark.parametrize("dedupe", ["by_id", "none"])
def test_another_definition_reads_the_raw_bytes_again(spark: SparkSession, tmp_path: Path, dedupe: str) -> None:
    old, new = Speed(LANDCOVER), Speed(parse(CHANGED.replace("dedupe: by_id", f"dedupe: {dedupe}")))
    assert old.declaration.hash != new.declaration.hash
    for world in (old, new):  # the same records
        world.send(200)
        world.count(30)
        world.count()
    run(ports_of(old, spark, tmp_path))
    ports = ports_of(new, spark, tmp_path)
    report = run(ports)
    assert report.archived == 0
    check_served(new, ports)
    assert new.truth[2]["landcover_aggregates"] != old.truth[2]["landcover_aggregates"]


def test_declarations_of_two_keys_and_other_scales_fold_alike(spark: SparkSession, tmp_path: Path) -> None:
    speed = Speed(parse(CHANGED), seed=5)
    speed.send(400)
    for some in (10, 100, 500):
        speed.count(some)
    ports = ports_of(speed, spark, tmp_path)
    assert run(ports).audited.checked == 3
    check_served(speed, ports)
