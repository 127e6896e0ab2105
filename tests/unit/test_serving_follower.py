"""The follower: what it merges, where it stops and what it says, and that answers never go back or mix."""

import queue
import threading
from dataclasses import replace
from typing import Any

import pytest

from braid.ledger import LedgerRow, Range
from serving import recent, tail
from serving.follower import EVERY_S, Follower
from tests.unit.serving_world import (
    PLACE,
    RIDES,
    START_US,
    AtOnce,
    World,
    alert,
    client_of,
    ride,
    service_of,
    states_of,
    step,
)

MINUTES = "/api/v1/datasets/rides/views/rides_by_minute"


def answer(client: Any, url: str = f"{MINUTES}?state=1") -> Any:
    response = client.get(url)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.json


def rides(world: World) -> None:
    world.commit([ride(1, "Bern", 100), ride(2, "Lima", 200, 1)])
    world.commit([ride(3, "Bern", 300, 1)])
    world.commit([ride(4, "Lima", 50), ride(5, "Lima", 60, 2)])


def whats(meta: Any) -> list[str]:
    return [m["what"] for m in meta["missing"]]


def test_a_new_micro_batch_is_merged_and_its_fragments_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().genesis()
    rides(world)
    client = client_of(world)
    asked: list[list[int]] = []
    read = world.fragments.read
    monkeypatch.setattr(
        world.fragments, "read", lambda view, rows: asked.append([r.seq for r in rows]) or read(view, rows)
    )
    world.commit([ride(6, "Oslo", 1, 3)])
    step(client)
    step(client)
    assert asked == [[4]]
    assert states_of(answer(client), RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def test_a_ledger_row_that_was_just_read_as_head_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().genesis()
    rides(world)
    client = client_of(world)
    asked: list[tuple[int, int]] = []
    read = world.ledger.rows
    monkeypatch.setattr(
        world.ledger, "rows", lambda after, through: asked.append((after, through)) or read(after, through)
    )
    world.commit([ride(6, "Oslo", 1, 3)])
    step(client)
    assert asked == []
    world.commit([ride(7, "Oslo", 1, 3)])
    world.commit([ride(8, "Oslo", 1, 3)])
    step(client)
    assert set(asked) == {(4, 6)}
    assert states_of(answer(client), RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def test_head_is_looked_at_whenever_the_stream_calls_and_current_not_more_often_than_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World().genesis()
    rides(world)
    follower = service_of(world).followers["rides"]
    asked: list[str] = []
    for name in ("current", "head"):
        read = getattr(world.ledger, name)
        monkeypatch.setattr(world.ledger, name, lambda name=name, read=read: asked.append(name) or read())
    follower.step()
    assert asked == ["current", "head"]
    for later_s in (EVERY_S * 0.625, EVERY_S * 0.625, EVERY_S * 0.625):
        world.monotonic.at_s += later_s
        follower.step()
    assert asked == ["current", "head", "head", "current", "head", "head"]


def test_a_follower_waits_to_be_called_between_two_looks() -> None:
    world = World().genesis()
    rides(world)
    waited, rung = queue.Queue[float](), threading.Semaphore(0)

    def called(longest_s: float) -> None:
        waited.put(longest_s)
        rung.acquire(timeout=30)

    follower = Follower(RIDES, world.stores, world.clock, called=called)
    follower.start()
    try:
        assert 0 < waited.get(timeout=30) <= EVERY_S
        world.commit([ride(6, "Oslo", 1, 3)])
        rung.release()
        waited.get(timeout=30)
        assert follower.snapshot is not None and follower.snapshot.head.seq == world.ledger.head().seq
    finally:
        rung.release()
        follower.stop()


def test_what_is_new_is_read_side_by_side_and_what_is_read_for_nothing_is_not_believed() -> None:
    begun: list[Any] = []

    def aside(job: Any) -> Any:
        begun.append(job)
        return job

    world = World().genesis()
    rides(world)
    follower = Follower(RIDES, world.stores, world.clock, world.monotonic, AtOnce(), aside)
    follower.step()
    begun.clear()
    world.commit([ride(6, "Oslo", 1, 3)], alerts=[alert(START_US, "Oslo", 1, 0)])
    follower.step()
    assert len(begun) == 2  # the one finest view, and the alerts
    assert follower.snapshot is not None and len(follower.snapshot.recent.alerts) == 1
    world.commit([ride(7, "Oslo", 1, 3)], alerts=[alert(START_US, "Oslo", 1, 1)], view_n={"rides_by_minute": 2})
    follower.step()
    assert follower.snapshot.tail.row.seq == follower.snapshot.recent.through_seq == 4 < follower.snapshot.head.seq
    assert len(follower.snapshot.recent.alerts) == 1


def test_a_published_generation_takes_the_place_of_its_fragments() -> None:
    world = World().genesis()
    rides(world)
    client = client_of(world)
    before = states_of(answer(client), RIDES, "rides_by_minute")
    world.publish(1, 2)
    step(client)
    found = answer(client)
    assert found["meta"]["as_of"]["generation"] == 1 and found["meta"]["as_of"]["cut_seq"] == 2
    assert states_of(found, RIDES, "rides_by_minute") == before


def test_a_rollback_takes_the_tail_from_the_older_cut() -> None:
    world = World().genesis()
    rides(world)
    world.publish(1, 1)
    world.publish(2, 3)
    client = client_of(world)
    world.publish(1, 1)
    step(client)
    found = answer(client)
    assert found["meta"]["as_of"]["generation"] == 1 and found["meta"]["as_of"]["seq"] == 3
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def test_a_snapshot_is_atomic_over_its_views() -> None:
    world = World().genesis()
    rides(world)
    client = client_of(world)
    snapshot = client.application.extensions["braid"].snapshot("rides")
    sums = {v: sum(s.n for s in snapshot.sides(v, "merged")[1].values()) for v in ("rides_by_minute", "rides_by_city")}
    world.commit([ride(7, "Bern", 5)])
    step(client)
    after = client.application.extensions["braid"].snapshot("rides")
    assert sums == {"rides_by_minute": 5, "rides_by_city": 5}
    assert [sum(s.n for s in after.tail.views[v].values()) for v in after.tail.views] == [6, 6]
    # the old one did not move
    assert [sum(s.n for s in snapshot.tail.views[v].values()) for v in snapshot.tail.views] == [5, 5]


def test_fragments_that_do_not_add_up_stop_the_answer_before_their_seq() -> None:
    world = World().genesis()
    rides(world)
    world.commit([ride(6, "Oslo", 1, 3)], view_n={"rides_by_minute": 2})
    world.commit([ride(7, "Oslo", 1, 3)])
    client = client_of(world)
    found = answer(client)
    assert found["meta"]["as_of"]["seq"] == 3 and found["meta"]["complete"] is False
    (missing,) = found["meta"]["missing"]
    assert (missing["what"], missing["from_seq"], missing["through_seq"]) == ("fragments", 4, 5)
    assert missing["reason"].startswith("rides_by_minute seq 4: expected fragments of n 2, fp ")
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute", 0, 3)
    assert client.get(MINUTES).headers["X-Braid-Complete"] == "false"
    assert "fragments" in client.get(MINUTES).headers["X-Braid-Missing"]


def test_a_fingerprint_alone_that_differs_stops_the_answer_too() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 100)], view_fp={"rides_by_minute": 12345})
    found = answer(client_of(world))
    assert found["data"] == [] and whats(found["meta"]) == ["fragments"]


