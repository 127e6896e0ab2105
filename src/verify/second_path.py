"""The second path: raw records to exact states, by DuckDB SQL made from the declaration.

It shares the declaration and the question of a receipt with the engine, and nothing of its parsing, folding or merging. What it does, whole:

1. *Read.* A record is usual when SQL can prove it good by docs/records.md: a flat JSON object without escapes, without a
   duplicate key, each field of its type and within its bounds, no digit beyond the scale, times with Z or in the
   declared zone. Every other one goes through `odd`, one by one. Offsets find their seq in the ledger's ranges; the
   `seq` that the master's files carry is not looked at.
2. *Place.* Each record has one number, its place in ledger order (seq, topic, partition, offset).
3. *Dedupe* by the id itself, not by a hash of it: of all good records with equal topic and id, the one of least place counts.
4. *Fold.* One GROUP BY per view, in 128-bit integers; Python takes fp modulo 2^64.

A place is unique, so whether an event counts does not depend on where an answer ends, and one pass serves every seq.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa

from braid.declaration import Declaration, Field, Topic, ViewSpec
from braid.receipts import Question
from verify import odd, xxh64

Place: TypeAlias = tuple[int, tuple[str, ...]]
Moments: TypeAlias = tuple[int, int, int, int | None, int | None]
State: TypeAlias = tuple[int, int, tuple[Moments, ...]]
States: TypeAlias = dict[Place, State]

SCHEMA = pa.schema([
    ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("append_us", pa.int64()),
    ("raw", pa.binary()),
])  # fmt: skip
FILES_AT_ONCE = 2  # a file is mostly one row group, which one thread reads
_W = "[ \\t\\n\\r]*"
_STRING = '"[^"\\\\\\x00-\\x1f]*"'
_SCALAR = f"(?:{_STRING}|-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?|true|false|null)"
_PAIR = f"{_STRING}{_W}:{_W}{_SCALAR}{_W}"
_FLAT = f"{_W}\\{{{_W}{_PAIR}(?:,{_W}{_PAIR})*\\}}{_W}"
_DELETED = "[\\x{7f}-\\x{9f}]"  # the controls that JSON lets through
_BLANKS = "".join(sorted(odd.BLANKS))
_TIME = '"(19(7[1-9]|[89][0-9])|20[0-9]{2}|21([0-8][0-9]|9[0-8]))-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z?"'


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets [start, end) of one partition, counted by ledger row `seq`."""

    seq: int
    topic: str
    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Count:
    """Records found, and of them the good (each id once), their Σ hash modulo 2^64, the copies, the dead."""

    records: int = 0
    good: int = 0
    fp: int = 0
    copies: int = 0
    dead: int = 0


