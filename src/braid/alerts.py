"""Alerts: an event beyond so many standard deviations of its key's history, decided in exact integers.

An alert is a function of the log and of the ledger's ranges, and of nothing else: an event of seq s is judged against
the state of its key as of seq s − 1, over all time, so a replay decides the same and the place of the cut does not
matter. The event is not in its own baseline. The comparison needs no division and no root:

    |x − mean| > b·stddev   ⟺   (n·x − Σx)²·(n − 1) > b²·n·(n·Σx² − (Σx)²)      with x, Σx, Σx² scaled integers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from braid.aggregates import Moments, finish, sqrt_nearest
from braid.declaration import AlertRule
from braid.views import Key


@dataclass(frozen=True, slots=True)
class Alert:
    """One event that was judged unusual, with the history it was judged against.

    Attributes
    ----------
    rule : str, name of the alert rule
    seq : int, the micro-batch that held the event
    topic, partition, offset : where the event stands
    event_us : int, microseconds UTC
    key : tuple of str, the rule's `by` columns
    values : mapping, the tested field (scaled integer) and those shown with it
    z : float or None, standard deviations from the mean, signed; None when the history has no spread
    baseline_n, baseline_mean, baseline_stddev : the history as of seq − 1, in the field's own unit
    """

    rule: str
    seq: int
    topic: str
    partition: int
    offset: int
    event_us: int
    key: Key
    values: Mapping[str, str | int | None]
    z: float | None
    baseline_n: int
    baseline_mean: float
    baseline_stddev: float


def beyond(x: int, history: Moments, rule: AlertRule) -> bool:
    """Return whether a scaled value is an alert, given the moments of its key's history at the same scale.

    Examples
    --------
    >>> from decimal import Decimal
    >>> rule = AlertRule("a", "v", ("k",), Decimal(2), 4, (), "all_time", "v")
    >>> history = Moments(4, 20, 110, 3, 7)         # mean 5, variance 10/3
    >>> beyond(8, history, rule), beyond(9, history, rule), beyond(9, Moments(3, 15, 77, 3, 7), rule)
    (False, True, False)
    """
    n = history.n
    if n < rule.min_count or n < 2:
        return False
    distance = n * x - history.sum
    spread = n * (n * history.sumsq - history.sum * history.sum)
    b = Fraction(rule.beyond)
    return distance * distance * (n - 1) * b.denominator**2 > b.numerator**2 * spread


def z_score(x: int, history: Moments) -> float | None:
    """Return (x − mean)/stddev, signed, correctly rounded; None when the history has no spread.

    Examples
    --------
    >>> history = Moments(4, 20, 110, 3, 7)         # mean 5, variance 10/3
    >>> z_score(5, history), z_score(1, history) == -((16 / (10 / 3)) ** 0.5), z_score(1, Moments(1, 5, 25, 5, 5))
    (0.0, True, None)
    """
    n = history.n
    spread = n * history.sumsq - history.sum * history.sum  # of fewer than two values it is none
    if not spread:
        return None
    distance = n * x - history.sum
    size = sqrt_nearest(Fraction(distance * distance * (n - 1), n * spread))
    return size if distance >= 0 else -size


def baseline_numbers(history: Moments, scale: int) -> tuple[int, float, float]:
    """Return (n, mean, stddev) of a history that passed `beyond`, in the field's own unit."""
    mean, stddev = finish(history, "mean", scale), finish(history, "stddev", scale)
    assert mean is not None and stddev is not None  # noqa: S101 - beyond() asked for n >= 2
    return history.n, float(mean), float(stddev)
