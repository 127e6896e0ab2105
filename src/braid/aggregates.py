"""The algebra: what is kept of the events of one (view, window, key), and how two such states become one.

Only what merges is kept, and only integers are kept. Scaled 64-bit values enter; a sum and a sum of squares of Python
integers cannot overflow or round, so merging is associative, commutative and exact, and the order of events, their
lateness and their batching cannot show in a state. A mean or a deviation exists only where it is read (`finish`), by
one division of integers with one rounding.

`fp`, the sum of a 64-bit hash of every event id modulo 2^64, travels beside the counts: it sees one lost and one
doubled event, which a count alone cannot.

Three kinds of state are kept of a column, each a function of the *set* of events, so that both layers, in any order and
any number of pieces, come to the same one:

- `Moments`: count, sum, sum of squares, least and greatest of the scaled integers; means and deviations are exact.
- `Quantiles`: how many values fell into each bin. Bins are fixed: integers below 128 have one each, above that every power
  of two is cut into 64 equal bins, so that a bin's middle is within 1/128 of every value in it.
- `Distinct`: the 1024 smallest hashes of the values. Below that many the count is exact; beyond it is estimated from
  where the last of them lies, with a relative standard error of 1/sqrt(1022), 3.1 %.
- `Latest`: the value of the event of greatest time; of equal times, of the one that comes last in ledger order. No two
  events have one place there, so the greatest of two is always one of them, and which is merged first does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isqrt
from typing import Any, TypeAlias

from braid.declaration import QUANTILES, Measure, Stat, StateKind, ViewSpec
from braid.hashing import xxhash64

FP_MODULUS = 1 << 64
DISTINCT_K = 1024  # hashes kept; fewer distinct values than that are counted exactly
BIN_BITS = 6  # 64 bins in every power of two
QUANTILE_BOUND = Fraction(1, 1 << (BIN_BITS + 1))  # a finished quantile is within this part of the exact one
DISTINCT_BOUND = 0.1  # three standard errors of an estimated count of distinct values


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
class Quantiles:
    """How many values fell into each bin: (bin, count) pairs, bins ascending, counts above 0. Zero has none."""

    bins: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Distinct:
    """The `DISTINCT_K` smallest signed 64-bit hashes of the values, ascending, each once. Zero has none."""

    hashes: tuple[int, ...] = ()


Order: TypeAlias = tuple[int, str, int, int]  # a record's place in ledger order: seq, topic, partition, offset


@dataclass(frozen=True, slots=True)
class Latest:
    """The value of the event that comes last by time, then by ledger order. Zero has neither.

    Attributes
    ----------
    at : (event time in microseconds, its place in ledger order), None of no events
    value : the scaled integer, or the text
    """

    at: tuple[int, Order] | None = None
    value: int | str | None = None


Held: TypeAlias = Moments | Quantiles | Distinct | Latest


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of one (view, window, key).

    Attributes
    ----------
    n : int, the events counted
    fp : int, Σ hash64(event id) mod 2^64, 0 <= fp < 2^64
    measures : tuple of what is held of each measure, in the view's declared order
    """

    n: int
    fp: int
    measures: tuple[Held, ...]


NO_MOMENTS = Moments()
NOTHING: Mapping[StateKind, Held] = {
    "moments": NO_MOMENTS,
    "quantiles": Quantiles(),
    "distinct": Distinct(),
    "latest": Latest(),
}


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


def bin_of(x: int) -> int:
    """Return the bin of a scaled integer; bins of negative ones are negative.

    Examples
    --------
    >>> [bin_of(x) for x in (0, 127, 128, 129, 130, -1000)]
    [0, 127, 128, 128, 129, -317]
    """
    m = abs(x)
    e = max(m.bit_length() - BIN_BITS - 1, 0)
    found = (e << BIN_BITS) + (m >> e)
    return -found if x < 0 else found


def middle(of: int) -> Fraction:
    """Return the middle of a bin's integers.

    Examples
    --------
    >>> middle(127), middle(128), middle(-317)
    (Fraction(127, 1), Fraction(257, 2), Fraction(-2007, 2))
    """
    m = abs(of)
    e = max((m >> BIN_BITS) - 1, 0)
    low = (m - (e << BIN_BITS)) << e
    found = Fraction(2 * low + (1 << e) - 1, 2)
    return -found if of < 0 else found


