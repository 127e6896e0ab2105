"""The second path: raw records to exact states, by DuckDB SQL made from the declaration.

It shares the declaration and the question of a receipt with the engine, and nothing of its parsing, folding or merging. What it does, whole:

1. *Read* (`reading`). A record is usual when SQL can prove it good by docs/records.md: a flat JSON object without escapes, without a
   duplicate key, each field of its type and within its bounds, no digit beyond the scale, times with Z or in the
   declared zone. Every other one goes through `odd`, one by one. Offsets find their seq in the ledger's ranges; the
   `seq` that the master's files carry is not looked at.
2. *Place* (`positions`). Each record has one number, its place in ledger order (seq, topic, partition, offset).
3. *Dedupe* by the id itself, not by a hash of it: of all good records with equal topic and id, the one of least place counts.
4. *Fold.* One GROUP BY per view, in 128-bit integers; Python takes fp modulo 2^64.

A place is unique, so whether an event counts does not depend on where an answer ends, and one pass serves every seq.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from braid.declaration import Declaration, Field, Measure, Topic, ViewSpec
from braid.receipts import Question
from verify import derived, kinds, odd, xxh64
from verify.positions import Ruler, Span, Zone
from verify.reading import cells, chosen_of, column_of, fold, hash_of, key_of, literal, quoted, start_of, usual

Place: TypeAlias = tuple[int, tuple[str, ...]]
Plain: TypeAlias = tuple[Any, ...]  # n, Σx, Σx², least, greatest; or one text of bins, of hashes, or of an event
State: TypeAlias = tuple[int, int, tuple[Plain, ...]]
States: TypeAlias = dict[Place, State]

SCHEMA = pa.schema([
    ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("append_us", pa.int64()),
    ("raw", pa.binary()),
])  # fmt: skip


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
    folder : where DuckDB may put what outgrows `memory`
    """

    def __init__(self, declaration: Declaration, spans: Sequence[Span], folder: Path, memory: str = "3GB") -> None:
        self._declaration = declaration
        self._database = duckdb.connect()
        self._database.execute(f"SET memory_limit = '{memory}'; SET temp_directory = '{folder}/spill'")
        self._spans = {key: Ruler(key, spans) for key in {(s.topic, s.topic_id, s.partition) for s in spans}}
        self._seen: dict[tuple[int, str, int], list[int]] = {}
        self._zones = {t.name: Zone(t.event_time.zone) for t in declaration.topics}
        self.records = 0
        fields = {f.name: f for t in declaration.topics for f in t.columns.values()}
        self._hashed = tuple({m.of for v in declaration.views for m in v.measures if m.kind == "distinct"})
        self._conditions = tuple(v for v in declaration.views if v.where is not None)
        typed = ", ".join(f"{column_of(n)} {'VARCHAR' if f.type == 'string' else 'BIGINT'}" for n, f in fields.items())
        self._names = tuple(fields)
        self._database.execute(
            "CREATE TABLE events (place BIGINT, seq BIGINT, topic VARCHAR, part INTEGER, off BIGINT, event_us BIGINT, "
            "id64 BIGINT, "
            + ", ".join(
                [
                    typed,
                    *(f"{hash_of(name)} BIGINT" for name in self._hashed),
                    *(f"{chosen_of(v)} BOOLEAN" for v in self._conditions),
                ]
            )
            + ")"
        )

    # ---- records in ------------------------------------------------------------------------------------------------

    def add_files(self, topic: str, paths: Sequence[Path], topic_id: str = "") -> None:
        """Read the master's Parquet files of one topic and topic id; only positions and raw bytes are used of them."""
        columns = ", ".join(quoted(name) for name in SCHEMA.names)
        names = ", ".join(literal(str(path)) for path in paths)
        self._add(self._declaration.topic(topic), f"SELECT {columns} FROM read_parquet([{names}])", topic_id)

    def add_records(self, topic: str, records: pa.Table, topic_id: str = "") -> None:
        """Read records of one topic and topic id in the columns of SCHEMA."""
        self._database.register("handed", records)
        self._add(self._declaration.topic(topic), "SELECT * FROM handed", topic_id)
        self._database.unregister("handed")

    def _add(self, topic: Topic, source: str, topic_id: str) -> None:
        table = self._database.sql(usual(topic, source)).to_arrow_table()
        partitions, offsets = (table[c].to_numpy() for c in ("partition", "offset"))
        at, seq = self._placed(topic.name, topic_id, partitions, offsets)
        columns = {column_of(name): table[column_of(name)] for name in topic.fields}
        for name, field in topic.fields.items():
            if field.type == "time":
                columns[column_of(name)] = self._zones[topic.name].instants(
                    table[column_of(name)], table[column_of(name) + "_local"]
                )
        append_us = table["append_us"].to_numpy()
        event = (
            columns[column_of(topic.event_time.field)].to_numpy(zero_copy_only=False)
            if topic.event_time.field
            else append_us
        )
        known = table["usual"].to_numpy(zero_copy_only=False) & (at >= 0)
        good = known & (np.nan_to_num(event) <= append_us + odd.PATIENCE_US)
        placed = {"place": at, "seq": seq, "part": partitions, "off": offsets}
        found = pa.table({**placed, "event_us": event, **columns}).filter(pa.array(good))
        others = np.flatnonzero(~known & (at >= 0))
        read = [odd.values(topic, table["raw"][int(i)].as_py(), int(append_us[i])) for i in others]
        more = [
            {column_of(name): values[name] for name in topic.fields}
            | {name: int(column[i]) for name, column in placed.items()}
            | {"event_us": values["event_us"]}
            for i, values in zip(others, read, strict=True)
            if values is not None
        ]
        if more:
            found = pa.concat_tables([found, pa.Table.from_pylist(more, found.schema)])
        self._insert(topic, self._derived(topic, found))
        self._count(topic.name, partitions[at >= 0], seq[at >= 0], found)

    def _placed(self, topic: str, topic_id: str, partitions: Any, offsets: Any) -> tuple[Any, Any]:
        """Return (at, seq) of positions, −1 for those in no span."""
        at, seq = (np.full(len(offsets), -1, np.int64) for _ in range(2))
        for partition in np.unique(partitions):
            if ruler := self._spans.get((topic, topic_id, int(partition))):
                chosen = partitions == partition
                at[chosen], seq[chosen] = ruler.placed(offsets[chosen])
        return at, seq

    def _derived(self, topic: Topic, found: pa.Table) -> pa.Table:
        """Return the events with their derived columns, the hashes that distinct values are told by, and who counts them."""
        conditions = [view for view in self._conditions if topic.name in view.topics]
        if topic.derived or conditions:
            names = [column_of(name) for name in topic.fields]
            columns = [found[name].to_pylist() for name in names]
            rows = [derived.add(topic, dict(zip(topic.fields, row, strict=True))) for row in zip(*columns, strict=True)]
            for column in topic.derived:
                kind = pa.string() if column.field.type == "string" else pa.int64()
                found = found.append_column(column_of(column.name), pa.array([row[column.name] for row in rows], kind))
            for view in conditions:
                met = pa.array([derived.chosen(view, topic, row) for row in rows], pa.bool_())
                found = found.append_column(f"w_{view.name}", met)
        for name in self._hashed:
            if name in topic.columns:
                found = found.append_column(hash_of(name), _hashes(topic.columns[name], found[column_of(name)]))
        return found

    def _insert(self, topic: Topic, found: pa.Table) -> None:
        ids = [_id_column(topic.fields[name], found[column_of(name)]) for name in topic.event_id]
        hashes = xxh64.chain(topic.name, ids, len(found)).view(np.int64)
        self._database.register("found", found.append_column("id64", pa.array(hashes)))
        held = [column_of(n) if n in topic.columns else "NULL" for n in self._names]
        held += [hash_of(n) if n in topic.columns else "NULL" for n in self._hashed]
        held += [chosen_of(v) if topic.name in v.topics else "false" for v in self._conditions]
        selected = ", ".join(["place", "seq", literal(topic.name), "part", "off", "event_us", "id64", *held])
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
            ids = ", ".join(column_of(name) for name in topic.event_id)
            own = f"(SELECT * FROM events WHERE topic = {literal(topic.name)})"
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
        where = [f"{key_of(column)} IN ({', '.join(map(literal, values)) or 'NULL'})" for column, values in asked.keys]
        grid = start_of(window_us or view.window_us)
        where += [f"{grid} >= {asked.from_us}"] if asked.from_us is not None else []
        where += [f"{grid} < {asked.to_us}"] if asked.to_us is not None else []
        found = {place: state for _, place, state in self._folded(shaped, "0", after, through, where)}
        places = _listed(view, shaped, asked, found) if view.top else _all(asked, found)
        last = None if asked.limit is None else asked.offset + asked.limit
        return {place: found[place] for place in places[asked.offset : last]}

    def _folded(
        self, view: ViewSpec, first: str, after: int, through: int, where: Sequence[str] = ()
    ) -> Iterable[tuple[int, Place, State]]:
        texts = {m.id: self._cells(view, m, first, after, through, where) for m in view.measures if m.kind != "moments"}
        cursor = self._database.execute(fold(view, first, after, through, where))
        keys = len(view.by)
        while rows := cursor.fetchmany(50_000):
            for seq, start, *rest in rows:
                n, fp, *numbers = rest[keys:]
                place: Place = (start, tuple(rest[:keys]))
                left = iter(numbers)
                measures = tuple(
                    _moments(*islice(left, 5)) if m.kind == "moments" else (texts[m.id].get((seq, place), ""),)
                    for m in view.measures
                )
                yield seq, place, (n, int(fp) % 2**64, measures)

    def _cells(
        self, view: ViewSpec, measure: Measure, first: str, after: int, through: int, where: Sequence[str]
    ) -> dict[tuple[int, Place], str]:
        """Return the canonical text of a measure that is no moments, by seq and place."""
        found: dict[tuple[int, Place], list[Any]] = {}
        keys = 2 + len(view.by)
        for row in self._database.execute(cells(view, measure, first, after, through, where)).fetchall():
            found.setdefault((row[0], (row[1], tuple(row[2:keys]))), []).append(row[keys:])
        if measure.kind == "latest":
            return {at: _event(rows[0][0]) for at, rows in found.items()}
        if measure.kind == "quantiles":
            return {at: ",".join(f"{bin_}:{n}" for bin_, n in sorted(rows)) for at, rows in found.items()}
        return {at: "".join(f"{h % 2**64:016x}" for (h,) in sorted(rows)[:1024]) for at, rows in found.items()}

    def close(self) -> None:
        """Close DuckDB; the folder is the caller's."""
        self._database.close()

    def __enter__(self) -> SecondPath:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _all(asked: Question, found: States) -> list[Place]:
    """Return every place in the order that was asked for, or the newest of each key."""
    places = sorted(found)
    if asked.newest_window:
        places = sorted({key: (start, key) for start, key in places}.values(), key=lambda place: place[1])
    return places[::-1] if asked.order == "desc" else places