class SecondPath:
    """Takes raw records in any order, then answers for any range of ledger rows.

    Parameters
    ----------
    spans : the ledger's ranges in ledger order; records outside them are passed over
    folder : an empty folder for DuckDB's database, which may outgrow memory
    """

    def __init__(self, declaration: Declaration, spans: Sequence[Span], folder: Path, memory: str = "3GB") -> None:
        self._declaration = declaration
        self._database = duckdb.connect(str(folder / "second.duckdb"))
        self._database.execute(f"SET memory_limit = '{memory}'; SET temp_directory = '{folder}/spill'")
        self._spans = {key: _Ruler(key, spans) for key in {(s.topic, s.partition) for s in spans}}
        self._seen: dict[tuple[int, str, int], list[int]] = {}
        self._zones = {t.name: _Zone(t.event_time.zone) for t in declaration.topics}
        self.records = 0
        fields = {f.name: f for t in declaration.topics for f in t.fields.values()}
        typed = ", ".join(f"{_c(n)} {'VARCHAR' if f.type == 'string' else 'BIGINT'}" for n, f in fields.items())
        self._names = tuple(fields)
        self._database.execute(
            "CREATE TABLE events (place BIGINT, seq BIGINT, topic VARCHAR, part INTEGER, event_us BIGINT, id64 BIGINT, "
            + typed
            + ")"
        )

    # ---- records in ------------------------------------------------------------------------------------------------

    def add_files(self, topic: str, paths: Sequence[Path]) -> None:
        """Read one topic's Parquet files of the master, of which only positions and raw bytes are used."""
        columns = ", ".join(_q(name) for name in SCHEMA.names)
        for at in range(0, len(paths), FILES_AT_ONCE):
            names = ", ".join(_text(str(path)) for path in paths[at : at + FILES_AT_ONCE])
            self._add(self._declaration.topic(topic), f"SELECT {columns} FROM read_parquet([{names}])")

    def add_records(self, topic: str, records: pa.Table) -> None:
        """Read records of one topic in the columns of SCHEMA."""
        self._database.register("handed", records)
        self._add(self._declaration.topic(topic), "SELECT * FROM handed")
        self._database.unregister("handed")

    def _add(self, topic: Topic, source: str) -> None:
        table = self._database.sql(usual(topic, source)).to_arrow_table()
        partitions, offsets = (table[c].to_numpy() for c in ("partition", "offset"))
        at, seq = self._placed(topic.name, partitions, offsets)
        columns = {_c(name): table[_c(name)] for name in topic.fields}
        for name, field in topic.fields.items():
            if field.type == "time":
                columns[_c(name)] = self._zones[topic.name].instants(table[_c(name)], table[_c(name) + "_local"])
        append_us = table["append_us"].to_numpy()
        event = (
            columns[_c(topic.event_time.field)].to_numpy(zero_copy_only=False) if topic.event_time.field else append_us
        )
        known = table["usual"].to_numpy(zero_copy_only=False) & (at >= 0)
        good = known & (np.nan_to_num(event) <= append_us + odd.PATIENCE_US)
        found = pa.table({"place": at, "seq": seq, "part": partitions, "event_us": event, **columns}).filter(
            pa.array(good)
        )
        others = np.flatnonzero(~known & (at >= 0))
        read = [odd.values(topic, table["raw"][int(i)].as_py(), int(append_us[i])) for i in others]
        more = [
            {_c(name): values[name] for name in topic.fields}
            | {"place": int(at[i]), "seq": int(seq[i]), "part": int(partitions[i]), "event_us": values["event_us"]}
            for i, values in zip(others, read, strict=True)
            if values is not None
        ]
        if more:
            found = pa.concat_tables([found, pa.Table.from_pylist(more, found.schema)])
        self._insert(topic, found)
        self._count(topic.name, partitions[at >= 0], seq[at >= 0], found)

    def _placed(self, topic: str, partitions: Any, offsets: Any) -> tuple[Any, Any]:
        """Return (at, seq) of positions, −1 for those in no span."""
        at, seq = (np.full(len(offsets), -1, np.int64) for _ in range(2))
        for partition in np.unique(partitions):
            if ruler := self._spans.get((topic, int(partition))):
                chosen = partitions == partition
                at[chosen], seq[chosen] = ruler.placed(offsets[chosen])
        return at, seq

    def _insert(self, topic: Topic, found: pa.Table) -> None:
        ids = [_id_column(topic.fields[name], found[_c(name)]) for name in topic.event_id]
        hashes = xxh64.chain(topic.name, ids, len(found)).view(np.int64)
        self._database.register("found", found.append_column("id64", pa.array(hashes)))
        held = [_c(n) if n in topic.fields else "NULL" for n in self._names]
        selected = ", ".join(["place", "seq", _text(topic.name), "part", "event_us", "id64", *held])
        self._database.execute(f"INSERT INTO events SELECT {selected} FROM found")
        self._database.unregister("found")

    def _count(self, topic: str, partitions: Any, seqs: Any, found: pa.Table) -> None:
        for column, (p, s) in enumerate(((partitions, seqs), (found["part"].to_numpy(), found["seq"].to_numpy()))):
            keys, counts = np.unique(np.stack([s, p]), axis=1, return_counts=True)
            for seq, partition, n in zip(*keys.tolist(), counts.tolist(), strict=True):
                self._seen.setdefault((seq, topic, partition), [0, 0])[column] += n
        self.records += len(partitions)

    # ---- states out ------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Tell copies from events; called once, when every record is in."""
        self._database.execute("CREATE TABLE copies (place BIGINT, seq BIGINT, topic VARCHAR, part INTEGER)")
        for topic in self._declaration.topics if self._declaration.dedupe == "by_id" else ():
            ids = ", ".join(_c(name) for name in topic.event_id)
            own = f"(SELECT * FROM events WHERE topic = {_text(topic.name)})"
            twice = f"SELECT {ids}, min(place) AS least FROM {own} GROUP BY {ids} HAVING count(*) > 1"
            self._database.execute(
                f"INSERT INTO copies SELECT place, seq, topic, part FROM {own} JOIN ({twice}) USING ({ids}) WHERE place > least"
            )
        self._database.execute("CREATE VIEW counted AS SELECT * FROM events ANTI JOIN copies USING (place)")

    def counts(self) -> dict[tuple[int, str, int], Count]:
        """Return what each (seq, topic, partition) holds."""
        rows = self._database.execute(
            "SELECT seq, topic, part, count(*), sum(id64) FROM counted GROUP BY ALL"
        ).fetchall()
        kept = {(seq, topic, part): (n, int(fp) % 2**64) for seq, topic, part, n, fp in rows}
        return {
            key: Count(records, *kept.get(key, (0, 0)), good - kept.get(key, (0, 0))[0], records - good)
            for key, (records, good) in self._seen.items()
        }

    def states(self, view: ViewSpec, after: int, through: int) -> States:
        """Return a view of the events of after < seq <= through."""
        rows = self._folded(view, "0", after, through)
        return {place: state for _, place, state in rows}

    def states_by_seq(self, view: ViewSpec, after: int, through: int) -> dict[int, States]:
        """Return the same, apart for every seq."""
        found: dict[int, States] = {}
        for seq, place, state in self._folded(view, "seq", after, through):
            found.setdefault(seq, {})[place] = state
        return found

    def answered(self, view: ViewSpec, asked: Question, cut_seq: int, seq: int) -> States:
        """Return the rows of an answer to a question, in its order.

        Parameters
        ----------
        cut_seq, seq : the cut of the generation that answered, and the last ledger row it counted
        """
        window_us = view.window_us if asked.window_us is None else asked.window_us
        shaped = replace(view, by=view.by if asked.by is None else asked.by, window_us=window_us)
        after, through = {"merged": (0, seq), "batch": (0, cut_seq), "speed": (cut_seq, seq)}[asked.layer]
        where = [f"{_c(column)} IN ({', '.join(map(_text, values)) or 'NULL'})" for column, values in asked.keys]
        grid = _start(window_us or view.window_us)
        where += [f"{grid} >= {asked.from_us}"] if asked.from_us is not None else []
        where += [f"{grid} < {asked.to_us}"] if asked.to_us is not None else []
        found = {place: state for _, place, state in self._folded(shaped, "0", after, through, where)}
        places = sorted(found)
        if asked.newest_window:
            places = sorted({key: (start, key) for start, key in places}.values(), key=lambda place: place[1])
        if asked.order == "desc":
            places.reverse()
        last = None if asked.limit is None else asked.offset + asked.limit
        return {place: found[place] for place in places[asked.offset : last]}

    def _folded(
        self, view: ViewSpec, first: str, after: int, through: int, where: Sequence[str] = ()
    ) -> Iterable[tuple[int, Place, State]]:
        cursor = self._database.execute(fold(view, first, after, through, where))
        keys = len(view.by)
        while rows := cursor.fetchmany(50_000):
            for seq, start, *rest in rows:
                n, fp, *numbers = rest[keys:]
                moments = [tuple(numbers[i : i + 5]) for i in range(0, len(numbers), 5)]
                measures = tuple((m, int(s or 0), int(q or 0), low, high) for m, s, q, low, high in moments)
                yield seq, (start, tuple(rest[:keys])), (n, int(fp) % 2**64, measures)

    def close(self) -> None:
        """Close DuckDB; the folder is the caller's."""
        self._database.close()

    def __enter__(self) -> SecondPath:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- the SQL -------------------------------------------------------------------------------------------------------


