"""Alerts are decided in exact integers, as fractions would decide them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid import alerts
from braid.aggregates import Moments
from braid.declaration import AlertRule
from tests import laws, naive
from tests.laws import EDGE, KINDS


def rule(beyond: str = "2", min_count: int = 2) -> AlertRule:
    return AlertRule("odd", "x", ("k",), Decimal(beyond), min_count, (), "all_time", "x")


def history(*values: int) -> Moments:
    return KINDS[0].fold(values)  # type: ignore[no-any-return]


@given(
    st.lists(laws.scaled, max_size=12),
    laws.scaled,
    st.sampled_from(["0.1", "1", "2", "2.5", "100"]),
    st.integers(2, 8),
)
def test_the_verdict_is_the_one_of_plain_fractions(values: list[int], x: int, beyond: str, min_count: int) -> None:
    records = [
        naive.Record(seq, "t", 0, offset, False, offset, 0, 0, {"k": "a", "x": value})
        for offset, (seq, value) in enumerate([(1, v) for v in values] + [(2, x)])
    ]
    expected = naive.alerts(records, 2, "x", ["k"], Decimal(beyond), min_count)
    past = history(*values)
    assert alerts.beyond(x, past, rule(beyond, min_count)) == bool(expected)
    for _, n, mean, variance in expected:
        assert alerts.baseline_numbers(past, 3) == (n, float(mean / 1000), naive.root(variance / 10**6))


def test_exactly_the_bound_is_no_alert() -> None:
    past = history(0, 2)  # mean 1, variance 2: one deviation is √2, two are √8
    three = history(-1, 0, 1)  # mean 0, stddev 1
    assert [alerts.beyond(x, three, rule()) for x in (2, -2, 3, -3)] == [False, False, True, True]
    assert [alerts.beyond(x, past, rule()) for x in (3, 4)] == [False, True]


def test_a_history_that_is_too_short_judges_nothing() -> None:
    assert not alerts.beyond(10**6, history(*[1] * 29), rule(min_count=30))
    assert alerts.beyond(10**6, history(*[1] * 30), rule(min_count=30))
    assert not alerts.beyond(10**6, Moments(), rule())


def test_a_history_without_spread_calls_any_other_value_an_alert_without_a_z() -> None:
    past = history(5, 5, 5)
    assert not alerts.beyond(5, past, rule())
    assert alerts.beyond(6, past, rule())
    assert alerts.z_score(6, past) is None


@given(st.lists(laws.scaled, min_size=2, max_size=12), laws.scaled)
def test_z_is_the_nearest_double_and_has_the_sign_of_the_distance(values: list[int], x: int) -> None:
    past = history(*values)
    mean = Fraction(sum(values), len(values))
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    z = alerts.z_score(x, past)
    if variance == 0:
        assert z is None
    else:
        assert z is not None
        assert abs(z) == naive.root((x - mean) ** 2 / variance)
        assert (z > 0, z < 0) == (x > mean, x < mean)


@pytest.mark.parametrize("x", [EDGE, -EDGE])
def test_the_largest_values_are_judged_exactly(x: int) -> None:
    past = Moments(10**9, 0, 10**9 * EDGE**2, -EDGE, EDGE)  # half of all at each edge: 1 − 5·10^-10 deviations away
    assert not alerts.beyond(x, past, rule("0.9999999999"))
    assert alerts.beyond(x, past, rule("0.999999999"))
