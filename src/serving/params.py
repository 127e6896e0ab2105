"""A query string as a `Query`, or a problem that names the parameter, what was expected and what stood there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, cast

from braid.declaration import AlertRule, Declaration, Layer, ViewSpec
from braid.views import coarser
from serving import cursors, parameters
from serving.cursors import Cursor
from serving.parameters import MOST_ALERTS, MOST_ROWS, NO_KEY, TAKEN, AsOfAsked, Parameter
from serving.problems import BadRequest, Fault

__all__ = ["MOST_ALERTS", "MOST_ROWS", "TAKEN", "Given", "Order", "Query", "alert_query", "no_query", "view_query"]

Order = Literal["asc", "desc"]
Given = Mapping[str, Sequence[str]]
_AHEAD_US = (10 * 365 * 86_400_000_000, 1_000_000)  # with a relative time, a second can be known


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
    window_us, by, stats : a coarser window, some of the keys, some of the statistics; None for the view's own
    min_z : the least distance of an alert in standard deviations
    acknowledged : only alerts that were, or only those that were not; None for all
    format : json, csv or arrow; None: as Accept asks
    cursor : where an earlier listing was cut, None for a new one
    as_of : an earlier answer's generation and seq, None for the newest
    explain : whether each row says how it was merged
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
    window_us: int | None = None
    by: tuple[str, ...] | None = None
    stats: tuple[str, ...] | None = None
    min_z: Decimal | None = None
    acknowledged: bool | None = None
    format: str | None = None
    cursor: Cursor | None = None
    as_of: AsOfAsked | None = None
    explain: bool = False

    @property
    def offset(self) -> int:
        """How many rows of the listing earlier pages held."""
        return self.cursor.offset if self.cursor else 0

    def canonical(self) -> str:
        """Return the one text of equal queries."""
        return json.dumps([self.listing(), self.from_us, self.to_us, self.limit, self.offset], separators=(",", ":"))

    def listing(self) -> str:
        """Return the text that every page of one listing has in common."""
        words = [
            self.layer, self.keys, self.order, self.state, self.alert, self.window_us, self.by, self.stats,
            None if self.min_z is None else str(self.min_z.normalize()), self.explain, self.acknowledged,
        ]  # fmt: skip
        return json.dumps(words, separators=(",", ":"))

    def matches(self, columns: Sequence[str], key: Sequence[str]) -> bool:
        """Return whether a key, in the order of `columns`, is asked for."""
        return all(column in columns and key[columns.index(column)] in values for column, values in self.keys)

    def within(self, instant: int) -> bool:
        """Return whether an instant (microseconds UTC) is asked for."""
        return (self.from_us is None or instant >= self.from_us) and (self.to_us is None or instant < self.to_us)

    def shaped(self, spec: ViewSpec) -> ViewSpec:
        """Return the view as its rows are to be answered: perhaps coarser, perhaps with fewer statistics."""
        window_us = spec.window_us if self.window_us is None else self.window_us
        coarse = coarser(spec, spec.by if self.by is None else self.by, window_us)
        if self.stats is None:
            return coarse
        wanted = self.stats
        measures = tuple(replace(m, stats=tuple(s for s in m.stats if s in wanted)) for m in spec.measures)
        left = replace(coarse, measures=measures)
        columns = {column for column, _, _ in left.finished}
        return replace(left, rules=tuple(rule for rule in spec.rules if rule.of in columns))


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
    reader = _Reader(given, now_us, parameters.of_view(declaration, view, fixed_layer=fixed is not None))
    found = reader.values
    window_us = view.window_us if found.get("window") is None else found["window"]
    # the rows of a roll-up are whole windows, so its bounds lie on its own grid; `all` merges the view's own windows
    grid_us = window_us or view.window_us
    bounds = reader.bounds(grid_us, parameters.MOST_WINDOWS * grid_us if window_us else None)
    query = Query(
        fixed or cast("Layer", found["layer"]), *bounds, reader.keys(), found["limit"], cast("Order", found["order"]),
        found["state"], found["strict"], window_us=None if window_us == view.window_us else window_us,
        by=reader.group(view.by), stats=found["stats"] or None, format=found["format"], cursor=reader.cursor(),
        as_of=found["as_of"], explain=found["explain"] is not None,
    )  # fmt: skip
    all_time = f"no such parameter: {view.name} covers all time"
    reader.check({} if view.window_us else dict.fromkeys(("from", "to", "window"), all_time))
    return _continued(query)


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
    reader = _Reader(given, now_us, parameters.of_alerts(declaration, rules, one=one))
    found = reader.values
    query = Query(
        "merged", *reader.bounds(1, parameters.ALERTS_SPAN_US), reader.keys(), found["limit"], "desc",
        strict=found["strict"], alert=found.get("alert"), min_z=found["min_z"],
        acknowledged={None: None, "0": False, "1": True}[found.get("acknowledged")], format=found["format"],
        cursor=reader.cursor(),
    )  # fmt: skip
    reader.check({})
    return _continued(query)


def until_us(read: Callable[[int], Query], query: Query, now_us: int) -> int:
    """Return until when a query means what it means now, at least: its bounds move on with the clock or not at all.

    Parameters
    ----------
    read : reads the parameters at a time, microseconds UTC
    """
    for ahead_us in _AHEAD_US:
        with suppress(BadRequest):
            if read(now_us + ahead_us).canonical() == query.canonical():
                return now_us + ahead_us
    return now_us


def no_query(given: Given) -> None:
    """Refuse every parameter. Raises BadRequest."""
    _Reader(given, 0, ()).check({})


def _continued(query: Query) -> Query:
    """Return a query with the bounds of the listing that it goes on with; its other parameters must be that one's."""
    cursor = query.cursor
    if cursor is None:
        return query
    if cursor.listing != cursors.short_hash(query.listing()):
        raise BadRequest([Fault("cursor", "the other parameters as in `next`", "others")])
    return replace(query, from_us=cursor.from_us, to_us=cursor.to_us)