def usual(topic: Topic, source: str) -> str:
    """Return the SELECT of each record's position, whether it is usual, its values, and its raw bytes when it is not.

    A record with its fields in declared order is told by one pattern, which also finds the values; of another flat one the
    keys are compared and each value is looked for.
    """
    fields = tuple(topic.fields.values())
    flat = (
        f"CASE WHEN ordered THEN true WHEN regexp_full_match(j, {_text(_FLAT)}) THEN "
        "len(try(json_keys(j))) = len(list_distinct(try(json_keys(j)))) AND (strlen(j) <= 1000 OR "
        "list_max(list_transform(try(json_keys(j)), lambda k: length(k))) <= 1000) END"
    )
    found = f"regexp_extract(j, {_text(_ordered(fields))}, [{', '.join(_text(f't{i}') for i in range(len(fields)))}])"
    tokens = ", ".join(f"{_token(f, i)} AS t{i}" for i, f in enumerate(fields))
    checks = " AND ".join(_check(f, f"t{i}") for i, f in enumerate(fields))
    values = [f"CASE WHEN usual THEN {_value(f, f't{i}')} END AS {_c(f.name)}" for i, f in enumerate(fields)]
    values += [
        f"coalesce(t{i} NOT LIKE '%Z\"', false) AS {_c(f.name)}_local" for i, f in enumerate(fields) if f.type == "time"
    ]
    steps = (
        "SELECT *, CASE WHEN octet_length(raw) <= 999999 THEN try(decode(raw)) END AS j FROM",
        f"SELECT *, {found} AS s FROM",
        "SELECT *, coalesce(s.t0 <> '', false) AS ordered FROM",
        f"SELECT *, coalesce({flat}, false) AS flat FROM",
        f"SELECT *, {tokens} FROM",
        f"SELECT *, coalesce(flat AND {checks}, false) AS usual FROM",
        f'SELECT partition, "offset", append_us, usual, {", ".join(values)}, CASE WHEN NOT usual THEN raw END AS raw FROM',
    )
    for step in steps:
        source = f"{step} ({source})"
    return source


