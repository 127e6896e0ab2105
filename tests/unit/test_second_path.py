"""The second path agrees with the reference, record by record and state by state, and shares no code with it."""

from __future__ import annotations

import ast
import os
import random
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import verify
from braid import records, views
from braid.declaration import Declaration, EventTime, Field, Topic
from braid.declaration_reader import load_all
from braid.hashing import xxhash64
from tests import strategies
from tests.strategies import APPEND_US
from verify import odd, xxh64
from verify.positions import Span
from verify.second_path import SCHEMA, Count, SecondPath, plain

SEED = int(os.environ.get("BRAID_SEED", time.time_ns() % 10**9))
RECORDS = int(os.environ.get("BRAID_RECORDS", "1500"))
# the huge ones cost seconds each; of those only the two at the limit of a record's size
SHORT = [raw for raw in strategies.SMALL if raw is None or len(raw) < 100 or raw.startswith(b"{} ")]
LANDCOVER = load_all(Path(__file__).parents[2] / "datasets")["landcover"]


def topic(name: str, event_id: tuple[str, ...], time_: EventTime, *fields: Field) -> Topic:
    return Topic(name, {f.name: f for f in fields}, event_id, time_)


TOPICS = [
    LANDCOVER.topics[0],
    topic(
        "trips", ("trip", "seen", "fare"), EventTime("seen", "America/New_York"),
        Field("fare", "decimal", scale=2), Field("trip", "string", max_length=12), Field("seen", "time"),
        Field("left", "time", optional=True), Field("count", "integer", min=Decimal(0), max=Decimal(9)),
        Field("zone", "integer", optional=True), Field("kind", "string", values=("it's", 'q"q', "é", "null", " ")),
    ),
    topic(
        "tides.v1", ("at",), EventTime("at", "Pacific/Chatham"), Field("note", "string", optional=True),
        Field("at", "time"), Field("level", "decimal", scale=9, optional=True),
        Field("whole", "decimal", scale=0, min=Decimal("-2.5"), max=Decimal("2.5")),
    ),
    topic(
        "camel.case", ("trip_id", "seen"), EventTime("seen", "Europe/Zurich"),
        Field("trip_id", "string", max_length=64, key="tripId"), Field("seen", "time", key="@timestamp"),
        Field("fare", "decimal", scale=2, optional=True, key="fare.total-net amount"),
        Field("bags", "integer", min=Decimal(0), key="N"), Field("plain", "string", optional=True),
    ),
    topic("plain", ("id",), EventTime(None), Field("id", "string"), Field("at", "time", optional=True)),
    topic("skipped", ("at",), EventTime("at", "Pacific/Apia"), Field("at", "time")),
]  # fmt: skip


def declared(of: Topic) -> Declaration:
    return replace(LANDCOVER, topics=(of,), views=(), alerts=(), api=())


def table(of: Topic, raws: list[bytes | None], partition: int = 0, first: int = 0) -> pa.Table:
    n = len(raws)
    columns = [[of.name] * n, [partition] * n, list(range(first, first + n)), [APPEND_US] * n, raws]
    return pa.table(columns, schema=SCHEMA)


