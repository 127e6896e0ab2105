"""Datasets with several topics, derived columns, conditions, quantiles and distinct counts on the whole running Braid.

The numbers are held to a plain reading of the CSV file: `csv`, `Decimal` and `zoneinfo`, no code of Braid.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import math
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from zoneinfo import ZoneInfo

import duckdb
import pytest
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from braid.adapters import failpoints
from tests.services.pipeline import Pipeline, check_verified, root_with, running

CHECKOUT = Path(__file__).parents[2]
TAXI, FORUM, TRAFFIC = "nyc_taxi", "reddit", "traffic"
BEFORE, AFTER = 3000, 4000


def by_hand(text: str) -> str:
    """Return a declaration that runs always, and whose next scheduled batch is a month away."""
    for stands, instead in (
        ("batch: {every: 30 minutes}", "batch: {every: 30 days}"),
        ("start: by_name", "start: always"),
    ):
        assert text.count(stands) == 1
        text = text.replace(stands, instead)
    return text


@pytest.fixture(scope="module")
def live(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    texts = {
        name: by_hand((CHECKOUT / "datasets" / f"{name}.yaml").read_text("utf-8")) for name in (TAXI, FORUM, TRAFFIC)
    }
    root = folder / "root"
    root_with(root, CHECKOUT, texts)
    told = folder / "failpoints"
    told.write_text("", "ascii")
    with running(stack, dataclasses.replace(stack, root=root, failpoints=f"@{told}")) as again:
        braid = Pipeline(again())
        braid.told = told
        braid.produce("--limit", str(BEFORE), "--rate", "2000", dataset=TAXI)
        for topic in ("reddit.posts", "reddit.comments", "reddit.users"):
            braid.produce("--topic", topic, "--limit", "1500", "--rate", "2000", dataset=FORUM)
        braid.caught_up(TAXI)
        braid.batch(TAXI)
        for name in (TAXI, FORUM):
            braid.kill(f"speed-{name}")
        # 3,000 copies, and 1,000 trips that are new
        braid.produce("--limit", str(AFTER), "--rate", "2000", dataset=TAXI)
        yield braid


def trips() -> list[dict]:
    """Return the first trips of the file with their time, duration and numbers, as they were written."""
    zone, found = ZoneInfo("America/New_York"), []
    with gzip.open(CHECKOUT / "data" / TAXI / "trips.csv.gz", "rt", encoding="utf-8") as file:
        for row, _ in zip(csv.DictReader(file), range(AFTER), strict=False):
            start, stop = (
                datetime.fromisoformat(row[f"{which}_datetime"]).replace(tzinfo=zone).astimezone(UTC)
                for which in ("pickup", "dropoff")
            )
            local = start.astimezone(zone)
            found.append({
                "vendor_id": row["vendor_id"], "zone": row["pickup_location_id"], "start": start, "fare": Decimal(row["fare_amount"]),
                "seconds": int((stop - start).total_seconds()), "hour_of_week": local.weekday() * 24 + local.hour,
            })  # fmt: skip
    return found


def nearest_rank(values: list, percent: int):
    return sorted(values)[math.ceil(percent * len(values) / 100) - 1]


def test_every_number_of_an_hour_is_the_file_s(live):
    assert live.caught_up(TAXI)["counts"]["good"] == AFTER
    answer = live.view("hourly_stats", TAXI)
    assert answer["meta"]["as_of"]["generation"] == 1
    hours = defaultdict(list)
    for trip in trips():
        if 60 <= trip["seconds"] <= 7200:
            hour = trip["start"].replace(minute=0, second=0)
            hours[hour.strftime("%Y-%m-%dT%H:%M:%SZ"), trip["vendor_id"]].append(trip)
    assert {(r["window_start"], r["vendor_id"]) for r in answer["data"]} == set(hours)
    assert len(hours) > 6
    for row in answer["data"]:
        held = hours[row["window_start"], row["vendor_id"]]
        assert row["n"] == len(held)
        assert row["pickup_zones"] == len({trip["zone"] for trip in held})
        assert row["duration_mean"] == fmean(trip["seconds"] for trip in held)
        assert row["fare_mean"] == float(sum(trip["fare"] for trip in held) / len(held))
        for percent in (50, 95):
            for name, of in (("duration", "seconds"), ("fare", "fare")):
                exact = float(nearest_rank([trip[of] for trip in held], percent))
                assert (
                    abs(row[f"{name}_p{percent}"] - exact)
                    <= abs(exact) * answer["meta"]["bounds"][f"{name}_p{percent}"]
                )
    assert answer["meta"]["bounds"]["pickup_zones"] == 0
    assert answer["meta"]["bounds"]["duration_p50"] == 1 / 128


def test_a_derived_hour_of_the_week_is_new_york_s(live):
    live.caught_up(TAXI)
    counts = defaultdict(int)
    for trip in trips():
        counts[str(trip["hour_of_week"])] += 60 <= trip["seconds"] <= 7200
    rows = live.view("temporal_patterns", TAXI)["data"]
    assert {row["hour_of_week"]: row["n"] for row in rows} == {hour: n for hour, n in counts.items() if n}


def test_a_view_reads_the_topics_that_it_names(live):
    status = live.caught_up(FORUM)
    assert status["counts"]["good"] == 4500
    posts, comments = ({}, {})
    for held, name, of in ((posts, "posts", "post_id"), (comments, "comments", "comment_id")):
        with gzip.open(CHECKOUT / "data" / FORUM / f"reddit.{name}" / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
            for row, _ in zip(csv.DictReader(file), range(1500), strict=False):
                held.setdefault((row["user_id"], row["timestamp"][:10]), set()).add(row[of])
    expected = {place: len(posts.get(place, ())) + len(comments.get(place, ())) for place in {*posts, *comments}}
    rows = live.view("user_activity", FORUM)["data"]
    assert {(row["user_id"], row["window_start"][:10]): row["contributions"] for row in rows} == expected
    assert sum(row["n"] for row in live.view("subreddit_activity", FORUM)["data"]) == 1500


def records_of(live, topic: str) -> list:
    """Return every record of a topic as a reader comes by them."""
    consumer = KafkaConsumer(
        bootstrap_servers=live.settings.kafka_bootstrap, isolation_level="read_committed", enable_auto_commit=False
    )
    places = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends, found = consumer.end_offsets(places), []
    while any(consumer.position(p) < ends[p] for p in places):
        for batch in consumer.poll(1000).values():
            found += batch
    consumer.close()
    return found


def newest(live, topic: str) -> dict[str, dict | None]:
    """Return the last message of each key of a topic."""
    found = {}
    for record in records_of(live, topic):
        message = json.loads(record.value)
        before = found.get(record.key)
        assert before is None or before["seq"] <= message["seq"]
        found[record.key] = message
    return found


def test_the_last_message_of_each_key_is_the_answer_whatever_dies_before_it_is_sent(live):
    live.produce("--limit", "300", "--rate", "1000", dataset=TRAFFIC)
    live.caught_up(TRAFFIC)
    first = live.pid("speed-traffic")
    # a suite before this one may have used it on the same stack
    failpoints.mark(live.settings.run, "speed.committed:kill9").unlink(missing_ok=True)
    live.told.write_text("speed.committed:kill9", "ascii")  # the ledger row is there, nothing is sent
    live.produce("--limit", "800", "--rate", "1000", dataset=TRAFFIC)
    live.eventually("the stream dies behind a commit", lambda: live.pid("speed-traffic") != first)
    live.told.write_text("", "ascii")
    live.caught_up(TRAFFIC)
    view = live.declared[TRAFFIC].view("cell_traffic")
    answer = live.view("cell_traffic", TRAFFIC)

    def sent():
        found = newest(live, "traffic-predictions")
        return found if max(m["seq"] for m in found.values()) == answer["meta"]["as_of"]["seq"] else None

    found = live.eventually("the newest commit is published", sent)
    assert len(found) == len(answer["data"]) > 100
    for row in answer["data"]:
        message = found[json.dumps([row["window_start"], row["cell_id"]], separators=(",", ":")).encode()]
        expected = {name: value for name, value in row.items() if name != "state" and value is not None}
        assert {name: message.get(name) for name in expected} == expected
        assert message["congestion_level"] == (
            "High" if row["avg_speed"] < 10 else "Medium" if row["avg_speed"] < 16 else "Low"
        )
    assert view.publish == "traffic-predictions"
    # and after a batch run each message of the topic is archived once, as the broker has it
    live.batch(TRAFFIC)
    files = live.settings.warehouse_dir / "published" / TRAFFIC / "topic=traffic-predictions" / "**" / "*.parquet"
    archived = duckdb.sql(
        f'SELECT partition, "offset", raw, seq, "key", congestion_level, CAST(hour AS INTEGER) = epoch_us(append_time) // 3600000000 % 24 FROM read_parquet(\'{files}\')'
    ).fetchall()
    log = {(r.partition, r.offset): r.value for r in records_of(live, "traffic-predictions")}
    assert {(p, o): raw for p, o, raw, *_ in archived} == log
    assert len(archived) == len(log)
    for _, _, raw, *said in archived:
        message = json.loads(raw)
        key = json.dumps([message["window_start"], message["cell_id"]], separators=(",", ":"))
        assert said == [message["seq"], key, message["congestion_level"], True]


@pytest.mark.parametrize("dataset", [TAXI, FORUM])
def test_everything_verifies_by_the_second_path(live, dataset):
    if dataset == FORUM:
        live.batch(FORUM)
    check_verified(live, dataset)
