"""A third count of every view of any declaration: DuckDB SQL over the raw bytes that Kafka holds.

It is made from the YAML text alone: no view, field or statistic is written here by hand. Nothing of the engine is used, and of
`braid verify` only the hash (`verify.xxh64`, written from its specification). What differs from both on purpose:

- JSON is read by DuckDB's reader, a number by the digits that stand in the text; times and time zones are DuckDB's (ICU).
- Derived columns and conditions are the declaration's SQL *as it stands there*, run by DuckDB: a time is its seconds, `hour(t,
  zone)` and its like are macros over `date_part`. A quotient would be a double, so an expression with one is refused.
- The ledger says nothing but which offsets belong to which seq, for ledger order; which records are good, which are copies and
  what they add up to is found here.

It takes records as the tests send them; the odd corners of docs/records.md are for `tests/spark` and `tests/unit`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import duckdb
import pyarrow as pa

from braid.declaration import QUANTILES, kind_of
from braid.declaration_file import duration_us, plain
from verify import xxh64

Place: TypeAlias = tuple[int, tuple[str, ...]]
Row: TypeAlias = dict[str, Any]
PATIENCE_US = 300 * 10**6  # an event of a later time is dead
LIMIT = 3 * 10**9
KEPT = 1024  # hashes of distinct values
MACROS = """
CREATE MACRO half_even(h, d) AS (h // d) + CASE
    WHEN 2 * (h % d) > d OR (2 * (h % d) = d AND (h // d) % 2 = 1) THEN 1 ELSE 0 END;
CREATE MACRO floor_even(h, d) AS CASE WHEN h < 0 THEN -half_even(-h, d) ELSE half_even(h, d) END;
CREATE MACRO scaled(t, s) AS floor_even(
    TRY_CAST(split_part(t, '.', 1) || rpad(split_part(t, '.', 2), 18, '0') AS HUGEINT), CAST(power(10, 18 - s) AS HUGEINT));
CREATE MACRO later(zone, naive) AS timezone(zone, naive);
CREATE MACRO earlier(zone, naive) AS CASE
    WHEN timezone(zone, later(zone, naive) - INTERVAL 1 HOUR) = naive THEN later(zone, naive) - INTERVAL 1 HOUR
    ELSE later(zone, naive) END;
CREATE MACRO micros(t, zone) AS epoch_us(CASE WHEN regexp_matches(t, '(Z|[-+][0-9]{2}:[0-9]{2})$')
    THEN TRY_CAST(t AS TIMESTAMPTZ) ELSE earlier(zone, TRY_CAST(t AS TIMESTAMP)) END);
CREATE MACRO local_of(t, zone) AS timezone(zone, make_timestamptz(CAST(t * 1000000 AS BIGINT)));
CREATE MACRO hour(t, zone) AS date_part('hour', local_of(t, zone));
CREATE MACRO minute(t, zone) AS date_part('minute', local_of(t, zone));
CREATE MACRO day(t, zone) AS date_part('day', local_of(t, zone));
CREATE MACRO month(t, zone) AS date_part('month', local_of(t, zone));
CREATE MACRO year(t, zone) AS date_part('year', local_of(t, zone));
CREATE MACRO weekday(t, zone) AS date_part('isodow', local_of(t, zone)) - 1;
"""


class Span(NamedTuple):
    """The offsets first <= offset < end of a partition that a ledger row covers."""

    seq: int
    topic: str
    partition: int
    first: int
    end: int


@dataclass(frozen=True)
class Measured:
    """One state of a view: the declared measure's name, column and statistics of one kind."""

    name: str
    of: str
    kind: str
    stats: tuple[str, ...]
    scale: int
    text: bool

    @property
    def id(self) -> str:
        """Its name within a row's state."""
        return self.name if self.kind == "moments" else f"{self.name}__{self.kind}"


class Recount:
    """Counts the views of a declaration's text over records: (topic, partition, offset, append_us, raw).

    Attributes
    ----------
    good, copies, dead : of all records that a span covers
    """

    def __init__(self, text: str, records: Iterable[tuple[str, int, int, int, bytes | None]], spans: Iterable[Span]):
        self.declared = plain(text)
        one = {key: self.declared.get(key) for key in ("event_id", "event_time", "fields", "derived")}
        self.topics: dict[str, Row] = self.declared.get("topics") or {self.declared["topic"]: one}
        self.views: dict[str, Row] = self.declared["views"]
        self.base = duckdb.connect()
        self.base.execute("SET TimeZone = 'UTC'; SET threads = 2;" + MACROS)
        self._take(records, spans)
        self.good = self.copies = self.dead = 0
        for number, (name, topic) in enumerate(self.topics.items()):
            self._read(f"topic{number}", name, topic)
        every = " UNION ALL BY NAME ".join(f"SELECT * FROM topic{number}" for number in range(len(self.topics)))
        self.base.execute(f"CREATE TABLE events AS {every}")

    def _one(self, query: str) -> int:
        return self.base.sql(query).fetchall()[0][0]

    # ---- records in ----------------------------------------------------------------------------------------------

    def _take(self, records: Iterable[tuple[str, int, int, int, bytes | None]], spans: Iterable[Span]) -> None:
        columns = list(zip(*records, strict=True)) or [(), (), (), (), ()]
        names = ("topic", "partition", "off", "append_us", "text")
        kinds = (pa.string(), pa.int32(), pa.int64(), pa.int64(), pa.string())
        texts = tuple(_decoded(raw) for raw in columns[4])
        arrays = [pa.array(c, k) for c, k in zip((*columns[:4], texts), kinds, strict=True)]
        self.base.register("handed", pa.table(dict(zip(names, arrays, strict=True))))
        held = list(zip(*spans, strict=True)) or [(), (), (), (), ()]
        kinds_of_spans = (pa.int64(), pa.string(), pa.int32(), pa.int64(), pa.int64())
        arrays = [pa.array(c, k) for c, k in zip(held, kinds_of_spans, strict=True)]
        self.base.register("spans", pa.table(dict(zip(Span._fields, arrays, strict=True))))
        self.base.execute(
            'CREATE TABLE records AS SELECT s.seq, h.* FROM handed h JOIN spans s ON h.topic = s.topic AND h."partition" = '
            's."partition" AND h.off >= s.first AND h.off < s."end"'
        )

    def _read(self, table: str, name: str, topic: Row) -> None:
        """Make the table of a topic's events, each id once; `x_<column>` holds integers and texts, as they are counted."""
        fields = topic["fields"]
        time = topic["event_time"]
        zone = "UTC" if time == "append" else time.get("zone", "UTC")
        here = f"FROM records WHERE topic = {literal(name)}"
        self.base.execute(f"CREATE TABLE {table}_json AS SELECT * {here} AND json_valid(text)")
        self.base.execute(f"DELETE FROM {table}_json WHERE json_type(text) <> 'OBJECT'")
        tokens = [
            f"json_type(text, '$.{f}') AS k_{f}, {_token(f, of)} AS t_{f}, {_value(f, of, zone)} AS x_{f}"
            for f, of in fields.items()
        ]
        event = "append_us" if time == "append" else f"x_{time['field']}"
        self.base.execute(f"CREATE TABLE {table}_read AS SELECT *, {', '.join(tokens)} FROM {table}_json")
        rules = [*(_rule(f, of) for f, of in fields.items()), f"{event} <= append_us + {PATIENCE_US}"]
        ids = [f"x_{part}" for part in topic["event_id"]]
        first = f"row_number() OVER (PARTITION BY {', '.join(ids)} ORDER BY seq, partition, off)"
        counted = "1" if self.declared.get("dedupe") == "none" else first
        rows = f"SELECT *, {event} AS event_us, {counted} AS nth FROM {table}_read WHERE {' AND '.join(rules)}"
        held = {f: _typed(f"x_{f}", of) for f, of in fields.items()}
        columns = dict(fields)
        self.base.execute(f"CREATE TABLE {table}_good AS {rows}")
        for column, of in (topic.get("derived") or {}).items():
            self._derive(f"{table}_good", column, of, held)
            held[column] = _typed(f"x_{column}", of)
            columns[column] = of
        everything, good = self._one(f"SELECT count(*) {here}"), self._one(f"SELECT count(*) FROM {table}_good")
        self.base.execute(f"DELETE FROM {table}_good WHERE nth > 1")
        kept = self._one(f"SELECT count(*) FROM {table}_good")
        self.good, self.copies, self.dead = self.good + kept, self.copies + good - kept, self.dead + everything - good
        self._hash(table, name, topic, columns)
        plain_columns = ", ".join(f"{sql} AS {quoted(column)}" for column, sql in held.items())
        names = ", ".join(f"x_{column}" for column in columns)
        self.base.execute(
            f"CREATE TABLE {table} AS SELECT topic, partition, off, seq, event_us, id64, {names}, "
            f"{', '.join(f'h_{column}' for column in columns)}, {plain_columns} FROM {table}_good JOIN {table}_hash "
            "USING (partition, off)"
        )

    def _derive(self, table: str, column: str, of: Row, held: Mapping[str, str]) -> None:
        names = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in held.items())
        value = f"({_expression(of['sql'], held)})"
        if of["type"] == "string":
            made, kind = value, "VARCHAR"
        else:
            exact = f"scaled(CAST(CAST({value} AS DECIMAL(38, 12)) AS VARCHAR), {of.get('scale', 0)})"
            made, kind = f"CASE WHEN {_within(exact, of)} THEN {exact} END", "BIGINT"
        query = (
            f"SELECT partition, off, CAST({made} AS {kind}) AS made FROM (SELECT partition, off, {names} FROM {table})"
        )
        self.base.execute(f"CREATE OR REPLACE TEMP TABLE derived AS {query}")
        self.base.execute(f"ALTER TABLE {table} ADD COLUMN x_{column} {kind}")
        self.base.execute(
            f"UPDATE {table} SET x_{column} = made FROM derived d WHERE d.partition = {table}.partition AND d.off = {table}.off"
        )

    def _hash(self, table: str, name: str, topic: Row, columns: Mapping[str, Row]) -> None:
        """Make the table of the id's hash (unsigned) and of each column's (signed), by position."""
        found = self.base.sql(f"SELECT * FROM {table}_good").to_arrow_table()
        made = {"partition": found["partition"], "off": found["off"]}
        ids = [_handed(columns[part], found[f"x_{part}"]) for part in topic["event_id"]]
        made["id64"] = pa.array(xxh64.chain(name, ids, len(found)), pa.uint64())
        for column, of in columns.items():
            values = found[f"x_{column}"]
            missing = values.is_null().to_numpy()
            filled = values.fill_null("" if of["type"] == "string" else 0)
            hashes = xxh64.plain([_handed(of, filled)], len(found)).view("int64")
            made[f"h_{column}"] = pa.array(hashes, pa.int64(), mask=missing)
        self.base.register("hashes", pa.table(made))
        self.base.execute(f"CREATE TABLE {table}_hash AS SELECT * FROM hashes")
        self.base.unregister("hashes")

    # ---- rows out ------------------------------------------------------------------------------------------------

    def measures(self, view: str) -> list[Measured]:
        """Return the states that a view's statistics ask for, in declared order."""
        found, columns = [], self._columns(view)
        for name, asked in self.views[view]["measures"].items():
            of = columns[asked["of"]]
            for kind in dict.fromkeys(map(_kind, asked["stats"])):
                stats = tuple(s for s in asked["stats"] if _kind(s) == kind)
                found.append(
                    Measured(name, asked["of"], kind, stats, int(of.get("scale", 0)), of["type"] in {"string", "time"})
                )
        return found

    def _columns(self, view: str) -> dict[str, Row]:
        """Return the columns that the view's topics have, as its first one declares them."""
        first = self.topics[next(iter(self.views[view].get("topics") or self.topics))]
        return {**first["fields"], **(first.get("derived") or {})}

    def rows(self, view: str, offsets: Mapping[str, int]) -> dict[Place, Row]:
        """Return {(window start, keys): n, fp, measures, exact} of the records before `offsets` (by "topic:partition").

        `exact` holds, by (measure, statistic), what the finished quantiles and distinct counts are held against.
        """
        spec = self.views[view]
        window_us = 0 if spec["window"] == "all" else duration_us(spec["window"])
        start = f"event_us - event_us % {window_us}" if window_us else "CAST(0 AS BIGINT)"
        keys = [start, *(f"CAST(x_{column} AS VARCHAR)" for column in spec["by"])]
        ends = "".join(
            f" WHEN topic = {literal(at.rpartition(':')[0])} AND partition = {at.rpartition(':')[2]} THEN off < {end}"
            for at, end in offsets.items()
        )
        names = ", ".join(literal(name) for name in spec.get("topics") or self.topics)
        source = f"FROM events WHERE topic IN ({names}) AND CASE{ends} ELSE false END"
        if spec.get("where") is not None:
            source += f" AND ({_expression(spec['where'], self._columns(view))})"
        grouped = ", ".join(str(i + 1) for i in range(len(keys)))

        def asked(columns: Sequence[str]) -> Iterable[tuple[Place, tuple[Any, ...]]]:
            query = f"SELECT {', '.join([*keys, *columns])} {source} GROUP BY {grouped}"
            for start_us, *rest in self.base.sql(query).fetchall():
                yield (start_us, tuple(rest[: len(keys) - 1])), tuple(rest[len(keys) - 1 :])

        found: dict[Place, Row] = {}
        for place, (n, fp) in asked(["count(*)", "sum(id64)"]):
            found[place] = {"n": n, "fp": str(int(fp) % 2**64), "measures": {}, "exact": {}}
        for m in self.measures(view):
            for place, values in asked(COLUMNS[m.kind](m)):
                found[place]["measures"][m.id] = {"scale": m.scale} | STATES[m.kind](values)
                found[place]["exact"] |= {(m.name, s): x for s, x in EXACT[m.kind](m, values).items()}
        return found

    # ---- an answer against them ----------------------------------------------------------------------------------

    def differences(self, view: str, answer: Mapping[str, Any]) -> list[str]:
        """Return in what a merged answer with its states differs from the recount at the answer's own offsets."""
        meta, spec = answer["meta"], self.views[view]
        expected = self.rows(view, meta["as_of"]["offsets"])
        if cut := spec.get("top"):
            expected = self._cut(view, expected, cut)
        windowed = spec["window"] != "all"
        given = {
            (_micros(row["window_start"]) if windowed else 0, tuple(row[c] for c in spec["by"])): row
            for row in answer["data"]
        }
        wrong = [f"{view} {place}: only in the answer" for place in given.keys() - expected.keys()]
        wrong += [f"{view} {place}: not in the answer" for place in expected.keys() - given.keys()]
        for place in given.keys() & expected.keys():
            wrong += [f"{view} {place}: {text}" for text in self._row(view, given[place], expected[place], meta)]
        return wrong

    def _row(self, view: str, row: Row, expected: Row, meta: Mapping[str, Any]) -> Iterable[str]:
        state = row["state"]
        for name in ("n", "fp"):
            if state[name] != expected[name]:
                yield f"state.{name}: expected {expected[name]}, got {state[name]}"
        if state["measures"].keys() != expected["measures"].keys():
            yield f"states of {sorted(expected['measures'])} expected, got {sorted(state['measures'])}"
            return
        if row.get("rank") != expected.get("rank"):
            yield f"rank: expected {expected.get('rank')}, got {row.get('rank')}"
        for m in self.measures(view):
            wanted, got = expected["measures"][m.id], state["measures"][m.id]
            for name in wanted:
                if got.get(name) != wanted[name]:
                    yield f"{m.id}.{name}: expected {wanted[name]}, got {got.get(name)}"
            if got.keys() != wanted.keys():
                yield f"{m.id}: expected the fields {sorted(wanted)}, got {sorted(got)}"
            for stat in m.stats:
                yield from self._finished(view, m, stat, row, expected, meta)
        for name, rule in (self.views[view].get("classify") or {}).items():
            number = row[rule["of"]]
            word = None
            if number is not None:
                word = next((w for w, bound in rule["below"].items() if number < float(bound)), rule["otherwise"])
            if row[name] != word:
                yield f"{name}: expected {word}, got {row[name]}"

    def column(self, view: str, measure: str, stat: str) -> str:
        """Return a finished statistic's column."""
        name = f"{measure}_{stat}"
        return (self.views[view].get("rename") or {}).get(name, name)

    def _finished(
        self, view: str, m: Measured, stat: str, row: Row, expected: Row, meta: Mapping[str, Any]
    ) -> Iterable[str]:
        column = self.column(view, m.name, stat)
        got, exact = row[column], expected["exact"][m.name, stat]
        if (got is None) != (exact is None):
            yield f"{column}: expected {exact}, got {got}"
        elif got is None:
            return
        elif m.kind in {"quantiles", "distinct"}:
            bound = meta["bounds"][column]
            if abs(Fraction(got) - exact) > abs(exact) * Fraction(bound):
                yield f"{column}: expected {float(exact)} within {bound} of it, got {got}"
        elif stat == "stddev":
            if not math.isclose(got, exact, rel_tol=1e-12, abs_tol=1e-12):
                yield f"{column}: expected {exact}, got {got}"
        elif got != (exact if isinstance(exact, str | int) else float(exact)):
            yield f"{column}: expected {exact}, got {got}"

    def _cut(self, view: str, rows: dict[Place, Row], cut: Row) -> dict[Place, Row]:
        """Return the k rows of greatest finished number per group and window, with their rank; of equal ones the first by key."""
        spec = self.views[view]
        of = next(
            (m.name, s) for m in self.measures(view) for s in m.stats if self.column(view, m.name, s) == cut["of"]
        )
        groups: dict[tuple[Any, ...], list[Place]] = {}
        for start, key in rows:
            named = dict(zip(spec["by"], key, strict=True))
            groups.setdefault((start, *(named[c] for c in cut.get("per") or ())), []).append((start, key))
        kept: dict[Place, int] = {}
        for places in groups.values():
            held = [p for p in places if rows[p]["exact"][of] is not None]
            ranked = sorted(held, key=lambda p: (-rows[p]["exact"][of], p[1]))[: int(cut["k"])]
            kept |= {place: rank for rank, place in enumerate(ranked, start=1)}
        return {place: rows[place] | {"rank": rank} for place, rank in kept.items()}


# ---- fields ----------------------------------------------------------------------------------------------------------


def literal(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return a column's name as SQL; it may be a word of SQL."""
    return f'"{name}"'


def _expression(sql: str, columns: Iterable[str]) -> str:
    r"""Return an expression of a declaration with its columns quoted; texts stay as they are.

    Examples
    --------
    >>> _expression("hour(at, 'at') between 1 and at", {"at"})
    'hour("at", \'at\') between 1 and "at"'
    """
    assert "/" not in re.sub(r"'[^']*'", "", sql), f"{sql}: this recount has no exact quotient"
    known = set(columns)
    return re.sub(r"'[^']*'|\w+", lambda found: quoted(found[0]) if found[0] in known else found[0], sql)


def _decoded(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def _kind(stat: str) -> str:
    return "latest" if stat == "latest" else kind_of(stat)  # type: ignore[arg-type]


def _token(name: str, of: Row) -> str:
    """Return a field's text: of a number its digits as they stand in the record, for a JSON reader makes a double of them.

    Of one with an exponent there is none, and without a value its record is dead.
    """
    if of["type"] in {"decimal", "integer"}:
        return f"nullif(regexp_extract(text, '\"{name}\"\\s*:\\s*(-?[0-9]+(\\.[0-9]+)?)\\s*[,}}]', 1), '')"
    return f"json_extract_string(text, '$.{name}')"


def _value(name: str, of: Row, zone: str) -> str:
    token = _token(name, of)
    if of["type"] == "string":
        return token
    made = f"micros({token}, {literal(zone)})" if of["type"] == "time" else f"scaled({token}, {of.get('scale', 0)})"
    return f"CAST({made} AS BIGINT)"


def _within(x: str, of: Row) -> str:
    low, high = (None if of.get(b) is None else of[b] * 10 ** of.get("scale", 0) for b in ("min", "max"))
    rules = [f"abs({x}) < {LIMIT}"]
    rules += [f"{x} >= {low}"] if low is not None else []
    rules += [f"{x} <= {high}"] if high is not None else []
    return f"({' AND '.join(rules)})"


def _rule(name: str, of: Row) -> str:
    """Return the condition under which a record's field is good."""
    kind, x = f"k_{name}", f"x_{name}"
    if of["type"] == "string":
        blank = "[^\\x{20}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}]"
        rule = f"{kind} = 'VARCHAR' AND strlen({x}) <= {of.get('max_length', 256)} AND regexp_matches({x}, '{blank}')"
        rule += f" AND NOT regexp_matches({x}, '[\\x00-\\x1f\\x7f-\\x{{9f}}]')"
        if of.get("values"):
            rule += f" AND {x} IN ({', '.join(map(literal, of['values']))})"
    elif of["type"] == "time":
        rule = f"{kind} = 'VARCHAR' AND {x} >= 0"
    else:
        kinds = "('UBIGINT', 'BIGINT')" if of["type"] == "integer" else "('UBIGINT', 'BIGINT', 'DOUBLE')"
        rule = f"{kind} IN {kinds} AND {x} IS NOT NULL AND {_within(x, of)}"
    absent = f"coalesce({kind}, 'NULL') = 'NULL'"
    return f"({absent} OR ({rule}))" if of.get("optional") else f"coalesce({rule}, false)"


def _typed(x: str, of: Row) -> str:
    """Return a column as an expression takes it: a time in seconds, a decimal in its own unit, exact."""
    digits = 6 if of["type"] == "time" else int(of.get("scale", 0)) if of["type"] == "decimal" else 0
    return f"{x} * CAST('{10**-digits:.{digits}f}' AS DECIMAL({digits + 1}, {digits}))" if digits else x


def _handed(of: Row, column: Any) -> Any:
    return column if of["type"] == "string" else column.to_numpy().astype("int64")


def _micros(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int(at.timestamp()) * 10**6 + at.microsecond


# ---- states: the columns of a group, what the answer must hold of them, and the exact numbers ----------------------------


def _moments(m: Measured) -> list[str]:
    x = f"x_{m.of}"
    return [f"count({x})", f"sum({x})", f"sum(CAST({x} AS HUGEINT) * {x})", f"min({x})", f"max({x})"]


def _moments_state(values: tuple[Any, ...]) -> Row:
    n, total, squares, low, high = values
    return {"n": n, "sum": str(int(total or 0)), "sumsq": str(int(squares or 0)), "min": low, "max": high}


def _moments_exact(m: Measured, values: tuple[Any, ...]) -> dict[str, Any]:
    n, total, squares, low, high = (None if v is None else int(v) for v in values)
    one = 10**m.scale
    spread = None if n is None or n < 2 else Fraction(n * squares - total * total, n * (n - 1) * one * one)
    every = {
        "n": n, "sum": Fraction(total, one) if n else None, "mean": Fraction(total, one * n) if n else None,
        "min": Fraction(low, one) if n else None, "max": Fraction(high, one) if n else None,
        "stddev": None if spread is None else math.sqrt(spread),
    }  # fmt: skip
    return {stat: every[stat] for stat in m.stats}


def _quantiles(m: Measured) -> list[str]:
    x = f"x_{m.of}"
    octave = f"(CASE WHEN abs({x}) < 128 THEN 0 ELSE CAST(floor(log2(abs({x}))) AS INTEGER) - 6 END)"
    bin_ = f"CAST(sign({x}) * ({octave} * 64 + (abs({x}) >> {octave})) AS BIGINT)"
    return [f"histogram({bin_}) FILTER ({x} IS NOT NULL)", f"list({x} ORDER BY {x}) FILTER ({x} IS NOT NULL)"]


def _quantiles_state(values: tuple[Any, ...]) -> Row:
    return {"bins": ",".join(f"{bin_}:{count}" for bin_, count in sorted((values[0] or {}).items()))}


def _quantiles_exact(m: Measured, values: tuple[Any, ...]) -> dict[str, Any]:
    held = values[1] or []
    return {
        stat: Fraction(held[-(-QUANTILES[stat] * len(held) // 100) - 1], 10**m.scale) if held else None  # type: ignore[index]
        for stat in m.stats
    }


def _distinct(m: Measured) -> list[str]:
    return [f"list_sort(list(DISTINCT h_{m.of}) FILTER (h_{m.of} IS NOT NULL))", f"count(DISTINCT x_{m.of})"]


def _distinct_state(values: tuple[Any, ...]) -> Row:
    return {"hashes": "".join(f"{h % 2**64:016x}" for h in (values[0] or [])[:KEPT])}


def _distinct_exact(m: Measured, values: tuple[Any, ...]) -> dict[str, Any]:
    return {"distinct": values[1]}


def _latest(m: Measured) -> list[str]:
    x = f"x_{m.of}"
    order = "ORDER BY event_us, seq, topic, partition, off"
    columns = (x, "event_us", "seq", "topic", "partition", "off")
    return [f"last({column} {order}) FILTER ({x} IS NOT NULL)" for column in columns]


def _latest_state(values: tuple[Any, ...]) -> Row:
    value, *place = values
    return {"latest": "" if value is None else " ".join(map(str, [*place, json.dumps(value, ensure_ascii=False)]))}


def _latest_exact(m: Measured, values: tuple[Any, ...]) -> dict[str, Any]:
    x = values[0]
    return {"latest": x if x is None or m.text or not m.scale else Fraction(x, 10**m.scale)}


COLUMNS = {"moments": _moments, "quantiles": _quantiles, "distinct": _distinct, "latest": _latest}
STATES = {
    "moments": _moments_state, "quantiles": _quantiles_state, "distinct": _distinct_state, "latest": _latest_state,
}  # fmt: skip
EXACT = {
    "moments": _moments_exact, "quantiles": _quantiles_exact, "distinct": _distinct_exact, "latest": _latest_exact,
}  # fmt: skip