def test_fragments_that_arrive_later_are_merged_a_second_later() -> None:
    world = World().genesis()
    row = world.commit([ride(1, "Bern", 100)])
    held = dict(world.fragments._held)
    world.fragments._held.clear()
    client = client_of(world)
    assert whats(answer(client)["meta"]) == ["fragments"]
    world.fragments._held.update(held)
    step(client)
    assert whats(answer(client)["meta"]) == ["fragments"]
    world.monotonic.at_s += 1.5
    step(client)
    assert answer(client)["meta"]["as_of"]["seq"] == row.seq and answer(client)["meta"]["complete"] is True


def test_the_generation_that_covers_expired_fragments_heals_the_answer() -> None:
    world = World().genesis()
    rides(world)
    world.fragments.expire(2)
    client = client_of(world)
    assert answer(client)["meta"]["as_of"]["seq"] == 0
    world.publish(1)
    step(client)
    found = answer(client)
    assert found["meta"]["complete"] is True
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def special(world: World, kind: str, **changed: Any) -> LedgerRow:
    """Commit a row of another kind that covers ten offsets."""
    head = world.kept.head()
    end = {PLACE: head.end[PLACE] + 10}
    row = LedgerRow(
        head.seq + 1, kind, 1, "w", Range(dict(head.end), end), definition=RIDES.hash, topic_ids=head.topic_ids, committed_at_us=START_US  # type: ignore[arg-type]
    )  # fmt: skip
    row = replace(row, **changed)
    world.kept.append(row)
    world.events.append([])
    return row


