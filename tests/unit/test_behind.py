"""Ids and readable rows are written behind the micro-batch, in order; what fails is told, and nothing after it is written."""

from collections.abc import Iterator
from threading import Barrier, Event
from typing import Any

import pytest

from braid.adapters.behind import Aside, Behind, BehindProjections, BehindSeenIds
from braid.adapters.memory import MemoryProjections, MemorySeenStore
from braid.errors import LostRace, StoreUnavailable
from braid.views import View
from tests.contracts import BY_MINUTE, IDENTITY, ProjectionsContract, ident

ONE = ProjectionsContract.ONE
PATIENCE_S = 20


class Slow(MemoryProjections):
    """Writes when it is let, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.let = Event()
        self.began = Event()
        self.seqs: list[int] = []
        self.down = False

    def upsert(self, view: Any, seq: int, rows: View) -> None:
        self.began.set()
        assert self.let.wait(PATIENCE_S)
        if self.down:
            raise StoreUnavailable("cassandra: no answer")
        self.seqs.append(seq)
        super().upsert(view, seq, rows)


@pytest.fixture
def tables() -> Slow:
    return Slow()


@pytest.fixture
def behind(tables: Slow) -> Iterator[Behind]:
    made = Behind()
    yield made
    tables.let.set()
    made.close()


@pytest.fixture
def projections(behind: Behind, tables: Slow) -> BehindProjections:
    return BehindProjections(tables, behind)


def test_nobody_waits_for_a_row_before_it_is_asked_for(
    behind: Behind, projections: BehindProjections, tables: Slow
) -> None:
    projections.upsert(BY_MINUTE, 1, ONE)
    projections.upsert(BY_MINUTE, 2, ONE)
    assert tables.began.wait(PATIENCE_S) and tables.seqs == []
    behind.look()  # nothing has failed so far
    tables.let.set()
    projections.settle()
    assert tables.seqs == [1, 2]


def test_what_fails_is_raised_by_every_later_question_and_nothing_is_written_after_it(
    behind: Behind, projections: BehindProjections, tables: Slow
) -> None:
    tables.down = True
    projections.upsert(BY_MINUTE, 1, ONE)
    projections.upsert(BY_MINUTE, 2, ONE)
    tables.let.set()
    for ask in (projections.settle, behind.look, projections.settle):
        with pytest.raises(StoreUnavailable, match="no answer"):
            ask()
    tables.down = False
    projections.upsert(BY_MINUTE, 3, ONE)
    with pytest.raises(StoreUnavailable, match="no answer"):
        behind.settle()
    assert tables.seqs == []


def test_closing_waits_for_what_was_handed_over(behind: Behind, projections: BehindProjections, tables: Slow) -> None:
    projections.upsert(BY_MINUTE, 1, ONE)
    tables.let.set()
    behind.close()
    assert tables.seqs == [1]


def test_ids_wait_for_nothing_and_a_question_waits_for_them(
    behind: Behind, projections: BehindProjections, tables: Slow
) -> None:
    held = MemorySeenStore().open(IDENTITY)
    seen = BehindSeenIds("rides", held, behind)
    projections.upsert(BY_MINUTE, 1, ONE)  # which is not let
    assert seen.put(1, [ident(1)])
    assert held.through_seq == 0
    tables.let.set()
    assert seen.known([ident(1), ident(2)]) == {ident(1)}
    assert tables.seqs == [1], "their order is part of what is told"


def test_ids_that_are_not_the_next_are_refused_at_the_next_question_and_at_a_look(behind: Behind) -> None:
    held = MemorySeenStore().open(IDENTITY)
    seen = BehindSeenIds("rides", held, behind)
    assert seen.put(2, [ident(1)])
    for ask in (lambda: seen.known([]), behind.settle, behind.look):
        with pytest.raises(
            LostRace, match="rides: seen ids: expected to be whole through seq 1, got 0; another driver"
        ):
            ask()
    seen.close()
    assert held.known([ident(1)]) == set()


def test_jobs_aside_run_at_the_same_time_and_give_their_own_outcome() -> None:
    aside, met = Aside(2), Barrier(2)
    first, second = aside(lambda: met.wait(PATIENCE_S)), aside(lambda: met.wait(PATIENCE_S))
    assert {first(), second()} == {0, 1}
    failed = aside(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failed()
    aside.close()
