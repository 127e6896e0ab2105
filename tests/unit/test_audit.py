"""The audit lets equal layers pass, names any difference, and lists what can no longer be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from batch_layer.audit import Counts, Own, audit
from braid.adapters.memory import MemoryFragments
from braid.aggregates import Moments, State
from braid.declaration_reader import load
from braid.errors import AuditFailed
from braid.generations import Audited, Unaudited
from braid.ledger import LedgerRow, Range
from braid.views import Fragment, fold, totals

DECLARATION = load(Path(__file__).parents[2] / "datasets" / "landcover.yaml")
VIEWS = DECLARATION.fragment_views
NDVI, SPECTRAL = VIEWS


@dataclass(frozen=True)
class Event:
    id64: int
    event_us: int
    values: Mapping[str, str | int | None]


def event(number: int, name: str = "red soil") -> Event:
    values = {"class_name": name, "ndvi_mean": number * 1000 - 7, "green_mean": number, "red_mean": None}
    return Event(number * 2**61, number * 400_000_000, values | {"nir1_mean": 2, "nir2_mean": 3})


class World:
    """Three micro-batches that both layers counted alike."""

    def __init__(self) -> None:
        self.fragments = MemoryFragments()
        self.rows: list[LedgerRow] = []
        self.counts: dict[int, Counts] = {}
        self.partials: dict[str, dict[int, dict]] = {v.name: {} for v in VIEWS}
        for seq in (1, 2, 3):
            self.add(seq, [event(seq * 10 + i, name) for i in range(3) for name in ("red soil", "grey soil")])

    def add(self, seq: int, events: list[Event]) -> None:
        states = {v.name: fold(v, events) for v in VIEWS}
        sums = {name: totals(view) for name, view in states.items()}
        size = len(events) + 3  # one copy, one dead letter, one offset without a record
        start = self.rows[-1].end if self.rows else {("image-events", 0): 0}
        fp = sums[NDVI.name][1]
        self.rows.append(
            LedgerRow(
                seq, "micro", seq * 7, "w", Range(start, {("image-events", 0): start["image-events", 0] + size}),
                good=len(events), copies=1, dead=1, absent=1, fp=fp, bucket=0, definition=DECLARATION.hash,
                view_n={name: n for name, (n, _) in sums.items()}, view_fp={name: fp for name, (_, fp) in sums.items()},
            )
        )  # fmt: skip
        self.counts[seq] = Counts(records=size - 1, good=len(events), dead=1, fp=fp)
        for v in VIEWS:
            self.partials[v.name][seq] = states[v.name]
            self.fragments.write(v, 0, seq * 7, [Fragment(seq, w, k, s) for (w, k), s in states[v.name].items()])

    def rewrite(self, seq: int, state: State, window_start_us: int = 0, key: tuple[str, ...] = ("red soil",)) -> None:
        self.fragments.write(SPECTRAL, 0, seq * 7, [Fragment(seq, window_start_us, key, state)])

    def audit(self) -> Audited:
        return audit(DECLARATION, self.rows, Own(self.counts, self.partials), self.fragments)


@pytest.fixture
def world() -> World:
    return World()


def test_equal_layers_pass(world: World) -> None:
    assert world.audit() == Audited(3, ())


@pytest.mark.parametrize("measure", range(4))
@pytest.mark.parametrize("name", ["n", "sum", "sumsq", "min", "max"])
def test_one_wrong_number_in_one_fragment_is_named(world: World, measure: int, name: str) -> None:
    state = world.partials[SPECTRAL.name][2][0, ("red soil",)]
    moments = list(state.measures)
    right = getattr(moments[measure], name)
    moments[measure] = replace(moments[measure], **{name: (right or 0) + 5})
    world.rewrite(2, State(state.n, state.fp, tuple(moments)))
    column = SPECTRAL.measures[measure].name
    with pytest.raises(AuditFailed) as failed:
        world.audit()
    delta = ", delta -5" if right is not None else ""
    assert str(failed.value).startswith(
        f"landcover: ledger seq 2: spectral_by_class [all time, red soil] {column} {name}: "
        f"batch {right}, speed {(right or 0) + 5}{delta} (1 of 2 rows differ); nothing was published"
    )


def test_a_fragment_of_a_key_that_batch_does_not_have_is_named(world: World) -> None:
    world.rewrite(3, State(1, 9, (Moments(),) * 4), key=("cotton crop",))
    with pytest.raises(
        AuditFailed, match=r"seq 3: spectral_by_class \[all time, cotton crop\] n: batch 0, speed 1, delta -1 "
    ):
        world.audit()


def test_a_window_is_named_by_its_start(world: World) -> None:
    place = next(iter(world.partials[NDVI.name][1]))
    state = world.partials[NDVI.name][1].pop(place)
    with pytest.raises(
        AuditFailed, match=rf"\[1970-01-01T01:00:00Z, red soil\] n: batch 0, speed {state.n}, delta -{state.n}"
    ):
        world.audit()


def test_an_event_that_batch_counts_and_speed_lost_is_named(world: World) -> None:
    lost = event(999)
    for v in VIEWS:
        world.partials[v.name][1] = fold(v, [lost]) | world.partials[v.name][1]
    with pytest.raises(
        AuditFailed, match=r"realtime_ndvi_by_class \[1970-01-05T15:00:00Z, red soil\] n: batch 1, speed 0, delta \+1"
    ):
        world.audit()


@pytest.mark.parametrize(("name", "text"), [
    ("records", "records: batch 9, speed 8, delta +1"),
    ("good", "good: batch 7, speed 6, delta +1"),
    ("dead", "copies: batch 0, speed 1, delta -1"),
    ("fp", "fp: batch "),
])  # fmt: skip
def test_counts_that_differ_are_named(world: World, name: str, text: str) -> None:
    held = world.counts[2]
    world.counts[2] = replace(held, **{name: getattr(held, name) + 1})
    with pytest.raises(AuditFailed) as failed:
        world.audit()
    assert str(failed.value).startswith(f"landcover: ledger seq 2: {text}")


def test_a_seq_that_batch_did_not_find_is_named(world: World) -> None:
    del world.counts[3]
    with pytest.raises(AuditFailed, match="seq 3: records: batch 0, speed 8, delta -8"):
        world.audit()


def test_expired_fragments_do_not_block_and_are_listed_as_one_run(world: World) -> None:
    world.fragments.expire(2)
    assert world.audit() == Audited(1, (Unaudited(1, 2, "expired"),))


def test_what_is_left_of_an_expired_seq_must_still_be_right(world: World) -> None:
    world.fragments.expire(2)
    right = world.partials[SPECTRAL.name][2][0, ("red soil",)]
    world.rewrite(2, right)
    assert world.audit() == Audited(1, (Unaudited(1, 2, "expired"),))
    world.rewrite(2, replace(right, fp=right.fp + 1))
    with pytest.raises(AuditFailed, match=r"seq 2: spectral_by_class \[all time, red soil\] fp: "):
        world.audit()


def test_an_expired_seq_is_still_held_to_the_counts_of_its_views(world: World) -> None:
    world.fragments.expire(3)
    world.partials[SPECTRAL.name][3].pop((0, ("red soil",)))
    with pytest.raises(AuditFailed, match="seq 3: spectral_by_class total n: batch 3, speed 6, delta -3"):
        world.audit()


def test_bulk_and_gap_are_held_to_their_counts_and_listed(world: World) -> None:
    bulk = replace(world.rows[1], kind="bulk", view_n={}, view_fp={})
    gap = replace(world.rows[2], kind="gap", good=0, copies=0, dead=0, fp=0, absent=9, view_n={}, view_fp={})
    world.rows[1:] = [bulk, gap]
    del world.counts[3]
    assert world.audit() == Audited(1, (Unaudited(2, 2, "bulk"), Unaudited(3, 3, "gap")))
    world.counts[2] = replace(world.counts[2], good=5)
    with pytest.raises(AuditFailed, match="seq 2: good: batch 5, speed 6, delta -1"):
        world.audit()


def test_a_row_of_another_definition_is_held_to_its_records_only(world: World) -> None:
    world.rows[0] = replace(world.rows[0], definition="other")
    world.counts[1] = replace(world.counts[1], good=0, dead=8)
    assert world.audit() == Audited(2, (Unaudited(1, 1, "definition"),))
    world.counts[1] = replace(world.counts[1], records=7)
    with pytest.raises(AuditFailed, match="seq 1: records: batch 7, speed 8, delta -1"):
        world.audit()
