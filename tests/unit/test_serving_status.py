"""The status of a dataset out of its ports: the words that the command line and the API share."""

from braid import status
from braid.adapters.memory import FixedClock, MemoryLedger, MemoryLog
from tests.unit.serving_world import RIDES, START_US, World, ride


def a_log(records: int) -> MemoryLog:
    log = MemoryLog()
    log.create("rides-log", 1)
    for _ in range(records):
        log.send("rides-log", 0, b"{}", START_US)
    return log


def test_it_tells_end_head_lag_generation_and_counts() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1), ride(2, "Bern", 2)])
    world.publish(1)
    world.commit([ride(3, "Bern", 3)])
    found = status.of(RIDES, a_log(5), world.kept, FixedClock(START_US + 12_500_000))
    assert found == {
        "dataset": "rides",
        "title": "Rides",
        "partitions": [{"topic": "rides-log", "partition": 0, "end": 5, "head": 3, "lag": 2}],
        "lag": {"events": 2, "seconds": 10.5},
        "head": {"seq": 2, "kind": "micro", "committed_at": "2026-01-01T00:00:02Z"},
        "generation": {
            "generation": 1,
            "cut_seq": 1,
            "seqs_behind_head": 1,
            "published_at": "2026-01-01T00:00:01Z",
            "every_s": 600.0,
            "next_due": "2026-01-01T00:10:01Z",
        },
        "counts": {"good": 3, "copies": 0, "dead": 0, "absent": 0, "alerts": 0},
        "problems": [],
    }


def test_a_head_read_after_the_ends_is_no_negative_lag() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1), ride(2, "Bern", 2)])
    assert status.of(RIDES, a_log(1), world.kept, FixedClock(START_US))["lag"] == {"events": 0, "seconds": 0.0}


def test_what_does_not_answer_is_a_named_problem_and_the_rest_is_told() -> None:
    found = status.of(RIDES, MemoryLog(), MemoryLedger(), FixedClock(START_US))
    assert found["head"] is None and found["generation"] is None and found["counts"] is None
    assert found["lag"] == {"events": None, "seconds": None} and found["partitions"] == []
    assert [p.split(":")[0] for p in found["problems"]] == ["current", "rides-log"]
    only_log = status.of(RIDES, a_log(4), MemoryLedger(), FixedClock(START_US))
    assert only_log["partitions"] == [{"topic": "rides-log", "partition": 0, "end": 4, "head": None, "lag": None}]
