"""A topic of somebody else's producer works as it is: no part of the engine reads a record's key.

The key only decides the partition, and a copy counts once in whatever partition it is. The model (copies in any
partition, `tests/model/events.py`) and the fault campaign (half of the copies without a key) hold the rest.
"""

import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid import records, sql, views
from braid.adapters import spark
from braid.ledger import Range
from braid.records import DeadLetter
from speed_layer.fold import Batch
from tests.contracts import DECLARATION

TOPIC = DECLARATION.topics[0]
NOW_US = 1_795_169_000_000_000
PARTITIONS = 4
FIELDS = sql.used(DECLARATION, TOPIC)
SCHEMA = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("append_us", pa.int64())]
    + [("reason", pa.string()), ("raw", pa.binary()), ("id64", pa.int64()), ("salted64", pa.int64())]
    + [("event_us", pa.int64())]
    + [(f"f_{name}", pa.int64() if TOPIC.fields[name].numeric else pa.string()) for name in FIELDS]
)


def test_the_frames_of_both_layers_have_no_key() -> None:
    # what is not in the frame no SQL can read, and the driver and the master hold what SQL made of it
    assert spark._COLUMNS == ("topic", "partition", "offset", "timestamp", "value")


def ride(i: int) -> bytes:
    city = ("Bern", "Basel", "Chur")[i % 3]
    taken_at = f"2026-01-01T00:{i % 5:02d}:00Z"
    return json.dumps(
        {"ride": f"r{i}", "taken_at": taken_at, "city": city, "vendor": "ab"[i % 2], "fare_usd": i}
    ).encode()


def placed(raws: list[bytes], seed: int) -> tuple[pa.Table, Range]:
    """Return slim rows of records put into partitions as any producer might, and the range they are in."""
    rng = random.Random(seed)
    ends: dict[tuple[str, int], int] = {(TOPIC.name, p): 0 for p in range(PARTITIONS)}
    rows: list[dict[str, Any]] = []
    for raw in raws:
        place = (TOPIC.name, rng.randrange(PARTITIONS))
        found = records.parse(TOPIC, raw, NOW_US)
        row = {"topic": place[0], "partition": place[1], "offset": ends[place], "append_us": NOW_US}
        if isinstance(found, DeadLetter):
            row |= {"reason": found.reason, "raw": raw}
        else:
            row |= {"id64": found.id64, "salted64": found.salted64, "event_us": found.event_us}
            row |= {f"f_{name}": found.values[name] for name in FIELDS}
        ends[place] += 1
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA), Range(dict.fromkeys(ends, 0), ends)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 30), max_size=60), st.integers(0, 2**32))
def test_a_copy_counts_once_in_whatever_partition_it_is(names: list[int], seed: int) -> None:
    raws = [ride(i) if i else b"typed by hand" for i in names]
    batch = Batch(DECLARATION, *placed(raws, seed))
    counted = batch.counted(set())
    events = [
        found for raw in dict.fromkeys(raws) if isinstance(found := records.parse(TOPIC, raw, NOW_US), records.Event)
    ]
    assert int(counted.sum()) == len(set(names) - {0})
    assert batch.dead == names.count(0)
    for view in DECLARATION.views:
        assert batch.view(view, counted, seq=1) == views.fold(view, events)


@pytest.mark.parametrize("seed", range(3))
def test_where_records_are_put_changes_no_state(seed: int) -> None:
    raws = [ride(i) for i in (*range(40), *range(0, 40, 3))]
    batches = [Batch(DECLARATION, *placed(raws, s)) for s in (seed, seed + 100)]
    one, other = ([b.view(v, b.counted(set()), seq=1) for v in DECLARATION.views] for b in batches)
    assert one == other
