"""A large micro-batch is counted behind its reader: what is read ahead is counted in order, and not at all after a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braid.errors import BraidError, Gap
from braid.ledger import Range
from speed_layer import stream
from speed_layer.microbatch import Driver
from speed_layer.stream import Counting, StreamSource
from tests.model.events import DECLARATION, TOPIC
from tests.model.test_real_guards import rest, standing
from tests.model.world import World

PATIENCE_S = 30.0


class Frame:
    """Stands for Spark's frame of one micro-batch."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self.toArrow = read

    def coalesce(self, _tasks: int) -> Frame:
        return self


class Reader:
    """Hands a world's records over as Spark does, in two micro-batches, and notes which was read while which was head."""

    def __init__(self, world: World, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.driver = world, driver
        whole = rest(world, driver)
        middle = {place: (whole.start[place] + end) // 2 for place, end in whole.end.items()}
        self.ranges = [Range(whole.start, middle), Range(middle, whole.end)]
        self.began_at: list[int] = []
        monkeypatch.setattr(stream.checkpoint, "range_of", lambda _path, batch: self.ranges[batch])

    def source(self, batch: int) -> StreamSource:
        offered = self.ranges[batch]

        def read() -> Any:
            self.began_at.append(self.driver.head.seq)
            return self.world.source(offered, offered).rows()

        frame: Any = Frame(read)
        return StreamSource(Path(), batch, frame, DECLARATION, lambda _range: pytest.fail("no thorough reading"))


def counting(driver: Driver, beat: Callable[[str], None] = lambda _stage: None, rest_s: float = 0.0) -> Counting:
    return Counting(
        driver, threading.Event(), beat, lambda _row, _seconds: None, lambda _seq, _spent: None, lambda _worked: rest_s
    )


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LARGE", 1)


@pytest.mark.usefixtures("large")
def test_the_next_one_is_read_while_one_is_counted_and_both_are_counted_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, driver = standing()
    before, reader, may_go = driver.head.seq, Reader(world, driver, monkeypatch), threading.Event()

    def beat(stage: str) -> None:
        if stage == "folded" and driver.head.seq == before:
            assert may_go.wait(PATIENCE_S)

    one = counting(driver, beat)
    one.take(reader.source(0))
    second = reader.source(1)
    second.read_ahead()
    assert (reader.began_at, driver.head.seq) == ([before, before], before), "both are read, none is counted"
    may_go.set()
    one.take(second)
    one.behind.settle()
    assert reader.began_at == [before, before], "nothing is read twice"
    assert driver.head == world.stores.ledger.head() and driver.head.seq == before + 2
    assert driver.head.end == world.stores.log.latest([TOPIC])
    assert not one.at_it.is_set()


@pytest.mark.usefixtures("large")
def test_a_small_one_waits_until_the_large_one_before_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world, driver = standing()
    before, reader, may_go = driver.head.seq, Reader(world, driver, monkeypatch), threading.Event()

    def beat(_stage: str) -> None:
        assert may_go.wait(PATIENCE_S)

    one = counting(driver, beat)
    settle = one.behind.settle
    monkeypatch.setattr(one.behind, "settle", lambda: (may_go.set(), settle()))
    try:
        one.behind.begin(lambda: one._count(reader.source(0)))
        monkeypatch.setattr(stream, "LARGE", 10**9)
        one.take(reader.source(1))
    finally:
        may_go.set()
    assert (driver.head.seq, reader.began_at) == (before + 2, [before, before + 1])


@pytest.mark.usefixtures("large")
def test_after_a_failure_nothing_that_was_read_ahead_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world, driver = standing()
    before, reader = driver.head, Reader(world, driver, monkeypatch)

    def beat(stage: str) -> None:
        if stage == "written":
            raise BraidError("no more")

    one = counting(driver, beat)
    one.take(reader.source(0))
    for _ in range(2):
        with pytest.raises(BraidError, match="no more"):
            one.take(reader.source(1))
    assert driver.head is before and world.stores.ledger.head() == before
    assert not one.at_it.is_set(), "the main thread must see that nothing runs"


@pytest.mark.usefixtures("large")
def test_what_is_wrong_with_the_log_is_told_in_the_place_of_what_a_reader_made_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, driver = standing()
    reader = Reader(world, driver, monkeypatch)
    frame: Any = Frame(lambda: 1 // 0)
    broken = StreamSource(Path(), 0, frame, DECLARATION, lambda _range: None)
    for wrong in (ZeroDivisionError, Gap):
        one = counting(driver)
        one.take(broken)
        with pytest.raises(wrong):
            one.behind.settle()
        for place, end in reader.ranges[1].end.items():
            world.stores.log.trim(place, end)


def test_a_small_one_and_one_beside_other_streams_are_counted_before_the_next_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for size, rest_s in ((10**9, 0.0), (1, 0.001)):
        monkeypatch.setattr(stream, "LARGE", size)
        world, driver = standing()
        before, reader = driver.head.seq, Reader(world, driver, monkeypatch)
        one = counting(driver, rest_s=rest_s)
        for batch in range(2):
            one.take(reader.source(batch))
            assert driver.head.seq == before + batch + 1
        assert reader.began_at == [before, before + 1]
