"""Answers out of one snapshot: which rows, the states merged, the numbers finished here and not before.

Everything in a body is a function of (declaration, generation, seq, complete and missing, query): that is its strong
ETag. What changes by the second, the freshness and the time of the answer, goes into headers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import orjson

from braid import acknowledgements, receipts
from braid.aggregates import (
    DISTINCT_BOUND,
    DISTINCT_K,
    FIELDS,
    QUANTILE_BOUND,
    Distinct,
    Held,
    State,
    finished_of,
    merge_states,
    plain,
)
from braid.alerts import Alert
from braid.cql import event_time_column
from braid.declaration import AlertRule, Declaration, Measure, ViewSpec
from braid.gaps import as_dicts
from braid.instants import iso
from braid.ledger import text_of
from braid.receipts import Question, Receipt
from braid.views import Key, View, best, coarsen, digest, lists
from braid.windows import ALL_US, start_us
from serving import catalog, columns, grid
from serving.columns import Column
from serving.explain import Explain, Shape
from serving.grid import Grid, Place
from serving.params import Query
from serving.snapshot import Snapshot, What
from serving.tail import Missing

T = TypeVar("T")
Row: TypeAlias = dict[str, Any]
Words: TypeAlias = Mapping[acknowledgements.Place, acknowledgements.Acknowledgement]

_iso = lru_cache(4096)(iso)  # windows come again in every answer
LOOK_EVERY = 4096  # rows between two looks at the clock


def unhurried() -> None:
    """Let an answer take what time it needs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, and what they cover.

    Attributes
    ----------
    receipt : for views, what is claimed of exactly these rows
    columns : the rows' columns, for formats that need them
    following : where the next page begins, None when this is the last
    """

    rows: list[Row]
    meta: dict[str, Any]
    receipt: str | None
    columns: tuple[Column, ...] = ()
    following: int | None = None


@dataclass(frozen=True, slots=True)
class Covered:
    """A snapshot with what is missing from it at this moment, for one kind of answer."""

    snapshot: Snapshot
    what: What
    missing: tuple[Missing, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def basis(self) -> tuple[str, str, int, int, int, tuple[Missing, ...]]:
        """What an answer is a function of, beside the question: equal for two moments, so are the answers."""
        declaration, as_of = self.snapshot.declaration, self.snapshot.as_of(self.what)
        return declaration.dataset, declaration.text, as_of.generation, as_of.row.seq, as_of.row.attempt, self.missing

    def etag(self, question: str) -> str:
        """Return the strong ETag of an answer to a question, without the encoding."""
        *basis, missing = self.basis
        words = [*basis, [m.as_dict() for m in missing], question]
        return hashlib.sha256(orjson.dumps(words)).hexdigest()[:32]

    def meta(self, definition: str) -> dict[str, Any]:
        """Return the part of `meta` that every answer has."""
        as_of = self.snapshot.as_of(self.what)
        cut = self.snapshot.tail.cut
        batch_until = iso(cut.committed_at_us) if as_of.generation else None
        return {
            "as_of": as_of.as_dict(),
            "complete": self.complete,
            "missing": [m.as_dict() for m in self.missing],
            "gaps": as_dicts(self.snapshot.accepted(self.what)),
            "layers": {
                "batch_until": None if self.what in {"speed", "alerts"} else batch_until,
                "speed_until": None if self.what == "batch" else iso(as_of.row.committed_at_us),
            },
            "definition": definition,
        }


# ---- views ---------------------------------------------------------------------------------------------------------


def of_view(
    covered: Covered,
    spec: ViewSpec,
    query: Query,
    newest_window: bool = False,
    hurry: Callable[[], None] = unhurried,
    told: Callable[[Shape], Explain] | None = None,
) -> Answer:
    """Return the answer of a view: rows by window, then key. A window without events has no row: a gap is no zero.

    Parameters
    ----------
    covered : of the query's layer
    newest_window : only the newest window of each key; a window without events has no row, so it is not empty
    hurry : called now and then; raises when the answer takes too long
    told : says of each row how it was merged (`explain.of_rows`)
    """
    declaration, shaped = covered.snapshot.declaration, query.shaped(spec)
    batch, tail = _sides(covered.snapshot, spec, shaped, query, hurry)
    page, found, ranks = _ordered(spec, shaped, batch, tail, newest_window, query, hurry)
    following = _following(found, query)
    chosen = {place: _state(batch, tail, place) for place in page}
    claim = _receipt(covered, spec, query, newest_window, chosen)
    receipt = receipts.encode(claim)
    meta = covered.meta(claim.definition) | {"view": spec.name, "layer": query.layer}
    meta |= {"digest": claim.digest, "rows": claim.rows, "of_rows": found, "receipt": receipt} | _range(spec, query)
    if bounds := _bounds(shaped, chosen):
        meta["bounds"] = bounds
    rows = [
        _row(shaped, place, state, query.state, ranks.get(place))
        for place, state in _unhurriedly(chosen.items(), hurry)
    ]
    if told is not None:
        explain = told(partial(_side, spec, shaped, query, hurry))
        rows = [row | {"explain": explain(place)} for row, place in zip(rows, chosen, strict=True)]
    return Answer(rows, meta, receipt, columns.of_view(declaration, shaped, state=query.state), following)


def _ordered(
    spec: ViewSpec,
    shaped: ViewSpec,
    batch: Grid,
    tail: Grid,
    newest_window: bool,
    query: Query,
    hurry: Callable[[], None],
) -> tuple[list[Place], int, Mapping[Place, int]]:
    """Return the places of a page in its order, and how many rows there are; of a view that declares `top` their ranks.

    The newest window is each key's own, and that of a `top` list each list's.
    """
    newest_first, end = query.order == "desc", _end(query)
    if spec.top is None:
        if not newest_window:
            return (*grid.page_of(batch, tail, query.offset, end, hurry, newest_first=newest_first), {})
        newest: dict[Key, int] = {}
        for start in grid.starts_of(batch, tail, newest_first=True):
            hurry()
            for key in grid.keys_of(batch, tail, start):
                newest.setdefault(key, start)
        places = [(newest[key], key) for key in sorted(newest, reverse=newest_first)]
        return places[query.offset : end], len(places), {}
    places, _ = grid.page_of(batch, tail, 0, None, hurry)
    if newest_window:
        list_of = lists(spec.top, shaped)
        last = {list_of(key): start for start, key in places}
        places = [(start, key) for start, key in places if last[list_of(key)] == start]
    ranks = dict(best(spec, shaped, {place: _state(batch, tail, place) for place in _unhurriedly(places, hurry)}))
    # newest first turns the windows round, not the ranks
    places = sorted(ranks, key=lambda place: -place[0]) if newest_first else list(ranks)
    return places[query.offset : end], len(places), ranks


def _receipt(covered: Covered, spec: ViewSpec, query: Query, newest_window: bool, chosen: View) -> Receipt:
    """Return what the answer claims of its rows, with the question as it was understood."""
    as_of, declaration = covered.snapshot.as_of(query.layer), covered.snapshot.declaration
    asked = Question(
        query.layer, query.keys, query.from_us, query.to_us, newest_window, query.order, query.limit,
        query.window_us, query.by, query.offset,
    )  # fmt: skip
    return Receipt(
        declaration.dataset, spec.name, asked, as_of.generation, as_of.cut_seq, as_of.row.seq, text_of(as_of.row.end),
        declaration.hash, len(chosen), sum(state.n for state in chosen.values()), digest(chosen),
    )  # fmt: skip


def _bounds(spec: ViewSpec, chosen: View) -> dict[str, float]:
    """Return how far a finished column of these rows can be from the exact number, as a part of it."""
    found: dict[str, float] = {}
    for i, m in enumerate(spec.measures):
        full = any(
            len(held.hashes) >= DISTINCT_K for s in chosen.values() if isinstance(held := s.measures[i], Distinct)
        )
        bound = {"quantiles": float(QUANTILE_BOUND), "distinct": DISTINCT_BOUND if full else 0.0}.get(m.kind)
        if bound is not None:
            found |= {spec.column(m, stat): bound for stat in m.stats}
    return found


def _range(spec: ViewSpec, query: Query) -> dict[str, Any]:
    """Return the bounds of a roll-up to one window: its rows carry no window, so `meta` says what they hold."""
    if query.window_us != ALL_US or not spec.window_us:
        return {}
    return {
        "from": None if query.from_us is None else iso(query.from_us),
        "to": None if query.to_us is None else iso(query.to_us),
    }


def _end(query: Query) -> int | None:
    """Return the row before which a page ends, None without a limit."""
    return None if query.limit is None else query.offset + query.limit


def _following(found: int, query: Query) -> int | None:
    """Return where the next page begins, None when this is the last."""
    end = _end(query)
    return end if end is not None and end < found else None


def _unhurriedly(found: Iterable[T], hurry: Callable[[], None]) -> Iterator[T]:
    for i, one in enumerate(found):
        if not i % LOOK_EVERY:
            hurry()
        yield one


def _sides(
    snapshot: Snapshot, spec: ViewSpec, shaped: ViewSpec, query: Query, hurry: Callable[[], None]
) -> tuple[Grid, Grid]:
    """Return (batch, tail), each with the places that are asked for, in the shape that is asked for."""
    batch, tail = snapshot.sides(spec.name, query.layer)
    return _side(spec, shaped, query, hurry, batch), _side(spec, shaped, query, hurry, tail)


def _side(spec: ViewSpec, shaped: ViewSpec, query: Query, hurry: Callable[[], None], view: View) -> Grid:
    """Return the states of the places that are asked for, rolled up to the shape that is asked for.

    A row of a coarser window is answered whole or not at all, so its own start decides; merged into `all`, each window
    of the view decides for itself.
    """
    side = Grid.of(view)
    grid_us = shaped.window_us or spec.window_us
    hurry()
    if query.from_us is not None or query.to_us is not None:
        side = side.between(query.from_us, query.to_us, lambda start: start_us(start, grid_us))
    if query.keys:
        side = side.only(side.matching(spec.by, dict(query.keys)), hurry)
    same = (shaped.by, shaped.window_us) == (spec.by, spec.window_us)
    return side if same else Grid.of(coarsen(side, spec, shaped))


def _state(batch: Grid, tail: Grid, place: Place) -> State:
    old, new = batch.get(place), tail.get(place)
    if old is None or new is None:
        either = old or new
        assert either is not None  # noqa: S101 - the place came from one of the two
        return either
    return merge_states(old, new)


def _row(spec: ViewSpec, place: Place, state: State, exact: bool, rank: int | None) -> Row:
    window_start_us, key = place
    row: Row = {}
    if spec.window_us:
        row = {"window_start": _iso(window_start_us), "window_end": _iso(window_start_us + spec.window_us)}
    row |= zip(spec.by, key, strict=True)
    if rank is not None:
        row["rank"] = rank
    row |= finished_of(spec, state)
    row["n"] = state.n
    if exact:
        measures = {m.id: _exact(m, held) for m, held in zip(spec.measures, state.measures, strict=True)}
        row["state"] = {"n": state.n, "fp": str(state.fp), "measures": measures}
    return row


def _exact(measure: Measure, held: Held) -> Row:
    """Return the integers themselves; those that may pass 2^53 as text, for JSON's readers hold doubles."""
    large = {"sum", "sumsq"}
    values = zip(FIELDS[measure.kind], plain(held), strict=True)
    return {"scale": measure.scale} | {name: str(x) if name in large else x for name, x in values}


