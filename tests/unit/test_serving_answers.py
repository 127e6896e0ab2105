"""Answers: batch ⊕ tail equals the naive recompute, exactly, whatever the cut; and each says what it covers."""

import json
import random
import statistics
from typing import Any

import pytest

from braid.receipts import Question, decode
from braid.views import digest
from tests.unit.serving_world import RIDES, START_US, World, alert, client_of, ride, states_of, step

MINUTES = "/api/v1/datasets/rides/views/rides_by_minute"
CITIES = "/api/v1/datasets/rides/views/rides_by_city"


def get(client: Any, url: str, **headers: str) -> Any:
    response = client.get(url, headers=headers)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.json


def a_world(seed: int = 1, batches: int = 12) -> World:
    """Return micro-batches of rides, late ones among them."""
    chance = random.Random(seed)
    world = World().genesis()
    number = 0
    for seq in range(batches):
        events = []
        for _ in range(chance.randrange(1, 9)):
            number += 1
            minute = max(0, seq - chance.choice([0, 0, 0, 1, 7]))
            events.append(
                ride(number, chance.choice(["Bern", "Lima"]), chance.randrange(-500, 9000), minute, chance.choice("ab"))
            )
        world.commit(events)
    return world


@pytest.mark.parametrize("cut", range(13))
@pytest.mark.parametrize("view", ["rides_by_minute", "rides_by_city"])
def test_wherever_the_cut_is_merged_equals_the_recompute(view: str, cut: int) -> None:
    world = a_world()
    if cut:
        world.publish(1, cut)
    answer = get(client_of(world), f"/api/v1/datasets/rides/views/{view}?state=1")
    assert states_of(answer, RIDES, view) == world.naive(view)
    assert answer["meta"]["complete"] is True and answer["meta"]["missing"] == []
    assert answer["meta"]["as_of"] == {
        "generation": 1 if cut else 0, "cut_seq": cut, "seq": 12, "offsets": {"rides-log:0": world.log_end["rides-log", 0]}
    }  # fmt: skip


def test_batch_holds_what_is_before_the_cut_and_speed_what_is_after() -> None:
    world = a_world()
    world.publish(1, 5)
    client = client_of(world)
    batch = get(client, f"{MINUTES}?layer=batch&state=1")
    speed = get(client, f"{MINUTES}?layer=speed&state=1")
    assert states_of(batch, RIDES, "rides_by_minute") == world.naive("rides_by_minute", 0, 5)
    assert states_of(speed, RIDES, "rides_by_minute") == world.naive("rides_by_minute", 5, 12)
    assert batch["meta"]["as_of"]["seq"] == 5 and speed["meta"]["as_of"]["seq"] == 12


def test_finished_numbers_come_from_the_merged_state() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 100), ride(2, "Bern", 300)])
    world.publish(1)
    world.commit([ride(3, "Bern", 10_000)])
    (row,) = get(client_of(world), MINUTES)["data"]
    assert row == {
        "window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-01T00:01:00Z", "city": "Bern", "vendor": "a",
        "fare_n": 3, "fare_sum": 104.0, "fare_avg": 34.666666666666664, "fare_stddev": statistics.stdev([1, 3, 100]),
        "fare_min": 1.0, "fare_max": 100.0, "n": 3,
    }  # fmt: skip


def test_a_view_of_all_time_has_no_window_columns() -> None:
    world = a_world()
    rows = get(client_of(world), CITIES)["data"]
    assert [row["city"] for row in rows] == ["Bern", "Lima"]
    assert set(rows[0]) == {"city", "fare_mean", "fare_stddev", "fare_min", "fare_max", "n"}


def test_the_receipt_is_the_digest_of_the_rows_answered() -> None:
    world = a_world()
    client = client_of(world)
    whole = client.get(MINUTES)
    assert whole.json["meta"]["digest"] == digest(world.naive("rides_by_minute"))
    assert whole.headers["X-Braid-Receipt"] == whole.json["meta"]["receipt"]
    assert decode(whole.json["meta"]["receipt"]).digest == whole.json["meta"]["digest"]
    part = get(client, f"{MINUTES}?city=Lima&state=1")
    assert part["meta"]["digest"] == digest(states_of(part, RIDES, "rides_by_minute"))


