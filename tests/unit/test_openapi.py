"""/openapi.json says what the code does: every route, every parameter, every column, with unit and meaning."""

import csv
import io
import re
from typing import Any

import pytest

from braid.declaration_reader import parse
from serving import openapi, parameters
from tests.unit.serving_world import RIDES, World, app_of, client_of
from tests.unit.test_serving_answers import MINUTES, a_world, get

BASE = "/api/v1/datasets/rides"
PAGES = {"/", "/docs", "/attribution", "/static/<path:name>", "/static/vendor/<name>"}  # for people, no API


@pytest.fixture
def document() -> Any:
    return get(client_of(a_world()), "/openapi.json")


def columns(schema: Any, at: str = "") -> dict[str, Any]:
    """Return the leaves of a row's schema by their dotted names."""
    found = {}
    for name, inner in schema["properties"].items():
        found |= columns(inner, f"{at}{name}.") if "properties" in inner else {f"{at}{name}": inner}
    return found


def test_every_route_is_described_and_nothing_else(document: Any) -> None:
    rules = {rule.rule for rule in app_of(World()).url_map.iter_rules()} - PAGES
    described = set()
    for path in document["paths"]:
        adapter = app_of(World()).url_map.bind("localhost")
        for method in document["paths"][path]:
            rule, _ = adapter.match(re.sub(r"{[a-z]+}", "0", path), method=method.upper(), return_rule=True)
            described.add(rule.rule)
    assert described == rules


def test_every_path_answers_and_is_described_with_the_status_it_gives(document: Any) -> None:
    client = client_of(a_world())
    for path, operations in document["paths"].items():
        if "get" in operations and "{" not in path:
            response = client.get(path)
            assert str(response.status_code) in operations["get"]["responses"], path
            assert response.status_code == 200
            response.close()


def test_what_is_described_of_a_view_is_what_its_parameters_are(document: Any) -> None:
    described = document["paths"][MINUTES]["get"]["parameters"]
    defined = parameters.of_view(RIDES, RIDES.view("rides_by_minute"))
    assert [p["name"] for p in described] == [p.name for p in defined]
    assert all(p["description"] for p in described)
    by_name = {p["name"]: p["schema"] for p in described}
    assert by_name["limit"] == {"type": "integer", "minimum": 1, "maximum": 100_000, "default": 100_000}
    assert by_name["city"]["items"]["enum"] == ["Bern", "Lima", "Oslo"]
    assert by_name["window"]["default"] == "1m"
    assert "from" not in {p["name"] for p in document["paths"][f"{BASE}/views/rides_by_city"]["get"]["parameters"]}
    assert "layer" not in {p["name"] for p in document["paths"]["/api/rides/history"]["get"]["parameters"]}


@pytest.mark.parametrize("path", [MINUTES, f"{BASE}/views/rides_by_city"])
def test_the_fields_described_are_those_answered_with_unit_and_meaning(document: Any, path: str) -> None:
    text = client_of(a_world()).get(f"{path}?state=1&format=csv").get_data(as_text=True)
    answered = next(csv.reader(io.StringIO(text)))
    row = document["components"]["schemas"][f"rides.{path.rsplit('/', 1)[1]}"]
    described = columns(row)
    assert [name for name in described if not name.startswith("explain.")] == answered and row[
        "additionalProperties"
    ] is False
    assert described["fare_max"]["x-unit"] == "USD" and "largest value of" in described["fare_max"]["description"]
    assert described["n"]["x-unit"] == "events"


def test_meanings_come_from_the_declaration() -> None:
    text = RIDES.text.replace("unit: USD", "unit: CHF, meaning: what was paid")
    schema = openapi.document([parse(text)])["components"]["schemas"]["rides.rides_by_minute"]
    assert schema["properties"]["fare_avg"]["description"] == "mean of what was paid"
    assert schema["properties"]["fare_avg"]["x-unit"] == "CHF"


def test_a_new_dataset_is_described_without_code() -> None:
    other = parse(RIDES.text.replace("dataset: rides", "dataset: other").replace("/api/rides/", "/api/other/"))
    paths = openapi.document([RIDES, other])["paths"]
    assert {p.replace("other", "rides") for p in paths if "other" in p} == {
        p for p in paths if "rides" in p.split("/views/")[0] and "other" not in p
    }


def undescribed(schema: Any, value: Any, at: str = "") -> list[str]:
    """Return the fields of a value that its schema, open as it is, says nothing of."""
    if isinstance(value, list):
        return [name for one in value for name in undescribed(schema.get("items", {}), one, f"{at}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    unknown = [f"{at}.{name}" for name in value if name not in schema["properties"]]
    inner = [(name, part) for name, part in value.items() if name in schema["properties"]]
    return unknown + [x for name, part in inner for x in undescribed(schema["properties"][name], part, f"{at}.{name}")]


def test_every_field_of_the_status_and_of_the_catalogue_is_described(document: Any) -> None:
    world = a_world()
    world.publish(1, 4)
    client = client_of(world)
    parts = document["components"]["schemas"]
    for url, name, key in (("/api/v1/status", "Status", "datasets"), ("/api/v1/datasets", "Dataset", "data")):
        assert undescribed(parts[name], get(client, url)[key][0]) == []
    assert undescribed(parts["Status"], get(client_of(World()), "/api/v1/status")["datasets"][0]) == []
    assert undescribed(parts["Ready"], get(client, "/readyz")) == []


def test_references_lead_somewhere(document: Any) -> None:
    names = set(re.findall(r"#/components/schemas/([^\"']+)['\"]", str(document)))
    assert names and names <= set(document["components"]["schemas"])


def test_with_keys_every_path_but_the_probes_says_so() -> None:
    paths = openapi.document([RIDES], secured=True)["paths"]
    open_ = {path for path, operations in paths.items() for o in operations.values() if o["security"] == []}
    assert open_ == {"/healthz", "/readyz"}
    assert "401" in paths[MINUTES]["get"]["responses"]


def test_an_unchanged_document_is_304() -> None:
    client = client_of(a_world())
    tag = client.get("/openapi.json").headers["ETag"]
    assert client.get("/openapi.json", headers={"If-None-Match": tag}).status_code == 304


def test_the_page_of_the_document_has_no_inline_code() -> None:
    with client_of(a_world()).get("/docs") as page:
        text = page.get_data(as_text=True)
    assert page.mimetype == "text/html"
    assert "<style" not in text and " style=" not in text and "onclick" not in text and "http" not in text
    assert re.findall(r"<script[^>]*>", text) == [
        '<script src="/static/effects/theme.js">',
        '<script src="/static/docs.js" type="module">',
    ]
