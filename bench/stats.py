"""The numbers behind every figure: quantiles, lines through points, ratios of pairs, what makes a pair void. Nothing here measures."""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOISE = 0.10  # a slice in which the machine itself differed more than this says nothing about the arms
LATE = 0.01  # of its length: a load that missed its schedule by more was not the load that is claimed


def quantile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least `part` of all are not above.

    Examples
    --------
    >>> quantile([4, 1, 3, 2], 0.5), quantile([1, 2, 3], 0.99)
    (2, 3)
    """
    ordered = sorted(values)
    return ordered[max(0, -(-int(part * 1e6) * len(ordered) // 10**6) - 1)]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return count, p50, p95, p99, p99.9 and max; empty of no values.

    Examples
    --------
    >>> summary([3.0, 1.0, 2.0])
    {'count': 3, 'p50': 2.0, 'p95': 3.0, 'p99': 3.0, 'p99_9': 3.0, 'max': 3.0}
    """
    if not values:
        return {}
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
    return (
        {"count": len(values)} | {name: quantile(values, part) for name, part in parts.items()} | {"max": max(values)}
    )


def freshness(due: Sequence[float], counts: Sequence[tuple[float, int]]) -> list[float]:
    """Return, for each event in order of sending, the seconds until an answer held more events than came before it.

    Parameters
    ----------
    due : when each was to be sent, ascending
    counts : (when, events of this run in the answer), ascending; the last one holds all

    Examples
    --------
    >>> freshness([0.0, 1.0, 2.0], [(0.5, 0), (1.5, 2), (2.25, 3)])
    [1.5, 0.5, 0.25]
    """
    held = [n for _, n in counts]
    return [counts[bisect_right(held, k)][0] - at for k, at in enumerate(due)]


def ages(due: Sequence[float], counts: Sequence[tuple[float, int]], never_s: float = 30.0) -> list[float]:
    """Return the same as `freshness`; an event that no answer held, or that took longer, counts as `never_s`.

    Parameters
    ----------
    counts : ascending in time; a count that went back counts as what was reached before

    Examples
    --------
    >>> ages([0.0, 1.0, 2.0], [(0.5, 0), (1.5, 2), (1.6, 1)])
    [1.5, 0.5, 30.0]
    """
    reached, most = list[tuple[float, int]](), 0
    for at, n in counts:
        most = max(most, n)
        reached.append((at, most))
    held = [n for _, n in reached]
    places = (bisect_right(held, k) for k in range(len(due)))
    return [
        min(never_s, reached[place][0] - at) if place < len(reached) else never_s
        for place, at in zip(places, due, strict=True)
    ]


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the slope of the least-squares line, None of fewer than two different times.

    Examples
    --------
    >>> slope([(0, 5), (1, 7), (2, 9)]), slope([(3, 1)])
    (2.0, None)
    """
    line = fitted(points)
    return None if line is None else line.slope


@dataclass(frozen=True, slots=True)
class Line:
    """A least-squares line; `half` is the half-width of the slope's 95 % interval, None of two points."""

    slope: float
    level: float
    half: float | None


# Student's t, two-sided 95 %, by degrees of freedom; beyond the table the normal distribution's
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def fitted(points: Sequence[tuple[float, float]]) -> Line | None:
    """Return the least-squares line through points, None when they have fewer than two different x.

    Examples
    --------
    >>> fitted([(0, 1), (1, 3), (2, 5)])
    Line(slope=2.0, level=1.0, half=0.0)
    """
    if not points:
        return None
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    if not spread:
        return None
    steep = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread
    level = middle_y - steep * middle_x
    free = len(points) - 2
    if free < 1:
        return Line(steep, level, None)
    rest = sum((y - level - steep * x) ** 2 for x, y in points)
    wide = _T[free - 1] if free <= len(_T) else 1.96
    return Line(steep, level, wide * math.sqrt(rest / free / spread))


def exponent(points: Iterable[tuple[float, float]]) -> Line | None:
    """Return b of y = a·x^b as the slope of a line through logarithms: how cost grows.

    Examples
    --------
    >>> round(exponent([(1, 3), (10, 30), (100, 300)]).slope, 6)
    1.0
    """
    return fitted([(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0])


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratios of pairs measured in turn.

    Attributes
    ----------
    low, high : the least and the greatest of them
    middle : the median of the means of every two of them, each with itself as well (Hodges and Lehmann). Of four
        pairs or more one odd one cannot carry it off, and the median needs half as many pairs more to be as sure
    pairs : how many there were
    """

    low: float
    middle: float
    high: float
    pairs: int


def ratio(product: Sequence[float], anchor: Sequence[float]) -> Ratio | None:
    """Return the ratios product/anchor pair by pair, None when there is no pair.

    Examples
    --------
    >>> ratio([2.0, 3.0, 8.0], [1.0, 2.0, 2.0])
    Ratio(low=1.5, middle=2.375, high=4.0, pairs=3)
    """
    found = [a / b for a, b in zip(product, anchor, strict=False) if b]
    return Ratio(min(found), _middle(found), max(found), len(found)) if found else None


def _middle(values: Sequence[float]) -> float:
    return statistics.median((a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2))


def moved(spins: Sequence[float], spin: float, most: float = NOISE) -> str:
    """Return how the machine differed from what it mostly was, empty when it did not.

    Parameters
    ----------
    spins : seconds of the same fixed work in every slice of the run so far
    spin : in this one

    Examples
    --------
    >>> moved([1.0, 1.1, 1.5], 1.5), moved([1.0, 1.1, 1.2], 1.2)
    ('a fixed spin took +36 % against its median', '')
    """
    usual = quantile(spins, 0.5) if spins else 0.0
    shift = spin / usual - 1 if usual else 0.0
    return f"a fixed spin took {shift:+.0%} against its median".replace("%", " %") if abs(shift) > most else ""


def differences(got: Mapping[Any, Any], expected: Mapping[Any, Any], most: int = 3) -> str:
    """Return in words where an answer differs from the reference, empty when nowhere.

    Examples
    --------
    >>> differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 1})
    'b: expected 3, got 2; c: expected 1, got nothing'
    """
    wrong = sorted((k for k in got.keys() | expected.keys() if got.get(k) != expected.get(k)), key=str)
    told = [f"{k}: expected {expected.get(k, 'nothing')}, got {got.get(k, 'nothing')}" for k in wrong[:most]]
    return "; ".join(told) + (f"; and {len(wrong) - most} more" if len(wrong) > most else "")
