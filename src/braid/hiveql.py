"""Hive: one declaration as DDL text, and one state as a row.

A dataset is a Hive database. Every view of it is an external table `<view>__gen`, partitioned by the generation and a
part of it, whose rows hold the finished numbers people read beside the exact state they were finished from; and a Hive
view under the plain name that selects the generation being served, replaced last when another one is published.

Sums and fingerprints are `decimal(38,0)`: they outgrow 64 bits, and Thrift hands a decimal back digit by digit. The
finished columns are doubles, rounded once from the exact integers by `aggregates.finish`, and nothing reads them back.

The text is Spark SQL's dialect of HiveQL, which is what HiveServer2 speaks here; nothing in it is particular to Spark.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from braid.aggregates import COUNTS, FIELDS, Moments, State, finished_of, held_of, plain, split
from braid.declaration import ViewSpec
from braid.views import Key, View

Type = Literal["bigint", "string", "double", "decimal(38,0)"]

BUCKETS = 8  # parts of a view over all time: as many as can change without the others being written again
GENERATION_PROPERTY = "braid.generation"
PARTITIONED_BY = ("gen", "part")  # names that no declaration may use


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a `<view>__gen` table; `exact` ones are state, the others are for people."""

    name: str
    type: Type
    comment: str
    exact: bool = True


_SHOWN = {
    "quantiles": "bin:count of",
    "distinct": "kept hashes of",
    "latest": "event time, place and value of the latest",
}


def columns(spec: ViewSpec) -> tuple[Column, ...]:
    """Return the columns of a view's table: window, keys, finished numbers, exact state.

    The window's start and the keys count as state: with the exact columns they give the row back (`place_of`).
    """
    found = [Column("window_start_us", "bigint", "start of the window, microseconds since 1970 UTC; 0: all time")]
    found += [Column(name, "string", "key") for name in spec.by]
    for name, m, stat in spec.finished:
        kind: Type = "string" if m.texts else "bigint" if stat in COUNTS else "double"
        found.append(Column(name, kind, f"{stat} of {m.of}", exact=False))
    found += [Column(r.name, "string", f"word for {r.of}: {', '.join(r.words)}", exact=False) for r in spec.rules]
    found += [Column("n", "bigint", "events"), Column("fp", "decimal(38,0)", "sum of the ids' hashes modulo 2^64")]
    for m in spec.measures:
        if m.kind != "moments":
            shown = _SHOWN[m.kind]
            found += [Column(f"{m.name}__{name}", "string", f"{shown} {m.of}") for name in FIELDS[m.kind]]
            continue
        at = f"{m.of}, at scale {m.scale}"
        found += [
            Column(f"{m.name}__n", "bigint", f"events that hold {m.of}"),
            Column(f"{m.name}__sum", "decimal(38,0)", f"sum of {at}"),
            Column(f"{m.name}__sumsq", "decimal(38,0)", f"sum of squares of {at}, twice that scale"),
            Column(f"{m.name}__min", "bigint", f"lowest {at}"),
            Column(f"{m.name}__max", "bigint", f"highest {at}"),
        ]
    return tuple(found)


def exact_columns(spec: ViewSpec) -> tuple[Column, ...]:
    """Return the columns from which `place_of` rebuilds a row, in its order."""
    return tuple(c for c in columns(spec) if c.exact)


# ---- rows --------------------------------------------------------------------------------------------------------


def row_of(spec: ViewSpec, place: tuple[int, Key], state: State) -> tuple[Any, ...]:
    """Return one state as a row, in the order of `columns`."""
    finished = finished_of(spec, state).values()
    exact: list[Any] = [state.n, Decimal(state.fp)]
    for m in state.measures:
        if isinstance(m, Moments):
            exact += [m.n, Decimal(m.sum), Decimal(m.sumsq), m.min, m.max]
        else:
            exact += plain(m)
    return (place[0], *place[1], *finished, *exact)


def place_of(spec: ViewSpec, row: Sequence[Any]) -> tuple[tuple[int, Key], State]:
    """Return ((window_start_us, key), state) from a row in the order of `exact_columns`."""
    keys = len(spec.by)
    window_start_us, key, (n, fp, *rest) = int(row[0]), tuple(row[1 : 1 + keys]), row[1 + keys :]
    measures = tuple(held_of(m.kind, values) for m, values in split(spec.measures, rest))
    return (window_start_us, key), State(int(n), int(fp), measures)


def part_of(spec: ViewSpec, place: tuple[int, Key]) -> str:
    """Return the part that holds a row: the month of its window, or a bucket of its key over all time.

    Examples
    --------
    >>> view = ViewSpec("v", ("k",), 600_000_000, (), ("t",))
    >>> part_of(view, (1_709_251_200_000_000, ("forest",)))
    '2024-03'
    """
    if spec.window_us:
        return f"{datetime.fromtimestamp(place[0] // 10**6, UTC):%Y-%m}"
    hashed = hashlib.sha256(json.dumps(list(place[1])).encode()).digest()
    return f"key-{hashed[0] % BUCKETS}"


