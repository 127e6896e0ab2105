"""A declaration as Cassandra tables: what is created, and the text of every statement on them.

Theory. Nothing in these tables is ever updated in place, but `current` and the projections. Fragments, alerts and dead
letters are written once under keys that a replay writes again, so a write may be repeated at will; they carry a time to
live, and time windows of compaction drop them as whole files. Three things that look harmless are avoided because
Cassandra answers each with a tombstone, which every later read has to step over: a null (left unset instead), a
collection that is not frozen (its overwrite deletes the old one first), and DELETE. A projection is written with the
ledger's seq as its timestamp, so an older seq can never cover a newer one, whatever the order of arrival; a DELETE
there would hide every later seq, and only TRUNCATE may empty it.

States are exact: varint for counts and sums, bigint for the scaled extremes, microseconds for windows. The projections
hold finished numbers and readable times; people read them, Braid never does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from braid.aggregates import COUNTS, FIELDS
from braid.declaration import AlertRule, Declaration, Field, Measure, Stat, Topic, ViewSpec
from braid.declaration_reader import load

FRAGMENT_TTL_S = 72 * 3600
RECORD_TTL_S = 30 * 86400
# with nothing deleted, a repair need not outrun this; three hours is how long a hint may live
TTL_GC_GRACE_S = 3 * 3600

_TYPES = {"string": "text", "decimal": "double", "integer": "bigint", "time": "timestamp"}
_OFFSETS = "frozen<map<text, bigint>>"
_TOTALS = "frozen<map<text, varint>>"
# words that CQL keeps to itself (Cassandra 5.0); any other lower-case name may stand bare
_WORDS = """
    add allow alter and apply asc authorize batch begin between by columnfamily create default delete desc describe drop
    entries execute from full grant if in index infinity insert into is keyspace limit materialized mbean mbeans modify
    nan norecursive not null of on or order primary rename replace revoke schema select set table to token truncate
    unlogged unset update use using vector view where with
"""
_KEYWORDS = frozenset(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Table:
    """One table, and the text of statements on it.

    Attributes
    ----------
    columns : tuple of (name, CQL type), in the order of every statement's arguments and rows
    partition, clustering : the primary key; of the clustering columns, those in `newest_first` descend
    ttl_s : seconds, 0 for ever; every insert carries it, for one row without would pin its file
    windows : the compaction window as (unit, size), a 24th to a 30th of the time to live; None for no such windows
    """

    keyspace: str
    name: str
    columns: tuple[tuple[str, str], ...]
    partition: tuple[str, ...]
    clustering: tuple[str, ...] = ()
    newest_first: frozenset[str] = field(default_factory=frozenset)
    ttl_s: int = 0
    windows: tuple[str, int] | None = None
    comment: str = ""

    @property
    def path(self) -> str:
        """Keyspace and name, as statements write them."""
        return f"{quoted(self.keyspace)}.{quoted(self.name)}"

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in declared order."""
        return tuple(name for name, _ in self.columns)

    def create(self) -> str:
        """Return CREATE TABLE IF NOT EXISTS."""
        width = max(len(quoted(name)) for name in self.names)
        columns = [f"  {quoted(name):<{width}} {kind}," for name, kind in self.columns]
        key = ", ".join([f"({_list(self.partition)})", *map(quoted, self.clustering)])
        head = f"CREATE TABLE IF NOT EXISTS {self.path} (\n" + "\n".join(columns)
        return f"{head}\n  PRIMARY KEY ({key})\n) WITH {self._options()}"

    def _options(self) -> str:
        options = []
        if self.newest_first:
            orders = [f"{quoted(c)} {'DESC' if c in self.newest_first else 'ASC'}" for c in self.clustering]
            options.append(f"CLUSTERING ORDER BY ({', '.join(orders)})")
        options.append(f"comment = '{self.comment}'")
        if self.ttl_s:
            options += [f"default_time_to_live = {self.ttl_s}", f"gc_grace_seconds = {TTL_GC_GRACE_S}"]
        if self.windows:
            unit, size = self.windows
            options.append(
                "compaction = {'class': 'TimeWindowCompactionStrategy', "
                f"'compaction_window_unit': '{unit}', 'compaction_window_size': '{size}'}}"
            )
        return "\n  AND ".join(options)

    def insert(self, *using: str, only_new: bool = False) -> str:
        """Return INSERT with one `?` per column, then one per `?` in `using`.

        Examples
        --------
        >>> Table("k", "t", (("a", "int"), ("b", "int")), ("a",), ttl_s=60).insert("TIMESTAMP ?")
        'INSERT INTO k.t (a, b) VALUES (?, ?) USING TIMESTAMP ? AND TTL 60'
        """
        marks = ", ".join("?" * len(self.columns))
        clauses = [*using, *([f"TTL {self.ttl_s}"] if self.ttl_s else [])]
        tail = (" IF NOT EXISTS" if only_new else "") + (f" USING {' AND '.join(clauses)}" if clauses else "")
        return f"INSERT INTO {self.path} ({_list(self.names)}) VALUES ({marks}){tail}"

    def delete(self, using: str) -> str:
        """Return DELETE of one row: first the `?` of `using`, then one per column of the key.

        Examples
        --------
        >>> Table("k", "t", (("a", "int"), ("b", "int")), ("a",), ("b",)).delete("TIMESTAMP ?")
        'DELETE FROM k.t USING TIMESTAMP ? WHERE a = ? AND b = ?'
        """
        key = " AND ".join(f"{quoted(name)} = ?" for name in (*self.partition, *self.clustering))
        return f"DELETE FROM {self.path} USING {using} WHERE {key}"

    def select(self, rest: str) -> str:
        """Return SELECT of every column in declared order, ending in `rest` (WHERE …)."""
        return f"SELECT {_list(self.names)} FROM {self.path} {rest}"


