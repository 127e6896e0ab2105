"""`as_of`: an earlier answer again, byte for byte, or a clear 410; `explain=merge`: where each row came from."""

from typing import Any

import pytest

from braid import change
from braid.declaration_reader import parse
from braid.receipts import decode
from tests.unit.serving_world import RIDES, START_US, World, client_of, ride, step

MINUTES = "/api/v1/datasets/rides/views/rides_by_minute"
CITIES = "/api/v1/datasets/rides/views/rides_by_city"


def a_world(batches: int = 8) -> World:
    world = World().genesis()
    for seq in range(batches):
        world.commit([ride(10 * seq + i, ("Bern", "Lima")[i % 2], 100 * seq + i, seq // 2) for i in range(4)])
    return world


def data_of(response: Any) -> bytes:
    """Return the bytes of `data` in an answer."""
    assert response.status_code == 200, response.get_data(as_text=True)
    body: bytes = response.data
    return body[: body.index(b',"meta":')]


def problem(client: Any, url: str, status: int) -> Any:
    response = client.get(url)
    assert (response.status_code, response.mimetype) == (status, "application/problem+json"), response.data
    return response.json


@pytest.mark.parametrize(
    "url",
    [f"{MINUTES}?state=1", f"{CITIES}?layer=merged", f"{MINUTES}?window=all&group_by=city", f"{MINUTES}?layer=speed"],
)
def test_an_answer_is_given_again_byte_for_byte_after_publications(url: str) -> None:
    world = a_world(5)
    world.publish(1, 3)
    client = client_of(world)
    first = client.get(url)
    assert first.json["meta"]["as_of"]["seq"] == 5
    for gen in (2, 3):
        world.commit([ride(500 + gen, "Oslo", gen)])
        world.publish(gen)
        step(client)
    assert client.get(url).json["meta"]["as_of"]["generation"] == 3
    again = client.get(f"{url}&as_of=1:5")
    assert data_of(again) == data_of(first)
    assert again.json["meta"]["as_of"] == first.json["meta"]["as_of"] and again.json["meta"]["complete"]
    assert decode(again.json["meta"]["receipt"]) == decode(first.json["meta"]["receipt"])


def test_every_seq_since_a_cut_and_generation_0_can_be_asked_for() -> None:
    world = a_world(6)
    world.publish(1, 4)
    client = client_of(world)
    for gen, seqs in ((0, range(7)), (1, (4, 5, 6))):
        for seq in seqs:
            answer = client.get(f"{CITIES}?as_of={gen}:{seq}&state=1").json
            total = sum(row["n"] for row in answer["data"])
            assert (answer["meta"]["as_of"]["generation"], answer["meta"]["as_of"]["seq"], total) == (gen, seq, 4 * seq)


def test_a_dropped_generation_is_410_with_the_reason_also_when_it_was_held() -> None:
    world = a_world(4)
    world.publish(1)
    client = client_of(world)
    world.publish(2)
    step(client)
    assert client.get(f"{CITIES}?as_of=1:4").status_code == 200
    del world.past.currents[1]
    found = problem(client, f"{CITIES}?as_of=1:4", 410)
    assert found["detail"] == (
        "as_of 1:4: generation 1 is no longer kept; kept are 0, 2; ask without as_of for the newest answer"
    )
    assert found["type"] == "urn:braid:problem:no-longer-kept"


def test_expired_fragments_are_410_with_the_seq() -> None:
    world = a_world(4)
    world.publish(1, 4)
    client = client_of(world)
    world.fragments._held.clear()
    found = problem(client, f"{CITIES}?as_of=0:3", 410)
    assert "rides_by_minute seq 1: expected fragments of n 4" in found["detail"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1:99", "a seq up to head, 4"), ("9:4", "a generation up to the served one, 1"), ("1:2", "a seq from the cut of generation 1, 3, on"),
     ("now", "generation:seq"), ("1", "generation:seq"), ("-1:4", "generation:seq"), ("1:4:2", "generation:seq"), ("01:4", "generation:seq"), ("", "generation:seq")],
)  # fmt: skip
def test_what_never_was_is_400(text: str, expected: str) -> None:
    world = a_world(4)
    world.publish(1, 3)
    found = problem(client_of(world), f"{CITIES}?as_of={text}", 400)
    assert found["errors"][0]["parameter"] == "as_of" and found["errors"][0]["expected"].startswith(expected)


def test_a_store_that_is_down_is_503() -> None:
    world = a_world(4)
    client = client_of(world)
    world.ledger.down = True
    problem(client, f"{CITIES}?as_of=0:3", 503)
    problem(client, f"{CITIES}?explain=merge", 503)


def test_declared_paths_take_as_of_too() -> None:
    world = a_world(4)
    client = client_of(world)
    first = client.get("/api/rides/newest")
    world.commit([ride(99, "Bern", 1, 60)])
    step(client)
    assert client.get("/api/rides/newest").data != first.data
    assert client.get("/api/rides/newest?as_of=0:4").data == first.data


@pytest.mark.parametrize(
    "query", ["", "&window=all&group_by=city", "&city=Bern&from=2026-01-01T00:01:00Z", "&layer=speed", "&layer=batch"]
)
def test_explain_says_what_the_generation_holds_and_which_seqs_added(query: str) -> None:
    world = a_world(6)
    world.publish(1, 3)
    rows = client_of(world).get(f"{MINUTES}?explain=merge{query}").json["data"]
    assert rows
    for row in rows:
        base, added = row["explain"]["generation"], row["explain"]["fragments"]
        assert row["n"] == (base["n"] if base else 0) + sum(part["n"] for part in added)
        assert base is None or (base["generation"], base["cut_seq"]) == (1, 3)
        assert all(3 < part["seq"] <= 6 for part in added)
    assert any(row["explain"]["generation"] for row in rows) != ("speed" in query)
    assert any(row["explain"]["fragments"] for row in rows) != ("batch" in query)


def test_explain_names_each_seq_of_a_row() -> None:
    world = a_world(4)
    world.publish(1, 1)
    (row,) = client_of(world).get(f"{CITIES}?explain=merge&city=Bern").json["data"]
    assert row["explain"] == {
        "generation": {"generation": 1, "cut_seq": 1, "n": 2},
        "fragments": [{"seq": 2, "n": 2}, {"seq": 3, "n": 2}, {"seq": 4, "n": 2}],
    }
    assert "explain" not in client_of(world).get(CITIES).json["data"][0]


def test_an_answer_of_another_declaration_is_not_given_again_and_what_is_applied_meanwhile_is_said() -> None:
    world = a_world(4)
    world.publish(1)
    client = client_of(world)
    new = parse(RIDES.text + "dedupe: none\n")
    world.kept.append(change.row_of(world.kept.head(), new, "applier", START_US))
    world.events.append([])
    step(client)
    meta = client.get(MINUTES).json["meta"]
    assert (meta["definition"], meta["complete"], meta["as_of"]["seq"]) == (RIDES.hash, False, 4)
    assert [m["what"] for m in meta["missing"]] == ["definition"]
    (told,) = client.get("/api/v1/status").json["datasets"]
    assert f"{new.hash[:12]}, is being applied from ledger seq 5 on" in told["problems"][0]
    assert "braid apply rides" in told["problems"][0]
    world.declaration = new
    world.publish(2)
    step(client)
    assert client.get(MINUTES).json["meta"]["definition"] == new.hash
    assert client.get("/api/v1/status").json["datasets"][0]["problems"] == []
    assert f"is of another declaration, {RIDES.hash[:12]}" in problem(client, f"{MINUTES}?as_of=1:4", 410)["detail"]
    assert client.get(f"{MINUTES}?as_of=2:5").status_code == 200
