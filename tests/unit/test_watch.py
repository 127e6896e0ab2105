"""`braid watch`: every change of a row is a line, by conditional requests; an API that is away is waited for."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from braid.errors import StoreUnavailable, UsageError
from cli.api import Got
from cli.api import get as http_get
from cli.watch import Away, Back, Look, Question, address, json_lines, keys, lines, looks, seconds
from tests.unit.serving_world import World, app_of, client_of, ride, step

RIDES = Question("http://localhost", "rides")


@pytest.fixture
def world() -> World:
    made = World().genesis()
    made.commit([ride(1, "Bern", 1000), ride(2, "Lima", 500, minute=3)])
    return made


class Asked:
    """The API in memory as `get`; remembers what it was asked and how it answered. `down` makes it refuse."""

    def __init__(self, client: FlaskClient) -> None:
        self.client, self.down = client, False
        self.statuses: list[int] = []

    def __call__(self, address: str, etag: str | None) -> Got:
        if self.down:
            raise StoreUnavailable("nobody there")
        found = self.client.get(address, headers={"If-None-Match": etag} if etag else {})
        self.statuses.append(found.status_code)
        if found.status_code == 304:
            return Got(None, etag)
        if found.status_code != 200:
            raise UsageError(found.get_json()["detail"])
        return Got(found.get_json(), found.headers.get("ETag"))


class Ended(Exception):
    """There is nothing more to do between two looks."""


def watched(asked: Asked, question: Question, *between: Callable[[], Any]) -> list[Any]:
    """Return what is seen when these things happen between the looks."""
    todo = iter(between)

    def pause() -> None:
        act = next(todo, None)
        if act is None:
            raise Ended
        act()

    seen = []
    with pytest.raises(Ended):
        for one in looks(question, asked, pause):
            seen.append(one)  # noqa: PERF402 - it ends by an exception
    return seen


def committed(world: World, asked: Asked, *rides: Any) -> Callable[[], None]:
    def act() -> None:
        world.commit(list(rides))
        step(asked.client)

    return act


def told(look: Look) -> list[tuple[str, str, int, int | None]]:
    """Return a look's changes as (window's minute, city, n, n before)."""
    return [
        (c.row["window_start"][11:16], c.row["city"], c.row["n"], c.before["n"] if c.before else None)
        for c in look.changes
    ]


def test_the_first_look_has_every_row_and_then_only_what_changed(world: World) -> None:
    asked = Asked(client_of(world))
    first, second, third = watched(
        asked, RIDES,
        committed(world, asked, ride(3, "Lima", 700, minute=3)),
        committed(world, asked, ride(4, "Oslo", 1), ride(5, "Bern", 2)),
    )  # fmt: skip
    assert first.first and told(first) == [("00:00", "Bern", 1, None), ("00:03", "Lima", 1, None)]
    assert told(second) == [("00:03", "Lima", 2, 1)]
    assert told(third) == [("00:00", "Bern", 2, 1), ("00:00", "Oslo", 1, None)]
    assert [look.meta["as_of"]["seq"] for look in (first, second, third)] == [1, 2, 3]


def test_an_answer_that_is_held_is_asked_for_by_its_etag(world: World) -> None:
    asked = Asked(client_of(world))
    seen = watched(asked, RIDES, lambda: None, lambda: None, committed(world, asked, ride(3, "Oslo", 1)))
    assert asked.statuses == [200, 200, 304, 304, 200]  # the first is the catalogue
    assert len(seen) == 2


def test_a_new_answer_without_another_row_says_nothing(world: World) -> None:
    asked = Asked(client_of(world))
    question = Question("http://localhost", "rides", "rides_by_minute", (("city", "Bern"),))
    assert len(watched(asked, question, committed(world, asked, ride(3, "Lima", 1)))) == 1
    assert asked.statuses[-1] == 200


def test_a_publication_changes_no_row(world: World) -> None:
    asked = Asked(client_of(world))

    def publish() -> None:
        world.publish(1)
        step(asked.client)

    assert len(watched(asked, RIDES, publish)) == 1
    assert asked.statuses[-1] == 200


def test_what_becomes_incomplete_is_said(world: World) -> None:
    asked = Asked(client_of(world))

    def away() -> None:
        world.ledger.down = True
        world.monotonic.at_s += 10
        step(asked.client)

    _, second = watched(asked, RIDES, away)
    assert second.changes == () and not second.meta["complete"]
    assert re.fullmatch(r"as of generation 0, seq 1, .*Z: not complete: cassandra", lines(second)[0])
    (line,) = json_lines(second)
    assert json.loads(line)["row"] is None and json.loads(line)["missing"][0]["what"] == "cassandra"


def test_keys_and_views_are_chosen_by_name(world: World) -> None:
    asked = Asked(client_of(world))
    (only,) = watched(
        asked, Question("http://localhost", "rides", "rides_by_city", (("city", "Lima"), ("city", "Oslo")))
    )
    assert [c.row["city"] for c in only.changes] == ["Lima"]


def test_of_many_rows_the_newest_are_shown(world: World) -> None:
    (only,) = watched(Asked(client_of(world)), Question("http://localhost", "rides", limit=1))
    assert told(only) == [("00:03", "Lima", 1, None)]
    assert (only.meta["rows"], only.meta["of_rows"]) == (1, 2)


def test_an_api_that_is_away_is_named_once_and_waited_for(world: World) -> None:
    asked = Asked(client_of(world))

    def fall() -> None:
        asked.down = True

    def rise() -> None:
        asked.down = False
        committed(world, asked, ride(3, "Oslo", 9))()

    first, away, back, second = watched(asked, RIDES, fall, lambda: None, lambda: None, rise)
    assert (away, back) == (Away("nobody there"), Back())
    assert told(second) == [("00:00", "Oslo", 1, None)] and first.first


def test_an_api_that_never_answered_is_not_waited_for(world: World) -> None:
    asked = Asked(client_of(world))
    asked.down = True
    with pytest.raises(StoreUnavailable, match="nobody there"):
        next(looks(RIDES, asked, lambda: None))


def test_another_definition_is_looked_at_anew(world: World) -> None:
    asked = Asked(client_of(world))
    honest = asked.__call__

    def other(address: str, etag: str | None) -> Got:
        got = honest(address, None)
        if "views" in address and changed:
            got.body["meta"]["definition"] = "another"
        return got

    changed: list[bool] = []
    steps = looks(RIDES, other, lambda: changed.append(True) or None)  # type: ignore[func-returns-value]
    assert next(steps).first  # type: ignore[union-attr]
    again = next(steps)
    assert isinstance(again, Look) and again.first and len(again.changes) == 2


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question("http://localhost", "rides", "ride"), "watch: expected a view of rides, one of rides_by_minute, rides_by_city, got 'ride'"),
        (Question("http://localhost", "rides", keys=(("town", "x"),)), "--key: expected a key of rides_by_minute, one of city, vendor, got 'town'"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_known_ones(world: World, question: Question, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        next(looks(question, Asked(client_of(world)), lambda: None))


@pytest.mark.parametrize("word", ["city", "=x", ""])
def test_a_key_is_column_and_value(word: str) -> None:
    with pytest.raises(UsageError, match="--key: expected column=value, got"):
        keys([word])


@pytest.mark.parametrize("text", ["1", "0s", "-1s", "1h", "s", ""])
def test_a_duration_has_a_unit_and_is_not_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="--every: expected a duration such as 500ms"):
        seconds(text)


@pytest.mark.parametrize("text", ["host:5000", "ftp://host", "http://", "http://host/api", "http://host?x=1"])
def test_an_address_is_a_scheme_and_a_host(text: str) -> None:
    with pytest.raises(
        UsageError, match=re.escape(f"--api: expected an address such as https://host:5000, got {text!r}")
    ):
        address(text, "http://127.0.0.1:1")


def test_lines_have_time_key_numbers_and_n(world: World) -> None:
    asked = Asked(client_of(world))
    first, second = watched(asked, RIDES, committed(world, asked, ride(3, "Lima", 700, minute=3)))
    assert lines(first)[1] == (
        "2026-01-01T00:00:00Z  Bern  a  fare_n 1  fare_sum 10.0  fare_avg 10.0  fare_stddev null  fare_min 10.0  "
        "fare_max 10.0  n 1"
    )
    assert lines(second) == [
        "as of generation 0, seq 2, 2026-01-01T00:00:02Z: complete",
        "2026-01-01T00:03:00Z  Lima  a  fare_n 2  fare_sum 12.0  fare_avg 6.0  fare_stddev 1.4142135623730951  fare_min 5.0  "
        "fare_max 7.0  n 2 (+1)",
    ]
    (line,) = map(json.loads, json_lines(second))
    assert line["as_of"]["seq"] == 2 and line["complete"] and line["before"]["n"] == 1 and line["row"]["n"] == 2


# ---- over HTTP -----------------------------------------------------------------------------------------------------


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[int]:
    """Serve an application on loopback; yield the port."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_get_sends_the_etag_and_understands_304(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAID_KEY_FILE", raising=False)
    app = app_of(world)
    app.extensions["braid"].step()
    with served(app) as port:
        address = f"http://127.0.0.1:{port}/api/v1/datasets/rides/views/rides_by_city"
        first = http_get(address)
        assert first.receipt == first.body["meta"]["receipt"] and first.etag
        assert http_get(address, first.etag) == Got(None, first.etag)
        with pytest.raises(UsageError, match=r"views/nothing: expected an answer, got 404: "):
            http_get(f"http://127.0.0.1:{port}/api/v1/datasets/rides/views/nothing")
    with pytest.raises(StoreUnavailable, match="is the API up"):
        http_get(address)


