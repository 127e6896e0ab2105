"""Every general capability of a declaration at once: both layers' Spark SQL, the reference fold and the second path agree with `==`.

Two topics with columns of their own, a time zone, derived columns of every sort, conditions, integer keys, quantiles and
distinct values, over random records of which some are late, dead, copies, without a value, or at the ends of what is allowed.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from batch_layer.run import run
from braid import records, sql, views
from braid.aggregates import DISTINCT_K, Distinct, Quantiles, distinct
from braid.declaration import ViewSpec
from braid.declaration_reader import parse
from braid.ledger import Range
from braid.receipts import Question
from braid.views import View
from speed_layer import unusual
from speed_layer.fold import Batch
from tests.spark.speed import NOW_US, Speed
from tests.spark.test_batch import check_served, ports_of
from verify.positions import Span
from verify.second_path import SCHEMA, SecondPath, plain

RIDES = parse("""
dataset: rides
topics:
  rides.done:
    event_id: [ride]
    event_time: {field: start, zone: America/New_York}
    fields:
      ride:  {type: integer}
      start: {type: time}
      stop:  {type: time}
      miles: {type: decimal, scale: 2, min: -10, max: 5000}
      fare:  {type: decimal, scale: 2, optional: true}
      place: {type: string, max_length: 12}
      zone:  {type: integer, min: 0, max: 300}
    derived:
      duration_s: {type: integer, sql: "stop - start", min: -100000, max: 1000000}
      mph:        {type: decimal, scale: 3, sql: "case when duration_s > 0 then miles * 3600 / duration_s end", max: 200}
      hour_of_week: {type: integer, sql: "weekday(start, 'America/New_York') * 24 + hour(start, 'America/New_York')"}
      cell:       {type: string, sql: "concat('z-', floor(zone / 7), '_', place)"}
      tip:        {type: decimal, scale: 1, sql: "coalesce(fare, 0) / 3 - miles * 0.05"}
  rides.asked:
    event_id: [rider, start]
    event_time: {field: start, zone: UTC}
    fields:
      rider: {type: string}
      start: {type: time}
      zone:  {type: integer, min: 0, max: 300}
      place: {type: string, max_length: 12, optional: true}
views:
  by_cell:
    topics: [rides.done]
    where: "duration_s between 60 and 7200 and not (mph > 100 and fare is null)"
    by: [cell, hour_of_week]
    window: 10 minutes
    measures:
      mph:   {of: mph, stats: [mean, p50, stddev, p95]}
      zones: {of: zone, stats: [distinct]}
    classify: {pace: {of: mph_mean, below: {slow: 10.5, steady: 30}, otherwise: fast}}
  hourly:
    topics: [rides.done]
    by: [zone]
    window: all
    measures: {duration: {of: duration_s, stats: [mean, stddev, p99]}, tip: {of: tip, stats: [sum, p90]}}
  riders:
    topics: [rides.asked]
    by: [zone]
    window: 1 day
    measures: {riders: {of: rider, stats: [distinct]}}
  demand:
    where: "zone in (1, 2, 3) or place = 'park'"
    by: [zone]
    window: 1 hour
    measures: {places: {of: place, stats: [distinct]}, zone: {of: zone, stats: [n, max]}}
  newest:
    topics: [rides.done]
    by: [zone]
    window: 1 day
    measures:
      tip:  {of: tip, stats: [latest, mean]}
      fare: {of: fare, stats: [latest]}
      cell: {of: cell, stats: [latest, distinct]}
    top: {k: 3, of: tip_latest}
alerts:
  slow: {of: duration_s, by: [zone], rule: sigma, beyond: 2, min_count: 5, show: [ride, cell]}
