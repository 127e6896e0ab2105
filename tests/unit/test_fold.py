"""The driver's fold equals the reference fold with `==`, on any rows in any order, edges of the integers among them."""

import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid import views
from braid.aggregates import Moments
from braid.alerts import beyond
from braid.declaration import LIMIT
from braid.declaration_reader import load
from braid.errors import RangeRefused
from braid.ledger import Range
from speed_layer.fold import Batch

DECLARATION = load(Path(__file__).parents[2] / "datasets" / "landcover.yaml")
TOPIC = DECLARATION.topics[0]
CLASSES = TOPIC.fields["class_name"].values or ()
NUMBERS = ["ndvi_mean", "ndvi_min", "ndvi_max", "green_mean", "red_mean", "nir1_mean", "nir2_mean"]
SCHEMA = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("append_us", pa.int64())]
    + [("reason", pa.string()), ("raw", pa.binary()), ("id64", pa.int64()), ("salted64", pa.int64())]
    + [("event_us", pa.int64()), ("f_image_id", pa.string()), ("f_class_name", pa.string())]
    + [(f"f_{name}", pa.int64()) for name in NUMBERS]
)
scaled = st.one_of(st.integers(-LIMIT + 1, LIMIT - 1), st.sampled_from([LIMIT - 1, 1 - LIMIT, 0, 1, -1]))
hashes = st.integers(-(2**63), 2**63 - 1)


@dataclass
class Event:
    id64: int
    event_us: int
    values: dict


