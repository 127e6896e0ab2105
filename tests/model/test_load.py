"""History in bulk, step by step, on the twins: crashed after every step and run again, raced by a zombie, finished by a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from batch_layer import bulk as protocol
from batch_layer import rollback
from braid import bulk, definitions, ledger, records, status
from braid.bulk import Counted
from braid.errors import BulkPending, LostRace, RangeRefused, RollbackRefused
from braid.ledger import LedgerRow, Range
from braid.ports import DeadLetterRow
from speed_layer import microbatch
from tests.model.change import NEW, OLD, TOPIC, World, first_of_each, loaded, until

STEPS = (
    "stopped", "sent", "sent", "sent", "counted", "committed", "archived", "read", "views", "audited", "written",
    "partition_added", "partition_added", "partition_added", "published", "served", "tidied", "built", "started",
)  # fmt: skip


@pytest.fixture(autouse=True)
def parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "parse", cache(definitions.parse))


class Load:
    """A load of three files: what is noted of them outlives the process."""

    def __init__(self, world: World, name: str = "load-1") -> None:
        self.world = world
        self.name = name
        self.sent = 0
        self.aside: Range | None = None
        self.kept: list[int] = []

    def steps(self, writer: str = "me") -> Iterator[str]:
        """Return the shipping protocol, ready to take its steps."""
        w = self.world
        ports = protocol.Ports(w.log, w.ledger, w.dead, w, w.clock, self, self._send, nullcontext, w.build)
        return protocol.steps(ports, self.name, writer)

    def _send(self) -> Iterator[str]:
        while self.sent < 3:
            self.world.produce(15)
            self.sent += 1
            yield "sent"

    def archived(self, head: LedgerRow) -> Iterator[str]:
        """Nothing: this world's batch reads the log."""
        yield from ()

    def counted(self, head: LedgerRow, offered: Range) -> Counted:
        """Count a range by the reference."""
        self.aside = offered
        declaration = definitions.in_force(self.world.ledger, head)
        rows = [(row.seq, row.range) for row in self.world.ledger.rows(-1, head.seq)] + [(head.seq + 1, offered)]
        found = [(seq, one) for seq, part in rows for _, one in self.world.parsed(declaration, part)]
        good = [e for seq, e in first_of_each(declaration, found) if seq > head.seq]
        mine = [one for seq, one in found if seq > head.seq]
        dead = sum(isinstance(one, records.DeadLetter) for one in mine)
        return Counted(len(mine), len(good), sum(e.id64 for e in good) % 2**64, dead)

    def dead(self) -> Iterator[DeadLetterRow]:
        """Yield the dead of what was counted."""
        assert self.aside is not None
        for r, one in self.world.parsed(OLD, self.aside):
            if isinstance(one, records.DeadLetter):
                yield DeadLetterRow(r.topic, r.partition, r.offset, r.append_us, one.reason, r.value or b"")

    def keep(self, row: LedgerRow) -> None:
        """Note that the archive has its name."""
        self.kept.append(row.seq)

    def drop(self) -> None:
        """Forget what lies aside."""
        self.aside = None


def bulk_rows(world: World) -> list[LedgerRow]:
    return [row for row in world.ledger.rows(-1, world.ledger.head().seq) if row.kind == "bulk"]


def check_at_rest(world: World) -> None:
    """Count what is left, and hold everything against the oracle."""
    driver = world.driver()
    check(world, driver)
    world.produce(10)
    world.count(driver)
    check(world, driver)
    world.publish()
    check(world, driver)


def check(world: World, driver: microbatch.Driver) -> None:
    head, current = world.ledger.head(), world.ledger.current()
    ledger.check_chain(world.ledger.rows(-1, head.seq))
    assert world.check_answers(world.follower()) == (OLD.hash, head.seq)
    assert world.shown() == world.readable(OLD)
    good = sum(s.n for s in world.oracle(OLD, head.seq)["by_kind"].values())
    assert (head.totals["good"], driver.seen.scan()) == (good, (good, head.totals["fp"]))
    for name, view in world.oracle(OLD, head.seq).items():
        assert driver.merged[name] == view  # what alerts are judged against
    told = status.report(status.Facts(OLD, 0, None, head, current))
    assert told["counts"]["good"] == good and told["problems"] == []