def _ordered(fields: Sequence[Field]) -> str:
    """Return the pattern of a record with its fields in declared order, a group for each value; one that cannot match
    when the first field may be absent."""
    parts = []
    for i, field in enumerate(fields):
        number = (
            f"-?(?:0|[1-9][0-9]{{0,9}})(?:\\.[0-9]{{1,{field.scale}}})?" if field.scale else "-?(?:0|[1-9][0-9]{0,9})"
        )
        value = f"({number if field.numeric else _STRING}{'|null' if field.optional else ''})"
        pair = f'{f"{_W},{_W}" if i else ""}"{field.name}"{_W}:{_W}{value}'
        parts.append(f"(?:{pair})?" if field.optional else pair)
    return (
        f"\\A{_W}\\{{{_W}{''.join(parts)}{_W}\\}}{_W}\\z"
        if not fields[0].optional
        else f"\\A[^\\x{{0}}-\\x{{10ffff}}]{''.join(parts)}"
    )


def fold(view: ViewSpec, first: str, after: int, through: int, where: Sequence[str] = ()) -> str:
    """Return the query of a view's states: `first`, window start, keys, n, Σ hash, and five numbers per measure."""
    keys = [first, _start(view.window_us), *(_c(column) for column in view.by)]
    numbers = ["count(*)", "sum(id64)"]
    for m in view.measures:
        x = _c(m.of)
        numbers += [f"count({x})", f"sum({x})", f"sum({x} * {x})", f"min({x})", f"max({x})"]
    chosen = [f"seq > {after}", f"seq <= {through}", f"topic IN ({', '.join(map(_text, view.topics))})", *where]
    grouped = ", ".join(str(i + 1) for i in range(len(keys)))
    return f"SELECT {', '.join([*keys, *numbers])} FROM counted WHERE {' AND '.join(chosen)} GROUP BY {grouped}"


def _start(window_us: int) -> str:
    return f"event_us - event_us % {window_us}" if window_us else "0"


def _token(field: Field, i: int) -> str:
    """Return a field's value as it is written, with its quotes; null when it is absent or null."""
    pattern = f'"{field.name}"{_W}:{_W}("[^"]*"|[^",}} \\t\\n\\r]+)'
    found = f"CASE WHEN ordered THEN s.t{i} WHEN flat THEN regexp_extract(j, {_text(pattern)}, 1) END"
    return f"nullif(nullif({found}, ''), 'null')"


def _check(field: Field, token: str) -> str:
    """Return the condition under which a token is proved good."""
    inner = f"{token}[2:-2]"
    if field.type == "time":
        rule = f"regexp_full_match({token}, {_text(_TIME)}) AND {_micros(token)} IS NOT NULL"
    elif field.type == "string":
        rule = (
            f"{token}[1] = '\"' AND strlen({inner}) <= {field.max_length} AND regexp_matches({inner}, {_text(f'[^{_BLANKS}]')}) "
            f"AND NOT regexp_matches({inner}, {_text(_DELETED)})"
        )
        if field.values is not None:
            rule += f" AND {inner} IN ({', '.join(map(_text, field.values))})"
    else:
        fraction = f"(\\.[0-9]{{1,{field.scale}}})?" if field.scale else ""
        x = _scaled(field, token)
        bounds = [f"abs({x}) < 3000000000"]
        bounds += [f"{x} >= {field.min.scaleb(field.scale):f}"] if field.min is not None else []
        bounds += [f"{x} <= {field.max.scaleb(field.scale):f}"] if field.max is not None else []
        rule = f"regexp_full_match({token}, {_text(f'-?[0-9]{{1,10}}{fraction}')}) AND {' AND '.join(bounds)}"
    return f"({token} IS NULL OR ({rule}))" if field.optional else f"({token} IS NOT NULL AND {rule})"


