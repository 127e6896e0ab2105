"""A running API while the log lacks records, after the gap was accepted, and after a generation covers it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from braid import gaps
from braid.adapters.clock import SystemClock
from braid.adapters.kafka_producer import EventProducer
from braid.declaration_reader import parse
from braid.settings import Settings
from speed_layer import accept
from tests.services.api import Api, landcover_as, running_api
from tests.services.seed import Seeded, patches

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def seeded(stack: Settings) -> Iterator[Seeded]:
    name = f"served_{uuid.uuid4().hex[:8]}"
    held = Seeded(stack, parse(landcover_as(name), name))
    try:
        held.genesis()
        yield held
    finally:
        held.close()


def test_a_gap_is_said_while_it_lasts_and_named_ever_after(stack: Settings, seeded: Seeded, tmp_path: Path) -> None:
    name, view = seeded.declaration.dataset, "landcover_aggregates"
    events = patches(CHECKOUT / "data", 60)
    for start in (0, 20):
        seeded.commit(events[start : start + 20])
    with EventProducer(stack.kafka_bootstrap) as producer:
        for _ in range(60):
            producer.send(seeded.topic, None, b"{}", 0)

    def meta(api: Api) -> dict:
        found: dict = api.get(f"/api/v1/datasets/{name}/views/{view}")["meta"]
        return found

    with running_api(stack, tmp_path, {name: landcover_as(name)}) as api:
        api.complete_at(name, 2)
        admin = KafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
        admin.delete_records({TopicPartition(seeded.topic, 0): 50})
        admin.close()
        told = api.until("answers say so", lambda: None if meta(api)["complete"] else meta(api))
        (missing,) = told["missing"]
        assert (missing["what"], missing["from_seq"], missing["offsets"]) == ("gap", 3, {f"{seeded.topic}:0": [40, 50]})
        assert f"braid accept-gap {name}" in missing["reason"]
        assert told["as_of"]["seq"] == 2
        assert f"braid accept-gap {name}" in api.get("/readyz")["datasets"][name]["gap"]
        status = next(one for one in api.get("/api/v1/status")["datasets"] if one["dataset"] == name)
        assert f"braid accept-gap {name}" in status["problems"][0]

        row = accept.offer(seeded.log, seeded.stores.ledger, 2, "a person", SystemClock().now_us())
        assert row is not None
        seeded.stores.ledger.append(row)
        seeded.commit(events[40:50])
        told = api.until("the tail goes on", lambda: meta(api) if meta(api)["as_of"]["seq"] == 4 else None)
        entry = {"seq": 3, "topic": seeded.topic, "partition": 0, "from": 40, "to": 50, "reason": gaps.RETENTION}
        assert told["gaps"] == [entry]
        assert not told["complete"]
        seeded.publish()
        told = api.complete_at(name, 4)
        assert told["gaps"] == [entry]
        assert "gap" not in api.get("/readyz")["datasets"][name]