def lift_held(measure: Measure, value: str | int | None, at: tuple[int, Order] | None = None) -> Held:
    """Return what is held of one event's value of a measure; of the latest, with the event's time and place.

    Raises
    ------
    ValueError
        The measure is of the latest value, and nobody said when and where the event is.
    """
    if value is None:
        return NOTHING[measure.kind]
    if measure.kind == "latest":
        if at is None:
            raise ValueError(f"{measure.name}: expected the event's time and place in ledger order, got none")
        return Latest(at, value)
    if measure.kind == "distinct":
        return Distinct((xxhash64([value]),))
    assert isinstance(value, int)  # noqa: S101 - the declaration lets only numbers in
    return lift(value) if measure.kind == "moments" else Quantiles(((bin_of(value), 1),))


def merge_held(a: Held, b: Held) -> Held:
    """Return what is held of the events of both, which must not share one.

    Examples
    --------
    >>> merge_held(Quantiles(((1, 2), (5, 1))), Quantiles(((0, 1), (5, 3))))
    Quantiles(bins=((0, 1), (1, 2), (5, 4)))
    >>> merge_held(Distinct((3, 9)), Distinct((-4, 9)))
    Distinct(hashes=(-4, 3, 9))
    >>> early, late = Latest((60, (1, "t", 0, 8)), 5), Latest((60, (2, "t", 0, 3)), 4)
    >>> merge_held(late, early).value
    4
    """
    if isinstance(a, Moments) and isinstance(b, Moments):
        return merge(a, b)
    if isinstance(a, Quantiles) and isinstance(b, Quantiles):
        counts = dict(a.bins)
        for bin_, count in b.bins:
            counts[bin_] = counts.get(bin_, 0) + count
        return Quantiles(tuple(sorted(counts.items())))
    if isinstance(a, Distinct) and isinstance(b, Distinct):
        if not a.hashes or not b.hashes:
            return a if a.hashes else b
        return Distinct(tuple(sorted({*a.hashes, *b.hashes})[:DISTINCT_K]))
    if isinstance(a, Latest) and isinstance(b, Latest):
        return b if a.at is None or (b.at is not None and b.at > a.at) else a
    raise ValueError(f"expected two states of one kind, got {type(a).__name__} and {type(b).__name__}")


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
    """Return the state of no events, for a view of that many measures of moments."""
    return State(0, 0, (NO_MOMENTS,) * measures)


def lift_event(hash64: int, values: Iterable[int | None]) -> State:
    """Return the state of one event: its id's 64-bit hash (signed or not) and its scaled measures, moments all.

    Examples
    --------
    >>> lift_event(-1, [700_000]).fp == 2**64 - 1
    True
    """
    return State(1, hash64 % FP_MODULUS, tuple(lift(x) for x in values))


def lift_measures(
    hash64: int,
    measures: Sequence[Measure],
    values: Iterable[str | int | None],
    at: tuple[int, Order] | None = None,
) -> State:
    """Return the state of one event with measures of any kind, values in their order; `at` as for `lift_held`."""
    held = tuple(lift_held(m, x, at) for m, x in zip(measures, values, strict=True))
    return State(1, hash64 % FP_MODULUS, held)


def merge_states(a: State, b: State) -> State:
    """Return the state of the events of both, measure by measure.

    Raises
    ------
    ValueError
        When the two have different numbers of measures: they are not of one view.
    """
    measures = tuple(merge_held(x, y) for x, y in zip(a.measures, b.measures, strict=True))
    return State(a.n + b.n, (a.fp + b.fp) % FP_MODULUS, measures)


# ---- as plain values: what is stored, compared and hashed --------------------------------------------------------

FIELDS: Mapping[StateKind, tuple[str, ...]] = {
    "moments": ("n", "sum", "sumsq", "min", "max"),
    "quantiles": ("bins",),
    "distinct": ("hashes",),
    "latest": ("latest",),
}
Plain: TypeAlias = tuple[Any, ...]
COUNTS: frozenset[Stat] = frozenset({"n", "distinct"})  # statistics that are integers


def plain(held: Held) -> Plain:
    """Return what is held as the values of `FIELDS`: integers, or one canonical text.

    Examples
    --------
    >>> plain(Quantiles(((-2, 1), (7, 3)))), plain(Distinct((-1, 255)))
    (('-2:1,7:3',), ('ffffffffffffffff00000000000000ff',))
    >>> plain(Latest((60, (2, "t", 0, 3)), 4)), plain(Latest())
    (('60 2 t 0 3 4',), ('',))
    """
    if isinstance(held, Moments):
        return held.n, held.sum, held.sumsq, held.min, held.max
    if isinstance(held, Quantiles):
        return (",".join(f"{bin_}:{count}" for bin_, count in held.bins),)
    if isinstance(held, Latest):
        if held.at is None:
            return ("",)
        event_us, place = held.at
        return (" ".join(map(str, (event_us, *place, json.dumps(held.value, ensure_ascii=False)))),)
    return ("".join(f"{value % FP_MODULUS:016x}" for value in held.hashes),)


