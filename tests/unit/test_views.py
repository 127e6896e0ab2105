"""Batch ⊕ tail is the recompute, wherever the cut is; and coarser views follow from finer ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid import views, windows
from braid.aggregates import lift_event
from braid.declaration import ViewSpec
from braid.errors import CutPassedHead
from braid.ledger import LedgerRow, Range
from braid.views import Fragment, View
from tests import laws, naive
from tests.laws import BY_HOUR, BY_KIND, BY_MINUTE, Event

VIEWS = [BY_MINUTE, BY_HOUR, BY_KIND]
batches = st.lists(st.lists(laws.events, max_size=8), max_size=6)


@pytest.mark.parametrize("spec", VIEWS, ids=lambda spec: spec.name)
@given(batches=batches, cut=st.integers(0, 6), head=st.integers(0, 6))
def test_an_answer_is_the_recompute_at_any_cut(
    spec: ViewSpec, batches: Sequence[Sequence[Event]], cut: int, head: int
) -> None:
    cut, head = sorted((cut % (len(batches) + 1), head % (len(batches) + 1)))
    laws.check_answer(spec, batches, cut, head)


@pytest.mark.parametrize("spec", VIEWS, ids=lambda spec: spec.name)
@given(events=st.lists(laws.events, max_size=30))
def test_a_fold_is_what_plain_loops_give(spec: ViewSpec, events: list[Event]) -> None:
    records = [
        naive.Record(1, "t", 0, offset, False, offset, e.id64 % 2**64, e.event_us, e.values)
        for offset, e in enumerate(events)
    ]
    expected = naive.view(records, spec.by, spec.window_us, [m.of for m in spec.measures])
    got = {
        place: (s.n, s.fp, tuple(laws.plain(m) for m in s.measures)) for place, s in views.fold(spec, events).items()
    }
    assert got == expected


@pytest.mark.parametrize("coarse", [BY_HOUR, BY_KIND], ids=lambda spec: spec.name)
@given(events=st.lists(laws.events, max_size=30))
def test_a_coarser_view_follows_from_the_finer_one(coarse: ViewSpec, events: list[Event]) -> None:
    assert views.coarsen(views.fold(BY_MINUTE, events), BY_MINUTE, coarse) == views.fold(coarse, events)


KEYS = [(), ("kind",), ("site",), ("kind", "site")]
MINUTES = [1, 2, 60, 1440, 0]  # 0: all time


@given(st.lists(laws.events, max_size=30), st.sampled_from(KEYS), st.sampled_from(MINUTES), st.sampled_from(MINUTES))
def test_rolling_up_and_grouping_are_the_recompute_in_any_order(
    events: list[Event], by: tuple[str, ...], first: int, then: int
) -> None:
    """Roll up then group == group then roll up == both at once == fold the events so; in one step or in two."""
    fine = views.fold(BY_MINUTE, events)
    coarse = views.coarser(BY_MINUTE, by, then * laws.MINUTE_US)
    rolled = views.coarser(BY_MINUTE, BY_MINUTE.by, then * laws.MINUTE_US)
    grouped = views.coarser(BY_MINUTE, by, BY_MINUTE.window_us)
    recomputed = views.fold(coarse, events)
    assert views.coarsen(fine, BY_MINUTE, coarse) == recomputed
    assert views.coarsen(views.coarsen(fine, BY_MINUTE, rolled), rolled, coarse) == recomputed
    assert views.coarsen(views.coarsen(fine, BY_MINUTE, grouped), grouped, coarse) == recomputed
    if first and windows.nest(first * laws.MINUTE_US, then * laws.MINUTE_US):
        between = views.coarser(BY_MINUTE, by, first * laws.MINUTE_US)
        assert views.coarsen(views.coarsen(fine, BY_MINUTE, between), between, coarse) == recomputed


@given(batches, st.sampled_from(KEYS), st.sampled_from(MINUTES))
def test_rolling_up_batch_and_tail_apart_is_rolling_up_their_sum(
    batches: Sequence[Sequence[Event]], by: tuple[str, ...], minutes: int
) -> None:
    coarse = views.coarser(BY_MINUTE, by, minutes * laws.MINUTE_US)
    parts = [views.coarsen(views.fold(BY_MINUTE, batch), BY_MINUTE, coarse) for batch in batches]
    assert views.merge_views(parts) == views.fold(coarse, [e for batch in batches for e in batch])


def test_what_does_not_nest_is_refused() -> None:
    with pytest.raises(
        ValueError, match="by_hour: expected a window made of whole ones of 3600000000 us, got 60000000"
    ):
        views.coarser(BY_HOUR, BY_HOUR.by, laws.MINUTE_US)
    with pytest.raises(ValueError, match="by_hour: expected some of the keys site, got kind"):
        views.coarser(BY_HOUR, ["kind"], 0)
    with pytest.raises(ValueError, match="got 60000000 us"):
        views.coarser(BY_KIND, BY_KIND.by, laws.MINUTE_US)


@given(batches)
def test_merging_views_is_folding_all_their_events(batches: Sequence[Sequence[Event]]) -> None:
    merged = views.merge_views([views.fold(BY_MINUTE, batch) for batch in batches])
    assert merged == views.fold(BY_MINUTE, [e for batch in batches for e in batch])


def test_fragments_outside_the_tail_are_passed_over() -> None:
    state = lift_event(1, [5])
    tail = [Fragment(seq, 0, ("a",), state) for seq in (6, 7, 8, 9)]
    assert views.answer({}, tail, cut=7, head=8)[0, ("a",)].n == 1
    assert views.answer({}, tail, cut=8, head=8) == {}


def test_a_cut_after_head_is_refused() -> None:
    with pytest.raises(CutPassedHead) as error:
        views.answer({}, [], cut=8, head=7)
    assert str(error.value) == "cut seq 8: expected at most head, got head seq 7; read the ledger again"


@given(st.lists(laws.events, max_size=20))
def test_totals_count_every_event_once(events: list[Event]) -> None:
    assert views.totals(views.fold(BY_KIND, events)) == (len(events), sum(e.id64 for e in events) % 2**64)


# ---- whole or not --------------------------------------------------------------------------------------------------


def row(seq: int, fragments: list[Fragment]) -> LedgerRow:
    states = [f.state for f in fragments]
    n, fp = sum(s.n for s in states), sum(s.fp for s in states) % 2**64
    return LedgerRow(seq, "micro", 1, "w", Range({}, {}), good=n, fp=fp, view_n={"v": n}, view_fp={"v": fp})


def test_a_row_is_whole_only_with_every_fragment_unchanged() -> None:
    one = [Fragment(1, 0, (k,), lift_event(h, [h])) for k, h in (("a", 5), ("b", -1))]
    two = [Fragment(2, 0, ("a",), lift_event(7, [7]))]
    rows = [row(1, one), row(2, two), LedgerRow(3, "micro", 1, "w", Range({}, {}), view_n={"v": 0}, view_fp={"v": 0})]
    assert views.not_whole("v", rows, [*two, *one]) == []
    assert views.not_whole("v", rows, one) == [2]
    assert views.not_whole("v", rows, [one[0], *two]) == [1]
    assert views.not_whole("v", rows, [*one, one[0], *two]) == [1]
    swapped = Fragment(1, 0, ("b",), lift_event(-2, [0]))  # as many events, but another one
    assert views.not_whole("v", rows, [one[0], swapped, *two]) == [1]


def test_a_gap_row_needs_no_fragments() -> None:
    assert views.not_whole("v", [LedgerRow(1, "gap", 1, "w", Range({}, {("t", 0): 5}), absent=5)], []) == []


# ---- digests -------------------------------------------------------------------------------------------------------


@given(st.lists(laws.events, max_size=12), st.randoms(use_true_random=False))
def test_a_digest_knows_no_order_and_every_number(events: list[Event], rng: object) -> None:
    view = views.fold(BY_MINUTE, events)
    places = list(view)
    rng.shuffle(places)  # type: ignore[attr-defined]
    assert views.digest({place: view[place] for place in places}) == views.digest(view)
    for place, state in view.items():
        changed: View = {**view, place: views.merge_states(state, lift_event(1, [1, None]))}
        assert views.digest(changed) != views.digest(view)


def test_keys_are_not_run_together() -> None:
    state = lift_event(1, [])
    assert views.digest({(0, ("a|b", "c")): state}) != views.digest({(0, ("a", "b|c")): state})