class _Reader:
    """Reads the given texts through parameters, gathers what is wrong, and refuses names that nobody defined."""

    def __init__(self, given: Given, now_us: int, known: Sequence[Parameter]) -> None:
        self._given = given
        self._now_us = now_us
        self._known = known
        self._faults: list[Fault] = []
        self.values: dict[str, Any] = {p.name: self._value(p) for p in known}

    def check(self, why: Mapping[str, str]) -> None:
        """Raise what was found; `why` says of single names why they are not known here."""
        names = [p.name for p in self._known]
        for name, values in self._given.items():
            if name not in names:
                self._fault(name, why.get(name) or _nearest(name, names), values[0])
        if self._faults:
            order = {name: i for i, name in enumerate(names)}
            raise BadRequest(sorted(self._faults, key=lambda fault: order.get(fault.parameter, len(order))))

    def keys(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the accepted values of each key column that is asked for."""
        return tuple((p.column, self.values[p.name]) for p in self._known if p.column and self.values[p.name])

    def group(self, by: Sequence[str]) -> tuple[str, ...] | None:
        """Return the keys to keep, None for all."""
        wanted = self.values["group_by"]
        if NO_KEY in wanted and len(wanted) > 1:
            self._fault("group_by", "columns, or the empty text alone", ", ".join(wanted))
        kept = tuple(column for column in by if column in wanted)
        return None if not wanted or kept == tuple(by) else kept

    def bounds(self, grid_us: int, most_us: int | None) -> tuple[int | None, int | None]:
        """Return (from, to), each raised to the grid: the same windows are the same query, whenever `now` is."""
        first, last = self.values.get("from"), self.values.get("to")
        if first is not None and last is not None:
            if first > last:
                self._fault("from", "an instant not after `to`", self._given["from"][0])
            elif most_us is not None and last - first > most_us:
                self._fault("from", f"at most {parameters.short(most_us)} before `to`", self._given["from"][0])
        raised = [None if t is None else -(-t // grid_us) * grid_us for t in (first, last)]
        return raised[0], raised[1]

    def cursor(self) -> Cursor | None:
        """Return where an earlier listing was cut, None when this is a new one."""
        text = self.values["cursor"]
        if text is None:
            return None
        try:
            return cursors.read(text)
        except ValueError:
            self._fault("cursor", "a cursor out of `next`", text)
            return None

    def _value(self, parameter: Parameter) -> Any:
        values = self._given.get(parameter.name, ())
        if len(values) > 1 and not parameter.repeatable:
            self._fault(parameter.name, "one value", ", ".join(values))
            return parameter.default
        found = set()
        for value in values:
            try:
                found.add(parameter.read(value, self._now_us))
            except (ValueError, OverflowError):
                self._fault(parameter.name, parameter.expected, value)
        if parameter.repeatable:
            return tuple(sorted(found))
        return found.pop() if found else parameter.default

    def _fault(self, name: str, expected: str, got: str) -> None:
        self._faults.append(Fault(name, expected, got[:200]))


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"a known parameter; did you mean {near[0]}?"
    return f"one of {', '.join(known)}" if known else "no parameters here"