# ---- alerts --------------------------------------------------------------------------------------------------------


def of_alerts(covered: Covered, rules: Sequence[AlertRule], query: Query, words: Words | None = None) -> Answer:
    """Return the newest alerts of some rules, newest event first; equal times in ledger order, newest first.

    Parameters
    ----------
    words : what people said of alerts; None leaves it out
    """
    snapshot = covered.snapshot
    by_name = {rule.name: rule for rule in rules}
    found = [
        alert
        for alert in reversed(snapshot.recent.alerts)
        if alert.rule in by_name
        and alert.seq <= snapshot.tail.row.seq
        and query.within(alert.event_us)
        and query.matches(by_name[alert.rule].by, alert.key)
        and (query.min_z is None or alert.z is None or abs(alert.z) >= query.min_z)
        and (query.acknowledged is None or is_acknowledged(alert, words or {}) is query.acknowledged)
    ]
    found.sort(key=lambda alert: -alert.event_us)
    page, following = found[query.offset : _end(query)], _following(len(found), query)
    rows = [alert_row(snapshot.declaration, by_name[alert.rule], alert, words) for alert in page]
    meta = covered.meta(snapshot.declaration.hash) | {"alerts": [rule.name for rule in rules]}
    meta |= {"from_seq": snapshot.recent.from_seq, "rows": len(rows), "of_rows": len(found)}
    return Answer(rows, meta, None, columns.of_alerts(snapshot.declaration, rules, words=words is not None), following)


