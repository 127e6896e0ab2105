"""What a declaration drafted from samples is made of: id, event time, keys, window, measures, by plain rules.

Two of these can cost records or counts, and are chosen so that they cannot for any of the samples: no two that differ
share an id, or none was found; and no event time lies in the future. The rest is taste. Choices are yielded the most
sensible first, for the declaration's own rules to take one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from braid.declaration_file import RESERVED
from braid.grammar import LATE_US
from braid.samples import Column, PassedOver, Sample, duplicates

MOST_KEYS = 50  # different values of a column that a chart can still show
LIKED = 8  # of equally fitting keys, the one whose number of values is nearest, as a ratio
MOST_MEASURES = 4
FLAGS = 3  # different numbers, at most, that say yes or no rather than how much
MOST_TRIED = 8  # columns among which an id of several is looked for
ENOUGH = 30  # samples below which nothing is called sure
_WINDOWS = {"1 minute": 60, "10 minutes": 600, "1 hour": 3600, "1 day": 86400}  # seconds
_PER_WINDOW = 5  # records of a key that make a window worth drawing
_NUMBERS = ("mean", "stddev", "min", "max")
_ID = re.compile(r"(?:^|_)(?:id|uuid|guid|key)$")
_CODE = re.compile(r"(?:^|_)(?:id|code|type|kind|class|category|zone|status|level)$")  # a number that only names
_PLACE = re.compile(r"(?:^|_)(?:lat|lon|lng|latitude|longitude)$")
_WHEN = ("timestamp", "event", "occurred", "time", "datetime", "ts", "at", "when", "created", "date")  # the best first


@dataclass(frozen=True, slots=True)
class Identity:
    """The fields of an event's id, and why these; no `found`: records that differ share it."""

    names: tuple[str, ...]
    why: str
    found: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """All that a draft's text is made of."""

    dataset: str
    topic: str
    source: str
    samples: int
    fields: tuple[Column, ...]
    passed: tuple[PassedOver, ...]
    identity: Identity
    time: Column | None
    time_why: str
    by: Column
    by_why: str
    window: str
    measures: tuple[Column, ...]
    stats: tuple[str, ...]
    alert: Column | None


def choices(
    dataset: str, topic: str, samples: Sequence[Sample], source: str, found: Sequence[Column | PassedOver]
) -> Iterator[Choice]:  # fmt: skip
    """Yield what a draft may be made of, the most sensible first."""
    fields = tuple(c for c in found if isinstance(c, Column))
    passed = tuple(c for c in found if isinstance(c, PassedOver))
    if not fields:
        return
    time, time_why = _event_time(fields, samples)
    identity = _identity(fields, time, samples)
    for by, (measures, stats) in product(_keys(fields, identity, len(samples)), _measures(fields, identity)):
        apart = tuple(m for m in measures if m.name != by.name and not _clash(m, stats, by))[:MOST_MEASURES]
        if apart:
            groups = _groups(by, len(samples))
            why = "" if groups else "no column names kinds that come again and again: choose what to tell apart"
            alert = apart[0] if groups and stats == _NUMBERS else None  # of a key seen once there is no history
            yield Choice(
                dataset, topic, source, len(samples), fields, passed, identity, time, time_why, by, why,
                _window(time, by, len(samples)), apart, stats, alert,
            )  # fmt: skip


def _event_time(fields: Sequence[Column], samples: Sequence[Sample]) -> tuple[Column | None, str]:
    """Return the column that is an event's time, and why."""
    times = [c for c in fields if c.field.type == "time"]
    fit = [c for c in times if c.always and not _ahead(c, samples)]
    if fit:
        best = min(fit, key=lambda c: _rank(c.name))
        others = ", ".join(c.name for c in times if c is not best)
        zone = (
            "times without a zone are read as of this one: put in the one they were written in, such as Europe/Paris"
            if best.naive
            else "every time names its own zone"
        )
        return best, zone + (f"; {others} could be it, too" if others else "")
    if not times:
        return None, "no column is a time, so an event's time is when the broker got it"
    odd = times[0]
    why = "is not in every record" if odd.field.optional else "lies in the future in some records"
    return None, f"{odd.name} {why}, so an event's time is when the broker got it"


def _ahead(column: Column, samples: Sequence[Sample]) -> bool:
    ends = (sample.append_us + LATE_US for sample in samples)
    return any(isinstance(us, int) and us > end for us, end in zip(column.values, ends, strict=True))


def _rank(name: str) -> int:
    return min((_WHEN.index(word) for word in name.split("_") if word in _WHEN), default=len(_WHEN))


