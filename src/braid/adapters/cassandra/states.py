"""What micro-batches contribute, and what people read, in Cassandra.

Fragments, alerts and dead letters are written once under keys that a replay writes again. Their reader holds ledger
rows: it reads a range of seqs of a bucket and keeps what carries a committed (seq, attempt); the rest was written by a
driver that crashed or lost the race. Projections are upserts whose write timestamp is the seq, so that an older one
changes nothing; never delete from them (`braid.cql` says why).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import groupby
from typing import Any

from cassandra.util import Date

from braid import cql
from braid.acknowledgements import Acknowledgement
from braid.adapters.cassandra.session import Row, Session
from braid.aggregates import State, finish, finished_of, held_of, lift, plain, split
from braid.alerts import Alert
from braid.declaration import AlertRule, Declaration, Field, ViewSpec
from braid.ledger import LedgerRow
from braid.ports import DeadLetterRow
from braid.views import Fragment, Key, View

DAY_US = 86_400_000_000
_RANGE = "WHERE bucket = ? AND seq >= ? AND seq <= ?"


def _committed(session: Session, table: cql.Table, rows: Sequence[LedgerRow]) -> Iterator[Row]:
    """Yield a table's rows of committed micro-batches, in the order of its key."""
    seq, attempt = table.names.index("seq"), table.names.index("attempt")
    ordered = sorted(rows, key=lambda row: (row.bucket, row.seq))
    for bucket, group in groupby(ordered, key=lambda row: row.bucket):
        wanted = {row.seq: row.attempt for row in group}
        found = session.run(table.select(_RANGE), (bucket, min(wanted), max(wanted)))
        yield from (row for row in found if wanted.get(row[seq]) == row[attempt])


class CassandraFragments:
    """The port `Fragments` of one dataset."""

    def __init__(self, session: Session, declaration: Declaration) -> None:
        self._session = session
        self._declaration = declaration

    def _table(self, view: ViewSpec) -> cql.Table:
        # by the view that is asked for: a server answers by two declarations while one takes the other's place
        return cql.fragments(self._declaration, view)

    def write(self, view: ViewSpec, bucket: int, attempt: int, fragments: Sequence[Fragment]) -> None:
        """Write fragments of one micro-batch; writing them again changes nothing."""
        rows = ((bucket, f.seq, f.window_start_us, *f.key, attempt, *_columns(f.state)) for f in fragments)
        self._session.write(self._table(view).insert(), rows)

    def read(self, view: ViewSpec, rows: Sequence[LedgerRow]) -> list[Fragment]:
        """Return the fragments of committed rows, in seq order."""
        keys = len(view.by)
        return [
            Fragment(row[1], row[2], row[3 : 3 + keys], _state(view, row[4 + keys :]))
            for row in _committed(self._session, self._table(view), rows)
        ]


def _columns(state: State) -> Iterator[int | str | None]:
    """Yield a state as the columns of `cql.state_columns`."""
    yield from (state.n, state.fp)
    for m in state.measures:
        yield from plain(m)


def _state(view: ViewSpec, columns: Row) -> State:
    n, fp, *rest = columns
    return State(n, fp, tuple(held_of(m.kind, values) for m, values in split(view.measures, rest)))


class CassandraAlerts:
    """The port `Alerts` of one dataset."""

    def __init__(self, session: Session, declaration: Declaration) -> None:
        self._session = session
        self._table = cql.alerts_log(declaration)

    def write(self, bucket: int, attempt: int, alerts: Sequence[Alert]) -> None:
        """Write the alerts of one micro-batch; writing them again changes nothing."""
        rows = (
            (bucket, a.seq, a.topic, a.partition, a.offset, a.rule, attempt, a.event_us, json.dumps(a.key),
             json.dumps(dict(a.values)), a.z, a.baseline_n, a.baseline_mean, a.baseline_stddev)
            for a in alerts
        )  # fmt: skip
        self._session.write(self._table.insert(), rows)

    def read(self, rows: Sequence[LedgerRow]) -> list[Alert]:
        """Return the alerts of committed rows, in ledger order."""
        return [_alert(row) for row in _committed(self._session, self._table, rows)]


def _alert(columns: Row) -> Alert:
    _, seq, topic, partition, offset, rule, _, event_us, key, shown, *numbers = columns
    return Alert(rule, seq, topic, partition, offset, event_us, tuple(json.loads(key)), json.loads(shown), *numbers)


class CassandraAcknowledgements:
    """The port `Acknowledgements` of one dataset."""

    def __init__(self, session: Session, declaration: Declaration) -> None:
        self._session = session
        table = cql.acknowledgements(declaration)
        self._insert = table.insert()
        self._select = table.select("WHERE rule = ?")
        self._rules = [rule.name for rule in declaration.alerts]

    def write(self, said: Acknowledgement) -> None:
        """Hold a word in the place of an older one on the same alert."""
        self._session.write(self._insert, [astuple(said)])

    def read(self) -> list[Acknowledgement]:
        """Return every word that is held."""
        return [Acknowledgement(*row) for rule in self._rules for row in self._session.run(self._select, (rule,))]