def held_of(kind: StateKind, values: Sequence[Any]) -> Held:
    """Return what `plain` made the values of.

    Examples
    --------
    >>> held_of("quantiles", plain(Quantiles(((-2, 1), (7, 3)))))
    Quantiles(bins=((-2, 1), (7, 3)))
    """
    if kind == "moments":
        n, total, squares, low, high = values
        return Moments(int(n), int(total), int(squares), low, high)
    text = values[0] or ""
    if kind == "quantiles":
        pairs = (pair.partition(":") for pair in text.split(",") if pair)
        return Quantiles(tuple((int(bin_), int(count)) for bin_, _, count in pairs))
    if kind == "latest":
        if not text:
            return Latest()
        event_us, seq, topic, partition, offset, value = text.split(" ", 5)  # no topic's name has a blank
        return Latest((int(event_us), (int(seq), topic, int(partition), int(offset))), json.loads(value))
    found = (int(text[i : i + 16], 16) for i in range(0, len(text), 16))
    return Distinct(tuple(value - FP_MODULUS if value >> 63 else value for value in found))


def split(measures: Sequence[Measure], values: Sequence[Any]) -> Iterator[tuple[Measure, Sequence[Any]]]:
    """Yield each measure with its own of a row's plain values, which stand in the view's order."""
    at = 0
    for measure in measures:
        size = len(FIELDS[measure.kind])
        yield measure, values[at : at + size]
        at += size


# ---- finished numbers, at the edge only ------------------------------------------------------------------------


def finish(m: Held, stat: Stat, scale: int) -> int | float | str | None:
    """Return one finished statistic in the measure's own unit, None when the events do not give one.

    `mean` and `stddev` (of a sample, n − 1) are exact fractions rounded once to the nearest double; `min`, `max` and
    `sum` are the scaled integers divided by 10^scale, likewise. A quantile is the middle of the bin that holds the
    value of rank ⌈p·n⌉: within `QUANTILE_BOUND` of that value. `distinct` is exact below `DISTINCT_K`, else rounded
    from an estimate. `latest` is a text where the measure is one.

    Examples
    --------
    >>> two = merge(lift(1_000_000), lift(3_000_000))
    >>> finish(two, "mean", 6), finish(two, "stddev", 6), finish(two, "max", 6)
    (2.0, 1.4142135623730951, 3.0)
    >>> finish(lift(5), "stddev", 0) is None
    True
    """
    if isinstance(m, Quantiles):
        return _quantile(m, QUANTILES[stat], scale)
    if isinstance(m, Distinct):
        return distinct(m)
    if isinstance(m, Latest):
        return m.value / 10**scale if isinstance(m.value, int) else m.value
    if stat == "n":
        return m.n
    if stat == "stddev":
        return stddev(m, scale)
    numerator = m.sum if stat == "mean" else getattr(m, stat)
    if m.n == 0 or numerator is None:
        return None
    # of two integers, Python's quotient is the nearest double, as that of a Fraction is
    return float(numerator / (10**scale * (m.n if stat == "mean" else 1)))


def finished_of(spec: ViewSpec, state: State) -> dict[str, Any]:
    """Return every finished statistic of a row by its column, in declared order, then the words for them."""
    held = {m.id: x for m, x in zip(spec.measures, state.measures, strict=True)}
    found: dict[str, Any] = {name: finish(held[m.id], stat, m.scale) for name, m, stat in spec.finished}
    return found | {rule.name: rule.word(found[rule.of]) for rule in spec.rules}


def _quantile(m: Quantiles, percent: int, scale: int) -> float | None:
    total = sum(count for _, count in m.bins)
    rank, met = -(-percent * total // 100), 0
    for bin_, count in m.bins:
        met += count
        if met >= rank:
            return float(middle(bin_) / 10**scale)
    return None


def distinct(m: Distinct) -> int:
    """Return how many distinct values there are: exact below `DISTINCT_K`, else an estimate.

    The k smallest of N hashes spread evenly over 2^64 end near k/N of the way; (k − 1) over that place has no bias.
    """
    if len(m.hashes) < DISTINCT_K:
        return len(m.hashes)
    return round(Fraction((DISTINCT_K - 1) * FP_MODULUS, m.hashes[-1] + (1 << 63) + 1))


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