def is_acknowledged(alert: Alert, words: Words) -> bool:
    """Return whether somebody acknowledged an alert and did not take that back."""
    word = words.get((alert.rule, alert.topic, alert.partition, alert.offset))
    return word is not None and word.acknowledged


def alert_row(declaration: Declaration, rule: AlertRule, alert: Alert, words: Words | None = None) -> Row:
    """Return one alert as answers carry it."""
    row = _alert(declaration, rule, alert)
    return row if words is None else row | {"acknowledgement": _word(declaration, alert, words)}


def _word(declaration: Declaration, alert: Alert, words: Words) -> Row:
    place = (alert.rule, alert.topic, alert.partition, alert.offset)
    word = words.get(place)
    return {
        "acknowledged": word is not None and word.acknowledged,
        "note": word.note if word else "",
        "by": word.who or None if word else None,
        "at": iso(word.at_us) if word else None,
        "url": f"{catalog.address(declaration)}/alerts/{'/'.join(quote(str(p), safe='') for p in place)}/acknowledgement",
    }


def _alert(declaration: Declaration, rule: AlertRule, alert: Alert) -> Row:
    fields = declaration.topic(alert.topic).columns
    row: Row = dict(zip(rule.by, alert.key, strict=True))
    row[event_time_column(declaration.topic(alert.topic))] = iso(alert.event_us)
    for name, value in alert.values.items():
        row[name] = _plain(value, fields[name].scale) if name in fields else value
    baseline = {"n": alert.baseline_n, "mean": alert.baseline_mean, "stddev": alert.baseline_stddev}
    place = {"seq": alert.seq, "topic": alert.topic, "partition": alert.partition, "offset": alert.offset}
    return row | {"z": alert.z, "baseline": baseline} | place | {"alert": rule.name}


def _plain(value: str | int | None, scale: int) -> str | int | float | None:
    return float(Fraction(value, 10**scale)) if isinstance(value, int) and scale else value


# ---- paths that earlier users know ---------------------------------------------------------------------------------


def renamed(rows: list[Row], rename: Mapping[str, str]) -> list[Row]:
    """Return rows with the names that a declared path gives to columns."""
    return [{rename.get(name, name): value for name, value in row.items()} for row in rows] if rename else rows