def test_windows_are_chosen_half_open_by_their_start() -> None:
    client = client_of(a_world())
    every = get(client, MINUTES)["data"]
    some = get(client, f"{MINUTES}?from=2026-01-01T00:03:00Z&to=2026-01-01T00:06:00Z")["data"]
    assert some == [r for r in every if "2026-01-01T00:03" <= r["window_start"] < "2026-01-01T00:06"] != []
    assert get(client, f"{MINUTES}?from=2026-01-01T00:03:00Z&to=2026-01-01T00:03:00Z")["data"] == []
    # an hour has passed since the start: now-1h is the first window
    assert get(client, f"{MINUTES}?from=now-1h")["data"] == every
    assert get(client, f"{MINUTES}?to=now-59m")["data"] == [r for r in every if r["window_start"] < "2026-01-01T00:01"]
    assert get(client, f"{MINUTES}?from=2026-01-01T01:03:00%2B01:00&to=2026-01-01T00:06:00Z")["data"] == some


def test_keys_order_and_limit_choose_rows() -> None:
    client = client_of(a_world())
    every = get(client, MINUTES)["data"]
    assert get(client, f"{MINUTES}?city=Lima")["data"] == [r for r in every if r["city"] == "Lima"]
    assert get(client, f"{MINUTES}?city=Lima&city=Bern")["data"] == every
    assert get(client, f"{MINUTES}?city=Lima&vendor=b")["data"] == [
        r for r in every if (r["city"], r["vendor"]) == ("Lima", "b")
    ]
    assert get(client, f"{MINUTES}?city=Oslo")["data"] == []
    newest = get(client, f"{MINUTES}?order=desc&limit=3")
    assert newest["data"] == every[::-1][:3]
    assert (newest["meta"]["rows"], newest["meta"]["of_rows"]) == (3, len(every))


def test_a_declared_path_gives_a_bare_array_with_the_receipt_in_headers() -> None:
    world = a_world()
    world.publish(1, 4)
    response = client_of(world).get("/api/rides/newest")
    newest: dict[Any, Any] = {}
    for (start, key), state in sorted(world.naive("rides_by_minute").items()):
        newest[key] = (start, state.n)
    assert [(row["city"], row["vendor"], row["n"]) for row in response.json] == [
        (*key, n) for key, (_, n) in sorted(newest.items())
    ]
    assert "avg" in response.json[0] and "fare_avg" not in response.json[0]
    assert json.loads(response.headers["X-Braid-As-Of"])["generation"] == 1
    assert response.headers["X-Braid-Complete"] == "true"
    assert response.headers["X-Braid-Definition"] == RIDES.hash
    assert decode(response.headers["X-Braid-Receipt"]).question.newest_window
    assert response.headers["X-Braid-Freshness-S"] == "0.000"
    assert response.headers["X-Braid-Generated-At"] == "2026-01-01T01:00:00Z"


def test_a_declared_batch_path_shows_the_generation_alone() -> None:
    world = a_world()
    world.publish(1, 4)
    rows = client_of(world).get("/api/rides/history").json
    assert {row["city"]: row["n"] for row in rows} == {
        key[0]: state.n for (_, key), state in world.naive("rides_by_city", 0, 4).items()
    }


def test_alerts_come_newest_event_first_with_their_baseline() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1)], alerts=[alert(START_US + 2, "Bern", 9999, 0)])
    world.commit([ride(2, "Lima", 1)], alerts=[alert(START_US + 1, "Lima", -5, 1), alert(START_US + 3, "Bern", 7, 2)])
    client = client_of(world)
    found = get(client, "/api/v1/datasets/rides/alerts")
    assert [row["offset"] for row in found["data"]] == [2, 0, 1]
    assert found["data"][1] == {
        "city": "Bern", "taken_at": "2026-01-01T00:00:00.000002Z", "fare_usd": 99.99, "ride": "r0", "vendor": "a",
        "z": 3.5, "baseline": {"n": 40, "mean": 10.0, "stddev": 1.5}, "seq": 1, "topic": "rides-log", "partition": 0,
        "offset": 0, "alert": "odd_fares",
        "acknowledgement": {
            "acknowledged": False, "note": "", "by": None, "at": None,
            "url": "/api/v1/datasets/rides/alerts/odd_fares/rides-log/0/0/acknowledgement",
        },
    }  # fmt: skip
    assert [r["offset"] for r in get(client, "/api/v1/datasets/rides/alerts?city=Lima")["data"]] == [1]
    assert [r["offset"] for r in get(client, "/api/v1/datasets/rides/alerts?limit=1")["data"]] == [2]
    assert [r["fare"] for r in get(client, "/api/rides/odd")] == [0.07, 99.99, -0.05]


