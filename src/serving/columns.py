"""The columns of an answer, defined once from the declaration: for JSON's schema, CSV's header and Arrow's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from braid.aggregates import DISTINCT_K, FIELDS
from braid.cql import event_time_column, topic_of
from braid.declaration import QUANTILES, AlertRule, Declaration, Field, Measure, Rule, ViewSpec

Kind = Literal["text", "instant", "number", "count", "exact", "flag"]

_STATS: Mapping[str, str] = {
    "n": "how many events held a value",
    "sum": "sum",
    "mean": "mean",
    "stddev": "sample standard deviation (n − 1); null below two events",
    "min": "smallest value",
    "max": "largest value",
    **{
        stat: f"{percent}th percentile (nearest rank), within 1/128 of the exact value"
        for stat, percent in QUANTILES.items()
    },
    "distinct": f"how many distinct values: exact below {DISTINCT_K}, else an estimate within 10 %",
    "latest": "value of the latest event that holds one",
}


_CELLS: Mapping[str, str] = {
    "bins": "bin:count of the values x, bins ascending",
    "hashes": "the smallest 64-bit hashes of the values, 16 hex digits each, ascending as signed integers",
    "latest": "event time in microseconds, seq, topic, partition, offset and the value x (a text as JSON), or nothing",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    path : its names from the row inwards, `("state", "n")`; most have one
    kind : `number` is a double, `count` a 64-bit integer, `exact` an integer of any size, text in JSON
    nullable : whether a row may be without a value
    """

    path: tuple[str, ...]
    kind: Kind
    meaning: str
    unit: str = ""
    nullable: bool = False
    values: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The name in a flat table: `state.n`."""
        return ".".join(self.path)


def of_view(declaration: Declaration, shaped: ViewSpec, *, state: bool = False) -> tuple[Column, ...]:
    """Return the columns of a view's rows, as the view is shaped by a query, in their order."""
    fields = declaration.topic(shaped.topics[0]).columns
    window = (
        Column(("window_start",), "instant", "the window's first instant, inclusive"),
        Column(("window_end",), "instant", "the window's end, exclusive"),
    )
    finished = (_finished(name, m, stat, fields[m.of]) for name, m, stat in shaped.finished)
    top = shaped.top
    rank = (
        () if top is None else (Column(("rank",), "count", f"place by {top.of}, the greatest first; {top.k} at most"),)
    )
    return (
        *(window if shaped.window_us else ()),
        *(Column((c,), "text", fields[c].meaning, values=fields[c].values) for c in shaped.by),
        *rank,
        *finished,
        *(Column((r.name,), "text", _rule(r), nullable=True, values=r.words) for r in shaped.rules),
        Column(("n",), "count", "events counted", "events"),
        *(_state(shaped) if state else ()),
    )


def _rule(rule: Rule) -> str:
    levels = "; ".join(f"{word}: {rule.of} below {bound}" for word, bound in rule.levels)
    return f"{levels}; {rule.otherwise}: otherwise"


def _finished(name: str, measure: Measure, stat: str, of: Field) -> Column:
    what = of.meaning or measure.of
    if stat == "n":
        return Column((name,), "count", f"{_STATS[stat]}: {what}", "events")
    if stat == "distinct":
        return Column((name,), "count", f"{_STATS[stat]}: {what}", "values")
    if measure.texts:
        return Column((name,), "text", f"{_STATS[stat]}: {what}", nullable=True)
    return Column((name,), "number", f"{_STATS[stat]} of {what}", of.unit, nullable=True)


def _state(spec: ViewSpec) -> tuple[Column, ...]:
    found = [
        Column(("state", "n"), "count", "events counted"),
        Column(("state", "fp"), "exact", "Σ hash64 of the event ids, modulo 2^64"),
    ]
    for m in spec.measures:
        at = ("state", "measures", m.id)
        if m.kind != "moments":
            found += [Column((*at, "scale"), "count", "decimal digits: x = value·10^scale")]
            found += [Column((*at, name), "text", _CELLS[name]) for name in FIELDS[m.kind]]
            continue
        found += [
            Column((*at, "scale"), "count", "decimal digits: x = value·10^scale"),
            Column((*at, "n"), "count", _STATS["n"]),
            Column((*at, "sum"), "exact", "Σx"),
            Column((*at, "sumsq"), "exact", "Σx²"),
            Column((*at, "min"), "count", "smallest x", nullable=True),
            Column((*at, "max"), "count", "largest x", nullable=True),
        ]
    return tuple(found)


_WORD = (
    Column(("acknowledgement", "acknowledged"), "flag", "whether somebody acknowledged it and did not take that back"),
    Column(("acknowledgement", "note"), "text", "why"),
    Column(("acknowledgement", "by"), "text", "the name of the key that said so", nullable=True),
    Column(("acknowledgement", "at"), "instant", "when that was", nullable=True),
    Column(("acknowledgement", "url"), "text", "where to PUT and DELETE it"),
)


def of_alerts(declaration: Declaration, rules: Sequence[AlertRule], *, words: bool = False) -> tuple[Column, ...]:
    """Return the columns of alerts; with several rules, those of all, each nullable that not every rule has.

    Parameters
    ----------
    words : whether what people said of each goes with it
    """
    lists = [_of_rule(declaration, rule) for rule in rules]
    merged: dict[str, Column] = {}
    for column in (c for columns in lists for c in columns):
        everywhere = all(column.name in {c.name for c in columns} for columns in lists)
        merged.setdefault(column.name, column if everywhere else replace(column, nullable=True))
    return (*merged.values(), *(_WORD if words else ()))


def _of_rule(declaration: Declaration, rule: AlertRule) -> tuple[Column, ...]:
    topic = topic_of(declaration, rule)
    when, unit = event_time_column(topic), topic.columns[rule.of].unit
    shown = (name for name in dict.fromkeys((rule.of, *rule.show)) if name not in {*rule.by, when})
    return (
        *(Column((c,), "text", topic.columns[c].meaning, values=topic.columns[c].values) for c in rule.by),
        Column((when,), "instant", "the time of the event"),
        *(_shown(topic.columns[name]) for name in shown),
        Column(("z",), "number", "standard deviations from the mean of the history", nullable=True),
        Column(("baseline", "n"), "count", "events in the history of this key before its micro-batch", "events"),
        Column(("baseline", "mean"), "number", "mean of the history", unit),
        Column(("baseline", "stddev"), "number", "sample standard deviation of the history", unit),
        Column(("seq",), "count", "the ledger row of its micro-batch"),
        Column(("topic",), "text", "where the record stands"),
        Column(("partition",), "count", "where the record stands"),
        Column(("offset",), "count", "where the record stands"),
        Column(("alert",), "text", "the rule", values=(rule.name,)),
    )


def _shown(field: Field) -> Column:
    kinds: Mapping[str, Kind] = {"string": "text", "time": "count", "integer": "count", "decimal": "number"}
    kind = "count" if field.type == "decimal" and not field.scale else kinds[field.type]
    return Column((field.name,), kind, field.meaning, field.unit, nullable=True)


def renamed(columns: Sequence[Column], rename: Mapping[str, str]) -> tuple[Column, ...]:
    """Return columns under the names that a declared path gives them."""
    return tuple(replace(c, path=(rename.get(c.path[0], c.path[0]), *c.path[1:])) for c in columns)
