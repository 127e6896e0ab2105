"""The checks of `braid verify` can fail: each is shown what it must find, and names it."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.aggregates import Moments, finish, lift, merge
from braid.declaration_reader import load_all
from braid.ledger import LedgerRow, Range
from verify.dataset import _conserves, _tiles
from verify.difference import smallest
from verify.kinds import finished
from verify.second_path import States

LANDCOVER = load_all(Path(__file__).parents[2] / "datasets")["landcover"]
VIEW = LANDCOVER.view("realtime_ndvi_by_class")
PLACE = ("image-events", 0)


def rows(*ends: int) -> list[LedgerRow]:
    """Return a ledger whose rows end at these offsets, from genesis on."""
    found = [LedgerRow(0, "genesis", 0, "w", Range({PLACE: 0}, {PLACE: 0}))]
    for seq, end in enumerate(ends, start=1):
        start = found[-1].end[PLACE]
        found.append(LedgerRow(seq, "micro", seq, "w", Range({PLACE: start}, {PLACE: end}), good=end - start))
    return found


def moved(row: LedgerRow, start: int) -> LedgerRow:
    return replace(row, range=Range({PLACE: start}, row.end))


def test_a_ledger_without_hole_or_overlap_tiles() -> None:
    compared, counts, problem = _tiles(rows(10, 25, 25, 40))
    assert problem is None and counts == "5 rows" and "each range starts where" in compared


@pytest.mark.parametrize("start", [9, 11])
def test_a_hole_and_an_overlap_are_named_with_their_seq(start: int) -> None:
    ledger = rows(10, 25, 40)
    ledger[2] = moved(ledger[2], start)
    problem = _tiles(ledger)[2]
    assert problem == f"seq 2 starts at {{'image-events:0': {start}}}, seq 1 ends at {{'image-events:0': 10}}"


def test_a_missing_seq_and_a_row_that_goes_back_are_named() -> None:
    ledger = rows(10, 25, 40)
    assert "seq 3 starts at" in str(_tiles([*ledger[:2], ledger[3]])[2])
    back = replace(ledger[1], range=Range({PLACE: 0}, {PLACE: -1}))
    assert "before it starts" in str(_tiles([ledger[0], back])[2])


def test_the_smallest_row_that_does_not_account_for_its_offsets_is_named() -> None:
    ledger = rows(10, 12, 40)
    assert _conserves(ledger)[2] is None
    ledger[2] = replace(ledger[2], good=1)
    ledger[3] = replace(ledger[3], dead=1)
    assert _conserves(ledger)[2] == "seq 2: 2 offsets, but 1 good + 0 copies + 0 dead + 0 absent"


# ---- differences ---------------------------------------------------------------------------------------------------

STATES: States = {
    (600_000_000, ("red soil",)): (3, 7, ((3, 6, 14, 1, 3),)),
    (1_200_000_000, ("red soil",)): (1, 9, ((1, 5, 25, 5, 5),)),
}


def test_equal_states_have_no_difference() -> None:
    assert smallest(VIEW, STATES, dict(STATES), "x") is None


def test_of_several_differences_the_row_with_the_fewest_events_is_named_with_field_and_values() -> None:
    other = {place: (n, fp + 1, ((m[0][0], m[0][1] + 2, *m[0][2:]),)) for place, (n, fp, m) in STATES.items()}
    assert smallest(VIEW, STATES, other, "the answer") == (  # type: ignore[arg-type]
        "realtime_ndvi_by_class [window 1970-01-01T00:20:00Z, class_name 'red soil'] fp: recount 9, the answer 10; "
        "ndvi sum: recount 5, the answer 7 (2 of 2 rows differ)"
    )


def test_a_row_too_many_and_a_row_too_few_are_named() -> None:
    fewer = {place: state for place, state in STATES.items() if place[0] != 1_200_000_000}
    assert "recount: a row of 1 events, the answer: no such row" in str(smallest(VIEW, STATES, fewer, "the answer"))
    assert "recount: no such row, the answer: a row of 1 events" in str(smallest(VIEW, fewer, STATES, "the answer"))


# ---- finished numbers ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(3 * 10**9) + 1, 3 * 10**9 - 1), max_size=30), st.integers(0, 9))
def test_finished_numbers_are_those_of_the_engine_to_the_last_bit(values: list[int], scale: int) -> None:
    moments = Moments()
    for x in values:
        moments = merge(moments, lift(x))
    mine = (moments.n, moments.sum, moments.sumsq, moments.min, moments.max)
    for stat in ("n", "sum", "mean", "stddev", "min", "max"):
        assert finished(mine, stat, scale) == finish(moments, stat, scale)  # type: ignore[arg-type]
