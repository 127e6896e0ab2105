"""Rollback and the list of generations, on real files and the twins of the stores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from batch_layer import publish, rollback
from batch_layer.audit import Own
from batch_layer.publish import Built, Stores
from batch_layer.recompute import Recomputed
from braid import gaps
from braid.adapters.files import FileGenerations
from braid.adapters.memory import FixedClock, MemoryCatalogue
from braid.errors import LostRace, RollbackRefused
from braid.generations import Audited, Unaudited
from braid.ledger import Current
from braid.views import answer
from cli.generations import words
from tests.unit.serving_world import PLACE, RIDES, START_US, TOPIC_IDS, World, ride


@dataclass
class Published:
    """A dataset with generations 1, 2 and 3, cut at seq 1, 2 and 3, and one more micro-batch."""

    world: World
    stores: Stores
    current: list[Current]

    def back(self, to: int | None = None, stop: str = "") -> Current:
        """Roll back, to the end or until a step is done; return what is served."""
        served = self.stores.ledger.current()
        for step in rollback.steps(self.stores, RIDES, self.world.fragments, served, to):
            if step == stop:
                break
        return self.stores.ledger.current()

    def publish(self) -> Current:
        """Publish everything up to head."""
        head = self.world.kept.head()
        states = {v.name: self.world.naive(v.name, 0, head.seq) for v in RIDES.views}
        audited = Audited(2, (Unaudited(1, 1, "expired"),))
        built = Built(head, (), Recomputed(states, Own(), sum(map(len, self.world.events))), audited)
        for _ in publish.steps(self.stores, RIDES, built, self.stores.ledger.current()):
            pass
        return self.stores.ledger.current()

    def selected(self) -> set[int | None]:
        return {self.stores.catalogue.served(spec) for spec in RIDES.views}


@pytest.fixture
def published(tmp_path: Path) -> Published:
    world = World().genesis()
    stores = Stores(FileGenerations(tmp_path, RIDES), MemoryCatalogue(), world.kept, FixedClock(START_US))
    held = Published(world, stores, [])
    for number in (1, 2, 3):
        world.commit([ride(2 * number, "Bern", 100 * number), ride(2 * number + 1, "Lima", 7, number)])
        held.current.append(held.publish())
    world.commit([ride(99, "Oslo", 5)])
    return held


def check_answers(held: Published) -> None:
    """What is served, with the fragments after its cut, is the recompute at head."""
    current, head = held.stores.ledger.current(), held.world.kept.head()
    rows = held.world.kept.rows(current.cut_seq, head.seq)
    for spec in RIDES.fragment_views:
        tail = held.world.fragments.read(spec, rows)
        states = held.stores.files.view(current, spec)
        assert answer(states, tail, current.cut_seq, head.seq) == held.world.naive(spec.name)


@pytest.mark.parametrize(("to", "gen"), [(None, 2), (2, 2), (1, 1)])
def test_an_older_generation_is_served_again_as_it_was_published(
    published: Published, to: int | None, gen: int
) -> None:
    assert published.back(to) == published.current[gen - 1]
    assert published.selected() == {gen}
    check_answers(published)


def test_the_next_batch_uses_a_number_never_used_and_forgets_the_one_that_was_left(published: Published) -> None:
    published.back()
    after = published.publish()
    assert (after.gen, after.cut_seq) == (4, 4)
    assert published.selected() == {4}
    assert {one.publication.current.gen: one.state for one in rollback.listed(published.stores, after)} == {
        1: "kept", 2: "kept", 3: "left", 4: "served",
    }  # fmt: skip
    check_answers(published)
    assert published.back() == published.current[1]


def test_it_refuses_when_fragments_after_the_older_cut_are_gone_by_view_and_seq(published: Published) -> None:
    published.world.fragments.expire(2)
    assert published.back(2) == published.current[1]
    published.stores.ledger.publish(published.current[2], 2)
    with pytest.raises(
        RollbackRefused, match=r"generation 1 \(cut at seq 1\): .* ledger seq 2 has not all its fragments of rides_"
    ):
        published.back(1)
    assert published.stores.ledger.current() == published.current[2]
    assert published.selected() == {2}


@pytest.mark.parametrize("kind", ["bulk", "definition"])
def test_it_refuses_over_a_row_that_has_no_fragments(published: Published, kind: Any) -> None:
    head = published.world.kept.head()
    published.world.kept.append(replace(head, seq=head.seq + 1, kind=kind, range=replace(head.range, start=head.end)))
    with pytest.raises(RollbackRefused, match=f"ledger seq 5 is of kind {kind}"):
        published.back()


def test_it_refuses_what_is_not_kept_not_older_or_damaged(published: Published) -> None:
    for to in (3, 4, 77):
        with pytest.raises(RollbackRefused, match=r"served before 3 and still kept \(2, 1\)"):
            published.back(to)
    next(published.stores.files.path.glob("*/gen=2/*/rows.parquet")).write_bytes(b"another")
    with pytest.raises(RollbackRefused, match=r"generation 2: expected its files as they were written: .*rows.parquet"):
        published.back(2)
    assert published.stores.ledger.current() == published.current[2]


def test_a_batch_that_publishes_meanwhile_wins(published: Published) -> None:
    served = published.stores.ledger.current()
    steps = rollback.steps(published.stores, RIDES, published.world.fragments, served, None)
    assert next(steps) == "checked"
    after = published.publish()
    with pytest.raises(LostRace):
        list(steps)
    assert published.stores.ledger.current() == after
    assert published.selected() == {4}


@pytest.mark.parametrize("stop", ["checked", "partition_added", "published"])
def test_a_rollback_killed_anywhere_leaves_one_generation_whole(published: Published, stop: str) -> None:
    current = published.back(stop=stop)
    check_answers(published)
    publish.repair(published.stores, RIDES, current)
    assert published.selected() == {current.gen}
    assert published.back(1) == published.current[0]


def test_a_row_that_a_gap_gave_up_does_not_hinder(published: Published) -> None:
    kept = published.world.kept
    published.world.fragments.expire(4)
    row = gaps.row_of(kept.head(), {PLACE: 9}, TOPIC_IDS, kept.rows(3, 4), "me", START_US)
    assert gaps.lost([row]) == {4}
    kept.append(row)
    published.world.fragments._held.clear()
    with pytest.raises(RollbackRefused, match="ledger seq 3 has not all"):
        published.back(2)


def test_every_publication_leaves_its_audit_report(published: Published) -> None:
    listed = rollback.listed(published.stores, published.stores.ledger.current())
    assert [(one.publication.current.gen, one.state, one.publication.previous) for one in listed] == [
        (1, "kept", 0), (2, "kept", 1), (3, "served", 2),
    ]  # fmt: skip
    assert [one.publication.current for one in listed] == published.current
    told = words(listed[1])
    assert told["audit"]["checked"] == 2
    assert told["audit"]["unaudited"] == [{"seq": 1, "through": 1, "reason": "expired"}]
    assert told["records"] == 4
    assert (told["cut_seq"], told["cut"]) == (2, {"rides-log:0": 4})


def test_the_reports_of_removed_generations_stay(published: Published) -> None:
    published.publish()
    current = published.publish()
    states = {one.publication.current.gen: one.state for one in rollback.listed(published.stores, current)}
    assert states == {1: "removed", 2: "removed", 3: "kept", 4: "kept", 5: "served"}
    assert published.stores.files.numbers() == {3, 4, 5}