def test_an_answer_stops_before_bulk_history_until_a_generation_covers_it() -> None:
    world = World().genesis()
    rides(world)
    special(world, "bulk", good=10)
    world.commit([ride(9, "Bern", 1)])
    client = client_of(world)
    found = answer(client)
    assert found["meta"]["as_of"]["seq"] == 3 and whats(found["meta"]) == ["bulk"]
    world.publish(1, 4)
    step(client)
    assert answer(client)["meta"]["as_of"]["seq"] == 5 and answer(client)["meta"]["complete"] is True


def test_an_answer_goes_on_past_a_gap_and_names_its_offsets() -> None:
    world = World().genesis()
    rides(world)
    special(world, "gap", absent=10)
    world.commit([ride(9, "Bern", 1)])
    found = answer(client_of(world))
    assert found["meta"]["as_of"]["seq"] == 5 and found["meta"]["complete"] is False
    (missing,) = found["meta"]["missing"]
    assert missing["what"] == "gap" and missing["offsets"] == {"rides-log:0": [5, 15]}
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def test_two_definitions_never_mix_in_one_answer() -> None:
    world = World().genesis()
    rides(world)
    special(world, "definition", definition="another", text="…")
    client = client_of(world)
    found = answer(client)
    assert found["meta"]["as_of"]["seq"] == 3 and whats(found["meta"]) == ["definition"]


def test_a_generation_whose_rows_were_changed_is_refused_and_the_old_one_goes_on() -> None:
    world = World().genesis()
    rides(world)
    world.publish(1, 2)
    client = client_of(world)
    world.publish(2, 3, tamper=True)
    step(client)
    found = answer(client)
    assert found["meta"]["as_of"]["generation"] == 1 and whats(found["meta"]) == ["generation"]
    assert "generation 2 could not be loaded, generation 1 goes on: " in found["meta"]["missing"][0]["reason"]
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def test_a_generation_cut_elsewhere_than_its_ledger_row_is_refused() -> None:
    world = World().genesis()
    rides(world)
    current = world.publish(1, 2)
    world.kept.publish(replace(current, cut={PLACE: 1}), 1)
    response = client_of(world).get(MINUTES)
    assert response.status_code == 503 and "expected its cut at the end of ledger seq 2" in response.json["detail"]


def test_hive_down_the_loaded_generation_goes_on_and_the_answer_says_so() -> None:
    world = World().genesis()
    rides(world)
    world.publish(1, 2)
    client = client_of(world)
    world.hive_down = world.generations.down = True
    world.commit([ride(9, "Bern", 1)])
    world.monotonic.at_s += 6
    step(client)
    found = answer(client)
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute")
    assert found["meta"]["complete"] is False and whats(found["meta"]) == ["hive"]
    world.publish(2)
    step(client)
    assert answer(client)["meta"]["as_of"]["generation"] == 1
    assert whats(answer(client)["meta"]) == ["generation", "hive"]
    world.hive_down = world.generations.down = False
    world.monotonic.at_s += 2
    step(client)
    found = answer(client)
    assert found["meta"]["as_of"]["generation"] == 2 and found["meta"]["complete"] is True


def test_cassandra_down_the_last_state_stays_and_the_answer_says_so() -> None:
    world = World().genesis()
    rides(world)
    client = client_of(world)
    world.ledger.down = True
    world.monotonic.at_s += 4.9
    step(client)
    assert answer(client)["meta"]["complete"] is True
    world.monotonic.at_s += 0.2
    step(client)
    found = answer(client)
    assert found["meta"]["complete"] is False
    assert found["meta"]["missing"] == [
        {"what": "cassandra", "reason": "no answer since 2026-01-01T01:00:00Z: cassandra: no answer"}
    ]
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute")
    assert client.get(MINUTES).headers["X-Braid-Freshness-S"] == "5.100"
    assert client.get(f"{MINUTES}?strict=1").status_code == 503
    world.ledger.down = False
    world.commit([ride(9, "Bern", 1)])
    step(client)
    assert answer(client)["meta"]["complete"] is True and answer(client)["meta"]["as_of"]["seq"] == 4


def test_before_genesis_it_is_503_and_says_what_to_type() -> None:
    world = World()
    client = client_of(world)
    response = client.get(MINUTES)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.json["detail"].startswith("rides: current: expected a generation, got none")
    assert response.json["next"] == "braid up"
    world.genesis()
    step(client)
    assert answer(client)["meta"]["complete"] is True