def quoted(name: str) -> str:
    """Return a name as CQL takes it.

    Examples
    --------
    >>> quoted("class_name"), quoted("order")
    ('class_name', '"order"')
    """
    return f'"{name}"' if name in _KEYWORDS else name


def _list(names: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in names)


# ---- the tables of a dataset ---------------------------------------------------------------------------------------


def keyspace(declaration: Declaration, replicas: int = 1) -> str:
    """Return CREATE KEYSPACE; `replicas` is per data centre: 1 on one machine, 3 in a cluster."""
    replication = f"{{'class': 'NetworkTopologyStrategy', 'replication_factor': {replicas}}}"
    return f"CREATE KEYSPACE IF NOT EXISTS {quoted(declaration.dataset)} WITH replication = {replication}"


def ledger(declaration: Declaration) -> Table:
    """Return the chain of committed ranges; rows never expire."""
    columns = (
        ("dataset", "text"), ("ledger_bucket", "bigint"), ("seq", "bigint"), ("kind", "text"), ("attempt", "bigint"),
        ("writer", "text"), ("topic_ids", "frozen<map<text, text>>"),
        ("range_start", _OFFSETS), ("range_end", _OFFSETS),
        ("good", "bigint"), ("copies", "bigint"), ("dead", "bigint"), ("absent", "bigint"), ("alerts", "bigint"),
        ("fp", "varint"), ("view_n", _TOTALS), ("view_fp", _TOTALS), ("totals", _TOTALS),
        ("bucket", "bigint"), ("bucket_rows", "bigint"),
        ("definition", "text"), ("text", "text"), ("committed_at_us", "bigint"),
    )  # fmt: skip
    return Table(
        declaration.dataset, "ledger", columns, ("dataset", "ledger_bucket"), ("seq",), frozenset({"seq"}),
        comment="one row per committed micro-batch: which part of the log is counted; written by compare-and-set only",
    )  # fmt: skip


def current(declaration: Declaration) -> Table:
    """Return the one row that says which generation is served."""
    columns = (
        ("dataset", "text"), ("gen", "bigint"), ("cut_seq", "bigint"), ("cut", _OFFSETS), ("definition", "text"),
        ("audit", "text"), ("published_at_us", "bigint"),
    )  # fmt: skip
    return Table(
        declaration.dataset, "current", columns, ("dataset",), comment="the served generation; compare-and-set only"
    )


