"""A query string as a `Query`, or a problem that names the parameter, what was expected and what stood there."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from braid.declaration import AlertRule, Declaration, Field, Layer, ViewSpec, duration_us
from braid.instants import instant_us
from serving.problems import BadRequest, Fault

MOST_ROWS = 100_000
MOST_ALERTS = 10_000
ALERTS = 100  # when no limit is given
LAYERS = ("merged", "batch", "speed")
# a key column of such a name is asked for as `key.order=…`
TAKEN = frozenset({"layer", "from", "to", "limit", "order", "state", "strict", "alert"})

Order = Literal["asc", "desc"]
Given = Mapping[str, Sequence[str]]
T = TypeVar("T")

_RELATIVE = re.compile(r"now(?:([+-])([1-9][0-9]{0,5})([smhd]))?")
_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a view or of the alerts, with times already resolved.

    Attributes
    ----------
    from_us, to_us : half-open bounds in microseconds UTC, None when open; on windows' starts, or on events' times
    keys : (column, accepted values) pairs; a row must match each column
    limit : at most so many rows, None for all
    state : whether the exact integers go with each row
    strict : whether an incomplete answer is to be an error
    alert : one alert rule's name, None for all
    """

    layer: Layer = "merged"
    from_us: int | None = None
    to_us: int | None = None
    keys: tuple[tuple[str, tuple[str, ...]], ...] = ()
    limit: int | None = None
    order: Order = "asc"
    state: bool = False
    strict: bool = False
    alert: str | None = None

    def canonical(self) -> str:
        """Return the one text of equal queries."""
        words = [self.layer, self.from_us, self.to_us, self.keys, self.limit, self.order, self.state]
        return json.dumps(words, separators=(",", ":"))

    def matches(self, columns: Sequence[str], key: Sequence[str]) -> bool:
        """Return whether a key, in the order of `columns`, is asked for."""
        return all(key[columns.index(column)] in values for column, values in self.keys)

    def within(self, instant: int) -> bool:
        """Return whether an instant (microseconds UTC) is asked for."""
        return (self.from_us is None or instant >= self.from_us) and (self.to_us is None or instant < self.to_us)


def view_query(
    given: Given, declaration: Declaration, view: ViewSpec, now_us: int, fixed: Layer | None = None
) -> Query:
    """Read the parameters of a view.

    Parameters
    ----------
    given : each parameter's values as they were sent
    now_us : what `now` means, microseconds UTC
    fixed : the layer of a path that declares one; `layer` is then not a parameter

    Raises
    ------
    BadRequest
        With one fault per parameter that cannot be used.
    """
    reader = _Reader(given, now_us)
    layer = fixed or cast("Layer", reader.one("layer", LAYERS, "merged"))
    bounds = reader.bounds(view.window_us) if view.window_us else (None, None)
    query = Query(
        layer, *bounds, reader.keys(view.by, declaration.topic(view.topics[0]).fields), reader.limit(MOST_ROWS),
        cast("Order", reader.one("order", ("asc", "desc"), "asc")), reader.flag("state"), reader.flag("strict"),
    )  # fmt: skip
    why = {} if view.window_us else dict.fromkeys(("from", "to"), f"no such parameter: {view.name} covers all time")
    reader.check(why)
    return query


def alert_query(
    given: Given, declaration: Declaration, rules: Sequence[AlertRule], now_us: int, *, one: bool = False
) -> Query:
    """Read the parameters of alerts; `from` and `to` bound the events' times.

    Parameters
    ----------
    rules : those that may be asked for
    one : the path names its rule; `alert` is then not a parameter

    Raises
    ------
    BadRequest
        With one fault per parameter that cannot be used.
    """
    reader = _Reader(given, now_us)
    alert = None if one else reader.one("alert", tuple(rule.name for rule in rules), "") or None
    columns = tuple(dict.fromkeys(column for rule in rules for column in rule.by))
    fields = {name: f for topic in declaration.topics for name, f in topic.fields.items()}
    query = Query(
        "merged", *reader.bounds(1), reader.keys(columns, fields), reader.limit(MOST_ALERTS) or ALERTS, "desc",
        strict=reader.flag("strict"), alert=alert,
    )  # fmt: skip
    reader.check({})
    return query


def no_query(given: Given) -> None:
    """Refuse every parameter. Raises BadRequest."""
    _Reader(given, 0).check({})


class _Reader:
    """Takes parameters one by one, gathers what is wrong with them, and refuses those nobody took."""

    def __init__(self, given: Given, now_us: int) -> None:
        self._given = given
        self._now_us = now_us
        self._known: list[str] = []
        self._faults: list[Fault] = []

    def check(self, why: Mapping[str, str]) -> None:
        """Raise what was found; `why` says of single names why they are not known here."""
        for name, values in self._given.items():
            if name not in self._known:
                self._fault(name, why.get(name) or self._nearest(name), values[0])
        if self._faults:
            raise BadRequest(self._faults)

    def one(self, name: str, words: Sequence[str], default: str) -> str:
        value = self._single(name)
        if value is None or value in words:
            return value or default
        self._fault(name, f"one of {', '.join(words)}", value)
        return default

    def flag(self, name: str) -> bool:
        return self.one(name, ("0", "1"), "0") == "1"

    def limit(self, most: int) -> int | None:
        value = self._single("limit")
        if value is None:
            return None
        if re.fullmatch(r"[1-9][0-9]{0,8}", value) and int(value) <= most:
            return int(value)
        self._fault("limit", f"a whole number from 1 to {most}", value)
        return None

    def keys(self, columns: Iterable[str], fields: Mapping[str, Field]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found = []
        for column in columns:
            name = f"key.{column}" if column in TAKEN else column
            self._known.append(name)
            values = tuple(sorted(set(self._given.get(name, ()))))
            allowed = fields[column].values if column in fields else None
            for value in values:
                if allowed is not None and value not in allowed:
                    self._fault(name, f"one of {', '.join(allowed)}", value)
            if values:
                found.append((column, values))
        return tuple(found)

    def bounds(self, grid_us: int) -> tuple[int | None, int | None]:
        """Return (from, to), each raised to the grid: the same windows are the same query, whenever `now` is."""
        first, last = self._instant("from"), self._instant("to")
        if first is not None and last is not None and first > last:
            self._fault("from", "an instant not after `to`", self._given["from"][0])
        raised = [None if t is None else -(-t // grid_us) * grid_us for t in (first, last)]
        return raised[0], raised[1]

    def _instant(self, name: str) -> int | None:
        value = self._single(name)
        if value is None:
            return None
        if relative := _RELATIVE.fullmatch(value):
            sign, count, unit = relative.groups()
            if sign is None:
                return self._now_us
            distance = duration_us(f"{count} {_UNITS[unit]}")
            return self._now_us + (distance if sign == "+" else -distance)
        try:
            return instant_us(value)
        except (ValueError, OverflowError):
            self._fault(name, "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h", value)
            return None

    def _single(self, name: str) -> str | None:
        self._known.append(name)
        values = self._given.get(name, ())
        if len(values) > 1:
            self._fault(name, "one value", ", ".join(values))
            return None
        return values[0] if values else None

    def _nearest(self, name: str) -> str:
        known = list(dict.fromkeys(self._known))
        near = difflib.get_close_matches(name, known, 1)
        if near:
            return f"a known parameter; did you mean {near[0]}?"
        return f"one of {', '.join(known)}" if known else "no parameters here"

    def _fault(self, name: str, expected: str, got: str) -> None:
        self._faults.append(Fault(name, expected, got[:200]))
