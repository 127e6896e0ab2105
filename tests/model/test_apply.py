"""`braid apply`, step by step, on the twins: crashed after every step and run again, raced by a zombie, given up, repeated."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from batch_layer import apply, rollback
from batch_layer.audit import Counts
from braid import change, definitions, generations, ledger, status
from braid.adapters import memory
from braid.declaration_reader import parse
from braid.definitions import earlier, in_force
from braid.errors import AuditFailed, BeingApplied, ChangeRefused, LostRace, RollbackRefused
from braid.ledger import Range
from serving.follower import Follower
from speed_layer import microbatch
from tests.model.change import NEW, OLD, World, definition_rows, loaded, until

STEPS = (
    "stopped", "defined", "read", "views", "audited", "written", "partition_added", "partition_added", "partition_added",
    "published", "served", "tidied", "built", "tables", "dropped", "started",
)  # fmt: skip


@pytest.fixture(autouse=True)
def parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a text of the ledger anew takes as long as all else together."""
    monkeypatch.setattr(definitions, "parse", cache(definitions.parse))


def finish(world: World) -> None:
    """Let the new declaration count what came meanwhile, publish once more, and hold everything against the oracle."""
    driver = world.driver()
    assert driver.declaration.hash == NEW.hash
    world.count(driver, 8)
    world.count(driver)
    check_at_rest(world)
    world.publish()
    check_at_rest(world)


def check_at_rest(world: World) -> None:
    head, current = world.ledger.head(), world.ledger.current()
    ledger.check_chain(world.ledger.rows(-1, head.seq))
    for declared in (OLD, NEW):  # whatever file the worker was started with
        assert world.check_answers(world.follower(declared)) == (NEW.hash, head.seq)
    assert world.shown() == world.readable(NEW)
    sums, whole = generations.counts(head, current), world.parsed(NEW, Range({}, dict(head.end)))
    good = sum(s.n for s in world.oracle(NEW, head.seq)["by_kind"].values())
    dead = sum(hasattr(one, "reason") for _, one in whole)
    assert (sums["good"], sums["dead"], sums["copies"]) == (good, dead, len(whole) - good - dead)
    assert world.seen.held is not None
    assert world.seen.held.scan() == (good, sums["fp"])
    told = status.report(status.Facts(NEW, 0, None, head, current))
    assert told["counts"]["good"] == good and told["problems"] == []


