"""Events that are no rows of files, on the real stack: typed by hand, made up, and sent once more out of the archive.

All by the smallest dataset: whole numbers, no time of its own. An answer is a function of the set of its events, so what
is sent again must leave it as it was, to the last bit.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from tests.services.pipeline import Pipeline, check_verified, root_with, running

CHECKOUT = Path(__file__).parents[2]
TRIPS, FORUM = "taxi_trips", "reddit"
TYPED = '{"trip_id": 1001, "duration": 15, "passenger_count": 2}'


@pytest.fixture(scope="module")
def live(stack, tmp_path_factory):
    text = (CHECKOUT / "datasets" / f"{TRIPS}.yaml").read_text("utf-8")
    for stands, instead in (("30 minutes}", "30 days}"), ("start: by_name", "start: always")):
        assert text.count(stands) == 1
        text = text.replace(stands, instead)
    # the forum is only sent to: without a stream it takes no memory
    forum = (CHECKOUT / "datasets" / f"{FORUM}.yaml").read_text("utf-8")
    root = root_with(tmp_path_factory.mktemp("sent") / "root", CHECKOUT, {TRIPS: text, FORUM: forum})
    with running(stack, dataclasses.replace(stack, root=root)) as again:
        yield Pipeline(again())


def braid(live: Pipeline, *words: str, typed: str = "") -> str:
    """Run a command, with what is typed into it; return what it says."""
    command = [str(live.settings.python), "-m", "cli.main", *words]
    done = subprocess.run(
        command, input=typed, env=live.environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def typed(live: Pipeline, *lines: str) -> str:
    """Type lines into `braid shell kafka`, as a pipe does."""
    return braid(live, "shell", "kafka", typed="".join(f"{line}\n" for line in lines))


def counts(live: Pipeline) -> tuple[int, int, int]:
    found = live.caught_up(TRIPS)["counts"]
    return found["good"], found["copies"], found["dead"]


def rows(live: Pipeline) -> list[dict]:
    return live.view("trips_by_passengers", TRIPS)["data"]


def test_a_line_typed_into_the_shell_is_counted_once_and_a_bad_one_is_set_aside(live):
    assert f"{TRIPS}, partition" in typed(live, f"send {TRIPS} {TYPED}")
    assert counts(live) == (1, 0, 0)
    (row,) = rows(live)
    assert (row["passenger_count"], row["n"], row["duration_mean"]) == ("2", 1, 15.0)
    typed(live, f"send {TRIPS} {TYPED}", f"send {TRIPS} {TYPED.replace('15', '16')}")  # one id: copies both
    assert counts(live) == (1, 2, 0)
    assert rows(live) == [row]
    typed(live, f"send {TRIPS} {TYPED.replace('1001', '1002').replace('2}', 'two}')}", f"send {TRIPS} hello")
    assert counts(live) == (1, 2, 2)
    assert rows(live) == [row]
    said = json.loads(braid(live, "dead", "list", TRIPS, "--json"))
    assert sorted(reason["reason"] for reason in said["reasons"]) == [
        "expected one JSON object", "expected well-formed JSON of at most 16 levels",
    ]  # fmt: skip


def test_synthetic_events_are_all_good(live):
    before = counts(live)
    flags = ("--synthetic", "--seed", "7", "--rate", "1000", "--limit", "1500")
    summary = live.produce(*flags, dataset=TRIPS)
    assert (summary["sent"], summary["acknowledged"], summary["seed"], summary["kind"]) == (1500, 1500, 7, "synthetic")
    assert counts(live) == (before[0] + 1500, *before[1:])
    # the same words, the same ids
    again = live.produce(*flags, "--start", summary["start"], "--every", summary["every"], dataset=TRIPS)
    assert again["sent"] == 1500
    assert counts(live) == (before[0] + 1500, before[1] + 1500, before[2])


def test_the_archive_sent_once_more_changes_no_answer(live):
    live.batch(TRIPS)
    before, answer = counts(live), rows(live)
    summary = live.produce("--from-archive", "--rate", "2000", dataset=TRIPS)
    # what was archived holds the copies, too; the two dead letters stay out
    assert summary["sent"] == summary["acknowledged"] == before[0] + before[1]
    assert summary["refused"] == before[2]
    assert counts(live) == (before[0], before[1] + summary["sent"], before[2])
    assert rows(live) == answer
    live.batch(TRIPS)
    assert rows(live) == answer
    check_verified(live, TRIPS)


def test_a_hundred_messages_of_the_forum_a_second_go_to_its_three_topics(live):
    summary = live.produce("--synthetic", "--rate", "100", "--seed", "7", "--limit", "300", dataset=FORUM)
    assert (summary["sent"], summary["acknowledged"], summary["refused"]) == (300, 300, 0)
    assert summary["every"] == "10ms"
    topics = [f"reddit.{name}" for name in ("posts", "comments", "users")]
    consumer = KafkaConsumer(bootstrap_servers=live.settings.kafka_bootstrap)
    places = [TopicPartition(topic, p) for topic in topics for p in consumer.partitions_for_topic(topic)]
    ends = consumer.end_offsets(places)
    consumer.close()
    held = {topic: sum(end for place, end in ends.items() if place.topic == topic) for topic in topics}
    assert sum(held.values()) >= 300  # another suite may have sent to them before
    assert min(held.values()) > 0
    assert json.loads(json.dumps(summary))["made_by"] == "data/build_reddit.py"