""")


class Rides(Speed):
    """Sends records of both topics."""

    def send(self, count: int) -> None:
        """Append records to both topics."""
        for _ in range(count):
            topic = self.random.choice(self.names)
            chance = self.random.random()
            if chance < 0.05 and self.sent:
                value: bytes | None = self.random.choice(self.sent)
            elif chance < 0.08:
                value = self.random.choice([None, b"{}", b'{"ride": 1}', b"[]"])
            else:
                value = self.done() if topic == "rides.done" else self.asked()
                self.sent.append(value)
            self.append_to(topic, value, chance > 0.98)

    def done(self) -> bytes:
        """Return one ride."""
        r = self.random
        # some at one instant: of those the last in the log is the latest
        after = r.choice([0, 0, 86_400 * 10**6, *(r.randrange(3 * 86_400 * 10**6) for _ in range(6))])
        start = datetime(2026, 3, 7, tzinfo=UTC) + timedelta(microseconds=after)
        stop = start + timedelta(
            microseconds=r.choice([0, 60_000_000, 7_200_000_000, r.randrange(-(10**9), 9 * 10**9)])
        )
        if r.random() < 0.02:
            stop = start + timedelta(days=9)  # an alert
        written = [t.isoformat().replace("+00:00", "Z") for t in (start, stop)]
        members = {
            "ride": str(r.choice([0, -1, r.randrange(10**9)])), "start": json.dumps(written[0]), "stop": json.dumps(written[1]),
            "miles": r.choice(["0", "-0.005", "0.125", f"{r.uniform(-10, 5000):.3f}", f"{r.uniform(0, 20):.2f}"]),
            "place": json.dumps(r.choice(["park", "quay", "é'\\", "a"])), "zone": str(r.choice([0, 1, 2, 3, 300, r.randrange(301)])),
        }  # fmt: skip
        if r.random() < 0.7:
            members["fare"] = r.choice(["null", "29999999.99", "-29999999.99", f"{r.uniform(-5, 90):.2f}"])
        return _json(members)

    def asked(self) -> bytes:
        """Return one request."""
        r = self.random
        start = (datetime(2026, 3, 7, tzinfo=UTC) + timedelta(seconds=r.randrange(2 * 86_400))).isoformat()
        members = {
            "rider": json.dumps(f"r{r.randrange(2000)}"),
            "start": json.dumps(start),
            "zone": str(r.randrange(4)),
        }
        if r.random() < 0.5:
            members["place"] = json.dumps(r.choice(["park", "quay"]))
        return _json(members)


def _json(members: dict[str, str]) -> bytes:
    return ("{" + ", ".join(f'"{k}": {v}' for k, v in members.items()) + "}").encode()


@pytest.fixture(scope="module")
def rides() -> Rides:
    made = Rides(RIDES, seed=7)
    made.send(3000)
    for some in (1, 300, 700):
        made.count(some)
    return made


def test_the_slim_rows_fold_to_the_reference(rides: Rides, spark: SparkSession) -> None:
    whole = Range(dict.fromkeys(rides.ledger.head().end, 0), rides.ledger.head().end)
    rides.read(spark, whole).createOrReplaceTempView("rides_records")
    batch = Batch(RIDES, spark.sql(sql.slim(RIDES, "rides_records")).toArrow(), whole)
    mask = batch.counted(set())
    truth = rides.truth[rides.ledger.head().seq]
    assert all(len(truth[v.name]) > 3 for v in RIDES.views)
    for spec in RIDES.fragment_views:
        assert batch.view(spec, mask, seq=9) == at_once(rides, whole, spec)
    # what is judged by alerts is of one topic, and known by every value that is shown
    rule = RIDES.alert("slow")
    history = {key: state.measures[0] for (_, key), state in truth["hourly"].items()}
    alerts = batch.alerts(rule, 9, history, mask)  # type: ignore[arg-type]
    assert alerts and all(a.topic == "rides.done" and set(a.values) == {"duration_s", "ride", "cell"} for a in alerts)


@pytest.mark.parametrize("most", [100_000, 0], ids=["driver", "spark"])
def test_unread_records_are_read_as_the_thorough_query_reads_them(
    rides: Rides, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    whole = Range(dict.fromkeys(rides.ledger.head().end, 0), rides.ledger.head().end)
    rides.read(spark, whole).createOrReplaceTempView("rides_records")
    monkeypatch.setattr(unusual, "MOST", most)
    truth = spark.sql(sql.slim(RIDES, "rides_records")).toArrow()
    first, actions = spark.sql(sql.slim(RIDES, "rides_records", usual_only=True)).toArrow(), []
    unread = sum(reason == sql.UNREAD for reason in first.column("reason").to_pylist())
    assert 20 < unread < truth.num_rows and first.schema.equals(truth.schema)

    def thorough() -> pa.Table:
        actions.append(1)
        return truth

    found = unusual.read(RIDES, first, thorough)
    order = [("topic", "ascending"), ("partition", "ascending"), ("offset", "ascending")]
    flags = [f"w_{view.name}" for view in RIDES.fragment_views if view.where]
    rows, expected = (
        [row | {flag: bool(row[flag]) for flag in flags} for row in table.sort_by(order).to_pylist()]
        for table in (found, truth)
    )
    assert rows == expected and len(actions) == (most == 0)
    assert any(row["reason"] for row in rows) and any(row["raw"] for row in rows)


def test_a_record_too_long_to_hand_over_is_read_by_spark(rides: Rides) -> None:
    names = ["topic", "partition", "offset", "append_us", "raw", "reason"]
    table = pa.table([["rides.asked"], [0], [0], [NOW_US], [b"x" * (sql.RAW_SENT + 1)], [sql.UNREAD]], names)
    assert unusual.read(RIDES, table, lambda: "thorough") == "thorough"  # type: ignore[arg-type,return-value,comparison-overlap]


def at_once(rides: Rides, whole: Range, spec: ViewSpec) -> View:
    """Return a view of a range that is one micro-batch: the reference, by plain loops in ledger order."""
    seen, events, places = set(), [], []
    for r in sorted(rides.held(whole), key=lambda r: (r.topic, r.partition, r.offset)):
        event = records.parse(RIDES.topic(r.topic), r.value, r.append_us)
        if isinstance(event, records.Event) and (identity := (r.topic, event.id64, event.salted64)) not in seen:
            seen.add(identity)
            if r.topic in spec.topics:
                events.append(event)
                places.append((9, r.topic, r.partition, r.offset))
    return views.fold(spec, events, places)


def test_a_batch_run_publishes_the_reference_and_its_audit_compares_every_state(
    rides: Rides, spark: SparkSession, tmp_path: Path
) -> None:
    ports = ports_of(rides, spark, tmp_path / "warehouse")
    report = run(ports)
    assert (report.audited.checked, report.audited.unaudited) == (3, ())
    check_served(rides, ports)
    held = [m for view in rides.truth[3].values() for state in view.values() for m in state.measures]
    assert any(isinstance(m, Quantiles) and len(m.bins) > 20 for m in held)
    assert any(isinstance(m, Distinct) and len(m.hashes) > 150 for m in held)


def test_the_second_path_finds_the_same(rides: Rides, tmp_path: Path) -> None:
    rows = rides.ledger.rows(0, 3)
    spans = [Span(row.seq, t, p, start, end) for row in rows for t, p, start, end in row.range.partitions()]
    with SecondPath(RIDES, spans, tmp_path) as path:
        for topic in rides.names:
            ends = rides.log.latest([topic])
            found = list(rides.log.read(Range(dict.fromkeys(ends, 0), ends)))
            columns = zip(*((r.topic, r.partition, r.offset, r.append_us, r.value) for r in found), strict=True)
            path.add_records(topic, pa.table(list(columns), schema=SCHEMA))
        path.finish()
        for spec in RIDES.views:
            assert path.states(spec, 0, 3) == plain(rides.truth[3][spec.name])
        listed = RIDES.view("newest")
        for window_us in (None, 0):
            shaped = replace(listed, window_us=listed.window_us if window_us is None else window_us)
            truth = views.coarsen(rides.truth[3]["newest"], listed, shaped)
            asked = Question("merged", (), None, None, False, "asc", None, window_us)
            places = [place for place, _ in views.best(listed, shaped, truth)]
            assert list(path.answered(listed, asked, 0, 3)) == places and len(places) >= 3
            newest = path.answered(listed, replace(asked, newest_window=True), 0, 3)
            assert list(newest) == [place for place in places if place[0] == max(places)[0]]
            turned = path.answered(listed, replace(asked, order="desc", limit=4), 0, 3)
            assert list(turned) == sorted(places, key=lambda place: -place[0])[:4]


def test_zone_functions_are_alike_in_both_engines_from_1970_to_2199(spark: SparkSession) -> None:
    declared = parse("""