def test_a_change_is_applied_step_by_step_and_answers_go_on_from_the_old_one(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    worker, taken = world.follower(), []
    assert world.check_answers(worker)[0] == OLD.hash
    for step in world.applying(NEW):
        taken.append(step)
        worker.step()
        answered = world.check_answers(worker)
        assert answered[0] == (NEW.hash if "published" in taken else OLD.hash)
    assert tuple(taken) == STEPS
    assert world.streams == ["stop", "start"]
    row = definition_rows(world)[0]
    assert (row.text, row.range.empty, world.ledger.current().cut_seq) == (NEW.text, True, row.seq)
    finish(world)


@pytest.mark.parametrize("crash", range(len(STEPS)))
def test_a_crash_after_any_step_is_finished_by_running_it_again(tmp_path: Path, crash: int) -> None:
    plain, _ = loaded(tmp_path / "plain")
    list(plain.applying(NEW))
    world, _ = loaded(tmp_path / "crashed")
    steps = world.applying(NEW)
    for _ in range(crash + 1):
        next(steps)
    steps.close()
    declared = OLD if crash % 2 else NEW  # an API that is started now may have either text in its file
    world.check_answers(world.follower(declared))
    if change.pending(world.ledger.head(), world.ledger.current()):
        with pytest.raises(BeingApplied, match="braid apply plant"):
            world.driver()
    list(world.applying(NEW, "again"))
    assert len(definition_rows(world)) == 1
    for one in (plain, world):
        finish(one)
    head = world.ledger.head()
    assert world.oracle(NEW, head.seq) == plain.oracle(NEW, plain.ledger.head().seq)
    assert world.shown() == plain.shown()
    assert world.tables.held == plain.tables.held
    assert world.catalogue.parts.keys() == plain.catalogue.parts.keys() == {v.name for v in NEW.views}
    assert (head.totals["definition"], dict(head.end)) == (
        plain.ledger.head().totals["definition"], dict(plain.ledger.head().end)
    )  # fmt: skip


@pytest.mark.parametrize("crash", ["stopped", "defined", "views", "written", "published"])
def test_a_scheduled_batch_may_finish_what_was_begun(tmp_path: Path, crash: str) -> None:
    world, _ = loaded(tmp_path)
    until(world.applying(NEW), crash)
    world.publish()
    list(world.applying(NEW, "again"))
    finish(world)


@pytest.mark.parametrize("frozen", ["wal", "computed", "folded", "fragments", "alerts", "written"])
def test_a_driver_of_the_old_declaration_that_comes_back_loses(tmp_path: Path, frozen: str) -> None:
    world, driver = loaded(tmp_path)
    zombie = microbatch.steps(driver, world.source(OLD, world.rest(driver)))
    until(zombie, frozen)
    until(world.applying(NEW), "defined")
    before = (driver.seen.scan(), dict(world.projections.views))
    with pytest.raises(LostRace):
        list(zombie)
    assert (driver.seen.scan(), dict(world.projections.views)) == before
    list(world.applying(NEW, "again"))
    finish(world)


def test_a_driver_of_the_old_declaration_that_comes_back_after_the_change_loses_too(tmp_path: Path) -> None:
    world, driver = loaded(tmp_path)
    zombie = microbatch.steps(driver, world.source(OLD, world.rest(driver)))
    until(zombie, "computed")
    list(world.applying(NEW))
    fresh = world.driver()
    world.count(fresh, 3)
    with pytest.raises(LostRace):
        list(zombie)
    finish(world)


def test_a_batch_of_the_old_declaration_that_comes_back_publishes_nothing(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    zombie = world.build()
    taken = until(zombie, "partition_added")
    taken += [next(zombie), next(zombie)]
    assert taken.count("partition_added") == 3
    list(world.applying(NEW))
    current = world.ledger.current()
    with pytest.raises(LostRace):
        list(zombie)
    assert world.ledger.current() == current
    finish(world)


@pytest.mark.parametrize("at", ["views", "written"])
def test_a_batch_of_the_old_declaration_under_way_may_publish_before_the_new_one(tmp_path: Path, at: str) -> None:
    world, _ = loaded(tmp_path)
    under_way = world.build()
    until(under_way, at)
    until(world.applying(NEW), "defined")
    list(under_way)
    current = world.ledger.current()
    assert current.definition == OLD.hash and current.cut_seq < definition_rows(world)[0].seq
    assert world.check_answers(world.follower())[0] == OLD.hash
    list(world.applying(NEW, "again"))
    finish(world)


def test_a_head_that_moves_between_the_stop_and_the_row_is_no_loss(tmp_path: Path) -> None:
    world, driver = loaded(tmp_path)
    steps = world.applying(NEW)
    until(steps, "stopped")
    world.count(driver)  # it had a micro-batch under way when it was told to stop
    list(steps)
    finish(world)


def test_a_change_is_given_up_by_applying_the_old_text_again(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    answered = world.check_answers(world.follower())
    until(world.applying(NEW), "written")
    list(world.applying(OLD, "again"))
    assert [row.definition for row in definition_rows(world)] == [NEW.hash, OLD.hash]
    driver = world.driver()
    world.count(driver)
    head = world.ledger.head()
    assert world.check_answers(world.follower(NEW)) == (OLD.hash, head.seq)
    assert head.seq > answered[1]
    assert world.shown() == world.readable(OLD)


def test_there_and_back_again_counts_the_same(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    for new in (NEW, OLD, NEW):
        list(world.applying(new, f"to-{new.hash[:4]}"))
        world.produce(10)
        world.count(world.driver())
        world.check_answers(world.follower())
    assert [d.hash for d in earlier(world.ledger, world.ledger.head())] == [OLD.hash, NEW.hash, OLD.hash]
    finish(world)


def test_nothing_to_apply_stops_nothing_and_writes_no_row(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    head = world.ledger.head()
    assert list(world.applying(parse(OLD.text + "title: Another\n"))) == ["built", "tables", "dropped", "started"]
    assert (world.streams, world.ledger.head()) == (["start"], head)


def test_another_dataset_or_topic_is_refused_before_anything_is_stopped(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    head = world.ledger.head()
    for old, new in (("dataset: plant", "dataset: other"), ("topic: plant-log", "topic: other-log")):
        with pytest.raises(ChangeRefused, match=r"expected .*plant.* got .*other"):
            list(world.applying(parse(OLD.text.replace(old, new))))
    assert (world.streams, world.ledger.head()) == ([], head)


@pytest.mark.parametrize(
    "words", [("event_id: [name]", "event_id: [name, at]"), ("topic: plant-log", "topic: plant-log\ndedupe: none")]
)
def test_another_id_or_none_counts_other_copies(tmp_path: Path, words: tuple[str, str]) -> None:
    world, _ = loaded(tmp_path)
    new = parse(OLD.text.replace(*words))
    list(world.applying(new))
    driver = world.driver()
    world.count(driver)
    n = world.ledger.head().totals["good"] + generations.base_of(world.ledger.current())["good"]
    assert n == len({f"{e.values['name']} {e.values['at']}" if "at]" in words[1] else i for i, e in enumerate(
        one for _, one in world.parsed(new, Range({}, dict(driver.head.end))) if not hasattr(one, "reason")
    )})  # fmt: skip
    assert sum(s.n for v in world.follower().snapshot.sides("by_kind", "merged") for s in v.values()) == n


# ---- the guards, each by itself ------------------------------------------------------------------------------------------


def test_no_driver_starts_before_a_generation_covers_the_change(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    until(world.applying(NEW), "defined")
    with pytest.raises(BeingApplied, match=r"is being applied from ledger seq 5 on .* braid apply plant"):
        world.driver()


def test_a_server_started_while_hive_has_the_new_shape_answers_by_the_old_declaration(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    until(world.applying(NEW), "partition_added")
    old = world.ledger.current().gen
    assert old not in world.catalogue.numbers(NEW.view("by_minute"))
    for declared in (OLD, NEW):
        assert world.check_answers(world.follower(declared))[0] == OLD.hash


def test_a_rollback_across_the_change_is_refused(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    old = world.ledger.current()
    list(world.applying(NEW))
    served, head = world.ledger.current(), world.ledger.head()
    with pytest.raises(RollbackRefused, match="a changed declaration is not gone back over"):
        rollback.target(world.publishing(), NEW, served, None)
    with pytest.raises(RollbackRefused, match="is of kind definition"):
        rollback.check_whole(OLD, old, world.ledger.rows(old.cut_seq, head.seq), world.fragments)


def test_readable_rows_of_the_old_declaration_are_gone_before_the_first_new_one(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    same_shape = parse(OLD.text.replace("x:    {type: decimal, scale: 2}", "x:    {type: decimal, scale: 2, max: 2.4}"))
    list(world.applying(same_shape))
    assert world.shown() == world.readable(same_shape)
    assert world.shown() != world.readable(OLD)


def test_alerts_of_the_old_declaration_stand_in_no_answer_of_the_new_one(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    worker = world.follower()
    assert worker.snapshot is not None and worker.snapshot.recent.alerts
    list(world.applying(NEW))
    worker.step()
    for one in (worker, world.follower(NEW)):
        snapshot = one.snapshot
        assert snapshot is not None
        assert snapshot.recent.alerts == () and snapshot.recent.from_seq == world.ledger.head().totals["definition"]
    driver = world.driver()
    world.count(driver)
    assert driver.head.alerts
    worker.step()
    told = [(a.seq, "site" in a.values) for a in worker.snapshot.recent.alerts]
    assert told == [(driver.head.seq, True)] * driver.head.alerts
    assert len(world.projections.alert_rows["odd_x"]) == driver.head.alerts


def test_parts_of_equal_integers_are_written_again_when_what_they_mean_has_changed(tmp_path: Path) -> None:
    text = OLD.text.replace(
        "  old_only:", "  zeros: {by: [site], window: all, measures: {z: {of: y, stats: [mean]}}}\n  old_only:"
    )
    world = World(tmp_path)
    before = parse(text)
    list(world.applying(before))
    world.log.send("plant-log", 0, json.dumps({
        "name": "one", "at": "2023-11-14T22:13:20Z", "kind": "a", "site": "u", "x": 0.5, "y": 5
    }).encode(), world.clock.now_us())  # fmt: skip
    world.count(world.driver())
    world.publish()
    after = parse(
        text.replace("{z: {of: y,", "{z: {of: x,").replace(
            "x:    {type: decimal, scale: 2}", "x:    {type: decimal, scale: 1}"
        )
    )
    list(world.applying(after))
    served = world.ledger.current().gen
    found = world.files.manifest(served).views["zeros"].parts
    assert found and all(f"gen={served}" in part.path for part in found.values())


def test_seen_ids_that_stop_before_the_change_are_built_anew(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    list(world.applying(NEW))
    held = world.seen.held
    assert held is not None
    short = memory.MemorySeenIds(held.whose)
    short.put(1, [])
    world.seen.held = short
    driver = world.driver()
    assert driver.seen.through_seq == world.ledger.head().seq
    assert world.seen.aside == [short] or short in world.seen.aside
    finish(world)


def test_ids_that_lack_one_of_before_the_change_are_found_out(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    list(world.applying(NEW))
    held = world.seen.held
    assert held is not None
    held._ids.pop()
    aside = len(world.seen.aside)
    world.driver()
    assert len(world.seen.aside) == aside + 1
    finish(world)


def test_records_that_are_missing_from_the_recount_block_the_publication(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    until(world.applying(NEW), "defined")
    head = world.ledger.head()
    whole = sum(head.totals[name] for name in ("good", "copies", "dead"))
    assert apply.base(NEW, head, Counts(whole, whole, 0, 0))["copies"] == -head.totals["copies"]
    with pytest.raises(AuditFailed, match=f"expected {whole} records to count again, got {whole - 1}"):
        apply.base(NEW, head, Counts(whole - 1, 1, 0, 0))


def test_two_appliers_make_one_row(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    one, two = world.applying(NEW, "one"), world.applying(NEW, "two")
    until(one, "stopped")
    until(two, "stopped")
    until(one, "defined")
    list(two)
    list(one)
    assert len(definition_rows(world)) == 1
    finish(world)


def test_a_worker_keeps_the_old_answer_until_the_new_generation_is_loaded(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    worker: Follower = world.follower()
    before = world.check_answers(worker)
    until(world.applying(NEW), "published")
    assert world.check_answers(worker) == before
    worker.step()
    assert world.check_answers(worker) == (NEW.hash, world.ledger.head().seq)


def test_the_declaration_in_force_is_found_by_one_row(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    list(world.applying(NEW))
    world.count(world.driver())
    asked = []

    class Asked(memory.MemoryLedger):
        def rows(self, after: int, through: int) -> list[ledger.LedgerRow]:
            asked.append((after, through))
            return world.ledger.rows(after, through)

    assert in_force(Asked(), world.ledger.head()).hash == NEW.hash
    assert len(asked) == 1 and asked[0][1] - asked[0][0] == 1