def parts_of(spec: ViewSpec, view: View) -> dict[str, dict[tuple[int, Key], State]]:
    """Return the rows of a view by the part that holds them."""
    months: dict[int, str] = {}
    found: dict[str, dict[tuple[int, Key], State]] = {}
    for place, state in view.items():
        start = place[0]
        if not spec.window_us:
            part = part_of(spec, place)
        elif start in months:
            part = months[start]
        else:
            part = months[start] = part_of(spec, place)
        found.setdefault(part, {})[place] = state
    return found


# ---- text --------------------------------------------------------------------------------------------------------


def database(dataset: str) -> str:
    """Return the statement that makes a dataset's database."""
    return f"CREATE DATABASE IF NOT EXISTS {name(dataset)} COMMENT 'Braid: views of the dataset {dataset}'"


def table(dataset: str, spec: ViewSpec, location: str) -> str:
    """Return the statement that makes a view's external table at a location; dropping it leaves the files."""
    body = ",\n".join(f"  {name(c.name)} {c.type.upper()} COMMENT {text(c.comment)}" for c in columns(spec))
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {of(dataset, spec)} (\n{body}\n)\n"
        f"COMMENT {text(f'{spec.title}: every generation kept')}\n"
        f"PARTITIONED BY ({name('gen')} BIGINT, {name('part')} STRING)\n"
        f"STORED AS PARQUET LOCATION {text(location)}"
    )


def add_partitions(dataset: str, spec: ViewSpec, gen: int, locations: Mapping[str, str]) -> str:
    """Return the statement that registers the parts of a generation, each at the location of its folder."""
    parts = "\n".join(
        f"  PARTITION (gen = {gen}, part = {text(part)}) LOCATION {text(uri)}"
        for part, uri in sorted(locations.items())
    )
    return f"ALTER TABLE {of(dataset, spec)} ADD IF NOT EXISTS\n{parts}"


def drop_table(dataset: str, spec: ViewSpec) -> str:
    """Return the statement that forgets a view's table; the files of an external table stay."""
    return f"DROP TABLE IF EXISTS {of(dataset, spec)}"


def drop_view(dataset: str, spec: ViewSpec) -> str:
    """Return the statement that takes away the plain name of a view."""
    return f"DROP VIEW IF EXISTS {name(dataset)}.{name(spec.name)}"


def drop_partitions(dataset: str, spec: ViewSpec, gens: Iterable[int]) -> str:
    """Return the statement that forgets generations; the files of an external table stay."""
    parts = ", ".join(f"PARTITION (gen = {gen})" for gen in sorted(gens))
    return f"ALTER TABLE {of(dataset, spec)} DROP IF EXISTS {parts}"


def show_partitions(dataset: str, spec: ViewSpec) -> str:
    """Return the statement that lists partitions, as `gen=3/part=2024-03`."""
    return f"SHOW PARTITIONS {of(dataset, spec)}"


def served_view(dataset: str, spec: ViewSpec, gen: int, cut_seq: int) -> str:
    """Return the statement that lets the plain name of a view select one generation: what people query."""
    window = ["timestamp_micros(window_start_us) AS window_start"] if spec.window_us else []
    shown = dict.fromkeys([*spec.by, "n", *(column for column, _, _ in spec.finished), *(r.name for r in spec.rules)])
    selected = ", ".join(window + [name(column) for column in shown])
    return (
        f"CREATE OR REPLACE VIEW {name(dataset)}.{name(spec.name)}\n"
        f"COMMENT {text(f'{spec.title}: generation {gen}, every event up to ledger seq {cut_seq}')}\n"
        f"TBLPROPERTIES ({text(GENERATION_PROPERTY)} = {text(str(gen))})\n"
        f"AS SELECT {selected} FROM {of(dataset, spec)} WHERE gen = {gen}"
    )


def served_generation(dataset: str, spec: ViewSpec) -> str:
    """Return the statement that asks which generation the plain name selects: rows (property, generation)."""
    return f"SHOW TBLPROPERTIES {name(dataset)}.{name(spec.name)} ({text(GENERATION_PROPERTY)})"


def states(dataset: str, spec: ViewSpec, gen: int) -> str:
    """Return the query of one generation's exact states, in the order of `exact_columns`."""
    selected = ", ".join(name(c.name) for c in exact_columns(spec))
    return f"SELECT {selected} FROM {of(dataset, spec)} WHERE gen = {gen}"


def describe(dataset: str, spec: ViewSpec) -> str:
    """Return the statement that lists a table's columns: rows (name, type, comment), partition columns last."""
    return f"DESCRIBE TABLE {of(dataset, spec)}"


def generations_table(spec: ViewSpec) -> str:
    """Return the name of a view's table of generations."""
    return f"{spec.name}__gen"


def of(dataset: str, spec: ViewSpec) -> str:
    """Return the quoted name of a view's table of generations, with its database."""
    return f"{name(dataset)}.{name(generations_table(spec))}"


def name(word: str) -> str:
    """Return a quoted identifier.

    Examples
    --------
    >>> name("class_name")
    '`class_name`'
    """
    return "`" + word.replace("`", "``") + "`"


def text(value: str) -> str:
    r"""Return a quoted string literal.

    Examples
    --------
    >>> print(text("it's"))
    'it\'s'
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"