def dead_letters(declaration: Declaration) -> Table:
    """Return the records set aside, newest offset first within a partition of the topic."""
    columns = (
        ("topic", "text"), ("day", "date"), ("partition", "int"), ("offset", "bigint"), ("append_us", "bigint"),
        ("reason", "text"), ("raw", "blob"), ("seq", "bigint"), ("attempt", "bigint"),
    )  # fmt: skip
    return Table(
        declaration.dataset, "dead_letters", columns, ("topic", "day"), ("partition", "offset"), frozenset({"offset"}),
        RECORD_TTL_S, ("DAYS", 1), comment="records set aside, by day of append time; raw is the first 4 KB",
    )  # fmt: skip


def fragments(declaration: Declaration, view: ViewSpec) -> Table:
    """Return the states that micro-batches contributed to one of the finest views."""
    columns = (
        ("bucket", "bigint"), ("seq", "bigint"), ("window_start_us", "bigint"), *((c, "text") for c in view.by),
        ("attempt", "bigint"), *state_columns(view),
    )  # fmt: skip
    return Table(
        declaration.dataset, f"{view.name}__fragments", columns, ("bucket",),
        ("seq", "window_start_us", *view.by, "attempt"), ttl_s=FRAGMENT_TTL_S, windows=("HOURS", 3),
        comment="states of micro-batches, scaled integers; they count when seq and attempt stand in the ledger",
    )  # fmt: skip


def state_columns(view: ViewSpec) -> tuple[tuple[str, str], ...]:
    """Return the columns of a state as (name, CQL type): n, fp, then those of each measure."""
    kinds = (("n", "varint"), ("sum", "varint"), ("sumsq", "varint"), ("min", "bigint"), ("max", "bigint"))
    held = ((m, kinds if m.kind == "moments" else [(n, "text") for n in FIELDS[m.kind]]) for m in view.measures)
    return (("n", "varint"), ("fp", "varint"), *((f"{m.name}__{k}", kind) for m, of in held for k, kind in of))


def alerts_log(declaration: Declaration) -> Table:
    """Return the alerts of micro-batches, exact: `key` and `shown` are JSON texts."""
    columns = (
        ("bucket", "bigint"), ("seq", "bigint"), ("topic", "text"), ("partition", "int"), ("offset", "bigint"),
        ("rule", "text"), ("attempt", "bigint"), ("event_us", "bigint"), ("key", "text"), ("shown", "text"),
        ("z", "double"), ("baseline_n", "bigint"), ("baseline_mean", "double"), ("baseline_stddev", "double"),
    )  # fmt: skip
    return Table(
        declaration.dataset, "alerts__log", columns, ("bucket",),
        ("seq", "topic", "partition", "offset", "rule", "attempt"), ttl_s=RECORD_TTL_S, windows=("DAYS", 1),
        comment="alerts; they count when seq and attempt stand in the ledger",
    )  # fmt: skip


def acknowledgements(declaration: Declaration) -> Table:
    """Return what people said of alerts, the newest word on each; it expires as the alerts do."""
    columns = (
        ("rule", "text"), ("topic", "text"), ("partition", "int"), ("offset", "bigint"), ("acknowledged", "boolean"),
        ("note", "text"), ("who", "text"), ("at_us", "bigint"),
    )  # fmt: skip
    return Table(
        declaration.dataset, "acknowledgements", columns, ("rule",), ("topic", "partition", "offset"),
        ttl_s=RECORD_TTL_S, comment="what people say of alerts; upserts, read whole, beside the exact path",
    )  # fmt: skip


def projection(declaration: Declaration, view: ViewSpec) -> Table:
    """Return the readable table of a view: finished numbers as of `seq`, newest window first."""
    finished = ((name, _finished(measure, stat)) for name, measure, stat in view.finished)
    columns = (
        *((c, "text") for c in view.by), ("window_start", "timestamp"), *finished,
        *((rule.name, "text") for rule in view.rules), ("n", "bigint"), ("seq", "bigint"),
    )  # fmt: skip
    return Table(
        declaration.dataset, view.name, columns, view.by, ("window_start",), frozenset({"window_start"}),
        comment="finished numbers as of seq, for reading; never DELETE from it",
    )  # fmt: skip


def _finished(measure: Measure, stat: Stat) -> str:
    if measure.texts:
        return "text"
    return "bigint" if stat in COUNTS else "double"