def _identity(fields: Sequence[Column], time: Column | None, samples: Sequence[Sample]) -> Identity:
    """Return the likeliest id: columns of which no two records that differ have the same values."""
    names = frozenset(c.member for c in fields)
    rest = (_undeclared(sample, names) for sample in samples)
    wholes: dict[object, int] = {}
    for i, whole in enumerate(zip(*(c.values for c in fields), rest, strict=True)):
        wholes.setdefault(whole, i)
    kept = list(wholes.values())
    rows = {c.name: [c.values[i] for i in kept] for c in fields}

    def unique(chosen: Sequence[Column]) -> bool:
        return not duplicates(zip(*(rows[c.name] for c in chosen), strict=True))

    found = next((some for some in _ids(fields, time, len(kept)) if some and unique(some)), None)
    copies = len(samples) - len(kept)
    more = (
        f"; {copies:,} are the same as an earlier one in every column, and would count as its copies" if copies else ""
    )
    if found is None:
        everything = tuple(c.name for c in fields if c.always) or (fields[0].name,)
        return Identity(everything, f"no columns tell the {len(kept):,} samples apart", found=False)
    share = "it" if len(found) == 1 else "both" if len(found) == 2 else "all of them"
    sure = len(kept) >= ENOUGH and len(found) == 1 and _ID.search(found[0].name)
    word = "quite sure" if sure else "a guess" if len(kept) >= ENOUGH else "a guess from few samples"
    return Identity(tuple(c.name for c in found), f"{word}: no two of {len(kept):,} samples share {share}{more}")


def _undeclared(sample: Sample, names: frozenset[str]) -> str:
    """Return what of a sample stands in no declared column."""
    return repr(sorted((name, repr(c)) for name, c in sample.cells.items() if name not in names and c is not None))


def _ids(fields: Sequence[Column], time: Column | None, samples: int) -> Iterator[tuple[Column, ...]]:
    """Yield what an id may be, the likeliest first."""
    always = [c for c in fields if c.always]
    words = sorted((c for c in always if c.field.type == "string"), key=lambda c: -c.distinct)
    whole = sorted((c for c in always if c.field.type == "integer"), key=lambda c: -c.distinct)
    named = [c for c in [*words, *whole] if _ID.search(c.name)]
    when = () if time is None else (time,)
    yield from ((c,) for c in named)
    if when:
        yield from ((c, *when) for c in named)
    yield from ((c,) for c in words if not any(" " in str(v) for v in c.values))
    if when:
        yield from ((c, *when) for c in words if c.distinct < samples)
        yield when
        yield from ((c, *when) for c in whole)
    yield from ((c,) for c in [*whole, *words])
    tried = [*named, *(c for c in [*when, *words, *whole] if c not in named)][:MOST_TRIED]
    for size in (2, 3):
        yield from combinations(tried, size)
    yield tuple(c for c in always if c.field.type != "decimal")
    yield tuple(always)


def _keys(fields: Sequence[Column], identity: Identity, samples: int) -> list[Column]:
    """Return the columns that views may be grouped by, the best first: few different values, each seen several times."""
    able = [c for c in fields if c.always and c.field.type in {"string", "integer"}]

    def taste(column: Column) -> tuple[bool, bool, bool, bool, bool, bool, float]:
        unlike = 2 * column.distinct > samples
        number = column.field.type == "integer"
        how_much = number and not _CODE.search(column.name)
        single = column.name in identity.names or bool(_ID.search(column.name))  # of one thing, not of a kind of things
        few = column.distinct <= MOST_KEYS and _groups(column, samples)
        far = abs(math.log(column.distinct / LIKED))
        return (unlike, how_much, not few, column.distinct == 2, number, single, far)

    return sorted(able, key=taste)


def _groups(column: Column, samples: int) -> bool:
    """Whether a column names kinds, each of them seen several times."""
    return 1 < column.distinct <= samples // 3


def _measures(fields: Sequence[Column], identity: Identity) -> list[tuple[list[Column], tuple[str, ...]]]:
    """Return what may be measured and how, the best first: numbers, or at least how many different texts there are."""
    numbers = [c for c in fields if c.field.numeric]
    worth = [c for c in numbers if identity.names != (c.name,) and not _ID.search(c.name) and not _PLACE.search(c.name)]
    worth = [c for c in worth if c.distinct > FLAGS] or worth
    worth.sort(key=lambda c: (c.field.type != "decimal", c.field.optional))
    words = sorted((c for c in fields if c.field.type == "string"), key=lambda c: c.name not in identity.names)
    tries = [(worth, _NUMBERS), (numbers, _NUMBERS), (words, ("distinct",))]
    return [(some, stats) for some, stats in tries if some]


def _clash(measure: Column, stats: Sequence[str], by: Column) -> bool:
    """Whether a finished column would be called like another."""
    return any(f"{measure.name}_{stat}" in {by.name, *RESERVED} for stat in stats)


def _window(time: Column | None, by: Column, samples: int) -> str:
    """Return the shortest window that holds some records of each key, as often as they come in the samples."""
    if time is None:
        return "1 minute"
    instants = sorted(us for us in time.values if isinstance(us, int))
    aside = samples // 20  # a time far from all others says nothing of how often they come
    span_s = (instants[-1 - aside] - instants[aside]) / 10**6
    needed_s = _PER_WINDOW * by.distinct * span_s / (samples - 2 * aside)
    return next((name for name, seconds in _WINDOWS.items() if seconds >= needed_s), "1 day")
