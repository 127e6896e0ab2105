"""Readable rows are written behind the micro-batch, in order; what fails is told, and nothing after it is written."""

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from braid.adapters.behind import BehindProjections
from braid.adapters.memory import MemoryProjections
from braid.errors import StoreUnavailable
from braid.views import View
from tests.contracts import BY_MINUTE, ProjectionsContract

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
def behind(tables: Slow) -> Iterator[BehindProjections]:
    made = BehindProjections(tables)
    yield made
    tables.let.set()
    made.close()


def test_nobody_waits_for_a_row_before_it_is_asked_for(behind: BehindProjections, tables: Slow) -> None:
    behind.upsert(BY_MINUTE, 1, ONE)
    behind.upsert(BY_MINUTE, 2, ONE)
    assert tables.began.wait(PATIENCE_S) and tables.seqs == []
    behind.look()  # nothing has failed so far
    tables.let.set()
    behind.settle()
    assert tables.seqs == [1, 2]


def test_what_fails_is_raised_by_every_later_question_and_nothing_is_written_after_it(
    behind: BehindProjections, tables: Slow
) -> None:
    tables.down = True
    behind.upsert(BY_MINUTE, 1, ONE)
    behind.upsert(BY_MINUTE, 2, ONE)
    tables.let.set()
    for ask in (behind.settle, behind.look, behind.settle):
        with pytest.raises(StoreUnavailable, match="no answer"):
            ask()
    tables.down = False
    behind.upsert(BY_MINUTE, 3, ONE)
    with pytest.raises(StoreUnavailable, match="no answer"):
        behind.settle()
    assert tables.seqs == []


def test_closing_waits_for_what_was_handed_over(behind: BehindProjections, tables: Slow) -> None:
    behind.upsert(BY_MINUTE, 1, ONE)
    tables.let.set()
    behind.close()
    assert tables.seqs == [1]