def _value(field: Field, token: str) -> str:
    if field.type == "time":
        return _micros(token)
    return f"{token}[2:-2]" if field.type == "string" else _scaled(field, token)


def _scaled(field: Field, token: str) -> str:
    if not field.scale:
        return f"try_cast({token} AS BIGINT)"
    digits = f"split_part({token}, '.', 1) || rpad(split_part({token}, '.', 2), {field.scale}, '0')"
    return f"try_cast({digits} AS BIGINT)"


def _micros(token: str) -> str:
    """Return the microseconds of a time as if it were UTC."""
    return f"epoch_us(try_cast(replace(rtrim({token}[2:-2], 'Z'), 'T', ' ') AS TIMESTAMP))"


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _c(name: str) -> str:
    return f"f_{name}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


# ---- positions and zones -------------------------------------------------------------------------------------------


class _Ruler:
    """The spans of one partition: where an offset stands in ledger order."""

    def __init__(self, key: tuple[str, int], spans: Sequence[Span]) -> None:
        base, found = 0, []
        for span in sorted(spans, key=lambda s: (s.seq, s.topic, s.partition)):
            if (span.topic, span.partition) == key:
                found.append((span.start, span.end, span.seq, base))
            base += span.end - span.start
        self._starts, self._ends, self._seqs, self._bases = (
            np.array(c, np.int64) for c in zip(*sorted(found), strict=True)
        )

    def placed(self, offsets: Any) -> tuple[Any, Any]:
        i = np.searchsorted(self._starts, offsets, "right") - 1
        inside = (i >= 0) & (offsets < self._ends[i])
        return np.where(inside, self._bases[i] + offsets - self._starts[i], -1), np.where(inside, self._seqs[i], -1)


class _Zone:
    """The UTC offset of every local time from 1970 to 2200: the earlier one where a clock is put back."""

    def __init__(self, zone: str) -> None:
        self._info, day = ZoneInfo(zone), timedelta(days=1)
        self._from, self._offsets = [np.iinfo(np.int64).min], [self._at(datetime(1970, 1, 1))]  # noqa: DTZ001 - local
        at = datetime(1970, 1, 1)  # noqa: DTZ001 - local
        while zone != "UTC" and at.year < 2200:
            if self._at(at + day) != self._offsets[-1]:
                self._from.append(self._change(at, at + day))
                self._offsets.append(self._at(at + day))
            at += day

    def _at(self, local: datetime) -> int:
        return (local.replace(tzinfo=self._info).utcoffset() or timedelta()) // timedelta(microseconds=1)

    def _change(self, low: datetime, high: datetime) -> int:
        """Return the first local microsecond that has the offset of `high`."""
        tick = timedelta(microseconds=1)
        while high - low > tick:
            middle = low + (high - low) // 2
            low, high = (low, middle) if self._at(middle) == self._at(high) else (middle, high)
        return (high.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // tick

    def instants(self, column: Any, local: Any) -> pa.Array:
        """Return microseconds UTC of times read as if they were UTC; `local` says which were of the zone."""
        micros = column.fill_null(0).to_numpy()
        offsets = np.array(self._offsets)[np.searchsorted(np.array(self._from), micros, "right") - 1]
        moved = micros - np.where(local.to_numpy(zero_copy_only=False), offsets, 0)
        return pa.array(moved, mask=column.is_null().to_numpy(zero_copy_only=False))


def _id_column(field: Field, column: Any) -> Any:
    return column if field.type == "string" else column.to_numpy().astype(np.int64)


def plain(states: Mapping[Place, Any]) -> States:
    """Return a view of the engine in the form of `States`, to be compared."""
    return {
        place: (s.n, s.fp, tuple((m.n, m.sum, m.sumsq, m.min, m.max) for m in s.measures))
        for place, s in states.items()
    }