def _listed(view: ViewSpec, shaped: ViewSpec, asked: Question, found: States) -> list[Place]:
    """Return the places that a view's `top` leaves: one list a window and `per`, the greatest number first."""
    assert view.top is not None  # noqa: S101 - the caller looked
    index, scale, stat = next(
        (i, m.scale, s) for i, m in enumerate(view.measures) for s in m.stats if view.column(m, s) == view.top.of
    )
    per = [i for i, column in enumerate(shaped.by) if column in view.top.per]
    lists: dict[tuple[Any, ...], dict[int, list[Place]]] = {}
    for place in sorted(found):
        lists.setdefault(tuple(place[1][i] for i in per), {}).setdefault(place[0], []).append(place)
    ranked: dict[tuple[int, tuple[Any, ...]], list[Place]] = {}
    for group, windows in lists.items():
        for start in [max(windows)] if asked.newest_window else windows:
            numbers = {place: kinds.finished(found[place][2][index], stat, scale) for place in windows[start]}
            known = [place for place in windows[start] if numbers[place] is not None]
            ranked[start, group] = sorted(known, key=numbers.__getitem__, reverse=True)[: view.top.k]
    sign = -1 if asked.order == "desc" else 1
    return [p for at in sorted(ranked, key=lambda at: (sign * at[0], at[1])) for p in ranked[at]]


