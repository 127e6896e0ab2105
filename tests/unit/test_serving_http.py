"""The edge: parameters, problems, headers, status, probes and files."""

import os
from pathlib import Path
from typing import Any

import pytest

from braid.declaration_reader import parse
from braid.errors import StoreUnavailable
from serving.app import create_app, main
from serving.guard import OPEN_RATE_PER_S
from tests.unit.serving_world import RIDES, World, client_of, ride, service_of, settings_of, step

BASE = "/api/v1/datasets/rides"
MINUTES = f"{BASE}/views/rides_by_minute"


@pytest.fixture
def world() -> World:
    found = World().genesis()
    found.commit([ride(1, "Bern", 100), ride(2, "Lima", 200, 1)])
    return found


@pytest.fixture
def client(world: World) -> Any:
    return client_of(world)


@pytest.mark.parametrize(
    ("query", "parameter", "expected", "got"),
    [
        ("limit=0", "limit", "a whole number from 1 to 100000", "0"),
        ("limit=-1", "limit", "a whole number from 1 to 100000", "-1"),
        ("limit=1000000000", "limit", "a whole number from 1 to 100000", "1000000000"),
        ("limit=1.5", "limit", "a whole number from 1 to 100000", "1.5"),
        ("limit=", "limit", "a whole number from 1 to 100000", ""),
        ("limit=1&limit=2", "limit", "one value", "1, 2"),
        ("limit=%00", "limit", "a whole number from 1 to 100000", "\x00"),
        ("limit=١", "limit", "a whole number from 1 to 100000", "١"),
        ("layer=fast", "layer", "one of merged, batch, speed", "fast"),
        ("order=down", "order", "one of asc, desc", "down"),
        ("state=yes", "state", "one of 0, 1", "yes"),
        ("city=Rome", "city", "one of Bern, Lima, Oslo", "Rome"),
        ("citty=Bern", "citty", "a known parameter; did you mean city?", "Bern"),
        ("from=yesterday", "from", "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h", "yesterday"),
        ("from=2026-01-31T12:00:00", "from", "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h", "2026-01-31T12:00:00"),
        ("from=2026-02-30T12:00:00Z", "from", "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h", "2026-02-30T12:00:00Z"),
        ("to=now-1y", "to", "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h", "now-1y"),
        ("from=now&to=now-1h", "from", "an instant not after `to`", "now"),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_used_is_named(
    client: Any, query: str, parameter: str, expected: str, got: str
) -> None:
    response = client.get(f"{MINUTES}?{query}")
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert response.json["errors"] == [{"parameter": parameter, "expected": expected, "got": got}]
    assert response.json["detail"] == f"{parameter}: expected {expected}, got {got!r}"
    assert response.json["status"] == 400 and response.json["title"] == "Bad Request"


def test_every_wrong_parameter_is_named_at_once(client: Any) -> None:
    errors = client.get(f"{MINUTES}?limit=0&layer=x&colour=red").json["errors"]
    assert [e["parameter"] for e in errors] == ["layer", "limit", "colour"]


def test_a_view_of_all_time_takes_no_times(client: Any) -> None:
    (error,) = client.get(f"{BASE}/views/rides_by_city?from=now-1h").json["errors"]
    assert error == {
        "parameter": "from",
        "expected": "no such parameter: rides_by_city covers all time",
        "got": "now-1h",
    }


def test_a_declared_path_fixes_its_layer(client: Any) -> None:
    assert client.get("/api/rides/history?layer=speed").status_code == 400
    assert client.get("/api/rides/odd?alert=odd_fares").status_code == 400


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/api/v1/datasets/taxis", "dataset: expected one of rides, got 'taxis'"),
        (f"{BASE}/views/riides", "view: expected one of rides_by_minute, rides_by_city, got 'riides'"),
        ("/api/rides/nothing", "path: expected one of /api/rides/newest, /api/rides/odd, /api/rides/history, "
         "/api/v1/datasets, /api/v1/status, /openapi.json, got '/api/rides/nothing'"),
        ("/nothing", "no such path; GET /api/v1/datasets lists what there is"),
        ("/static/nothing.js", "no such path; GET /api/v1/datasets lists what there is"),
        ("/static/../pyproject.toml", "no such path; GET /api/v1/datasets lists what there is"),
        ("/static/%2e%2e/pyproject.toml", "no such path; GET /api/v1/datasets lists what there is"),
        ("/console", "no such path; GET /api/v1/datasets lists what there is"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_404(client: Any, path: str, detail: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.mimetype) == (404, "application/problem+json")
    assert response.json["detail"] == detail


def test_other_methods_are_405_and_say_which_are_not(client: Any) -> None:
    for method in ("post", "put", "delete", "patch"):
        response = getattr(client, method)(MINUTES)
        assert (response.status_code, response.mimetype) == (405, "application/problem+json")
        assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert client.head(MINUTES).status_code == 200 and client.head(MINUTES).data == b""
    assert client.options(MINUTES).status_code == 200


def test_a_large_body_is_413(client: Any) -> None:
    response = client.get(MINUTES, data=b"x" * 70_000)
    assert (response.status_code, response.mimetype) == (413, "application/problem+json")


def test_a_long_query_is_414(client: Any) -> None:
    response = client.get(f"{MINUTES}?city={'x' * 4096}")
    assert (response.status_code, response.mimetype) == (414, "application/problem+json")


def test_an_error_of_ours_shows_no_traceback(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("serving.answers.of_view", fail)
    response = client.get(MINUTES, headers={"X-Request-ID": "abc-1"})
    assert response.status_code == 500 and response.json["request_id"] == "abc-1"
    assert b"secret" not in response.data and b"Traceback" not in response.data


def test_every_response_carries_the_security_headers(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(path: str) -> Any:
        response = client.get(path)
        response.close()  # files are streamed
        return response

    responses = [
        ask(p)
        for p in (
            "/",
            "/static/effects/main.js",
            "/nothing",
            MINUTES,
            f"{MINUTES}?limit=0",
            "/healthz",
            "/api/v1/status",
        )
    ]
    responses += [client.post(MINUTES), client.options(MINUTES)]
    responses.append(client.get(MINUTES, headers={"If-None-Match": ask(MINUTES).headers["ETag"]}))
    monkeypatch.setattr("serving.answers.of_view", lambda *_: 1 / 0)
    responses.append(ask(f"{MINUTES}?limit=7"))
    assert [r.status_code for r in responses] == [200, 200, 404, 200, 400, 200, 200, 405, 200, 304, 500]
    for response in responses:
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Request-ID"]
        assert "Access-Control-Allow-Origin" not in response.headers


def test_a_request_id_is_echoed_when_it_is_one(client: Any) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "a.b_c-9"}).headers["X-Request-ID"] == "a.b_c-9"
    assert client.get("/healthz", headers={"X-Request-ID": "a b<script>"}).headers["X-Request-ID"] != "a b<script>"


def test_the_catalogue_describes_what_is_declared(client: Any) -> None:
    (found,) = client.get("/api/v1/datasets").json["data"]
    assert found == client.get(BASE).json["data"]
    minutes, cities = found["views"]
    assert (minutes["title"], minutes["by"], minutes["window_s"]) == ("Fares per minute", ["city", "vendor"], 60.0)
    assert minutes["measures"][0]["unit"] == "USD" and cities["window_s"] is None
    assert {"column": "fare_avg", "measure": "fare", "stat": "mean"} in minutes["columns"]
    assert minutes["values"] == {"city": ["Bern", "Lima", "Oslo"]}
    assert found["alerts"][0]["time"] == "taken_at"
    for url in [minutes["url"], cities["url"], found["alerts"][0]["url"], *found["paths"]]:
        assert client.get(url).status_code == 200


def test_the_catalogue_is_304_while_nothing_is_declared_anew(client: Any) -> None:
    tag = client.get("/api/v1/datasets").headers["ETag"]
    assert client.get("/api/v1/datasets", headers={"If-None-Match": tag}).status_code == 304


def test_status_tells_how_far_the_dataset_has_come(world: World, client: Any) -> None:
    world.log_end = {("rides-log", 0): 9}
    step(client)
    world.clock.advance(4_000_000)
    (found,) = client.get("/api/v1/status").json["datasets"]
    assert found["partitions"] == [{"topic": "rides-log", "partition": 0, "end": 9, "head": 2, "lag": 7}]
    assert found["lag"] == {"events": 7, "seconds": 4.0}
    assert found["head"] == {"seq": 1, "kind": "micro", "committed_at": "2026-01-01T00:00:01Z"}
    assert found["generation"]["generation"] == 0 and found["generation"]["seqs_behind_head"] == 1
    assert found["counts"] == {"good": 2, "copies": 0, "dead": 0, "absent": 0, "alerts": 0}
    assert found["serving"]["complete"] is True and found["problems"] == []
    world.commit([ride(i, "Bern", 1) for i in range(3, 10)])
    world.publish(1)
    step(client)
    (found,) = client.get("/api/v1/status").json["datasets"]
    assert found["lag"] == {"events": 0, "seconds": 0.0}
    assert found["generation"]["next_due"] == "2026-01-01T00:10:02Z"


def test_ready_names_each_part(world: World, client: Any) -> None:
    found = client.get("/readyz")
    assert found.status_code == 200 and found.json["ready"] is True
    assert {name: part["ok"] for name, part in found.json["parts"].items()} == {
        "cassandra": True,
        "kafka": True,
        "hive": True,
    }
    world.ledger.down = True
    world.monotonic.at_s += 6
    step(client)
    found = client.get("/readyz")
    assert (found.status_code, found.json["ready"], found.headers["Retry-After"]) == (503, False, "2")
    assert found.json["parts"]["cassandra"]["error"] == "cassandra: no answer"
    assert client.get("/healthz").status_code == 200


def test_a_missing_topic_is_the_trouble_of_its_dataset_and_not_kafka_s() -> None:
    here, there = World().genesis(), World(parse(RIDES.text.replace("rides", "walks"), where="here")).genesis()

    def missing() -> dict[Any, int]:
        raise StoreUnavailable("topic walks-log: expected it on the broker, got none")

    service = service_of(here, there)
    service.ends["walks"]._ask = missing
    service.step()
    found = create_app(settings_of(Path(__file__).parents[2]), service).test_client().get("/readyz").json
    assert found["parts"]["kafka"]["ok"] and found["parts"]["kafka"]["error"] is None
    assert "log" not in found["datasets"]["rides"]
    assert found["datasets"]["walks"]["log"] == "topic walks-log: expected it on the broker, got none"


def test_a_dataset_that_does_not_exist_yet_does_not_make_the_service_unready() -> None:
    client = client_of(World())
    found = client.get("/readyz")
    assert found.status_code == 200
    assert found.json["datasets"]["rides"]["answers"] is False and "genesis" not in found.json["parts"]
    (status,) = client.get("/api/v1/status").json["datasets"]
    assert status["head"] is None and "expected a generation, got none" in status["problems"][0]


def test_the_dashboard_is_served_without_inline_code(client: Any) -> None:
    with client.get("/") as page:
        assert page.mimetype == "text/html"
        text = page.get_data(as_text=True)
    assert " style=" not in text and "<style" not in text and " onclick=" not in text
    assert "http://" not in text.replace("http://www.w3.org", "") and 'src="https://' not in text
    for path, kind in (
        ("/static/effects/main.js", "text/javascript"),
        ("/static/style.css", "text/css"),
        ("/attribution", "text/plain"),
    ):
        with client.get(path) as file:
            assert file.mimetype == kind


def test_starting_without_chosen_ports_says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("became gunicorn"))
    for name in [name for name in os.environ if name.startswith("BRAID_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BRAID_HOME", str(tmp_path))
    monkeypatch.setenv("BRAID_PORTS", "free")
    assert main([]) == 2
    expected = "braid: BRAID_PORTS=free: expected ports that were chosen, got none yet; run `braid up` first\n"
    assert capsys.readouterr().err == expected


def test_it_becomes_gunicorn_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, argv: became.append(argv))
    monkeypatch.setenv("BRAID_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.chdir(tmp_path)
    main([])
    (argv,) = became
    assert argv[1:3] == ["-m", "gunicorn"] and argv[-1] == f"serving.server:app(False, {OPEN_RATE_PER_S})"
    assert Path(argv[4]).is_file() and "127.0.0.1:5000" in argv
    assert os.environ["PYTHONPATH"].endswith(f"src{os.pathsep}/elsewhere")
