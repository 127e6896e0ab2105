"""Incremental runs on a real Spark: a chain of them is one full run, sum by sum, and reads what is new and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from batch_layer import recompute
from batch_layer.run import Report, run, steps
from braid.adapters.files import Manifest
from braid.adapters.ids import Ids
from braid.adapters.master import Cut, Master
from braid.aggregates import Distinct, Latest, Moments, Quantiles
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.errors import AuditFailed
from tests.spark.speed import NOW_US, Speed
from tests.spark.test_batch import LANDCOVER, check_served, ports_of
from tests.spark.test_general_agree import RIDES, Rides

EVERY = parse(LANDCOVER.text.replace("dedupe: by_id", "dedupe: none"))


class Watched(Master):
    """Notes the cuts whose files are asked for, and those whose files are compared with their sums."""

    def __init__(self, root: Path, dataset: str) -> None:
        super().__init__(root, dataset)
        self.read: set[int] = set()
        self.checked: set[int] = set()

    def files(self, cuts: Sequence[Cut], topic: str) -> list[Path]:
        self.read |= {cut.seq for cut in cuts}
        return super().files(cuts, topic)

    def check_files(self, cuts: Sequence[Cut]) -> int:
        self.checked |= {cut.seq for cut in cuts}
        return super().check_files(cuts)


def world(declared: Declaration, seed: int) -> Speed:
    return Rides(declared, seed=seed) if declared is RIDES else Speed(declared, seed=seed)


def more(speed: Speed, count: int) -> int:
    """Send records and count them in some micro-batches; return how many records there were."""
    before = speed.ledger.head()
    speed.send(count)
    speed.count(speed.random.randrange(1, count))
    speed.count(speed.random.randrange(1, count))
    speed.count()
    head = speed.ledger.head()
    return sum(row.range.size - row.absent for row in speed.ledger.rows(before.seq, head.seq))


def folders(speed: Speed, ports: Any) -> Ids:
    return Ids(ports.stores.files.root, speed.declaration.dataset, speed.declaration.hash)


@pytest.mark.parametrize(("declared", "seed"), [(RIDES, 1), (RIDES, 2), (LANDCOVER, 3), (EVERY, 4)])
def test_a_chain_of_incremental_runs_is_one_full_run(
    spark: SparkSession, tmp_path: Path, declared: Declaration, seed: int
) -> None:
    speed = world(declared, seed)
    ports = ports_of(speed, spark, tmp_path)
    all_, copies = more(speed, 400), 0
    first = run(ports)
    assert (first.mode, first.why, first.read) == ("full", "the first generation", all_)
    for count in (250, 30, 90):
        before = speed.ledger.head().totals["copies"]
        new = more(speed, count)
        all_, copies = all_ + new, copies + speed.ledger.head().totals["copies"] - before
        report = run(ports)
        assert (report.mode, report.why, report.read, report.records) == (
            "incremental", f"onto generation {report.gen - 1}", new, all_,
        )  # fmt: skip
        assert report.audited.unaudited == () and report.audited.checked > 0
        check_served(speed, ports)
    assert copies > 5 or declared is EVERY
    chain = ports.stores.files.manifest(report.gen)
    again = run(ports, full=True)
    assert (again.mode, again.why, again.gen, again.read) == ("full", "asked for", report.gen + 1, all_)
    whole = ports.stores.files.manifest(again.gen)
    check_served(speed, ports)
    # parts of equal sums are not written again, so even the places of all files are the same
    assert whole.views == chain.views
    assert again.rows == report.rows == {v.name: len(speed.truth[report.cut_seq][v.name]) for v in declared.views}
    kinds = {type(m) for view in speed.truth[report.cut_seq].values() for s in view.values() for m in s.measures}
    assert kinds == ({Moments, Quantiles, Distinct, Latest} if declared is RIDES else {Moments})


def test_what_is_read_is_what_is_new(spark: SparkSession, tmp_path: Path) -> None:
    """Counted, not timed: the records of the new cut, and once more the ids of the cut before."""
    speed = Speed(LANDCOVER, seed=5)
    seqs = []
    for count in (300, 60, 50, 40, 30):
        more(speed, count)
        master = Watched(tmp_path, LANDCOVER.dataset)
        run(replace(ports_of(speed, spark, tmp_path), master=master))
        seqs.append(speed.ledger.head().seq)
        assert master.read == master.checked == set(seqs[-2:])


@pytest.mark.parametrize("broadcast", [True, False])
def test_new_records_that_are_copies_all_change_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broadcast: bool
) -> None:
    if not broadcast:
        monkeypatch.setattr(recompute, "_BROADCAST", 0)
    speed = Speed(LANDCOVER, seed=6)
    ports = ports_of(speed, spark, tmp_path)
    more(speed, 200)
    run(ports)
    before = ports.stores.files.manifest(1)
    good = speed.sent[:100]
    for number, value in enumerate(good):
        speed.log.send(speed.topic.name, number % 2, value, NOW_US)
    assert speed.count().copies == 100
    report = run(ports)
    assert (report.mode, report.read, report.gen) == ("incremental", 100, 2)
    assert ports.stores.files.manifest(2).views == before.views
    check_served(speed, ports)


def test_without_the_look_up_a_copy_counts_twice_and_the_audit_says_so(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = Speed(LANDCOVER, seed=7)
    ports = ports_of(speed, spark, tmp_path)
    more(speed, 200)
    run(ports)
    speed.log.send(speed.topic.name, 0, speed.sent[3], NOW_US)
    speed.send(20)
    speed.count()

    def blind(_: Ids, paths: Iterable[Path]) -> Mapping[str, Sequence[int]]:
        return {"id64": [], "salted64": []}

    with monkeypatch.context() as patch:
        patch.setattr(Ids, "copies", blind)
        with pytest.raises(AuditFailed, match="n: batch"):
            run(ports)
    assert check_served(speed, ports).gen == 1
    assert run(ports).mode == "incremental"
    check_served(speed, ports)


@pytest.mark.parametrize("what", ["gone", "damaged", "none"])
def test_the_ids_are_a_cache(spark: SparkSession, tmp_path: Path, what: str) -> None:
    speed = Speed(LANDCOVER, seed=8)
    ports = ports_of(speed, spark, tmp_path)
    for count in (300, 40, 20):
        more(speed, count)
        run(ports)
    ids = folders(speed, ports)
    (folder,) = [path for path in ids.path.iterdir() if path.name.startswith("run=0-")]
    if what == "damaged":
        held = bytearray((folder / "salted64").read_bytes())
        held[11] ^= 16
        (folder / "salted64").write_bytes(bytes(held))
    else:
        shutil.rmtree(folder if what == "gone" else ids.path)
    more(speed, 60)
    assert run(ports).mode == "incremental"
    check_served(speed, ports)


def test_ids_that_differ_from_the_ledgers_make_a_full_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = Speed(LANDCOVER, seed=9)
    ports = ports_of(speed, spark, tmp_path)
    more(speed, 100)
    run(ports)
    more(speed, 30)
    real = Ids.bring_up

    def other(self: Ids, cuts: Any, files: Any, expected: tuple[int, int]) -> bool:
        return real(self, cuts, files, (expected[0], expected[1] ^ 1))

    with monkeypatch.context() as patch:
        patch.setattr(Ids, "bring_up", other)
        report = run(ports)
    assert (report.mode, report.gen) == ("full", 2) and "are not those that the ledger counted" in report.why
    check_served(speed, ports)


def test_after_a_rollback_the_older_generation_is_added_to(spark: SparkSession, tmp_path: Path) -> None:
    speed = Speed(LANDCOVER, seed=10)
    ports = ports_of(speed, spark, tmp_path)
    for count in (200, 50, 50):
        more(speed, count)
        run(ports)
    speed.ledger.publish(ports.stores.files.published(1), 3)
    more(speed, 30)
    report = run(ports)
    assert (report.mode, report.why, report.gen) == ("incremental", "onto generation 1", 4)
    check_served(speed, ports)
    more(speed, 30)
    assert run(ports).why == "onto generation 4"
    check_served(speed, ports)


def test_a_run_that_was_killed_is_made_up_for_by_the_next(spark: SparkSession, tmp_path: Path) -> None:
    speed = Speed(LANDCOVER, seed=11)
    ports = ports_of(speed, spark, tmp_path)
    more(speed, 150)
    run(ports)
    for stop in ("after_rename", "views", "audited", "written", "partition_added", "published", "served"):
        more(speed, 30)
        for step in steps(ports, report := Report()):
            if step == stop:
                break
        assert report.mode == ("" if stop == "after_rename" else "incremental")
        check_served(speed, ports)
    more(speed, 30)
    assert run(ports).mode == "incremental"
    check_served(speed, ports)


def test_what_cannot_be_added_to_is_made_anew(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = Speed(LANDCOVER, seed=12)
    ports = ports_of(speed, spark, tmp_path)
    files = ports.stores.files
    more(speed, 100)
    run(ports)

    def spoilt(why: str, **changed: Any) -> None:
        more(speed, 20)
        real = type(files).manifest
        with monkeypatch.context() as patch:
            patch.setattr(type(files), "manifest", lambda self, gen: replace(real(self, gen), **changed))
            report = Report()
            for step in steps(ports, report):
                if step == "views":
                    break
        assert (report.mode, report.why) == ("full", why)

    held: Manifest = files.manifest(1)
    spoilt("the served generation was computed from other folders of the master", master=("cut=2",))
    spoilt("the served generation was computed from other folders of the master", master=())
    views = {name: replace(view, parts=dict(list(view.parts.items())[1:])) for name, view in held.views.items()}
    spoilt("the manifest of the served generation is not what was published", views=views)
    spoilt(
        "the views have other columns",
        views={name: replace(view, columns=view.columns[1:]) for name, view in held.views.items()},
    )
    assert run(ports).mode == "incremental"
    check_served(speed, ports)
    assert run(ports, force=True).why == "onto generation 2"
    assert ports.stores.files.manifest(3).views == ports.stores.files.manifest(2).views
    check_served(speed, ports)