def test_a_start_while_cassandra_is_down_is_503_and_recovers() -> None:
    world = World().genesis()
    rides(world)
    world.ledger.down = True
    client = client_of(world)
    assert client.get(MINUTES).status_code == 503
    assert "cassandra: no answer" in client.get(MINUTES).json["detail"]
    world.ledger.down = False
    step(client)
    assert answer(client)["meta"]["as_of"]["seq"] == 3


def test_a_start_while_hive_is_down_is_503_when_a_generation_is_served() -> None:
    world = World().genesis()
    rides(world)
    world.publish(1, 2)
    world.generations.down = True
    client = client_of(world)
    assert client.get(MINUTES).status_code == 503
    assert "generation 1 could not be loaded, none is loaded: hive: no answer" in client.get(MINUTES).json["detail"]
    world.generations.down = False
    world.monotonic.at_s += 2
    step(client)
    assert answer(client)["meta"]["as_of"]["generation"] == 1


def test_answers_never_go_back_when_an_older_generation_cannot_reach_as_far() -> None:
    world = World().genesis()
    rides(world)
    world.publish(1, 1)
    world.publish(2, 3)
    client = client_of(world)
    world.fragments.expire(2)
    world.publish(1, 1)
    step(client)
    found = answer(client)
    assert found["meta"]["as_of"]["generation"] == 2 and found["meta"]["as_of"]["seq"] == 3


def test_a_stale_head_is_passed_over() -> None:
    world = World().genesis()
    rides(world)
    service = service_of(world)
    service.step()
    world.kept._newest = 1
    service.step()
    assert service.snapshot("rides").tail.row.seq == 3
    assert service.snapshot("rides").head.seq == 3


def test_the_text_in_the_ledger_decides_when_the_file_decides_other_numbers() -> None:
    world = World().genesis()
    rides(world)
    client = client_of(world)
    service = client.application.extensions["braid"]
    follower = service.followers["rides"]
    follower.declared = replace(RIDES, hash="edited", views=())
    follower.snapshot = None
    step(client)
    assert service.declaration("rides").hash == RIDES.hash
    assert states_of(answer(client), RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def test_an_error_of_ours_does_not_end_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World().genesis()
    rides(world)
    service = service_of(world)
    service.step()
    watch = service.followers["rides"].watch
    monkeypatch.setattr(watch, "_ask", lambda: 1 / 0)
    assert watch.step() is False
    assert watch.contact.error == "internal error, ZeroDivisionError; see the log"


def test_a_long_ledger_is_caught_up_in_parts() -> None:
    world = World().genesis()
    for number in range(1200):
        world.commit([ride(number, "Bern", number, number % 7)])
    found = answer(client_of(world))
    assert found["meta"]["as_of"]["seq"] == 1200
    assert states_of(found, RIDES, "rides_by_minute") == world.naive("rides_by_minute")


def test_only_the_newest_alerts_are_held_and_from_where_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "KEEP", 5)
    world = World().genesis()
    for i in range(6):
        world.commit(
            [ride(i, "Bern", 1)],
            alerts=[alert(START_US + i, "Bern", 1, 2 * i), alert(START_US + i, "Bern", 1, 2 * i + 1)],
        )
    client = client_of(world)
    found = answer(client, "/api/v1/datasets/rides/alerts")
    assert found["meta"]["from_seq"] == 4 and [r["seq"] for r in found["data"]] == [6, 6, 5, 5]
    world.commit([ride(9, "Bern", 1)], alerts=[alert(START_US + 50, "Bern", 1, 99)])
    step(client)
    found = answer(client, "/api/v1/datasets/rides/alerts")
    assert found["meta"]["from_seq"] == 4 and [r["seq"] for r in found["data"]] == [7, 6, 6, 5, 5]


def test_committed_alerts_that_are_gone_are_missing_from_alerts_only() -> None:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1)], alerts=[alert(START_US, "Bern", 1, 0)])
    world.alerts._held.clear()
    client = client_of(world)
    assert answer(client)["meta"]["complete"] is True
    meta = answer(client, "/api/v1/datasets/rides/alerts")["meta"]
    assert meta["complete"] is False and meta["missing"][0]["reason"] == "seq 1: expected 1 alerts, got 0"


def test_a_tail_is_not_changed_by_following_it() -> None:
    world = World().genesis()
    first = world.commit([ride(1, "Bern", 100)])
    second = world.commit([ride(2, "Bern", 100)])
    held = tail.follow(tail.begin(RIDES, world.kept.rows(-1, 0)[0]), RIDES, [first], world.fragments)
    before = {name: dict(view) for name, view in held.views.items()}
    tail.follow(held, RIDES, [second], world.fragments)
    assert held.views == before
