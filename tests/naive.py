"""A deliberately naive oracle: what the numbers should be, by plain loops over plain records.

It shares no code with the engine, knows nothing of micro-batches beyond their number, and is meant to be read at a
glance: the first of each id in ledger order counts, everything else follows. Everything it gives is plain tuples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

Place = tuple[int, tuple[str, ...]]
Plain = tuple[int, int, tuple[tuple[Any, ...], ...]]


@dataclass(frozen=True)
class Record:
    """One record of the log: where it stands, and what is in it; `dead` ones hold nothing."""

    seq: int
    topic: str
    partition: int
    offset: int
    dead: bool
    id: object = None
    hash64: int = 0
    event_us: int = 0
    values: Mapping[str, Any] | None = None


def in_ledger_order(records: Iterable[Record]) -> list[Record]:
    """Sort by (seq, topic, partition, offset)."""
    return sorted(records, key=lambda r: (r.seq, r.topic, r.partition, r.offset))


def counted(records: Iterable[Record], *, by_id: bool = True) -> list[Record]:
    """Reject first, dedupe second: of the good records the first of each id, in ledger order; or all of them."""
    if not by_id:
        return [r for r in in_ledger_order(records) if not r.dead]
    met = set()
    result = []
    for r in in_ledger_order(records):
        if not r.dead and r.id not in met:
            met.add(r.id)
            result.append(r)
    return result


def view(events: Iterable[Record], by: Sequence[str], window_us: int, fields: Sequence[str]) -> dict[Place, Plain]:
    """Return {(window start, key): (n, fp, (n, sum, sumsq, min, max) per field)} of counted events."""
    groups: dict[Place, list[Record]] = {}
    for r in events:
        start = r.event_us // window_us * window_us if window_us else 0
        groups.setdefault((start, tuple(r.values[b] for b in by)), []).append(r)
    result = {}
    for place, members in groups.items():
        fp = 0
        for r in members:
            fp = (fp + r.hash64) % 2**64
        result[place] = (len(members), fp, tuple(moments([r.values[f] for r in members]) for f in fields))
    return result


def moments(values: Iterable[int | None]) -> tuple[Any, ...]:
    """Return (n, sum, sumsq, min, max) of the values that are there."""
    held = [x for x in values if x is not None]
    return (len(held), sum(held), sum(x * x for x in held), min(held, default=None), max(held, default=None))


def alerts(
    events: Sequence[Record], seq: int, field: str, by: Sequence[str], beyond: Decimal, min_count: int
) -> list[tuple[Record, int, Fraction, Fraction]]:
    """Return the events of micro-batch `seq` beyond so many deviations of what their key held before that seq.

    Each with its baseline: (event, n, mean, variance), mean and variance at the field's own scale, exact.
    """
    before: dict[tuple[str, ...], list[int]] = {}
    for r in events:
        if r.seq < seq and r.values[field] is not None:
            before.setdefault(tuple(r.values[b] for b in by), []).append(r.values[field])
    history = {key: spread(values) for key, values in before.items() if len(values) >= max(min_count, 2)}
    result = []
    for r in events:
        key = tuple(r.values[b] for b in by)
        if r.seq == seq and r.values[field] is not None and key in history:
            n, mean, variance = history[key]
            if (r.values[field] - mean) ** 2 > Fraction(beyond) ** 2 * variance:
                result.append((r, n, mean, variance))
    return result


def spread(values: Sequence[int]) -> tuple[int, Fraction, Fraction]:
    """Return (n, mean, variance of a sample), exact."""
    mean = Fraction(sum(values), len(values))
    return len(values), mean, sum((x - mean) ** 2 for x in values) / (len(values) - 1)


def root(v: Fraction) -> float:
    """Return the double nearest to √v, by way of 60 decimal digits."""
    with localcontext() as context:
        context.prec = 60
        return float((Decimal(v.numerator) / Decimal(v.denominator)).sqrt())
