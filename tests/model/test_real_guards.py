"""Each guard of the protocol by itself, on the speed layer's own code: one small scenario that fails without it.

The model finds a missing guard among thousands of runs; here it is named. `tests/guards.py` takes each guard out of the
source in a copy of the tree, and the scenario named there must fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from braid.adapters.behind import Behind, BehindProjections, BehindSeenIds
from braid.adapters.memory import MemoryProjections
from braid.errors import LostRace, RangeRefused
from braid.ledger import Range
from speed_layer import microbatch, start
from speed_layer.microbatch import Driver
from tests.model.events import DECLARATION, TOPIC
from tests.model.stores import Lazily, Lazy, ModelHistory
from tests.model.test_protocol import quiet_world, until
from tests.model.world import World

ALERTING = 1  # whose uncounted records hold alerts and dead letters


def standing(seed: int = 3) -> tuple[World, Driver]:
    """Return a world with uncounted records, and a driver at head that has run no micro-batch yet."""
    world = quiet_world(seed)
    process = world.begin(faults=False)
    until(world, process, "ready")
    assert process.ready is not None
    return world, process.ready


def rest(world: World, driver: Driver) -> Range:
    """Return everything that is not counted."""
    return Range(dict(driver.head.end), world.stores.log.latest([TOPIC]))


def run(world: World, driver: Driver, offered: Range) -> list[str]:
    """Run a micro-batch of a range to its end; return its steps."""
    return list(microbatch.steps(driver, world.source(offered, offered)))


def test_a_range_that_the_ledger_holds_is_not_counted_again() -> None:
    world, driver = standing()
    offered = rest(world, driver)
    assert "committed" in run(world, driver, offered)
    head = driver.head
    assert run(world, driver, offered) == ["wal"]
    assert driver.head is head
    assert world.stores.ledger.head() == head


def test_a_range_with_nothing_in_it_writes_nothing() -> None:
    world, driver = standing()
    run(world, driver, rest(world, driver))
    assert run(world, driver, rest(world, driver)) == ["wal"]


@pytest.mark.parametrize("shift", [-1, 1], ids=["overlap", "hole"])
def test_a_range_that_does_not_begin_at_heads_end_is_refused_and_nothing_is_written(shift: int) -> None:
    world, driver = standing()
    whole = rest(world, driver)
    place = next(p for p, end in whole.end.items() if end > whole.start[p] + 1 and whole.start[p] > 0)
    offered = Range({**whole.start, place: whole.start[place] + shift}, whole.end)
    head = world.stores.ledger.head()
    with pytest.raises(RangeRefused, match="expected it to start at the end of ledger seq"):
        run(world, driver, offered)
    assert world.stores.ledger.head() == head


@pytest.mark.parametrize("count", ["good", "copies", "dead", "absent"])
def test_a_row_that_does_not_account_for_every_offset_is_never_written(count: str) -> None:
    world, driver = standing()
    offered = rest(world, driver)
    work = worked(world, driver, offered)
    microbatch._check(work.row, work.ids, True, work.chosen)
    with pytest.raises(RangeRefused):
        microbatch._check(replace(work.row, **{count: getattr(work.row, count) + 1}), work.ids, True, work.chosen)


def worked(world: World, driver: Driver, offered: Range) -> microbatch.Work:
    """Return what a micro-batch would contribute."""
    table = world.source(offered, offered).rows()
    return microbatch.compute(driver, microbatch.fold.Batch(driver.declaration, table, offered), offered)


def test_no_id_is_known_before_its_micro_batch_is_committed() -> None:
    world, driver = standing()
    offered = rest(world, driver)
    ids = worked(world, driver, offered).ids
    assert ids
    before = driver.seen.through_seq
    for step in microbatch.steps(driver, world.source(offered, offered)):
        if step == "committed":
            break
        assert (driver.seen.known(ids), driver.seen.through_seq) == (set(), before), step
    assert driver.seen.through_seq == before
    assert world.stores.ledger.head().seq == before + 1


def test_a_driver_whose_seen_ids_another_has_moved_on_ends() -> None:
    world, driver = standing()
    steps = microbatch.steps(driver, world.source(rest(world, driver), rest(world, driver)))
    assert "committed" in iter(steps)
    driver.seen.put(driver.head.seq + 1, [])  # a successor that caught up
    with pytest.raises(LostRace, match="another driver has taken over"):
        next(steps)


def test_no_row_is_added_before_what_people_read_of_the_one_before_is_written() -> None:
    world, driver = standing()
    tables = world.stores.projections
    driver.ports = replace(driver.ports, projections=BehindProjections(tables, Behind(Lazily())))
    whole = rest(world, driver)
    run(world, driver, Range(whole.start, {place: (whole.start[place] + end) // 2 for place, end in whole.end.items()}))
    first = driver.head.seq
    assert first not in seqs(tables)
    steps = microbatch.steps(driver, world.source(rest(world, driver), rest(world, driver)))
    assert "committed" in iter(steps)
    assert world.stores.ledger.head().seq == first + 1
    assert first in seqs(tables), "a crash now leaves rows behind that no start writes again"


def test_no_row_is_added_before_its_alerts_and_its_dead_letters_are_written() -> None:
    world, driver = standing(ALERTING)
    driver.ports = replace(driver.ports, aside=lambda job: Lazy(job).result)
    before = len(world.stores.dead_letters.newest(10**6))
    run(world, driver, rest(world, driver))
    assert driver.head.alerts and driver.head.dead
    assert len(world.stores.alerts.read([driver.head])) == driver.head.alerts
    assert len(world.stores.dead_letters.newest(10**6)) == before + driver.head.dead


def seqs(tables: MemoryProjections) -> set[int]:
    """Return the seqs as of which readable rows stand."""
    return {seq for rows in tables.views.values() for seq, _ in rows.values()}


def test_no_id_is_looked_for_before_those_of_the_micro_batch_before_are_put() -> None:
    world, driver = standing()
    held, driver.seen = driver.seen, BehindSeenIds(DECLARATION.dataset, driver.seen, Behind(Lazily()))
    whole = rest(world, driver)
    run(world, driver, Range(whole.start, {place: (whole.start[place] + end) // 2 for place, end in whole.end.items()}))
    assert held.through_seq == driver.head.seq - 1, "nobody has waited yet"
    steps = microbatch.steps(driver, world.source(rest(world, driver), rest(world, driver)))
    assert "folded" in iter(steps)
    assert held.through_seq == driver.head.seq


def test_a_driver_whose_ids_are_refused_behind_it_commits_no_more() -> None:
    world, driver = standing()
    held, driver.seen = driver.seen, BehindSeenIds(DECLARATION.dataset, driver.seen, Behind(Lazily()))
    whole = rest(world, driver)
    run(world, driver, Range(whole.start, {place: (whole.start[place] + end) // 2 for place, end in whole.end.items()}))
    head = world.stores.ledger.head()
    held.put(head.seq, [])  # a successor that caught up
    with pytest.raises(LostRace, match="another driver has taken over"):
        run(world, driver, rest(world, driver))
    assert world.stores.ledger.head() == head


def test_seen_ids_ahead_of_the_ledger_are_built_anew() -> None:
    world, driver = standing()
    held: Any = driver.seen
    for seq in (1, 2):
        assert held.put(driver.head.seq + seq, [bytes([seq]) * 16])
    seen = opened_again(world, driver)
    assert seen.through_seq == driver.head.seq
    assert seen.known([bytes([1]) * 16]) == set()
    assert seen.scan() == (driver.head.totals["good"], driver.head.totals["fp"])


def test_seen_ids_that_lack_one_are_built_anew() -> None:
    world, driver = standing()
    lost = next(iter(world.stores.seen.held._ids))
    world.stores.seen.held._ids.remove(lost)
    seen = opened_again(world, driver)
    assert seen.known([lost]) == {lost}
    assert seen.scan() == (driver.head.totals["good"], driver.head.totals["fp"])


def opened_again(world: World, driver: Driver) -> Any:
    """Return the seen ids as the next start makes them whole."""
    head, stores = driver.head, world.stores
    history = ModelHistory(stores.log, world.oracle.log, stores.master)
    identity = start.Identity(DECLARATION.dataset, dict(head.topic_ids), DECLARATION.hash, start.grammar.SALT)
    made = start.seen_ids(stores.ledger, stores.seen, history, identity, head)
    while True:
        try:
            next(made)
        except StopIteration as done:
            return done.value