def test_alerts_of_later_micro_batches_are_added() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1)], alerts=[alert(START_US, "Bern", 9, 0)])
    client = client_of(world)
    world.commit([ride(2, "Bern", 1)], alerts=[alert(START_US + 9, "Bern", 9, 1)])
    step(client)
    assert [r["offset"] for r in get(client, "/api/v1/datasets/rides/alerts")["data"]] == [1, 0]


def test_a_dataset_without_events_answers_empty_and_complete() -> None:
    client = client_of(World().genesis())
    for url in (MINUTES, CITIES, "/api/v1/datasets/rides/alerts"):
        answer = get(client, url)
        assert answer["data"] == [] and answer["meta"]["complete"] is True
    assert get(client, "/api/rides/newest") == []


def test_an_unchanged_answer_is_304_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world()
    client = client_of(world)
    first = client.get(MINUTES)
    monkeypatch.setattr("serving.answers.of_view", lambda *a: pytest.fail("computed again"))
    again = client.get(MINUTES, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["X-Braid-Complete"] == "true"
    assert client.get(MINUTES).data == first.data  # the body was kept


def test_an_answer_that_may_differ_has_another_etag() -> None:
    world = a_world()
    client = client_of(world)
    tags = [client.get(url).headers["ETag"] for url in (MINUTES, f"{MINUTES}?limit=1", CITIES, "/api/rides/newest")]
    world.commit([ride(999, "Lima", 3)])
    step(client)
    tags.append(client.get(MINUTES).headers["ETag"])
    world.publish(1)
    step(client)
    tags.append(client.get(MINUTES).headers["ETag"])
    world.monotonic.at_s += 60
    tags.append(client.get(MINUTES).headers["ETag"])
    assert len(set(tags)) == len(tags)


def test_a_relative_time_within_one_window_is_the_same_question() -> None:
    world = a_world()
    client = client_of(world)
    first = client.get(f"{MINUTES}?from=now-30m")
    world.clock.advance(1)
    moved = client.get(f"{MINUTES}?from=now-30m")
    world.clock.advance(1_000_000)
    assert client.get(f"{MINUTES}?from=now-30m").headers["ETag"] == moved.headers["ETag"] != first.headers["ETag"]


def test_a_compressed_answer_is_304_too() -> None:
    client = client_of(a_world())
    first = client.get(MINUTES, headers={"Accept-Encoding": "gzip"})
    assert first.headers["Content-Encoding"] == "gzip"
    again = client.get(MINUTES, headers={"Accept-Encoding": "gzip", "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304 and again.headers["ETag"] == first.headers["ETag"]


def test_the_body_does_not_hold_what_changes_by_the_second() -> None:
    world = a_world()
    client = client_of(world)
    first = client.get(MINUTES).data
    world.clock.advance(5_000_000)
    world.monotonic.at_s += 2
    step(client)
    assert client_of(world).get(MINUTES).data == first


def test_a_receipt_claims_exactly_the_answered_rows_with_relative_times_resolved() -> None:
    world = a_world()
    world.publish(1, 5)
    client = client_of(world)
    query = "from=now-1h&to=2026-01-01T02:00:00Z&city=Bern&city=Lima&order=desc&limit=3&state=1"
    answer = get(client, f"{MINUTES}?{query}")
    receipt = decode(answer["meta"]["receipt"])
    asked = Question(
        "merged", (("city", ("Bern", "Lima")),), START_US, START_US + 2 * 3600 * 10**6, False, "desc", 3
    )  # fmt: skip
    assert receipt.question == asked and receipt.definition == RIDES.hash
    assert (receipt.dataset, receipt.view) == ("rides", "rides_by_minute")
    assert (receipt.generation, receipt.cut_seq, receipt.seq, receipt.offsets) == (
        1, 5, 12, {"rides-log:0": world.log_end["rides-log", 0]}
    )  # fmt: skip
    states = states_of(answer, RIDES, "rides_by_minute")
    assert receipt.rows == len(states) == 3 and receipt.n == sum(s.n for s in states.values())
    assert receipt.digest == digest(states)
    batch = decode(get(client, f"{MINUTES}?layer=batch")["meta"]["receipt"])
    assert (batch.question.layer, batch.seq) == ("batch", 5)