dataset: zones
topic: zones
event_id: [i]
event_time: append
fields: {i: {type: integer}, t: {type: time}}
derived:
  ny:  {type: integer, sql: "((month(t, 'America/New_York') * 100 + day(t, 'America/New_York')) * 10 + weekday(t, 'America/New_York')) * 100 + hour(t, 'America/New_York')"}
  pol: {type: integer, sql: "(year(t, 'Australia/Lord_Howe') * 100 + hour(t, 'Australia/Lord_Howe')) * 100 + minute(t, 'Australia/Lord_Howe')", max: 99999999}
  lon: {type: integer, sql: "day(t, 'Europe/London') * 100 + hour(t, 'Europe/London')"}
views: {v: {by: [i], window: all, measures: {n: {of: ny, stats: [n]}}}}
""")
    rng = random.Random(3)
    times = [datetime(1970, 1, 3, tzinfo=UTC) + timedelta(seconds=rng.randrange(7_200_000_000)) for _ in range(4000)]
    rows = [json.dumps({"i": i, "t": t.isoformat()}).encode() for i, t in enumerate(times)]
    table = pa.table({
        "topic": ["zones"] * len(rows), "partition": pa.array([0] * len(rows), pa.int32()), "offset": list(range(len(rows))),
        "timestamp": pa.array([NOW_US * 4] * len(rows), pa.timestamp("us", "UTC")), "value": rows,
    })  # fmt: skip
    spark.createDataFrame(table).createOrReplaceTempView("zones_records")
    of = declared.topics[0]
    found = spark.sql(sql.parsed(of, "zones_records")).toArrow().sort_by("offset").to_pylist()
    for row, raw in zip(found, rows, strict=True):
        event = records.parse(of, raw, NOW_US * 4)
        assert isinstance(event, records.Event), (raw, event)
        assert {name: row[f"f_{name}"] for name in of.columns} == dict(event.values), raw


def test_a_count_of_distinct_values_is_within_its_bound_beyond_the_kept_hashes() -> None:
    measure = next(m for m in RIDES.view("riders").measures)
    state = views.fold(
        RIDES.view("riders"),
        (records.Event(i, i, 0, {"zone": 1, "rider": f"r{i}", "start": 0, "place": None}) for i in range(20_000)),
    )[0, ("1",)]
    held = state.measures[0]
    assert isinstance(held, Distinct) and len(held.hashes) == DISTINCT_K and measure.kind == "distinct"
    assert abs(distinct(held) - 20_000) < 0.1 * 20_000