def test_what_passes_by_itself_is_no_wrong_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAID_KEY_FILE", raising=False)
    with served(app_of(world)) as port, pytest.raises(StoreUnavailable, match="expected an answer, got 503: "):
        http_get(f"http://127.0.0.1:{port}/api/v1/datasets/rides/views/rides_by_city")  # it has not looked yet


@pytest.mark.timeout(60)
def test_the_command_waits_for_an_api_that_is_restarted_and_ends_by_an_interrupt(world: World, tmp_path: Path) -> None:
    app = app_of(world)
    app.extensions["braid"].step()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("BRAID_")}
    with served(app) as port:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "watch", "rides", "--key", "city=Bern", "--every", "50ms", "--json"],
            env=plain | {"BRAID_HOME": str(tmp_path), "BRAID_PORTS": f"free,api={port}"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["row"]["n"] == 1
    try:
        said = process.stderr.readline()
        assert said.startswith(f"http://127.0.0.1:{port}/api/v1/") and said.endswith("; asking again every 50ms\n")
        world.commit([ride(9, "Bern", 300)])
        app.extensions["braid"].step()
        with served(app, port):
            assert process.stderr.readline() == f"http://127.0.0.1:{port} answers again\n"
            line = json.loads(process.stdout.readline())
            assert (line["row"]["n"], line["before"]["n"], line["as_of"]["seq"]) == (2, 1, 2)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