@st.composite
def tables(draw):
    """Rows of two partitions, some offsets absent, some records dead, ids drawn from a few so that copies happen."""
    pool = draw(st.lists(st.tuples(hashes, hashes), min_size=1, max_size=12))
    rows = []
    for offset in range(draw(st.integers(0, 40))):
        if draw(st.integers(0, 9)) == 0:
            continue  # an offset without a record
        rows.append(draw(row(offset % 2, offset // 2, pool)))
    draw(st.randoms(use_true_random=False)).shuffle(rows)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@st.composite
def row(draw, partition, offset, pool):
    place = {"topic": "image-events", "partition": partition, "offset": offset, "append_us": 7}
    if draw(st.integers(0, 7)) == 0:
        return place | {"reason": "expected one JSON object", "raw": b"x"}
    id64, salted64 = draw(st.sampled_from(pool))
    numbers = {f"f_{name}": draw(st.one_of(st.none(), scaled)) if "mean" in name else draw(scaled) for name in NUMBERS}
    return place | {
        "id64": id64, "salted64": salted64, "event_us": draw(st.integers(0, 7_258_118_400_000_000 - 1)),
        "f_image_id": f"i{offset}", "f_class_name": draw(st.sampled_from(CLASSES)),
    } | numbers  # fmt: skip


RANGE = Range({("image-events", 0): 0, ("image-events", 1): 0}, {("image-events", 0): 20, ("image-events", 1): 20})


def first_of_each_id(table, known=frozenset()):
    """Return the counted events by a plain loop in ledger order."""
    met, events = set(known), []
    for r in sorted(table.to_pylist(), key=lambda r: (r["topic"], r["partition"], r["offset"])):
        identity = (r["id64"], r["salted64"])
        if r["reason"] is None and identity not in met:
            met.add(identity)
            events.append(Event(r["id64"], r["event_us"], {k[2:]: v for k, v in r.items() if k.startswith("f_")}))
    return events


@settings(max_examples=150, deadline=None)
@given(tables())
def test_every_view_of_a_batch_equals_the_reference_fold(table):
    batch = Batch(DECLARATION, table, RANGE)
    mask = batch.counted(set())
    events = first_of_each_id(table)
    for spec in DECLARATION.views:
        assert batch.view(spec, mask, seq=1) == views.fold(spec, events)
    assert batch.fp(mask) == sum(e.id64 for e in events) % 2**64
    assert int(mask.sum()) == len(events) == len(batch.ids_of(mask))
    assert batch.absent == RANGE.size - table.num_rows
    assert len(batch.dead_letters()) == batch.dead == sum(r is not None for r in table.column("reason").to_pylist())


@settings(max_examples=60, deadline=None)
@given(tables())
def test_ids_known_from_before_are_masked(table):
    batch = Batch(DECLARATION, table, RANGE)
    ids = batch.distinct_ids()
    known = set(ids[::2])
    kept = batch.ids_of(batch.counted(known))
    assert kept == sorted(set(ids) - known)


@settings(max_examples=100, deadline=None)
@given(tables(), st.lists(scaled, min_size=30, max_size=60))
def test_alerts_are_those_of_a_plain_loop(table, past):
    rule = DECLARATION.alerts[0]
    history = {(c,): Moments(len(past), sum(past), sum(x * x for x in past), min(past), max(past)) for c in CLASSES[:3]}
    batch = Batch(DECLARATION, table, RANGE)
    mask = batch.counted(set())
    found = {(a.key, a.values["image_id"]) for a in batch.alerts(rule, 5, history, mask)}
    expected = set()
    for e in first_of_each_id(table):
        key = (e.values["class_name"],)
        x = e.values["ndvi_mean"]
        if x is not None and key in history and beyond(x, history[key], rule):
            expected.add((key, e.values["image_id"]))
    assert found == expected


def test_sums_of_squares_at_the_edge_are_exact_beyond_64_bits():
    x = LIMIT - 1
    rows = [
        {"topic": "image-events", "partition": 0, "offset": i, "append_us": 1, "id64": i, "salted64": i, "event_us": 5,
         "f_image_id": "i", "f_class_name": CLASSES[0]} | {f"f_{name}": x for name in NUMBERS}
        for i in range(20)
    ]  # fmt: skip
    batch = Batch(DECLARATION, pa.Table.from_pylist(rows, schema=SCHEMA), RANGE)
    (state,) = batch.view(DECLARATION.views[0], batch.counted(set()), seq=1).values()
    assert state.measures[0] == Moments(20, 20 * x, 20 * x * x, x, x)
    assert 20 * x * x > 2**63


def test_a_value_just_beyond_the_bound_is_judged_exactly():
    # mean 0, Σx² chosen so that the bound is exactly 2·10^6: at it no alert, one past it an alert
    rule = DECLARATION.alerts[0]
    n = 101
    history = {(CLASSES[0],): Moments(n, 0, (n - 1) * 10**12, -(10**6), 10**6)}
    for x, expected in ((2_000_000, 0), (2_000_001, 1), (-2_000_000, 0), (-2_000_001, 1)):
        row = {"topic": "image-events", "partition": 0, "offset": 0, "append_us": 1, "id64": 1, "salted64": 1, "event_us": 5,
               "f_image_id": "i", "f_class_name": CLASSES[0]} | {f"f_{name}": x for name in NUMBERS}  # fmt: skip
        batch = Batch(DECLARATION, pa.Table.from_pylist([row], schema=SCHEMA), RANGE)
        assert len(batch.alerts(rule, 1, history, batch.counted(set()))) == expected


@pytest.mark.parametrize(("partition", "offsets"), [(0, [3, 3]), (0, [20]), (7, [0])])
def test_rows_outside_the_range_or_twice_are_refused(partition, offsets):
    rows = [
        {"topic": "image-events", "partition": partition, "offset": o, "append_us": 1, "reason": "x", "raw": b""}
        for o in offsets
    ]
    with pytest.raises(RangeRefused):
        Batch(DECLARATION, pa.Table.from_pylist(rows, schema=SCHEMA), RANGE)


def test_a_batch_of_many_rows_is_put_into_ledger_order():
    shuffled = [
        {"topic": "image-events", "partition": i % 2, "offset": i // 2, "append_us": 1, "reason": str(i), "raw": b""}
        for i in range(40)
    ]
    random.Random(3).shuffle(shuffled)
    letters = Batch(DECLARATION, pa.Table.from_pylist(shuffled, schema=SCHEMA), RANGE).dead_letters()
    assert [(d.partition, d.offset) for d in letters] == [(p, o) for p in range(2) for o in range(20)]
