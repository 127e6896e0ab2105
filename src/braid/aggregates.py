"""The algebra: what is kept of the events of one (view, window, key), and how two such states become one.

Only what merges is kept, and only integers are kept. Scaled 64-bit values enter; a sum and a sum of squares of Python
integers cannot overflow or round, so merging is associative, commutative and exact, and the order of events, their
lateness and their batching cannot show in a state. A mean or a deviation exists only where it is read (`finish`), by
one division of integers with one rounding.

`fp`, the sum of a 64-bit hash of every event id modulo 2^64, travels beside the counts: it sees one lost and one
doubled event, which a count alone cannot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isqrt

from braid.declaration import Stat

FP_MODULUS = 1 << 64


@dataclass(frozen=True, slots=True)
class Moments:
    """Sufficient statistics of one measure: exact integers at the measure's scale. Zero is `n == 0`.

    Attributes
    ----------
    n : int, how many events held the measure
    sum, sumsq : int, Σx and Σx² of the scaled values x = value·10^scale
    min, max : int or None, the smallest and largest x; None when n is 0
    """

    n: int = 0
    sum: int = 0
    sumsq: int = 0
    min: int | None = None
    max: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of one (view, window, key).

    Attributes
    ----------
    n : int, the events counted
    fp : int, Σ hash64(event id) mod 2^64, 0 <= fp < 2^64
    measures : tuple of Moments, in the view's declared order
    """

    n: int
    fp: int
    measures: tuple[Moments, ...]


NO_MOMENTS = Moments()


def lift(x: int | None) -> Moments:
    """Return the moments of one value (none, when the event does not hold the measure).

    Examples
    --------
    >>> lift(-3)
    Moments(n=1, sum=-3, sumsq=9, min=-3, max=-3)
    >>> lift(None) == NO_MOMENTS
    True
    """
    return NO_MOMENTS if x is None else Moments(1, x, x * x, x, x)


def merge(a: Moments, b: Moments) -> Moments:
    """Return the moments of the events of both; the two must not share an event.

    Examples
    --------
    >>> merge(merge(lift(1), lift(2)), lift(100))
    Moments(n=3, sum=103, sumsq=10005, min=1, max=100)
    """
    if not a.n:
        return b
    if not b.n:
        return a
    assert a.min is not None and b.min is not None and a.max is not None and b.max is not None  # noqa: S101 - n > 0
    return Moments(a.n + b.n, a.sum + b.sum, a.sumsq + b.sumsq, min(a.min, b.min), max(a.max, b.max))


def zero(measures: int) -> State:
    """Return the state of no events, for a view of that many measures."""
    return State(0, 0, (NO_MOMENTS,) * measures)


def lift_event(hash64: int, values: Iterable[int | None]) -> State:
    """Return the state of one event: its id's 64-bit hash (signed or not) and its scaled measures in view order.

    Examples
    --------
    >>> lift_event(-1, [700_000]).fp == 2**64 - 1
    True
    """
    return State(1, hash64 % FP_MODULUS, tuple(lift(x) for x in values))


def merge_states(a: State, b: State) -> State:
    """Return the state of the events of both, measure by measure.

    Raises
    ------
    ValueError
        When the two have different numbers of measures: they are not of one view.
    """
    measures = tuple(merge(x, y) for x, y in zip(a.measures, b.measures, strict=True))
    return State(a.n + b.n, (a.fp + b.fp) % FP_MODULUS, measures)


# ---- finished numbers, at the edge only ------------------------------------------------------------------------


def finish(m: Moments, stat: Stat, scale: int) -> int | float | None:
    """Return one finished statistic in the measure's own unit, None when the events do not give one.

    `mean` and `stddev` (of a sample, n − 1) are exact fractions rounded once to the nearest double; `min`, `max` and
    `sum` are the scaled integers divided by 10^scale, likewise.

    Examples
    --------
    >>> two = merge(lift(1_000_000), lift(3_000_000))
    >>> finish(two, "mean", 6), finish(two, "stddev", 6), finish(two, "max", 6)
    (2.0, 1.4142135623730951, 3.0)
    >>> finish(lift(5), "stddev", 0) is None
    True
    """
    if stat == "n":
        return m.n
    if stat == "stddev":
        return stddev(m, scale)
    numerators = {"sum": m.sum, "mean": m.sum, "min": m.min, "max": m.max}
    numerator = numerators[stat]
    if m.n == 0 or numerator is None:
        return None
    return float(Fraction(numerator, 10**scale * (m.n if stat == "mean" else 1)))


def variance(m: Moments, scale: int) -> Fraction | None:
    """Return the exact sample variance, (n·Σx² − (Σx)²) / (n(n−1)·10^(2·scale)); None when n < 2."""
    if m.n < 2:
        return None
    return Fraction(m.n * m.sumsq - m.sum * m.sum, m.n * (m.n - 1) * 10 ** (2 * scale))


def stddev(m: Moments, scale: int) -> float | None:
    """Return the sample standard deviation, correctly rounded to a double; None when n < 2."""
    v = variance(m, scale)
    return None if v is None else sqrt_nearest(v)


def sqrt_nearest(v: Fraction) -> float:
    """Return the double nearest to √v, for v >= 0, through integers alone.

    An integer square root with 64 bits to spare beyond a double's 53, made odd when it is not exact (a sticky bit), is
    rounded once by the division of Fraction; so no platform's libm shows in an answer.

    Examples
    --------
    >>> sqrt_nearest(Fraction(2)) == 2 ** 0.5, sqrt_nearest(Fraction(9, 4)), sqrt_nearest(Fraction(0))
    (True, 1.5, 0.0)
    """
    if v == 0:
        return 0.0
    # shift so that the root has about 120 bits
    shift = max(0, 240 - v.numerator.bit_length() + v.denominator.bit_length())
    shift += shift % 2
    scaled = (v.numerator << shift) // v.denominator
    root = isqrt(scaled)
    exact = root * root == scaled and scaled * v.denominator == v.numerator << shift
    return float(Fraction((root << 1) | (0 if exact else 1), 1 << (shift // 2 + 1)))


def decimal_text(x: int, scale: int) -> str:
    """Return a scaled integer as exact decimal text.

    Examples
    --------
    >>> decimal_text(-6970, 6), decimal_text(15, 0)
    ('-0.006970', '15')
    """
    return str(Decimal(x).scaleb(-scale)) if scale == 0 else f"{Decimal(x).scaleb(-scale):.{scale}f}"
