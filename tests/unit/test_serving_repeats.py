"""Repeated requests have the answers that Flask would give them, whatever happened in between."""

from __future__ import annotations

import gzip
import io
import logging
import random
import time
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from braid.adapters.keys import KeyFile
from braid.settings import LOOPBACK
from serving.guard import Access
from serving.logs import Gathered
from serving.repeats import MOST, Repeats
from tests.unit.serving_world import World, alert, app_of, ride

BASE = "/api/v1/datasets/rides"
MINUTES = f"{BASE}/views/rides_by_minute"
PATHS = [
    MINUTES,
    f"{MINUTES}?city=Bern&state=1",
    f"{MINUTES}?from=now-1h&to=now",
    f"{MINUTES}?from=now-2m",
    f"{MINUTES}?strict=1",
    f"{MINUTES}?limit=1",
    f"{MINUTES}?layer=batch",
    f"{MINUTES}?layer=speed&format=csv",
    f"{MINUTES}?explain=1",
    f"{BASE}/views/rides_by_city",
    f"{BASE}/alerts",
    "/api/rides/newest",
    "/api/rides/odd",
    "/api/rides/history",
    f"{BASE}/views/nothing",
    f"{MINUTES}?city=Rome",
    "/api/v1/status",
]
HERE = f"http://{LOOPBACK}:5000"
ME = {"REMOTE_ADDR": LOOPBACK}
MOMENT = {"x-request-id", "content-length", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "date"}


def plain_bytes(response: Any) -> bytes:
    """Return the body; what was packed has the time of packing in it."""
    data: bytes = response.get_data()
    return gzip.decompress(data) if response.headers.get("Content-Encoding") == "gzip" and data else data


