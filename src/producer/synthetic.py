"""Synthetic events: as many as wanted, made from a declaration and, where there are any, from its sample rows.

Nothing they say was ever measured; that they obey the declaration is all that is promised: no synthetic event is a dead
letter. Where the dataset has samples, each event is one of their rows, taken whole at random, so that keys are as skewed
and columns hang together as there; it gets times of its own, shifted all alike, and an id of its own. Without samples
every field is drawn by itself from what its declaration allows: a few keys, the first of them most often, and numbers
around the middle of their bounds.

Everything is a function of the declaration, the samples, the timeline and the seed. Ids differ within a run. They hold
the time at which it begins where there is room for it, and so differ between runs as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate, count
from typing import TypeAlias

from braid import grammar as g
from braid.declaration import Declaration, Field, Topic, bounds
from braid.errors import UsageError
from braid.records import acceptable
from producer.made import Made, key_of, record_of
from producer.sources import Timeline, Value, made_field, template_of
from producer.tables import DataError, Joined, Refusal

Draw: TypeAlias = Callable[[random.Random], Value]

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
KEYS, WORDS = 12, 1000  # different texts of a key column without samples, and of any other
MISSING = 0.05  # of the events lack an optional field, without samples
MOST_REFUSED = 1000  # sample rows in a row that the rules refuse, before they are given up
_ROOM = 12  # base-36 digits: more ids than a run can send
_READABLE = 40  # bytes in which an id can say which run made it
_HOUR_US = 3_600_000_000


def events(
    declaration: Declaration,
    topics: Sequence[tuple[Topic, str]],
    samples: Mapping[str, Joined],
    timeline: Timeline,
    seed: int,
) -> Generator[Made, None, None]:
    """Yield events for ever, or until the ids of a topic are used up: event p at the timeline's time p.

    Parameters
    ----------
    topics : the declared topics to make events of, each with the name it is sent to
    samples : by declared name; of several topics each comes as often as its share of the rows
    timeline : at least a microsecond between two events

    Raises
    ------
    DataError
        The samples have no row that the declaration accepts, or lack a column that every event needs.
    UsageError
        No value at all is allowed for a field that every event needs.
    """
    rng = random.Random(f"{seed}")  # noqa: S311 - made-up events, not a secret
    start_us = timeline.start_us
    makers = [_Maker(declaration, topic, samples.get(topic.name), start_us, seed) for topic, _ in topics]
    shares = [len(samples[t.name].rows) for t, _ in topics] if all(t.name in samples for t, _ in topics) else None
    for position in count():
        (place,) = rng.choices(range(len(topics)), shares) if len(topics) > 1 else (0,)
        (topic, name), maker = topics[place], makers[place]
        if maker.left == 0:
            return
        at_us = timeline.at(position)
        values = maker.values(rng, at_us)
        event_us = values[topic.event_time.field] if topic.event_time.field else at_us
        assert isinstance(event_us, int)  # noqa: S101 - narrows for the type checker
        yield Made(position, event_us, at_us, name, key_of(topic, values), record_of(topic, values))


class _Maker:
    """The events of one topic."""

    def __init__(
        self, declaration: Declaration, topic: Topic, samples: Joined | None, start_us: int, seed: int
    ) -> None:
        self._topic = topic
        keys = {name for view in declaration.views if topic.name in view.topics for name in view.by}
        self._rows = _Rows(topic, samples, start_us) if samples is not None else None
        self._draws = {} if self._rows else {n: draw_of(f, key=n in keys) for n, f in topic.fields.items()}
        self._fresh = fresh_of(topic, self._rows.largest if self._rows else {}, start_us, seed)
        self._number = 0

    @property
    def left(self) -> int | None:
        """How many different ids are left; None: time makes them, and does not end."""
        return None if self._fresh is None else self._fresh[1] - self._number

    def values(self, rng: random.Random, at_us: int) -> dict[str, Value]:
        """Return the fields of the next event."""
        if self._rows:
            values = shifted(self._topic, self._rows.draw(rng), at_us)
        else:
            values = {name: draw(rng) for name, draw in self._draws.items()}
            for name, field in self._topic.fields.items():
                if field.type == "time" and values[name] is not None:
                    late = (
                        0 if name in {self._topic.event_time.field, *self._topic.event_id} else rng.randrange(_HOUR_US)
                    )
                    values[name] = max(at_us - late, g.FIRST_US)
        if self._fresh is not None:
            name, _, id_ = self._fresh
            values[name] = id_(self._number)
        self._number += 1
        return values


# ---- ids -----------------------------------------------------------------------------------------------------------


def fresh_of(
    topic: Topic, largest: Mapping[str, int], start_us: int, seed: int
) -> tuple[str, int, Callable[[int], Value]] | None:
    """Return which field of the id is new in every event, how many values it can have, and value number n.

    None when a time is part of the id: no two events have the same. Otherwise it is the field with the most room, of
    equals the last, so that what an id begins with (whose it is) stays as in the samples.

    Parameters
    ----------
    largest : greatest number of a field in the samples, scaled; new ones begin behind it
    """
    fields = [topic.fields[name] for name in topic.event_id]
    if any(field.type == "time" for field in fields):
        return None
    rng = random.Random(f"{seed}:{start_us}:{topic.name}")  # noqa: S311 - made-up ids, not a secret
    rooms = [(min(_room(field), 36**_ROOM), place) for place, field in enumerate(fields)]
    field = fields[max(rooms)[1]]
    if field.values is not None:
        values = usable(field)
        return field.name, len(values), lambda n: values[n]
    if field.type == "string":
        if field.max_length >= _READABLE:
            run = f"syn-{base36(start_us)}-{base36(seed % 36**6)}-"
            return field.name, 36**_ROOM, lambda n: run + base36(n)
        digits = min(field.max_length, _ROOM)
        begin = rng.randrange(36**digits)
        return field.name, 36**digits, lambda n: base36((begin + n) % 36**digits).rjust(digits, "0")
    low, high = bounds(field)
    behind = largest.get(field.name, low - 1) + 1
    low = behind if behind <= high else low
    size = high - low + 1
    first = rng.randrange(size) if size > 0 else 0
    return field.name, max(size, 0), lambda n: unscaled(field, low + (first + n) % size)


def _room(field: Field) -> int:
    """Return how many values a field can have."""
    if field.numeric:
        low, high = bounds(field)
        return max(high - low + 1, 0)
    return len(usable(field)) if field.values is not None else 36 ** min(field.max_length, _ROOM)


def base36(number: int) -> str:
    """Return a number in the digits 0-9a-z.

    Examples
    --------
    >>> base36(0), base36(35), base36(36)
    ('0', 'z', '10')
    """
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return digits


# ---- from samples --------------------------------------------------------------------------------------------------


class _Rows:
    """Sample rows that the rules accept, read when they are first drawn."""

    def __init__(self, topic: Topic, data: Joined, now_us: int) -> None:
        self._topic = topic
        self._data = data
        self._made = made_field(topic, data)
        self._now_us = now_us
        self._read: dict[int, Mapping[str, Value] | None] = {}
        self.largest = {
            name: most for name in topic.event_id if (most := self._largest(topic.fields[name])) is not None
        }

    def draw(self, rng: random.Random) -> Mapping[str, Value]:
        """Return the values of a row."""
        for _ in range(MOST_REFUSED):
            number = rng.randrange(len(self._data.rows)) if self._data.rows else -1
            if number not in self._read:
                self._read[number] = self._values(number)
            values = self._read[number]
            if values is not None:
                return values
        files = ", ".join(sorted(set(self._data.file_of.values()))) or "the samples"
        raise DataError(f"{files}: expected rows that {self._topic.name} accepts, to resample, got none")

    def _values(self, number: int) -> Mapping[str, Value] | None:
        if number < 0:
            return None
        found = template_of(self._topic, self._data, number, self._made, self._now_us)
        return None if isinstance(found, Refusal) else found.fields

    def _largest(self, field: Field) -> int | None:
        """Return the greatest number of a field as it is written in the samples, scaled."""
        if not field.numeric:
            return None
        texts = [row.values.get(field.name, "") for row in self._data.rows if not isinstance(row, Refusal)]
        digits = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) <= g.MAX_INTEGER]
        return max(digits) * 10**field.scale if digits else None


def shifted(topic: Topic, row: Mapping[str, Value], at_us: int) -> dict[str, Value]:
    """Return a row with its times moved, all by as much, so that it could be sent at `at_us`.

    Its newest time is then `at_us`: an event is sent when all of it has happened. Of a topic whose ids hold the event
    time it is that which is `at_us`, or two events could have one id.
    """
    values = dict(row)
    name = topic.event_time.field
    times = {n: v for n, v in values.items() if topic.fields[n].type == "time" and isinstance(v, int)}
    own = times.get(name) if name in topic.event_id else None
    known = max(times.values(), default=None) if own is None else own
    if known is not None:
        for other, was_us in times.items():
            values[other] = min(max(was_us + at_us - known, g.FIRST_US), g.END_US - 1)
    if name is not None and name not in times:
        values[name] = at_us
    for part in topic.event_id:
        if topic.fields[part].type == "time":
            values[part] = at_us
    return values


# ---- from the declaration alone -------------------------------------------------------------------------------------


def draw_of(field: Field, *, key: bool) -> Draw:
    """Return how values of a field are drawn; of a time, whether it has one.

    Raises
    ------
    UsageError
        Every event needs a value, and none is allowed.
    """
    draw = _values_of(field, key=key)
    if draw is None and not field.optional:
        raise UsageError(f"--synthetic: {field.name}: expected a field with a value that its own rules allow, got none")
    if draw is None:
        return lambda _: None
    if field.optional:
        return lambda rng: None if rng.random() < MISSING else draw(rng)
    return draw


def _values_of(field: Field, *, key: bool) -> Draw | None:
    if field.type == "time":
        return lambda _: 0  # its place; the event fills it in
    if field.type == "string":
        values: Sequence[Value] = usable(field) if field.values is not None else _texts(field, KEYS if key else WORDS)
        return _skewed(values) if values else None
    low, high = bounds(field)
    if low > high:
        return None
    if key:
        some = min(KEYS, high - low + 1)
        # from zero where it is allowed: a key is seldom at the edge of what 32 bits hold
        begin = min(max(low, 0), high - some + 1)
        return _skewed([unscaled(field, begin + k) for k in range(some)])
    return _number(field, low, high)


def _number(field: Field, low: int, high: int) -> Draw:
    """Return draws around the middle of two bounds; with one bound or none small numbers are the usual ones."""
    if field.min is not None and field.max is not None:
        return lambda rng: unscaled(field, low + int((high - low) * rng.betavariate(2, 2)))
    one = 10**field.scale

    def draw(rng: random.Random) -> Value:
        size = int(one * rng.lognormvariate(2, 1))
        scaled = high - size if field.max is not None else (low if field.min is not None else 0) + size
        return unscaled(field, min(max(scaled, low), high))

    return draw


def _texts(field: Field, most: int) -> list[Value]:
    digits = min(field.max_length, 3)
    most = min(most, 36**digits)
    if field.max_length >= len(field.name) + 1 + len(str(most)):
        return [f"{field.name}-{k + 1}" for k in range(most)]
    return [base36(k).rjust(digits, "0") for k in range(most)]


def _skewed(values: Sequence[Value]) -> Draw:
    """Return draws of which the k-th value comes 1/k as often as the first."""
    weights = list(accumulate(1 / (k + 1) for k in range(len(values))))
    return lambda rng: rng.choices(values, cum_weights=weights)[0]


def usable(field: Field) -> list[str]:
    """Return the listed values of a string that its other rules allow."""
    return [value for value in field.values or () if acceptable(field, value)]


def unscaled(field: Field, scaled: int) -> Value:
    """Return the number that a scaled integer stands for."""
    return Decimal(scaled).scaleb(-field.scale) if field.type == "decimal" else scaled