def test_history_is_one_row_and_answers_name_it_until_a_generation_covers_it(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    before, worker, taken = world.ledger.head(), world.follower(), list[str]()
    load = Load(world)
    for step in load.steps():
        taken.append(step)
        worker.step()
        world.check_answers(worker)
        missing = worker.snapshot.missing("merged")
        seq = worker.snapshot.as_of("merged").row.seq
        if "committed" in taken and "published" not in taken:
            (one,) = missing
            assert (one.what, one.from_seq, seq) == ("bulk", before.seq + 1, before.seq)
            assert sum(b - a for a, b in one.offsets.values()) == bulk_rows(world)[0].range.size
            assert any("in bulk" in text for text in status.report(
                status.Facts(OLD, 0, None, world.ledger.head(), world.ledger.current()))["problems"])  # fmt: skip
        else:
            assert not missing and seq == (before.seq + 1 if "published" in taken else before.seq)
    assert tuple(taken) == STEPS and world.streams == ["stop", "start"] and load.kept == [before.seq + 1]
    (row,) = bulk_rows(world)
    assert (row.alerts, dict(row.view_n), row.range.start) == (0, {}, before.end) and row.dead and row.copies
    assert {(d.partition, d.offset) for d in world.dead.newest(10**6)} >= {
        (r.partition, r.offset) for r, one in world.parsed(OLD, row.range) if isinstance(one, records.DeadLetter)
    }
    check_at_rest(world)


@pytest.mark.parametrize("crash", range(len(STEPS)))
def test_a_crash_after_any_step_is_finished_by_running_it_again(tmp_path: Path, crash: int) -> None:
    world, _ = loaded(tmp_path)
    load = Load(world)
    steps = load.steps()
    for _ in range(crash + 1):
        next(steps)
    if STEPS[crash] == "sent":
        load.sent -= 1  # the journal lacks the file under way: it is sent once more
    pending = bulk.pending(world.ledger.head(), world.ledger.current())
    if pending:
        with pytest.raises(
            BulkPending, match=r"in bulk, ledger seq 5, is in no generation yet; finish it: braid load plant"
        ):
            world.driver()
    world.check_answers(world.follower())
    assert list(load.steps("again"))[-2:] == ["built", "started"]
    assert len(bulk_rows(world)) == 1
    check_at_rest(world)


@pytest.mark.parametrize("crash", ["stopped", "sent", "counted"])
def test_a_stream_that_runs_meanwhile_counts_what_was_sent(tmp_path: Path, crash: str) -> None:
    world, _ = loaded(tmp_path)
    load = Load(world)
    until(load.steps(), crash)
    world.count(world.driver())
    list(load.steps("again"))
    assert len(bulk_rows(world)) == (0 if crash == "counted" else 1)
    check_at_rest(world)


@pytest.mark.parametrize("crash", ["committed", "archived", "views", "written", "published"])
def test_a_scheduled_batch_may_finish_what_was_begun(tmp_path: Path, crash: str) -> None:
    world, _ = loaded(tmp_path)
    load = Load(world)
    until(load.steps(), crash)
    world.publish()
    list(load.steps("again"))
    assert len(bulk_rows(world)) == 1
    check_at_rest(world)


def test_what_came_after_the_row_is_left_to_the_stream(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    load = Load(world)
    until(load.steps(), "committed")
    world.produce(5)
    list(load.steps("again"))
    assert len(bulk_rows(world)) == 1
    world.count(world.driver())
    check_at_rest(world)


@pytest.mark.parametrize("frozen", ["wal", "computed", "folded", "fragments", "alerts", "written"])
def test_a_driver_that_comes_back_after_the_row_loses(tmp_path: Path, frozen: str) -> None:
    world, driver = loaded(tmp_path)
    zombie = microbatch.steps(driver, world.source(OLD, world.rest(driver)))
    until(zombie, frozen)
    load = Load(world)
    steps = load.steps()
    until(steps, "committed")
    with pytest.raises(LostRace):
        list(zombie)
    list(steps)
    check_at_rest(world)


def test_a_driver_that_comes_back_before_the_row_wins_and_the_load_is_run_again(tmp_path: Path) -> None:
    world, driver = loaded(tmp_path)
    zombie = microbatch.steps(driver, world.source(OLD, world.rest(driver, 3)))
    until(zombie, "written")
    load = Load(world)
    steps = load.steps()
    until(steps, "counted")
    list(zombie)
    with pytest.raises(LostRace):
        list(steps)
    assert load.aside is None and load.kept == []
    list(load.steps("again"))
    assert len(bulk_rows(world)) == 1
    check_at_rest(world)


def test_nothing_sent_is_no_row(tmp_path: Path) -> None:
    world, driver = loaded(tmp_path)
    world.count(driver)
    load = Load(world)
    load.sent = 3
    assert list(load.steps()) == ["stopped", "built", "started"]
    assert bulk_rows(world) == []


def test_a_second_load_is_a_second_row(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    list(Load(world).steps())
    world.count(world.driver())
    list(Load(world, "load-2").steps())
    assert len(bulk_rows(world)) == 2
    check_at_rest(world)


def test_a_declaration_may_change_behind_history(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    until(Load(world).steps(), "committed")
    list(world.applying(NEW))
    world.count(world.driver())
    assert world.check_answers(world.follower(NEW)) == (NEW.hash, world.ledger.head().seq)


def test_there_is_no_way_back_over_history(tmp_path: Path) -> None:
    world, _ = loaded(tmp_path)
    old = world.ledger.current()
    list(Load(world).steps())
    with pytest.raises(RollbackRefused, match="is of kind bulk"):
        rollback.check_whole(OLD, old, world.ledger.rows(old.cut_seq, world.ledger.head().seq), world.fragments)


@pytest.mark.parametrize(
    ("offered", "found"),
    [
        (Range({(TOPIC, 0): 1}, {(TOPIC, 0): 9}), Counted(1, 1, 0, 0)),
        (Range({(TOPIC, 0): 2}, {(TOPIC, 0): 2}), Counted(0, 0, 0, 0)),
        (Range({(TOPIC, 0): 2}, {(TOPIC, 0): 5}), Counted(4, 4, 0, 0)),
        (Range({(TOPIC, 0): 2}, {(TOPIC, 0): 5}), Counted(3, 2, 0, 2)),
    ],
)
def test_a_row_that_does_not_add_up_is_refused(offered: Any, found: Counted) -> None:
    head = LedgerRow(1, "micro", 1, "w", Range({(TOPIC, 0): 0}, {(TOPIC, 0): 2}))
    with pytest.raises(RangeRefused, match="history in bulk"):
        bulk.row_of(head, offered, found, "me", 0)
