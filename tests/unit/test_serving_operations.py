"""What people look after, as a status tells it: dead letters by reason, generations with their audits."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from batch_layer import publish
from batch_layer.audit import Own
from batch_layer.publish import Built, Stores
from batch_layer.recompute import Recomputed
from braid.adapters.files import FileGenerations
from braid.adapters.memory import FixedClock, MemoryCatalogue, MemoryDeadLetters
from braid.errors import StoreUnavailable
from braid.generations import Audited, Unaudited
from braid.ports import DeadLetterRow
from serving import operations
from serving.watch import Watch
from tests.unit.serving_world import PLACE, RIDES, START_US, World, client_of, ride


@dataclass
class Looked:
    """A dataset with two generations and three dead letters, the last of them beyond head."""

    world: World
    files: FileGenerations
    letters: MemoryDeadLetters

    def read(self) -> operations.Operations:
        return operations.read(self.world.kept, self.letters, self.files)


@pytest.fixture
def looked(tmp_path: Path) -> Looked:
    world, files, letters = World().genesis(), FileGenerations(tmp_path, RIDES), MemoryDeadLetters()
    stores = Stores(files, MemoryCatalogue(), world.kept, FixedClock(START_US))
    for number in (1, 2):
        world.commit([ride(number, "Bern", 100), ride(number + 9, "Lima", 7)], dead=number)
        head = world.kept.head()
        states = {v.name: world.naive(v.name, 0, head.seq) for v in RIDES.views}
        audited = Audited(number, (Unaudited(1, 1, "expired"),) if number == 2 else ())
        built = Built(head, (), Recomputed(states, Own(), 2 * number), audited)
        for _ in publish.steps(stores, RIDES, built, world.kept.current()):
            pass
    for offset, reason in ((1, "$.fare_usd: missing"), (2, "$.fare_usd: missing"), (4, "duplicate keys")):
        letters.write(1, 1, [DeadLetterRow(*PLACE, offset, START_US + offset, reason, b'{"ride": "\xff' + b"x" * 500)])
    return Looked(world, files, letters)


def test_dead_letters_are_counted_by_reason_with_a_sample_of_the_newest(looked: Looked) -> None:
    (one,) = operations.report(looked.read())["dead_letters"]["reasons"]
    assert one["sample"].startswith('{"ride": "�xxx') and len(one.pop("sample")) == operations.SAMPLE_BYTES
    assert one == {"topic": "rides-log", "reason": "$.fare_usd: missing", "count": 2, "place": "rides-log:0:2"}


def test_generations_are_listed_with_their_audits_the_served_one_first(looked: Looked) -> None:
    found = operations.report(looked.read())["generations"]
    assert [(g["generation"], g["state"], g["cut_seq"], g["records"]) for g in found] == [
        (2, "served", 2, 4),
        (1, "earlier", 1, 2),
    ]
    assert found[0]["audit"] == {"checked": 2, "unaudited": [{"seq": 1, "through": 1, "reason": "expired"}]}


def test_a_status_tells_what_was_read_last_and_goes_on_without_the_store(looked: Looked) -> None:
    client = client_of(looked.world)
    service = client.application.extensions["braid"]
    assert client.get("/api/v1/status").json["datasets"][0]["generations"] is None
    service.operations["rides"] = Watch("cassandra", looked.read, 1.0, looked.world.clock, looked.world.monotonic)
    service.step()

    def refuse(limit: int) -> list[DeadLetterRow]:
        raise StoreUnavailable("cassandra: no answer")

    looked.letters.newest = refuse  # type: ignore[method-assign]
    service.step()
    (status,) = client.get("/api/v1/status").json["datasets"]
    assert status["dead_letters"] == operations.report(service.operations["rides"].value)["dead_letters"]
    assert [g["generation"] for g in status["generations"]] == [2, 1]