class Both:
    """An application with its repeats, and the same without."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app = app_of(world)
        repeats: Any = self.app.wsgi_app
        assert isinstance(repeats, Repeats)
        self.asked = 0

        def counted(environ: Any, start: Any) -> Any:
            self.asked += 1
            return inner(environ, start)

        inner = repeats._wsgi
        repeats._wsgi = counted
        self.quick, self.plain = Client(self.app), Client(inner)
        self.step()

    def step(self) -> None:
        self.app.extensions["braid"].step()

    def same(self, path: str, headers: dict[str, str]) -> Any:
        found = [client.get(path, headers=headers, base_url=HERE) for client in (self.plain, self.quick)]
        plain, quick = (
            (r.status, sorted((k, v) for k, v in r.headers.items() if k.lower() not in MOMENT), plain_bytes(r))
            for r in found
        )
        if plain[0] >= "400":  # a problem names its request
            plain, quick = (plain[0], [], b""), (quick[0], [], b"")
        assert quick == plain, path
        assert found[1].headers["X-Request-ID"]
        return found[1]


@pytest.fixture
def both() -> Both:
    world = World().genesis()
    world.commit([ride(1, "Bern", 100), ride(2, "Lima", 200, 1)], alerts=[alert(0, "Bern", 100, 0)])
    return Both(world)


@pytest.mark.parametrize("seed", range(12))
def test_a_repeated_request_has_the_answer_of_the_moment(both: Both, seed: int) -> None:
    chance, world, gen, number = random.Random(seed), both.world, 0, 10
    tags: dict[str, str] = {}
    for _ in range(60):
        match chance.randrange(8):
            case 0:
                number += 1
                world.commit([ride(number, chance.choice(["Bern", "Lima", "Oslo"]), number, chance.randrange(70))])
            case 1:
                gen += 1
                world.publish(gen)
            case 2:
                world.clock.at_us += chance.choice([1, 400_000, 30_000_000, 90_000_000])
            case 3:
                world.monotonic.at_s += chance.choice([0.5, 4.0, 7.0])
            case 4:
                world.ledger.down = not world.ledger.down
            case 5:
                world.hive_down = not world.hive_down
            case 6:
                url = f"{BASE}/alerts/odd_fares/rides-log/0/0/acknowledgement"
                both.plain.put(url, json={"note": str(chance.random())}, base_url=HERE)
            case _:
                both.step()
        for path in chance.choices(PATHS, k=6):
            headers = chance.choice([{}, {"Accept-Encoding": "gzip"}, {"Accept": "text/csv"}, {"X-Request-ID": "mine"}])
            if chance.random() < 0.4 and path in tags:
                headers = headers | {"If-None-Match": tags[path]}
            answer = both.same(path, headers)
            tags[path] = answer.headers.get("ETag", "")
            assert (answer.headers["X-Request-ID"] == "mine") is ("X-Request-ID" in headers)
    assert both.asked < 60 * 6 * 0.95  # some were answered ahead of Flask


def test_what_repeats_is_answered_ahead_of_flask_and_counted_and_logged_all_the_same(both: Both, caplog: Any) -> None:
    with caplog.at_level("INFO", "braid.access"):
        for _ in range(5):
            both.quick.get(MINUTES, base_url=HERE, environ_base=ME)
        tag = both.quick.get(MINUTES, base_url=HERE, environ_base=ME).headers["ETag"]
        for _ in range(4):
            assert (
                both.quick.get(MINUTES, base_url=HERE, environ_base=ME, headers={"If-None-Match": tag}).status_code
                == 304
            )
    assert both.asked == 2
    lines = [record.fields for record in caplog.records]
    assert [line["status"] for line in lines] == [200] * 6 + [304] * 4
    assert all(line["path"] == MINUTES and line["client"] == LOOPBACK and line["request_id"] for line in lines)
    text = both.quick.get("/metrics", base_url=HERE).text
    route = "/api/v1/datasets/<dataset>/views/<view>"
    assert f'braid_http_requests_total{{method="GET",route="{route}",status="200"}} 6' in text
    assert f'braid_http_requests_total{{method="GET",route="{route}",status="304"}} 4' in text


def test_a_relative_time_is_read_again_when_a_second_has_passed(both: Both) -> None:
    path = f"{MINUTES}?from=now-1h"
    for _ in range(3):
        both.quick.get(path, base_url=HERE)
    assert both.asked == 1
    both.world.clock.at_us += 1_000_001
    both.quick.get(path, base_url=HERE)
    assert both.asked == 2
    both.world.clock.at_us -= 600_000_000  # a clock that was set back
    both.quick.get(path, base_url=HERE)
    assert both.asked == 3


def test_a_name_that_is_not_ours_is_refused_whatever_was_answered_before(both: Both) -> None:
    assert both.quick.get(MINUTES, base_url=HERE, environ_base=ME).status_code == 200
    assert both.quick.get(MINUTES, base_url="http://elsewhere.example").status_code == 421


def test_a_client_that_asks_too_often_is_refused_by_both(both: Both) -> None:
    both.app = app_of(both.world, access=Access(rate_per_s=2, monotonic=lambda: 0.0))
    both.app.extensions["braid"].step()
    client = Client(both.app)
    found = [client.get(MINUTES, base_url=HERE) for _ in range(6)]
    assert [r.status_code for r in found] == [200] * 4 + [429] * 2
    assert [r.headers["RateLimit-Remaining"] for r in found[:4]] == ["3", "2", "1", "0"]


def test_where_keys_are_asked_for_every_request_shows_one(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "api.json")
    _, token = keys.create("a", "read", 1)
    world = World().genesis()
    app = app_of(world, access=Access(keys))
    app.extensions["braid"].step()
    client, headers = Client(app), {"Authorization": f"Bearer {token}"}
    assert [client.get(MINUTES, headers=headers).status_code for _ in range(2)] == [200, 200]
    assert client.get(MINUTES).status_code == 401


def test_what_is_held_is_bounded(both: Both) -> None:
    repeats: Any = both.app.wsgi_app
    for n in range(MOST + 20):
        both.quick.get(f"{MINUTES}?limit={n + 1}", base_url=HERE)
    assert len(repeats._held) == MOST
    assert repeats._held.bytes == sum(len(held.body) for held in repeats._held._held.values())


def test_lines_of_a_log_are_written_together_and_a_warning_at_once() -> None:
    written = io.StringIO()
    log, handler = logging.Logger("quick"), Gathered(written)
    log.addHandler(handler)
    for n in range(3):
        log.info("line %d", n)
    assert written.getvalue() == ""
    log.warning("now")
    assert written.getvalue() == "line 0\nline 1\nline 2\nnow\n"
    log.info("late")
    until = time.monotonic() + 10
    while "late" not in written.getvalue():
        assert time.monotonic() < until
        time.sleep(0.01)