def alert_table(declaration: Declaration, rule: AlertRule) -> Table:
    """Return the readable table of an alert rule, newest event first."""
    topic = topic_of(declaration, rule)
    when, ids = event_time_column(topic), tuple(id_columns(topic, rule))
    rest = tuple(c for c in dict.fromkeys((rule.of, *rule.show)) if c not in {*rule.by, *ids, when})
    columns = (
        *((c, "text") for c in rule.by), ("day", "date"), (when, "timestamp"),
        *((c, "text") for c in ids), ("topic", "text"), ("partition", "int"), ("offset", "bigint"),
        *((c, _TYPES[topic.columns[c].type]) for c in rest),
        ("z", "double"), ("baseline_n", "bigint"), ("baseline_mean", "double"), ("baseline_stddev", "double"),
        ("seq", "bigint"),
    )  # fmt: skip
    return Table(
        declaration.dataset, rule.name, columns, (*rule.by, "day"), (when, *ids, "topic", "partition", "offset"),
        frozenset({when}), RECORD_TTL_S, comment="alerts, for reading; day is that of the event; never DELETE from it",
    )  # fmt: skip


def topic_of(declaration: Declaration, rule: AlertRule) -> Topic:
    """Return the topic whose events a rule judges: the first that its baseline reads."""
    return declaration.topic(declaration.view(rule.baseline).topics[0])


def event_time_column(topic: Topic) -> str:
    """Return the column of an event's time: the declared field, or when that is the append time, a name not taken."""
    return topic.event_time.field or ("event_time" if "event_time" not in topic.fields else "event_time__append")


def id_columns(topic: Topic, rule: AlertRule) -> list[str]:
    """Return the string fields of the event id that the alert shows and that are not among its keys."""
    shown = [topic.fields[name] for name in topic.event_id if name in rule.show and name not in rule.by]
    return [f.name for f in shown if f.type == "string"]


def shown_fields(declaration: Declaration, rule: AlertRule) -> dict[str, Field]:
    """Return the fields of an alert's readable table that come out of `Alert.values`."""
    topic, names = topic_of(declaration, rule), alert_table(declaration, rule).names
    when = event_time_column(topic)
    return {name: f for name, f in topic.columns.items() if name in names and name not in {*rule.by, when}}


def projections(declaration: Declaration) -> tuple[Table, ...]:
    """Return every table that people read."""
    views = [projection(declaration, v) for v in declaration.views]
    return (*views, *(alert_table(declaration, r) for r in declaration.alerts))


def derived(declaration: Declaration) -> tuple[Table, ...]:
    """Return the tables whose shape and rows follow from the declaration: fragments, and those that people read."""
    return (*(fragments(declaration, v) for v in declaration.fragment_views), *projections(declaration))


def alike(a: Table, b: Table | None) -> bool:
    """Return whether two tables have the same columns and key, so that one's rows can stand in the other."""
    return b is not None and (set(a.columns), a.partition, a.clustering) == (set(b.columns), b.partition, b.clustering)


def tables(declaration: Declaration) -> tuple[Table, ...]:
    """Return every table of a dataset, the truth first and what is derived last."""
    return (
        ledger(declaration), current(declaration), dead_letters(declaration), alerts_log(declaration),
        acknowledgements(declaration), *derived(declaration),
    )  # fmt: skip


def statements(declaration: Declaration, replicas: int = 1) -> tuple[str, ...]:
    """Return the statements that create a dataset's keyspace and tables; safe to repeat."""
    return (keyspace(declaration, replicas), *(table.create() for table in tables(declaration)))


def text(declaration: Declaration) -> str:
    """Return the file that is checked in as cql/<dataset>.cql."""
    head = (
        f"-- {declaration.title}: the Cassandra tables of datasets/{declaration.dataset}.yaml.\n"
        "-- Generated (python -m braid.cql datasets/*.yaml); a test fails when it is stale.\n"
        "-- In a cluster set replication_factor to 3 before the first start.\n\n"
    )
    return head + ";\n\n".join(statements(declaration)) + ";\n"


def main(arguments: Sequence[str]) -> None:
    """Write cql/<dataset>.cql beside the folder of each declaration file named."""
    for path in map(Path, arguments):
        declaration = load(path)
        target = path.absolute().parent.parent / "cql" / f"{declaration.dataset}.cql"
        target.write_text(text(declaration), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