class CassandraDeadLetters:
    """The port `DeadLetters` of one dataset."""

    def __init__(self, session: Session, declaration: Declaration) -> None:
        self._session = session
        table = cql.dead_letters(declaration)
        self._insert = table.insert()
        self._select_days = f"SELECT DISTINCT topic, day FROM {table.path}"  # noqa: S608 - our own names
        self._select = table.select("WHERE topic = ? AND day = ? AND partition > ? LIMIT ?")
        self._select_day = table.select("WHERE topic = ? AND day = ?")

    def write(self, seq: int, attempt: int, letters: Sequence[DeadLetterRow]) -> None:
        """Write the dead letters of one micro-batch; writing them again changes nothing."""
        rows = (
            (d.topic, Date(d.append_us // DAY_US), d.partition, d.offset, d.append_us, d.reason, d.raw, seq, attempt)
            for d in letters
        )
        self._session.write(self._insert, rows)

    def newest(self, limit: int) -> list[DeadLetterRow]:
        """Return at most `limit` of the newest dead letters, newest append time first."""
        found: list[DeadLetterRow] = []
        days = sorted(self._session.run(self._select_days), key=lambda row: row[1].days_from_epoch, reverse=True)
        for _, group in groupby(days, key=lambda row: row[1]):
            if len(found) >= limit:
                break
            for topic, day in group:
                found += self._newest_of_day(topic, day, limit)
        return sorted(found, key=lambda d: (-d.append_us, d.topic, d.partition, d.offset))[:limit]

    def since(self, append_us: int) -> Iterator[DeadLetterRow]:
        """Yield every dead letter appended at or after a time (microseconds UTC), in no order."""
        for topic, day in self._session.run(self._select_days):
            if (day.days_from_epoch + 1) * DAY_US <= append_us:
                continue
            for _, _, partition, offset, at_us, reason, raw, _, _ in self._session.run(self._select_day, (topic, day)):
                if at_us >= append_us:
                    yield DeadLetterRow(topic, partition, offset, at_us, reason, raw)

    def _newest_of_day(self, topic: str, day: Date, limit: int) -> Iterator[DeadLetterRow]:
        """Yield at most `limit` of each partition of the topic: its offsets descend, so they are its newest."""
        partition = -1
        while rows := self._session.run(self._select, (topic, day, partition, limit)):
            partition = rows[0][2]
            for _, _, p, offset, append_us, reason, raw, _, _ in rows:
                if p == partition:
                    yield DeadLetterRow(topic, p, offset, append_us, reason, raw)


class CassandraProjections:
    """The port `Projections` of one dataset."""

    def __init__(self, session: Session, declaration: Declaration) -> None:
        self._session = session
        self._declaration = declaration
        self._views = {v.name: cql.projection(declaration, v).insert("TIMESTAMP ?") for v in declaration.views}
        self._alerts = {r.name: _AlertTable(declaration, r) for r in declaration.alerts}

    def upsert(self, view: ViewSpec, seq: int, rows: View) -> None:
        """Write the finished rows as of `seq`; an older seq never overwrites a newer one.

        A statistic that has no value yet is left unset: none that had one loses it, for states only grow.
        """
        self._session.write(self._views[view.name], _finished(view, seq, rows))

    def alerts(self, rule: AlertRule, alerts: Sequence[Alert]) -> None:
        """Write alerts to the rule's readable table."""
        table = self._alerts[rule.name]
        self._session.write(table.insert, map(table.row, alerts))

    def remove(self, view: ViewSpec, seq: int, places: Collection[tuple[int, Key]]) -> None:
        """Take rows away as of `seq`: one written as of an older seq, even later, does not come back."""
        rows = ((seq, *key, window_start_us // 1000) for window_start_us, key in places)
        self._session.write(cql.projection(self._declaration, view).delete("TIMESTAMP ?"), rows)

    def truncate(self) -> None:
        """Empty every projection, before it is filled again."""
        for table in cql.projections(self._declaration):
            self._session.define(f"TRUNCATE {table.path}")

    def settle(self) -> None:
        """Nothing is ever left to be written."""


def _finished(view: ViewSpec, seq: int, rows: View) -> Iterable[tuple[Any, ...]]:
    for (window_start_us, key), state in rows.items():
        yield (*key, window_start_us // 1000, *finished_of(view, state).values(), state.n, seq, seq)


class _AlertTable:
    """The readable table of one rule: its insert, and an alert as its row."""

    def __init__(self, declaration: Declaration, rule: AlertRule) -> None:
        table = cql.alert_table(declaration, rule)
        self.insert = table.insert("TIMESTAMP ?")
        self._names = table.names
        self._by = rule.by
        self._when = cql.event_time_column(cql.topic_of(declaration, rule))
        self._shown = cql.shown_fields(declaration, rule)

    def row(self, alert: Alert) -> tuple[Any, ...]:
        """Return the columns of an alert, then its write timestamp."""
        columns: dict[str, Any] = dict(zip(self._by, alert.key, strict=True))
        columns |= {name: _readable(field, alert.values[name]) for name, field in self._shown.items()}
        columns |= {"day": Date(alert.event_us // DAY_US), self._when: alert.event_us // 1000}
        own = (columns[name] if name in columns else getattr(alert, name) for name in self._names)
        return (*own, alert.seq)


def _readable(field: Field, value: str | int | None) -> Any:
    """Return a value in the field's own unit, a time in milliseconds as Cassandra's timestamps."""
    if isinstance(value, int) and field.type == "time":
        return value // 1000
    if isinstance(value, int) and field.type == "decimal":
        return finish(lift(value), "min", field.scale)
    return value
