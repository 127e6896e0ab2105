"""One test per item of OWASP's API top ten (2023) that applies, by its number: where else it is tested stands beside it.

Item 6 (business flows) and 10 (other APIs) have no counterpart: nothing is sold here, and no other API is asked.
"""

import re
from pathlib import Path
from typing import Any

from braid.adapters.keys import KeyFile
from serving import parameters
from serving.guard import Access
from tests.unit.serving_world import RIDES, START_US, World, alert, app_of, client_of, ride
from tests.unit.test_serving_answers import MINUTES, a_world

ROOT = Path(__file__).parents[2]
WORD = "/api/v1/datasets/rides/alerts/odd_fares/rides-log/0/0/acknowledgement"


def keyed(tmp_path: Path, scope: Any = "read") -> tuple[Any, dict[str, str]]:
    world = World().genesis()
    world.commit([ride(1, "Bern", 1)], alerts=[alert(START_US, "Bern", 900, 0)])
    keys = KeyFile(tmp_path / "api.json")
    _, token = keys.create("a", scope, 1)
    return client_of(world, access=Access(keys)), {"Authorization": f"Bearer {token}"}


def test_1_and_5_what_a_key_may_do_is_decided_by_its_scope_on_every_path(tmp_path: Path) -> None:
    client, headers = keyed(tmp_path)
    for rule in client.application.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "0", rule.rule)
        for method in ("PUT", "DELETE", "POST", "PATCH"):
            expected = 404 if path in {"/healthz", "/readyz"} else 403
            found = client.open(path, method=method, headers=headers).status_code
            assert found == expected or (expected == 404 and found == 405), (method, path, found)
    client, headers = keyed(tmp_path / "admin", "admin")
    assert client.put(WORD, headers=headers).status_code == 200


def test_2_no_path_but_the_probes_answers_without_a_key(tmp_path: Path) -> None:
    client, _ = keyed(tmp_path)
    for rule in client.application.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "0", rule.rule)
        assert (client.get(path).status_code == 401) is (path not in {"/healthz", "/readyz"}), path


def test_3_a_body_holds_nothing_that_was_not_asked_for_and_sets_nothing_else(tmp_path: Path) -> None:
    client, headers = keyed(tmp_path, "admin")
    for extra in ("who", "acknowledged", "at_us", "rule", "__proto__"):
        assert client.put(WORD, json={"note": "", extra: "x"}, headers=headers).status_code == 400


def test_4_what_costs_has_a_limit() -> None:
    limits = {p.name: p.schema for p in parameters.of_view(RIDES, RIDES.view("rides_by_minute"))}
    assert limits["limit"]["maximum"] == limits["limit"]["default"] == parameters.MOST_ROWS
    client = client_of(a_world(), access=Access(rate_per_s=1))
    assert [client.get(MINUTES).status_code for _ in range(3)] == [200, 200, 429]


def test_7_no_address_that_a_client_sends_is_asked_by_the_server() -> None:
    source = "".join(p.read_text("utf-8") for p in (ROOT / "src" / "serving").glob("*.py"))
    assert not re.search(r"urlopen|import requests|http\.client|httpx|urllib\.request", source)


def test_8_nothing_of_the_inside_is_shown_and_debugging_is_off(monkeypatch: Any) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    app = app_of(a_world())
    assert app.debug is False
    app.extensions["braid"].step()
    monkeypatch.setattr("serving.answers.of_view", lambda *_: 1 / 0)
    response = app.test_client().get(MINUTES)
    assert response.status_code == 500
    assert not re.search(rb"Traceback|ZeroDivision|\.py|werkzeug|flask", response.data, re.IGNORECASE)


def test_9_every_path_is_in_the_document() -> None:
    """In full in test_openapi: here, that nothing older or hidden answers."""
    client = client_of(a_world())
    for path in (
        "/api",
        "/api/",
        "/api/v0/datasets",
        "/api/v2/datasets",
        "/admin",
        "/debug",
        "/console",
        "/swagger",
        "/graphql",
    ):
        assert client.get(path).status_code == 404
