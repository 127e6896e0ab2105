"""The protocol under everything that goes wrong at once: thousands of seeded runs, and each crash once by name."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from random import Random
from unittest.mock import patch

import pytest

from braid.declaration_reader import parse
from speed_layer import start
from tests.model import batch, events, oracle, runs
from tests.model import world as worlds
from tests.model.events import DECLARATION, TOPIC
from tests.model.stores import Fuse, Stores
from tests.model.world import Driver, Profile, World, run

SEEDS = int(os.environ.get("MODEL_SEEDS", "2000"))
FIRST = int(os.environ.get("MODEL_FIRST", "0"))

QUIET = Profile(
    turns=0, crash=0, freeze=0, fused=0, second_driver=0, batch=0, checkpoint=0, seen=0, trim=0, expire=0, doom=0, lose=0, rollback=0,
    faulty_source=0, load=0,
)  # fmt: skip
STEPS = (
    "start", "seen", "merged", "projected", "ready", "offsets", "wal", "computed", "folded", "fragments", "alerts", "written",
    "committed", "put", "commits",
)  # fmt: skip


LOAD = ("stopped", "sent", "counted", "committed", "archived", "views", "published", "built")


@pytest.mark.timeout(1500)  # a minute or two when nothing else runs
def test_no_seed_gives_a_wrong_answer(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    told, wrong = runs.play_all(FIRST, SEEDS, Profile())
    took_s = time.monotonic() - began
    with capsys.disabled():
        sys.stdout.write(f"\nmodel: seeds {FIRST} to {FIRST + SEEDS - 1} in {took_s:.0f} s: {len(wrong)} wrong\n")
        often = sorted(told.items(), key=lambda item: -item[1])
        sys.stdout.write("per seed: " + ", ".join(f"{what} {n / SEEDS:.2f}" for what, n in often) + "\n")
    assert not wrong, f"{len(wrong)} of {SEEDS} seeds; MODEL_FIRST=<seed> MODEL_SEEDS=1 repeats one:\n" + "\n\n".join(
        wrong[:5]
    )
    # a model in which a fault never happens says nothing about it
    silent = [what for what in EXPECTED if not told[what]]
    assert SEEDS < 500 or not silent, f"never happened in {SEEDS} seeds: {silent}"


EXPECTED = (
    *(f"crash after {step}" for step in STEPS),
    *(f"freeze after {step}" for step in STEPS),
    *(f"checkpoint {kind}" for kind in ("lost", "commit", "offsets", "torn", "both", "older")),
    *(f"seen ids {kind}" for kind in ("lost", "older", "ahead", "foreign", "short", "long")),
    *(
        "crash in a write",
        "freeze in a write",
        "thawed",
        "trim",
        "fragments expire",
        "faulty source",
        "rebuild",
        "catchup",
    ),
    *("LostRace", "RangeRefused", "Gap", "ConcurrentUpdate", "batch published", "batch LostRace", "batch job killed"),
    *("deleted by retention", "created again"),
    *("log: retention", "log: created again", "log: partition added"),
    *("rollback", "rollback refused"),
    *(f"load: {step}" for step in LOAD),
    *(f"load: crash after {step}" for step in LOAD),
    *("BulkPending", "load: LostRace", "load: crash in a write"),
    *("gap accepted", "counted rows lost", "crash in an acceptance"),
)


def test_a_dataset_that_is_not_deduplicated_counts_every_copy() -> None:
    every = parse(DECLARATION.text.replace("dataset: model", "dataset: model\ndedupe: none"))
    assert every.dedupe == "none"
    with ExitStack() as stack:
        for module in (events, oracle, batch, worlds):
            stack.enter_context(patch.object(module, "DECLARATION", every))
        told: Counter[str] = Counter()
        for seed in range(25):
            told += run(seed, Profile())
    assert told["crash in a write"]
    assert told["rebuild"]


# ---- one fault at a time -------------------------------------------------------------------------------------------


def quiet_world(seed: int) -> World:
    """Return a world where only the test does anything, with a first micro-batch counted."""
    world = World(seed, QUIET)
    world.produce(12)
    until(world, world.begin(), "idle")
    world.drivers.clear()
    world.produce(15)
    return world


def until(world: World, driver: Driver, step: str, limit: int = 400) -> None:
    """Let a driver go on until it has taken a step of that name."""
    for _ in range(limit):
        if world.advance(driver, 1) == step:
            return
    raise AssertionError(f"no step {step}")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(3))
def test_a_driver_killed_after_a_step_leaves_nothing_wrong(seed: int, step: str) -> None:
    world = quiet_world(seed)
    until(world, world.begin(), step)
    world.drivers.clear()
    world.produce(8)
    world.mend()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(3))
def test_a_driver_stopped_after_a_step_comes_back_too_late(seed: int, step: str) -> None:
    world = quiet_world(seed)
    until(world, world.begin(), step)
    world.freeze(world.drivers[0])
    world.produce(8)  # so that the successor commits another range
    until(world, world.begin(), "idle")
    world.turn += 20
    world._thaw()
    world.check_stores()
    world.mend()


@pytest.mark.parametrize("write", range(14))
@pytest.mark.parametrize("freezes", [False, True], ids=["killed", "stopped"])
def test_a_write_done_by_half_is_never_seen(write: int, freezes: bool) -> None:
    world = quiet_world(write)
    driver = world.begin()
    driver.fuse.left, driver.fuse.freezes = write, freezes
    for _ in range(60):
        if not world.drivers or world.zombies or world.advance(driver, 1) == "idle":
            break
    world.produce(8)
    successor = world.begin()
    until(world, successor, "idle")
    world.turn += 20
    world._thaw()
    world.mend()


def test_copies_over_an_outage_a_cut_and_another_partition_count_once() -> None:
    world = quiet_world(5)
    world.drivers.clear()
    world._publish()
    for _ in range(4):
        world.producer.names = 0  # the same ids again, in partitions of their own
        world.producer.sent.clear()
        world.produce(12)
    world.stores.seen.held = None
    before = len(world.oracle.counted)
    world.mend()
    assert len(world.oracle.counted) - before < 30
    assert sum(row.copies for row in world.oracle.rows) > 20


def test_a_topic_created_again_stops_the_driver_by_name() -> None:
    world = quiet_world(1)
    head = world.stores.ledger.head()
    world.stores.log.delete(TOPIC)
    world.stores.log.create(TOPIC, world.partitions)
    for partition in range(world.partitions):
        for _ in range(100):
            world.stores.log.send(TOPIC, partition, None, 0)
    assert world.advance(world.begin(), 30) == ""
    assert "created again" in str(world.last_error)
    assert world.stores.ledger.head() == head


def test_retention_beyond_head_stops_the_driver_by_name() -> None:
    world = quiet_world(1)
    head = world.stores.ledger.head()
    place = next(p for p, end in world.stores.log.latest([TOPIC]).items() if end > head.end[p])
    world.stores.log.trim(place, head.end[place] + 1)
    assert world.advance(world.begin(), 30) == ""
    assert "deleted by retention" in str(world.last_error)
    assert world.stores.ledger.head() == head


def test_a_running_driver_notices_retention_before_its_next_micro_batch() -> None:
    world = quiet_world(2)
    driver = world.begin()
    until(world, driver, "idle")
    head = world.stores.ledger.head()
    world.produce(30)
    for place, end in world.stores.log.latest([TOPIC]).items():
        world.stores.log.trim(place, end)
    world.advance(driver, 30)
    assert "deleted by retention" in str(world.last_error)
    assert world.stores.ledger.head() == head


def test_records_gone_before_the_dataset_was_declared_are_a_gap_row() -> None:
    stores = Stores(2, World(0, QUIET).clock)
    for _ in range(5):
        stores.log.send(TOPIC, 0, None, 0)
    stores.log.trim((TOPIC, 0), 3)
    start.create(stores.log, stores.ledger, DECLARATION, 2, "w")
    start.create(stores.log, stores.ledger, DECLARATION, 2, "w")
    head = stores.ledger.head()
    assert (head.seq, head.kind, head.absent, head.end[TOPIC, 0], head.end[TOPIC, 1]) == (1, "gap", 3, 3, 0)


def test_a_fuse_blows_once() -> None:
    fuse = Fuse(Random(0), 1, freezes=True)
    done: list[int] = []
    for k in range(4):
        fuse.write(lambda k=k: done.append(k), [lambda k=k: done.append(k)])
    assert fuse.frozen
    fuse.thaw()
    assert sorted(done) == [0, 1, 2, 3]
