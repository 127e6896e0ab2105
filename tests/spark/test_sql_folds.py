"""Spark's dedupe and fold of parsed rows equal plain loops over them, at the edges of 64 bits too."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from braid import declaration, sql
from braid.declaration import LIMIT

DECLARED = """
dataset: trips
topic: trips.v1
event_id: [trip, seen]
event_time: {field: seen, zone: UTC}
dedupe: by_id
fields:
  trip: {type: string}
  seen: {type: time}
  zone: {type: string}
  kind: {type: string}
  fare: {type: decimal, scale: 2}
  load: {type: integer, optional: true}
  note: {type: string, optional: true}
views:
  by_minute: {by: [zone, kind], window: 1 minute, measures: {fare: {of: fare, stats: [mean]}, load: {of: load, stats: [max]}}}
  ever: {by: [zone], window: all, measures: {fare: {of: fare, stats: [sum]}}}
"""
EDGES = [0, 1, -1, LIMIT - 1, -LIMIT + 1, 2**31, -(2**31), 65535, 65536]


@pytest.fixture(scope="module")
def declared():
    return declaration.parse(DECLARED)


def rows(rng, size):
    """Return parsed rows with seq, about half of them copies and a few of them dead, in any order."""
    made = [
        {
            "topic": "trips.v1",
            "partition": rng.randrange(3),
            "offset": i,
            "seq": rng.randrange(5),
            "reason": "no value" if rng.random() < 0.05 else None,
            "id64": rng.choice([0, -1, 2**63 - 1, -(2**63), rng.randrange(-(2**63), 2**63)]),
            "event_us": rng.choice([0, 59_999_999, 60_000_000, rng.randrange(10**15)]),
            "f_trip": rng.choice(["a|b", "a", "b|c", "c", str(rng.randrange(size // 4))]),
            "f_seen": rng.randrange(4),
            "f_zone": rng.choice(["A", "a", "é"]),
            "f_kind": rng.choice(["x", "y"]),
            "f_fare": rng.choice([*EDGES, rng.randrange(-LIMIT + 1, LIMIT)]),
            "f_load": rng.choice([None, *EDGES]),
        }
        for i in range(size)
    ]
    rng.shuffle(made)
    return made


def table(spark, made, name):
    kinds = {
        "partition": pa.int32(),
        "reason": pa.string(),
        **{c: pa.string() for c in ("topic", "f_trip", "f_zone", "f_kind")},
    }
    columns = {name: pa.array([row[name] for row in made], kinds.get(name, pa.int64())) for name in made[0]}
    spark.createDataFrame(pa.table(columns)).createOrReplaceTempView(name)


def first_of_each_id(made):
    kept = {}
    for row in sorted(made, key=lambda r: (r["seq"], r["partition"], r["offset"])):
        if row["reason"] is None:
            kept.setdefault((row["f_trip"], row["f_seen"]), row)
    return list(kept.values())


def folded(made, view):
    states = {}
    for row in made:
        start = row["event_us"] // view.window_us * view.window_us if view.window_us else 0
        states.setdefault((start, *(row[f"f_{name}"] for name in view.by)), []).append(row)
    return {key: state(group, view) for key, group in states.items()}


def state(group, view):
    numbers = [len(group), sum(row["id64"] for row in group) % 2**64]
    for m in view.measures:
        x = [row[f"f_{m.of}"] for row in group if row[f"f_{m.of}"] is not None]
        numbers += [len(x), sum(x), sum(v * v for v in x), min(x, default=None), max(x, default=None)]
    return numbers


def joined(row, view):
    """Return a state row of Spark with its halves joined."""
    numbers = [row["n"], ((row["fp_hi"] << 32) + row["fp_lo"]) % 2**64]
    for m in view.measures:
        numbers += [
            row[f"{m.name}_n"],
            row[f"{m.name}_sum"],
            (row[f"{m.name}_sumsq_hi"] << 32) + row[f"{m.name}_sumsq_lo"],
        ]
        numbers += [row[f"{m.name}_min"], row[f"{m.name}_max"]]
    return numbers


@pytest.mark.parametrize("seed", range(2))
def test_the_first_of_each_id_in_ledger_order_is_kept(spark, declared, seed):
    made = rows(random.Random(seed), 2000)
    table(spark, made, "parsed_rows")
    text = sql.dedupe(declared, declared.topics, "parsed_rows")
    found = spark.sql(text).toArrow().to_pylist()
    assert sorted(found, key=lambda r: r["offset"]) == sorted(first_of_each_id(made), key=lambda r: r["offset"])
    assert len(found) < len(made) * 0.8  # there were copies


def test_without_dedupe_every_good_row_is_kept(spark):
    declared = declaration.parse(DECLARED.replace("dedupe: by_id", "dedupe: none"))
    made = rows(random.Random(3), 500)
    table(spark, made, "parsed_rows")
    found = spark.sql(sql.dedupe(declared, declared.topics, "parsed_rows")).toArrow().to_pylist()
    assert {r["offset"] for r in found} == {r["offset"] for r in made if r["reason"] is None}


@pytest.mark.parametrize("name", ["by_minute", "ever"])
def test_spark_folds_as_a_plain_loop_does(spark, declared, name):
    made = [row for row in rows(random.Random(4), 3000) if row["reason"] is None]
    table(spark, made, "counted_rows")
    view = declared.view(name)
    found = spark.sql(sql.fold(declared, view, "counted_rows")).toArrow().to_pylist()
    assert {(r["window_start_us"], *(r[b] for b in view.by)): joined(r, view) for r in found} == folded(made, view)


def test_slim_rows_hold_what_the_driver_needs(spark, declared):
    topic = declared.topics[0]
    assert sql.used(declared, topic) == ("zone", "kind", "fare", "load")
    good = b'{"trip":"1","seen":"2026-01-01T00:00:00Z","zone":"A","kind":"x","fare":1.5}'
    appended = [1_795_169_000_000_000] * 2
    kafka = {"topic": ["trips.v1"] * 2, "partition": pa.array([0, 0], pa.int32()), "offset": [7, 8]}
    kafka |= {"timestamp": pa.array(appended, pa.timestamp("us", "UTC")), "value": [good, b"x" * 5000]}
    spark.createDataFrame(pa.table(kafka)).createOrReplaceTempView("slim_source")
    alive, dead = sorted(
        spark.sql(sql.slim(declared, topic, "slim_source")).toArrow().to_pylist(), key=lambda r: r["offset"]
    )
    assert (alive["reason"], alive["raw"], alive["f_fare"], alive["f_load"]) == (None, None, 150, None)
    assert (dead["reason"], dead["raw"], dead["f_fare"], dead["id64"]) == (
        "expected one JSON object",
        b"x" * 4096,
        None,
        None,
    )
    assert not {"f_trip", "f_seen", "f_note"} & set(alive)
