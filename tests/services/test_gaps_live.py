"""Gaps and rollback on the whole running Braid: what stops, what says so, and that all is exact again afterwards."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from stack.status import statuses
from stack.supervisor import Supervisor
from tests.services.pipeline import Pipeline, Record, by_hand, recompute, root_with, running, served

CHECKOUT = Path(__file__).parents[2]
SPEED = "speed-landcover"
TOPIC = "image-events"
EVERY = ("--every", "10s", "--rate", "2000")


class Live(Pipeline):
    """A running Braid, what it once held, and the commands of a person."""

    def __init__(self, settings, again) -> None:
        super().__init__(settings)
        self.up = again
        self.kept: list[Record] = []  # archived, and no longer in Kafka

    def braid(self, *words: str):
        """Run a command with --json and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words, "--json"],
            env=self.environ | self.settings.spark_env(), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop_speed(self) -> None:
        Supervisor.of(self.settings).stop([SPEED])

    def start_speed(self) -> None:
        Supervisor.of(self.settings).start(SPEED)

    def refused(self, why: str) -> dict:
        """Wait until the stream is given up and the API says so; return what it says is missing."""

        def given_up():
            (one,) = [one for one in statuses(self.settings, []) if one.name == SPEED]
            return one.state == "FATAL" and why in one.detail and "braid accept-gap landcover" in one.detail

        def said():
            meta = self.view("landcover_aggregates")["meta"]
            found = [m for m in meta["missing"] if m["what"] == "gap"]
            return None if meta["complete"] or not found else found[0]

        self.eventually("the stream is given up", given_up)
        missing = self.eventually("answers say so", said)
        assert why in self.get("/readyz")["datasets"]["landcover"]["gap"]
        return missing

    def covers_end(self) -> dict:
        """Wait until answers cover the end of the log; return their meta."""
        ends = {f"{t}:{p}": e for (t, p), e in self.ends("landcover").items()}

        def there():
            meta = self.view("landcover_aggregates")["meta"]
            return meta if meta["as_of"]["offsets"] == ends else None

        return self.eventually(f"answers cover {ends}", there)

    def check(self) -> None:
        """Every view is the recompute of all that is left: what was archived, and what Kafka holds."""
        here = {(r.partition, r.offset, r.append_us) for r in self.log()}
        records = [r for r in self.kept if (r.partition, r.offset, r.append_us) not in here] + self.log()
        for spec in self.declared["landcover"].views:
            answer = self.view(spec.name)
            expected = recompute(self.declared["landcover"], spec.name, records)
            assert served(answer, self.declared["landcover"], spec.name) == expected, spec.name

    def published(self) -> dict:
        """Run a batch, wait for its generation to be served and return the meta of an answer."""
        self.batch()
        gen = self.braid("generations", "landcover")["served"]

        def there():
            meta = self.view("landcover_aggregates")["meta"]
            return meta if meta["as_of"]["generation"] == gen else None

        return self.eventually(f"generation {gen} is served", there)


@pytest.fixture(scope="module")
def live(stack, tmp_path_factory):
    landcover = by_hand((CHECKOUT / "datasets" / "landcover.yaml").read_text(encoding="utf-8"))
    root = root_with(tmp_path_factory.mktemp("gaps") / "root", CHECKOUT, {"landcover": landcover})
    with running(stack, dataclasses.replace(stack, root=root)) as again:
        yield Live(again(), again)


def test_a_retention_overrun_stops_by_name_and_is_accepted(live):
    live.produce("--start", "2025-01-01T00:00:00Z", "--limit", "600", *EVERY)
    live.caught_up()
    live.published()
    live.kept = live.log()
    live.produce("--start", "2025-02-01T00:00:00Z", "--limit", "200", *EVERY)
    live.caught_up()
    live.stop_speed()
    live.produce("--start", "2025-03-01T00:00:00Z", "--limit", "300", *EVERY)
    ends = live.ends("landcover")
    admin = KafkaAdminClient(bootstrap_servers=live.settings.kafka_bootstrap)
    admin.delete_records({TopicPartition(*p): end - 5 for p, end in ends.items()})
    admin.close()
    live.start_speed()
    missing = live.refused("deleted by retention before they were counted")
    head = live.view("landcover_aggregates")["meta"]["as_of"]["offsets"]
    assert missing["offsets"] == {p: [end, ends[TOPIC, int(p.rpartition(":")[2])] - 5] for p, end in head.items()}
    with pytest.raises(urllib.error.HTTPError, match="503"):
        live.view("landcover_aggregates", strict="1")

    told = live.braid("accept-gap", "landcover", "--yes")
    assert told["accepted"] and told["lost_rows"]
    live.up()
    meta = live.covers_end()
    assert not meta["complete"]
    assert meta["gaps"] == told["missing"]
    live.check()  # the 600 archived ones and the last five of each partition
    # what had been counted and was lost is sent again: it counts again
    live.produce("--start", "2025-02-01T00:00:00Z", "--limit", "200", *EVERY)
    live.covers_end()
    live.check()
    meta = live.published()
    assert meta["complete"]
    assert meta["gaps"] == told["missing"]
    live.check()


def test_a_topic_created_again_under_a_running_stream_is_noticed(live):
    live.kept = [*live.kept, *live.log()]
    admin = KafkaAdminClient(bootstrap_servers=live.settings.kafka_bootstrap)
    admin.delete_topics([TOPIC])
    live.eventually("the topic is gone", lambda: TOPIC not in admin.list_topics())
    live.eventually("it can be created again", lambda: created(admin))
    admin.close()
    live.produce("--start", "2025-04-01T00:00:00Z", "--limit", "150", *EVERY)
    live.refused("the topic was deleted and created again")
    told = live.braid("accept-gap", "landcover", "--yes")
    assert told["records"] is None and told["lost_rows"] == []
    live.up()
    live.covers_end()
    live.check()
    meta = live.published()
    assert meta["complete"]
    assert [g["seq"] for g in meta["gaps"]][-1] == told["seq"]
    live.check()


def created(admin: KafkaAdminClient) -> bool:
    admin.create_topics({TOPIC: {"num_partitions": 3, "configs": {"message.timestamp.type": "LogAppendTime"}}})
    return True


def test_everything_it_holds_agrees_with_a_second_path(live):
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "verify", "landcover"], env=live.environ | live.settings.spark_env(),
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rollback_answers_the_same_from_the_older_generation(live):
    live.produce("--start", "2025-05-01T00:00:00Z", "--limit", "120", *EVERY)
    live.covers_end()
    newest = live.published()["as_of"]["generation"]
    told = live.braid("rollback", "landcover")
    assert (told["from"], told["to"]) == (newest, newest - 1)

    def older():
        meta = live.view("landcover_aggregates")["meta"]
        return meta if meta["as_of"]["generation"] == newest - 1 else None

    assert live.eventually("the older generation is served", older)["complete"]
    live.covers_end()
    live.check()
    states = {g["generation"]: g["state"] for g in live.braid("generations", "landcover")["generations"]}
    assert (states[newest], states[newest - 1]) == ("left", "served")
