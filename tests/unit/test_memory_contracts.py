"""The twins in memory keep the contracts of the ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest

from braid.adapters import memory
from braid.adapters.behind import Behind, BehindProjections, BehindSeenIds
from braid.declaration import Declaration
from braid.errors import Gap, LostRace
from braid.ledger import Current, Range
from braid.ports import SeenIds
from braid.views import View
from tests import contracts
from tests.contracts import BY_CITY, DECLARATION, ident


class TestMemoryLedger(contracts.LedgerContract):
    @pytest.fixture
    def ledger(self) -> memory.MemoryLedger:
        return memory.MemoryLedger()


class TestMemoryFragments(contracts.FragmentsContract):
    @pytest.fixture
    def fragments(self) -> memory.MemoryFragments:
        return memory.MemoryFragments()


class TestMemoryAcknowledgements(contracts.AcknowledgementsContract):
    @pytest.fixture
    def acknowledgements(self) -> memory.MemoryAcknowledgements:
        return memory.MemoryAcknowledgements()


class TestMemoryAlerts(contracts.AlertsContract):
    @pytest.fixture
    def alerts(self) -> memory.MemoryAlerts:
        return memory.MemoryAlerts()


class TestMemoryDeadLetters(contracts.DeadLettersContract):
    @pytest.fixture
    def dead_letters(self) -> memory.MemoryDeadLetters:
        return memory.MemoryDeadLetters()


class TestMemoryProjections(contracts.ProjectionsContract):
    @pytest.fixture
    def projections(self) -> memory.MemoryProjections:
        return memory.MemoryProjections()

    @pytest.fixture
    def readable(self, projections: memory.MemoryProjections) -> Callable[[str], list[dict[str, Any]]]:
        return partial(table_rows, projections)


class TestBehindProjections(TestMemoryProjections):
    @pytest.fixture
    def tables(self) -> memory.MemoryProjections:
        return memory.MemoryProjections()

    @pytest.fixture
    def projections(self, tables: memory.MemoryProjections) -> Iterator[BehindProjections]:  # type: ignore[override]
        behind = Behind()
        yield BehindProjections(tables, behind)
        behind.close()

    @pytest.fixture
    def readable(  # type: ignore[override]
        self, projections: BehindProjections, tables: memory.MemoryProjections
    ) -> Callable[[str], list[dict[str, Any]]]:
        def rows(name: str) -> list[dict[str, Any]]:
            projections.settle()
            return table_rows(tables, name)

        return rows


def names(declaration: Declaration) -> set[str]:
    return {view.name for view in declaration.views}


def table_rows(projections: memory.MemoryProjections, name: str) -> list[dict[str, Any]]:
    return view_rows(projections, name) if name in names(DECLARATION) else alert_rows(projections, name)


def view_rows(projections: memory.MemoryProjections, name: str) -> list[dict[str, Any]]:
    by = DECLARATION.view(name).by
    return [
        dict(zip(by, key, strict=True)) | {"window_start_us": start, "seq": seq} | columns
        for (start, key), (seq, columns) in projections.views.get(name, {}).items()
    ]


def alert_rows(projections: memory.MemoryProjections, name: str) -> list[dict[str, Any]]:
    by = DECLARATION.alert(name).by
    return [
        dict(zip(by, a.key, strict=True)) | {"offset": a.offset, "seq": a.seq} | dict(a.values)
        for a in projections.alert_rows.get(name, {}).values()
    ]


class TestMemorySeenIds(contracts.SeenIdsContract):
    @pytest.fixture
    def seen(self) -> memory.MemorySeenIds:
        return memory.MemorySeenIds()

    @pytest.fixture
    def reopened(self, seen: memory.MemorySeenIds) -> Callable[[], memory.MemorySeenIds]:
        return lambda: seen


class TestBehindSeenIds(contracts.SeenIdsContract):
    @pytest.fixture
    def held(self) -> memory.MemorySeenIds:
        return memory.MemorySeenIds()

    @pytest.fixture
    def seen(self, held: memory.MemorySeenIds) -> Iterator[BehindSeenIds]:
        behind = Behind()
        yield BehindSeenIds("rides", held, behind)
        behind.close()

    def test_only_the_next_seq_may_be_put(self, seen: SeenIds) -> None:
        assert seen.put(3, [ident(9)])  # which is told later
        with pytest.raises(LostRace, match="expected to be whole through seq 2, got 0"):
            seen.known([])

    def test_what_was_put_is_there_after_opening_again(  # type: ignore[override]
        self, seen: SeenIds, held: memory.MemorySeenIds
    ) -> None:
        assert seen.put(1, [ident(1)])
        seen.close()
        assert (held.through_seq, held.known([ident(1), ident(2)])) == (1, {ident(1)})


class TestMemorySeenStore(contracts.SeenStoreContract):
    @pytest.fixture
    def store(self) -> memory.MemorySeenStore:
        return memory.MemorySeenStore()


class TestMemoryLog(contracts.LogContract):
    @pytest.fixture
    def log(self) -> memory.MemoryLog:
        return memory.MemoryLog()

    @pytest.fixture
    def send(self, log: memory.MemoryLog) -> Callable[[str, int, bytes], object]:
        return lambda topic, partition, value: log.send(topic, partition, value, append_us=0)

    @pytest.fixture
    def topic(self) -> Callable[[], str]:
        numbers = count()
        return lambda: f"topic-{next(numbers)}"


class TestMemoryGenerations(contracts.GenerationsContract):
    @pytest.fixture
    def generations(self) -> memory.MemoryGenerations:
        return memory.MemoryGenerations()

    @pytest.fixture
    def published(self, generations: memory.MemoryGenerations) -> Callable[[int, dict[str, View]], Current]:
        def publish(gen: int, views: dict[str, View]) -> Current:
            generations.hold(gen, views)
            return Current(gen, 0, contracts.genesis().end, DECLARATION.hash, memory.audit_of(DECLARATION, views))

        return publish

    @pytest.fixture
    def damage(self, generations: memory.MemoryGenerations) -> Callable[[int], object]:
        def change(gen: int) -> None:
            view = dict(generations._held[gen][BY_CITY.name])
            place, state = next(iter(view.items()))
            generations._held[gen][BY_CITY.name] = view | {place: replace(state, fp=state.fp ^ 1)}

        return change


# ---- what only the twin of the log can do: the faults of a broker ------------------------------------------------


@pytest.fixture
def log() -> memory.MemoryLog:
    made = memory.MemoryLog()
    made.create("t", 1)
    for value in (b"a", b"b", b"c"):
        made.send("t", 0, value, append_us=7)
    return made


def test_a_range_is_read_exactly(log: memory.MemoryLog) -> None:
    records = list(log.read(Range({("t", 0): 1}, {("t", 0): 3})))
    assert [(r.offset, r.value, r.append_us) for r in records] == [(1, b"b", 7), (2, b"c", 7)]


def test_a_trimmed_range_is_a_gap_and_never_shorter(log: memory.MemoryLog) -> None:
    log.trim(("t", 0), 2)
    assert log.earliest(["t"]) == {("t", 0): 2}
    with pytest.raises(Gap, match="expected offsets 1 to 2, got 2 to 2"):
        list(log.read(Range({("t", 0): 1}, {("t", 0): 3})))


def test_a_range_beyond_the_end_is_a_gap(log: memory.MemoryLog) -> None:
    with pytest.raises(Gap):
        list(log.read(Range({("t", 0): 1}, {("t", 0): 4})))


def test_an_offset_without_a_record_is_passed_over(log: memory.MemoryLog) -> None:
    log.skip("t", 0, 2)
    log.send("t", 0, b"d", append_us=8)
    assert [r.offset for r in log.read(Range({("t", 0): 2}, {("t", 0): 6}))] == [2, 5]


def test_a_topic_created_again_has_another_id(log: memory.MemoryLog) -> None:
    before = log.topic_ids(["t"])
    log.delete("t")
    log.create("t", 1)
    assert log.topic_ids(["t"]) != before
    assert log.latest(["t"]) == {("t", 0): 0}


def test_the_clock_moves_both_ways() -> None:
    clock = memory.FixedClock(5)
    clock.advance(-7)
    assert clock.now_us() == -2


class TestMemoryCatalogue(contracts.CatalogueContract):
    @pytest.fixture
    def catalogue(self) -> memory.MemoryCatalogue:
        return memory.MemoryCatalogue()

    @pytest.fixture
    def folder(self) -> Callable[[str], str]:
        return lambda name: f"file:///{name}"


class TestMemoryTables(contracts.TablesContract):
    @pytest.fixture
    def declared(self) -> Declaration:
        return DECLARATION

    @pytest.fixture
    def tables(self, declared: Declaration) -> memory.MemoryTables:
        return memory.MemoryTables(declared, memory.MemoryFragments(), memory.MemoryProjections())

    @pytest.fixture
    def there(self, tables: memory.MemoryTables) -> contracts.Columns:
        return lambda: {name: set(table.names) for name, table in tables.held.items()}
