"""Acknowledging alerts: repeatable, written through, told in answers and their ETags, and refused when it cannot be."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from braid.adapters.keys import KeyFile
from serving.guard import Access
from tests.unit.serving_world import START_US, World, alert, client_of, ride, step
from tests.unit.test_serving_answers import get

BASE = "/api/v1/datasets/rides/alerts"
FIRST = f"{BASE}/odd_fares/rides-log/0/0/acknowledgement"


@pytest.fixture
def world() -> World:
    found = World().genesis()
    found.commit([ride(1, "Bern", 1)], alerts=[alert(START_US + i, "Bern", 900, i) for i in range(3)])
    return found


@pytest.fixture
def client(world: World) -> Any:
    return client_of(world)


def word(client: Any, url: str = FIRST) -> Any:
    return get(client, url.removesuffix("/acknowledgement"))["data"]["acknowledgement"]


def test_an_alert_is_acknowledged_with_a_note_and_that_is_taken_back(world: World, client: Any) -> None:
    assert word(client)["acknowledged"] is False
    said = client.put(FIRST, json={"note": "clouds <b>"})
    assert said.status_code == 200
    expected = {"acknowledged": True, "note": "clouds <b>", "by": None, "at": "2026-01-01T01:00:00Z", "url": FIRST}
    assert said.json["data"]["acknowledgement"] == expected == word(client)
    assert [r["acknowledgement"]["acknowledged"] for r in get(client, BASE)["data"]] == [False, False, True]
    world.clock.advance(5_000_000)
    assert client.delete(FIRST).json["data"]["acknowledgement"] == expected | {
        "acknowledged": False, "note": "", "at": "2026-01-01T01:00:05Z",
    }  # fmt: skip


def test_saying_it_again_changes_nothing(world: World, client: Any) -> None:
    for _ in range(3):
        assert client.put(FIRST, json={"note": "known"}).json["data"]["acknowledgement"]["at"] == "2026-01-01T01:00:00Z"
        world.clock.advance(1_000_000)
    assert client.put(FIRST, json={"note": "other"}).json["data"]["acknowledgement"]["at"] == "2026-01-01T01:00:03Z"
    assert client.delete(FIRST).json == client.delete(FIRST).json


def test_what_was_taken_back_is_404_at_its_own_path(client: Any) -> None:
    assert client.get(FIRST).status_code == 404
    client.put(FIRST)
    assert client.get(FIRST).json["data"]["acknowledgement"]["acknowledged"] is True
    client.delete(FIRST)
    assert client.get(FIRST).status_code == 404
    allowed = client.options(FIRST).headers["Allow"]
    assert set(allowed.split(", ")) == {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}


def test_a_body_is_not_needed(client: Any) -> None:
    assert client.put(FIRST).json["data"]["acknowledgement"]["acknowledged"] is True


def test_alerts_are_filtered_by_it_and_only_under_v1(client: Any) -> None:
    client.put(FIRST)
    assert [r["offset"] for r in get(client, f"{BASE}?acknowledged=1")["data"]] == [0]
    assert [r["offset"] for r in get(client, f"{BASE}?acknowledged=0")["data"]] == [2, 1]
    assert client.get("/api/rides/odd?acknowledged=1").status_code == 400
    assert "acknowledgement" not in get(client, "/api/rides/odd")[0]


def test_a_change_shows_in_the_etag_of_v1_and_in_no_other(client: Any) -> None:
    before, bare = client.get(BASE).headers["ETag"], client.get("/api/rides/odd").headers["ETag"]
    client.put(FIRST)
    after = client.get(BASE, headers={"If-None-Match": before})
    assert after.status_code == 200 and after.headers["ETag"] != before
    assert client.get(BASE, headers={"If-None-Match": after.headers["ETag"]}).status_code == 304
    assert client.get("/api/rides/odd").headers["ETag"] == bare


def test_another_worker_s_word_is_seen(world: World, client: Any) -> None:
    other = client_of(world)
    other.put(FIRST, json={"note": "from there"})
    assert word(client)["note"] == ""
    step(client)
    assert word(client)["note"] == "from there"
    assert client.get(BASE).headers["ETag"] == other.get(BASE).headers["ETag"]


def test_who_said_it_is_the_name_of_the_key(world: World, tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "api.json")
    admin, reader = (keys.create(name, scope, 1)[1] for name, scope in (("ops", "admin"), ("grafana", "read")))  # type: ignore[arg-type]
    client = client_of(world, access=Access(keys))
    assert client.put(FIRST, headers={"Authorization": f"Bearer {reader}"}).status_code == 403
    said = client.put(FIRST, headers={"Authorization": f"Bearer {admin}"})
    assert said.json["data"]["acknowledgement"]["by"] == "ops"


@pytest.mark.parametrize(
    ("sent", "parameter"),
    [
        (b"{", "$"), (b"[]", "$"), (b'"known"', "$"), (b'{"note": 1}', "$.note"), (b'{"note": null}', "$.note"),
        (b'{"note": "' + b"x" * 1001 + b'"}', "$.note"), (b'{"note": "\\ud800"}', "$"), (b'{"note": "a", "who": "me"}', "$.who"),
        (b"\xff", "$"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_used_is_named(client: Any, sent: bytes, parameter: str) -> None:
    refused = client.put(FIRST, data=sent, content_type="application/json")
    assert (refused.status_code, refused.mimetype) == (400, "application/problem+json")
    assert [e["parameter"] for e in refused.json["errors"]] == [parameter]
    assert word(client)["acknowledged"] is False


def test_another_type_of_body_is_415(client: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        refused = client.put(FIRST, data=b'{"note": "x"}', content_type=kind)
        assert (refused.status_code, refused.mimetype) == (415, "application/problem+json")
    assert client.put(FIRST, data=b"x" * 70_000, content_type="application/json").status_code == 413


@pytest.mark.parametrize(
    "path",
    ["odd_fares/rides-log/0/7", "odd_fares/rides-log/1/0", "odd_fares/other/0/0", "nothing/rides-log/0/0",
     "odd_fares/rides-log/-1/0", f"odd_fares/rides-log/0/{10**30}", "odd_fares/rides-log/0/x"],
)  # fmt: skip
def test_what_is_no_alert_is_404(client: Any, path: str) -> None:
    for method, rest in ((client.get, ""), (client.put, "/acknowledgement"), (client.delete, "/acknowledgement")):
        found = method(f"{BASE}/{path}{rest}")
        assert (found.status_code, found.mimetype) == (404, "application/problem+json")


def test_other_methods_say_which_there_are(client: Any) -> None:
    refused = client.post(FIRST)
    assert (
        refused.status_code == 405
        and refused.json["detail"] == "expected one of DELETE, GET, HEAD, OPTIONS, PUT, got POST"
    )


def test_with_cassandra_down_it_is_503_and_the_words_stay(world: World, client: Any) -> None:
    client.put(FIRST, json={"note": "kept"})
    world.words.down = True
    assert client.put(FIRST, json={"note": "kept"}).status_code == 200  # nothing to write
    refused = client.put(FIRST, json={"note": "new"})
    assert refused.status_code == 503 and "Retry-After" in refused.headers
    world.ledger.down = True
    world.monotonic.at_s += 6
    step(client)
    assert client.delete(FIRST).status_code == 503
    assert word(client)["note"] == "kept"


def test_csv_has_the_words_too(client: Any) -> None:
    client.put(FIRST, json={"note": 'a, "b"'})
    text = client.get(f"{BASE}?format=csv&acknowledged=1").get_data(as_text=True)
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["acknowledgement.note"], line["acknowledgement.acknowledged"]) == ('a, "b"', "True")
    assert client.get(f"{BASE}?format=arrow").status_code == 200
