"""Answers out of one snapshot: which rows, the states merged, the numbers finished here and not before.

Everything in a body is a function of (declaration, generation, seq, complete and missing, query): that is its strong
ETag. What changes by the second, the freshness and the time of the answer, goes into headers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import orjson

from braid import receipts
from braid.aggregates import Moments, State, finish, merge_states
from braid.alerts import Alert
from braid.cql import event_time_column
from braid.declaration import AlertRule, Declaration, ViewSpec
from braid.instants import iso
from braid.ledger import text_of
from braid.receipts import Question, Receipt
from braid.views import Key, View, digest
from serving.params import Query
from serving.snapshot import Snapshot, What
from serving.tail import Missing

Row: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[int, Key]


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, and what they cover; for views with the receipt of exactly these rows."""

    rows: list[Row]
    meta: dict[str, Any]
    receipt: str | None


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

    def etag(self, question: str) -> str:
        """Return the strong ETag of an answer to a question, without the encoding."""
        as_of = self.snapshot.as_of(self.what)
        words = [
            self.snapshot.declaration.dataset, self.snapshot.declaration.text, as_of.generation, as_of.row.seq,
            as_of.row.attempt, [m.as_dict() for m in self.missing], question,
        ]  # fmt: skip
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
            "layers": {
                "batch_until": None if self.what in {"speed", "alerts"} else batch_until,
                "speed_until": None if self.what == "batch" else iso(as_of.row.committed_at_us),
            },
            "definition": definition,
        }


# ---- views ---------------------------------------------------------------------------------------------------------


def of_view(covered: Covered, spec: ViewSpec, query: Query, newest_window: bool = False) -> Answer:
    """Return the answer of a view: rows by window, then key.

    Parameters
    ----------
    covered : of the query's layer
    newest_window : only the newest window of each key; a window without events has no row, so it is not empty
    """
    batch, tail = covered.snapshot.sides(spec.name, query.layer)
    places = sorted(_places(spec, query, batch, tail))
    if newest_window:
        places = sorted({key: (window_start_us, key) for window_start_us, key in places}.values(), key=lambda p: p[1])
    found = len(places)
    if query.order == "desc":
        places.reverse()
    chosen = {place: _state(batch, tail, place) for place in places[: query.limit]}
    claim = _receipt(covered, spec, query, newest_window, chosen)
    receipt = receipts.encode(claim)
    meta = covered.meta(claim.definition) | {"view": spec.name, "layer": query.layer}
    meta |= {"digest": claim.digest, "rows": claim.rows, "of_rows": found, "receipt": receipt}
    return Answer([_row(spec, place, state, query.state) for place, state in chosen.items()], meta, receipt)


def _receipt(covered: Covered, spec: ViewSpec, query: Query, newest_window: bool, chosen: View) -> Receipt:
    """Return what the answer claims of its rows, with the question as it was understood."""
    as_of, declaration = covered.snapshot.as_of(query.layer), covered.snapshot.declaration
    asked = Question(
        query.layer, query.keys, query.from_us, query.to_us, newest_window, query.order, query.limit
    )  # fmt: skip
    return Receipt(
        declaration.dataset, spec.name, asked, as_of.generation, as_of.cut_seq, as_of.row.seq, text_of(as_of.row.end),
        declaration.hash, len(chosen), sum(state.n for state in chosen.values()), digest(chosen),
    )  # fmt: skip


def _places(spec: ViewSpec, query: Query, batch: View, tail: View) -> set[Place]:
    timed = query.from_us is not None or query.to_us is not None
    return {
        place
        for side in (batch, tail)
        for place in side
        if (not timed or query.within(place[0])) and (not query.keys or query.matches(spec.by, place[1]))
    }


def _state(batch: View, tail: View, place: Place) -> State:
    old, new = batch.get(place), tail.get(place)
    if old is None or new is None:
        either = old or new
        assert either is not None  # noqa: S101 - the place came from one of the two
        return either
    return merge_states(old, new)


def _row(spec: ViewSpec, place: Place, state: State, exact: bool) -> Row:
    window_start_us, key = place
    row: Row = {}
    if spec.window_us:
        row = {"window_start": iso(window_start_us), "window_end": iso(window_start_us + spec.window_us)}
    row |= zip(spec.by, key, strict=True)
    moments = {m.name: state.measures[i] for i, m in enumerate(spec.measures)}
    row |= {name: finish(moments[m.name], stat, m.scale) for name, m, stat in spec.finished}
    row["n"] = state.n
    if exact:
        measures = {m.name: _exact(moments[m.name], m.scale) for m in spec.measures}
        row["state"] = {"n": state.n, "fp": str(state.fp), "measures": measures}
    return row


def _exact(moments: Moments, scale: int) -> Row:
    """Return the integers themselves; those that may pass 2^53 as text, for JSON's readers hold doubles."""
    return {
        "scale": scale,
        "n": moments.n,
        "sum": str(moments.sum),
        "sumsq": str(moments.sumsq),
        "min": moments.min,
        "max": moments.max,
    }


# ---- alerts --------------------------------------------------------------------------------------------------------


def of_alerts(covered: Covered, rules: Sequence[AlertRule], query: Query) -> Answer:
    """Return the newest alerts of some rules, newest event first; equal times in ledger order, newest first."""
    snapshot = covered.snapshot
    by_name = {rule.name: rule for rule in rules}
    found = [
        alert
        for alert in reversed(snapshot.recent.alerts)
        if alert.rule in by_name
        and alert.seq <= snapshot.tail.row.seq
        and query.within(alert.event_us)
        and query.matches(by_name[alert.rule].by, alert.key)
    ]
    found.sort(key=lambda alert: -alert.event_us)
    rows = [_alert(snapshot.declaration, by_name[alert.rule], alert) for alert in found[: query.limit]]
    meta = covered.meta(snapshot.declaration.hash) | {"alerts": [rule.name for rule in rules]}
    meta |= {"from_seq": snapshot.recent.from_seq, "rows": len(rows), "of_rows": len(found)}
    return Answer(rows, meta, None)


def _alert(declaration: Declaration, rule: AlertRule, alert: Alert) -> Row:
    fields = declaration.topic(alert.topic).fields
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