@pytest.mark.parametrize("of", TOPICS, ids=lambda t: t.name)
def test_every_record_has_the_reference_s_verdict_values_and_hash(of: Topic, tmp_path: Path) -> None:
    raws = SHORT + strategies.batch(of, SEED, RECORDS)[len(strategies.SMALL) :]
    rng = random.Random(SEED + 1)
    raws += [strategies.good_record(of, rng) for _ in range(RECORDS // 2)]
    with SecondPath(declared(of), [Span(1, of.name, 0, 0, len(raws))], tmp_path) as path:
        path.add_records(of.name, table(of, raws))
        columns = ", ".join(f"f_{name}" for name in of.fields)
        found = path._database.execute(f"SELECT place, id64, event_us, {columns} FROM events ORDER BY place").fetchall()
    expected = []
    for at, raw in enumerate(raws):
        event = records.parse(of, raw, APPEND_US)
        if isinstance(event, records.Event):
            expected.append((at, event.id64, event.event_us, *event.values.values()))
    assert len(expected) > RECORDS // 2
    by_at = {row[0]: row for row in found}
    for row in expected:
        assert by_at.get(row[0]) == row, (f"BRAID_SEED={SEED}", raws[row[0]])
    assert [raws[at] for at in by_at.keys() - {row[0] for row in expected}] == [], f"BRAID_SEED={SEED}"


@pytest.mark.parametrize("of", TOPICS, ids=lambda t: t.name)
def test_the_reading_one_by_one_agrees_by_itself(of: Topic) -> None:
    for raw in strategies.batch(of, SEED + 2, RECORDS)[len(strategies.SMALL) :]:
        event, got = records.parse(of, raw, APPEND_US), odd.values(of, raw, APPEND_US)
        if isinstance(event, records.Event):
            assert got == dict(event.values) | {"event_us": event.event_us}, raw
        else:
            assert got is None, (event.reason, raw)


def test_most_good_records_are_read_in_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this producer sends, in any order of fields and with others between, needs no reading one by one."""
    of = LANDCOVER.topics[0]
    raws: list[bytes | None] = [
        b'{"image_id": "P-1", "class_name": "red soil", "timestamp": "2026-01-01T00:00:00Z", "ndvi_mean": 0.5, '
        b'"ndvi_std": 0.1, "ndvi_min": -0.25, "ndvi_max": 1}',
        b'{ "note": true, "ndvi_max":1.0,"ndvi_min":0,"ndvi_std":0,"ndvi_mean":-1,"timestamp":"2026-01-01 00:00:00.5",'
        b'"class_name":"red soil","image_id":"\xc3\xa9", "nir1_mean": null }',
    ]
    monkeypatch.setattr(odd, "values", lambda *_: pytest.fail("read one by one"))
    with SecondPath(declared(of), [Span(1, of.name, 0, 0, 2)], tmp_path) as path:
        path.add_records(of.name, table(of, raws))
        path.finish()
        assert path.counts()[1, of.name, 0].good == 2


def test_the_hash_is_that_of_the_reference_for_every_length() -> None:
    rng = random.Random(SEED)
    texts = ["x" * n for n in range(70)] + ["".join(rng.choices("aé日😀", k=rng.randrange(40))) for _ in range(300)]
    numbers = np.array([rng.randrange(-(2**63), 2**63) for _ in texts], np.int64)
    for columns, chained in (
        ([pa.array(texts), numbers], [("t", t, int(n)) for t, n in zip(texts, numbers, strict=True)]),
        ([numbers, pa.chunked_array([texts[:7], texts[7:]])], [("t", int(n), t) for t, n in zip(texts, numbers, strict=True)]),
    ):  # fmt: skip
        got = xxh64.chain("t", columns, len(texts)).view(np.int64).tolist()
        assert got == [xxhash64(words) for words in chained]


# ---- states --------------------------------------------------------------------------------------------------------


def world(seed: int) -> tuple[list[list[bytes | None]], list[Span]]:
    """Return the records of two partitions, with copies and dead ones, and ledger ranges that tile them."""
    rng, of = random.Random(seed), LANDCOVER.topics[0]
    pool = [strategies.good_record(of, rng) for _ in range(120)]
    partitions: list[list[bytes | None]] = [[], []]
    for _ in range(400):
        raw = rng.choice(pool) if rng.random() < 0.8 else strategies.record(of, rng)
        partitions[rng.randrange(2)].append(raw)
    spans, done, seq = [], [0, 0], 0
    while done != [len(p) for p in partitions]:
        seq += 1
        for partition in (0, 1):
            end = min(len(partitions[partition]), done[partition] + rng.randrange(40))
            if end > done[partition]:
                spans.append(Span(seq, of.name, partition, done[partition], end))
            done[partition] = end
    return partitions, spans


@pytest.mark.parametrize("dedupe", ["by_id", "none"])
def test_states_and_counts_of_any_seqs_are_those_of_plain_loops(dedupe: str, tmp_path: Path) -> None:
    partitions, spans = world(SEED)
    of, dataset = LANDCOVER.topics[0], replace(LANDCOVER, dedupe=dedupe)  # type: ignore[arg-type]
    last = spans[-1].seq
    counted: dict[int, list[records.Event]] = {}
    counts: dict[tuple[int, str, int], list[int]] = {}
    seen: set[tuple[object, ...]] = set()
    for span in sorted(spans, key=lambda s: (s.seq, s.partition)):
        tally = counts.setdefault((span.seq, of.name, span.partition), [0, 0, 0, 0, 0])
        for raw in partitions[span.partition][span.start : span.end]:
            event = records.parse(of, raw, APPEND_US)
            tally[0] += 1
            if not isinstance(event, records.Event):
                tally[4] += 1
            elif (identity := tuple(event.values[c] for c in of.event_id)) in seen and dedupe == "by_id":
                tally[3] += 1
            else:
                seen.add(identity)
                tally[1] += 1
                tally[2] = (tally[2] + event.id64) % 2**64
                counted.setdefault(span.seq, []).append(event)
    with SecondPath(dataset, spans, tmp_path) as path:
        for partition in (1, 0):  # in any order, and in pieces
            raws = partitions[partition]
            path.add_records(of.name, table(of, raws[50:], partition, 50))
            path.add_records(of.name, table(of, raws[:50], partition))
        path.add_records(of.name, table(of, [b"{}"], 1, len(partitions[1])))  # beyond the ledger
        path.finish()
        assert path.counts() == {key: Count(*tally) for key, tally in counts.items()}
        for spec in LANDCOVER.views:
            for after, through in ((0, last), (0, last // 2), (last // 2, last), (last, last)):
                events = [e for seq in range(after + 1, through + 1) for e in counted.get(seq, [])]
                assert path.states(spec, after, through) == plain(views.fold(spec, events))
            by_seq = {seq: plain(views.fold(spec, events)) for seq, events in counted.items()}
            assert path.states_by_seq(spec, 0, last) == by_seq


def test_equal_offsets_of_a_topic_that_was_created_again_are_other_records(tmp_path: Path) -> None:
    of, rng = LANDCOVER.topics[0], random.Random(SEED)
    raws = [strategies.good_record(of, rng) for _ in range(4)]
    spans = [Span(1, of.name, 0, 0, 2, "old"), Span(3, of.name, 0, 0, 2, "new")]
    with SecondPath(declared(of), spans, tmp_path) as path:
        path.add_records(of.name, table(of, raws[2:]), "new")
        path.add_records(of.name, table(of, raws[:2]), "old")
        path.finish()
        assert {key: c.records for key, c in path.counts().items()} == {(1, of.name, 0): 2, (3, of.name, 0): 2}


def test_the_second_path_imports_nothing_of_the_engine_but_what_was_declared_and_asked() -> None:
    folder = Path(verify.__file__).parent
    for name in ("second_path", "reading", "positions", "odd", "xxh64", "derived", "kinds"):
        tree = ast.parse((folder / f"{name}.py").read_text("utf-8"))
        modules = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert {m for m in modules if m.startswith("braid")} <= {
            "braid.declaration",
            "braid.receipts",
            "braid.expression_tree",
        }
