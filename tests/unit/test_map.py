"""A declared map: checked with the declaration, told in the catalogue, and nothing that a number depends on."""

import pytest

from braid import change
from braid.declaration import Map
from braid.declaration_reader import parse
from braid.errors import DeclarationError
from serving import catalog

TEXT = """dataset: traffic
topic: trips
event_id: [trip]
event_time: {field: at, zone: UTC}
fields:
  trip: {type: string}
  at:   {type: time}
  cell: {type: string}
  north: {type: decimal, scale: 6, optional: true}
  east:  {type: decimal, scale: 6, optional: true}
  speed: {type: decimal, scale: 2}
views:
  per_cell:
    by: [cell]
    window: 1 minute
    measures: {speed: {of: speed, stats: [n, mean]}, lat: {of: north, stats: [mean]}, lon: {of: east, stats: [mean]}}
    rename: {lat_mean: cell_lat, lon_mean: cell_lon}
    classify: {level: {of: speed_mean, below: {High: 10, Medium: 16}, otherwise: Low}}
    map: {lat: cell_lat, lon: cell_lon, colour: level, value: speed_mean, size: speed_n}
"""
MAP = "    map: {lat: cell_lat, lon: cell_lon, colour: level, value: speed_mean, size: speed_n}\n"
COLUMNS = "speed_n, speed_mean, cell_lat, cell_lon"


def test_a_map_names_columns_as_they_are_read() -> None:
    declared = parse(TEXT)
    assert declared.view("per_cell").map == Map("cell_lat", "cell_lon", "level", "speed_mean", "speed_n")
    assert parse(TEXT.replace(", size: speed_n", "")).view("per_cell").map == Map(
        "cell_lat", "cell_lon", "level", "speed_mean", "n"
    )
    assert parse(TEXT.replace(MAP, "")).view("per_cell").map is None


@pytest.mark.parametrize(
    ("stands", "instead", "key", "text"),
    [
        ("lat: cell_lat,", "lat: lat_mean,", ".lat", f"expected one of {COLUMNS}, got 'lat_mean'"),
        ("lon: cell_lon, colour", "lon: cell, colour", ".lon", f"expected one of {COLUMNS}, got 'cell'"),
        ("lon: cell_lon, colour", "lon: n, colour", ".lon", f"expected one of {COLUMNS}, got 'n'"),
        ("colour: level", "colour: speed_mean", ".colour", "expected one of level, got 'speed_mean'"),
        ("value: speed_mean", "value: level", ".value", f"expected one of {COLUMNS}, n, got 'level'"),
        ("size: speed_n", "size: speed_max", ".size", f"expected one of {COLUMNS}, n, got 'speed_max'"),
        ("size: speed_n", "radius: speed_n", ".radius", "expected one of colour, lat, lon, size, value, got 'radius'"),
        ("lat: cell_lat, ", "", ".lat", "expected a value, got nothing; add the key 'lat'"),
    ],
)
def test_a_map_of_columns_that_there_are_not_is_refused(stands: str, instead: str, key: str, text: str) -> None:
    assert TEXT.count(stands) == 1
    with pytest.raises(DeclarationError) as error:
        parse(TEXT.replace(stands, instead), where="datasets/traffic.yaml")
    assert str(error.value) == f"datasets/traffic.yaml:19: $.views.per_cell.map{key}: {text}"


def test_a_map_without_words_or_without_windows_is_refused() -> None:
    start = TEXT.index("    classify")
    with pytest.raises(DeclarationError) as error:
        parse(TEXT[:start] + MAP)
    assert str(error.value) == (
        "declaration:18: $.views.per_cell.map.colour: expected a word declared under classify, got 'level'"
    )
    with pytest.raises(DeclarationError) as error:
        parse(TEXT.replace("window: 1 minute", "window: all"))
    assert str(error.value) == (
        "declaration:19: $.views.per_cell.map: expected a view with windows, through which a map leads, got window: all"
    )


def test_a_map_decides_no_number() -> None:
    with_map, without = parse(TEXT), parse(TEXT.replace(MAP, ""))
    assert with_map.hash == without.hash
    found = change.plan(without, with_map)
    assert not found.needed and [d.decides for d in found.differences] == [False]


def test_a_map_among_what_decides_is_told_apart() -> None:
    other = TEXT.replace("type: decimal, scale: 2", "type: decimal, scale: 3").replace("size: speed_n", "size: n")
    found = change.plan(parse(TEXT), parse(other))
    assert found.needed
    assert {d.name: d.decides for d in found.differences} == {"speed": True, "per_cell": False}


def test_the_catalogue_says_which_view_makes_a_map_and_of_what() -> None:
    columns = {"lat": "cell_lat", "lon": "cell_lon", "colour": "level", "value": "speed_mean", "size": "speed_n"}
    (view,) = catalog.of_dataset(parse(TEXT))["views"]
    assert view["map"] == columns
    assert {view["map"]["colour"]} <= {word["column"] for word in view["words"]}
    (view,) = catalog.of_dataset(parse(TEXT.replace(MAP, "")))["views"]
    assert view["map"] is None