def _event(newest: Mapping[str, Any]) -> str:
    """Return the canonical text of a latest event."""
    value = json.dumps(newest["x"], ensure_ascii=False)
    return f"{newest['event_us']} {newest['seq']} {newest['topic']} {newest['part']} {newest['off']} {value}"


def _moments(n: int, total: int | None, squares: int | None, low: int | None, high: int | None) -> Plain:
    return n, int(total or 0), int(squares or 0), low, high


def _hashes(field: Field, column: Any) -> pa.Array:
    """Return the hash of every value, null where there is none."""
    missing = np.asarray(column.is_null().combine_chunks())
    filled = column.fill_null("" if field.type == "string" else 0)
    hashes = xxh64.plain([_id_column(field, filled)], len(column)).view(np.int64)
    return pa.array(hashes, mask=missing)


def _id_column(field: Field, column: Any) -> Any:
    return column if field.type == "string" else column.to_numpy().astype(np.int64)


def plain(states: Mapping[Place, Any]) -> States:
    """Return a view of the engine in the form of `States`, to be compared."""
    return {place: (s.n, s.fp, tuple(map(_plain, s.measures))) for place, s in states.items()}


def _plain(held: Any) -> Plain:
    if hasattr(held, "bins"):
        return (",".join(f"{bin_}:{n}" for bin_, n in held.bins),)
    if hasattr(held, "hashes"):
        return ("".join(f"{h % 2**64:016x}" for h in held.hashes),)
    if hasattr(held, "value"):
        event_us, place = held.at or (0, ())
        words = [event_us, *place, json.dumps(held.value, ensure_ascii=False)]
        return (" ".join(map(str, words)) if held.at else "",)
    return held.n, held.sum, held.sumsq, held.min, held.max
