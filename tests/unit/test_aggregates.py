"""The algebra keeps its laws, at the edges too, and finished numbers are the nearest doubles to the exact ones."""

from __future__ import annotations

import math
import statistics
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid import aggregates
from braid.aggregates import NO_MOMENTS, Moments, State, finish, lift_event, merge_states, sqrt_nearest, stddev, zero
from tests import laws, naive
from tests.laws import EDGE, KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
def test_merging_has_a_zero_and_no_order(kind: Kind, data: st.DataObject) -> None:
    some = st.lists(kind.items, max_size=6)
    laws.check_merge(kind, data.draw(some), data.draw(some), data.draw(some))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
def test_any_cut_into_pieces_gives_the_whole(kind: Kind, data: st.DataObject) -> None:
    laws.check_pieces(kind, data.draw(st.lists(kind.items, max_size=30)), data.draw(st.lists(st.integers(0, 99))))


@given(st.lists(laws.optional, max_size=40))
def test_moments_are_those_of_plain_loops(values: list[int | None]) -> None:
    assert laws.plain(KINDS[0].fold(values)) == naive.moments(values)


def test_the_largest_values_do_not_overflow() -> None:
    million = Moments(10**6, 10**6 * EDGE, 10**6 * EDGE**2, EDGE, EDGE)
    twice = aggregates.merge(million, million)
    assert twice == Moments(2 * 10**6, 2 * 10**6 * EDGE, 2 * 10**6 * EDGE**2, EDGE, EDGE)
    assert twice.sumsq > 2**64
    assert finish(twice, "stddev", 6) == 0.0


def test_fp_sees_one_lost_and_one_doubled_event() -> None:
    a, b, c = (lift_event(h, [1]) for h in (11, 22, 33))
    right = merge_states(merge_states(a, b), c)
    wrong = merge_states(merge_states(a, a), c)
    assert right.n == wrong.n
    assert right.fp != wrong.fp


@given(st.lists(laws.hashes, max_size=20))
def test_fp_is_a_sum_modulo_two_to_the_64(hashes: list[int]) -> None:
    state = zero(0)
    for h in hashes:
        state = merge_states(state, lift_event(h, []))
    assert state == State(len(hashes), sum(hashes) % 2**64, ())


def test_states_of_different_views_do_not_merge() -> None:
    with pytest.raises(ValueError, match="zip"):
        merge_states(zero(1), zero(2))


# ---- finished numbers ----------------------------------------------------------------------------------------------


@given(st.lists(laws.scaled, min_size=1, max_size=40), st.integers(0, 9))
def test_finished_numbers_are_the_exact_ones_rounded_once(values: list[int], scale: int) -> None:
    m = KINDS[0].fold(values)
    exact = [Fraction(x, 10**scale) for x in values]
    assert finish(m, "n", scale) == len(values)
    assert finish(m, "sum", scale) == float(sum(exact))
    assert finish(m, "mean", scale) == float(statistics.mean(exact)) == float(sum(exact) / len(exact))
    assert finish(m, "min", scale) == float(min(exact))
    assert finish(m, "max", scale) == float(max(exact))


@given(st.lists(laws.scaled, min_size=2, max_size=40), st.integers(0, 9))
def test_the_deviation_is_the_nearest_double(values: list[int], scale: int) -> None:
    exact = [Fraction(x, 10**scale) for x in values]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / (len(exact) - 1)
    got = finish(KINDS[0].fold(values), "stddev", scale)
    assert isinstance(got, float)
    assert got == naive.root(variance)
    assert got == statistics.stdev(exact)


@given(st.fractions(min_value=0, max_value=10**30, max_denominator=10**25))
def test_a_root_lies_between_the_halves_to_its_neighbours(v: Fraction) -> None:
    root = sqrt_nearest(v)
    below, above = math.nextafter(root, 0), math.nextafter(root, math.inf)
    assert (Fraction(below) + Fraction(root)) ** 2 / 4 <= v <= (Fraction(above) + Fraction(root)) ** 2 / 4


def test_a_large_mean_costs_the_deviation_no_digit() -> None:
    values = [EDGE, EDGE - 1, EDGE - 2]  # in doubles Σx² − (Σx)²/n would cancel to nothing
    assert finish(KINDS[0].fold(values), "stddev", 0) == 1.0


def test_nothing_is_finished_of_nothing() -> None:
    assert [finish(NO_MOMENTS, stat, 2) for stat in ("n", "sum", "mean", "stddev", "min", "max")] == [0, *[None] * 5]
    assert stddev(aggregates.lift(5), 2) is None


@given(laws.scaled, st.integers(0, 9))
def test_decimal_text_is_the_exact_value(x: int, scale: int) -> None:
    text = aggregates.decimal_text(x, scale)
    assert Decimal(text) == Decimal(x).scaleb(-scale)
    assert "e" not in text.lower()
    assert len(text.partition(".")[2]) == scale
