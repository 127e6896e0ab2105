"""The declarations of taxi trips, traffic and the forum fit their committed samples: no row is refused.

The topics are built here from the YAML alone, field by field, and the rows go through the producer's own reading, whose
rules are those of both layers.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from braid.declaration import EventTime, Field, Topic
from braid.instants import instant_us
from braid.records import DeadLetter, Event, parse
from producer.sources import Timeline, events
from producer.tables import Joined, Refusal, join, read_folder, read_table

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("nyc_taxi", "taxi_trips", "traffic", "reddit")
NOW_US = instant_us("2026-06-01T00:00:00Z")
ROWS = 3_000  # of each sample; the rest is of the same kind

Keys = dict[str, Any]


def declared(name: str) -> Keys:
    found: Keys = yaml.safe_load((ROOT / "datasets" / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def field_of(name: str, keys: Keys) -> Field:
    bounds = {bound: Decimal(keys[bound]) for bound in ("min", "max") if bound in keys}
    return Field(**{"name": name, **keys, **bounds})


def topics_of(name: str) -> dict[str, Topic]:
    found = declared(name)
    shapes = found.get("topics") or {found["topic"]: found}
    return {
        topic: Topic(
            topic,
            {field: field_of(field, keys) for field, keys in shape["fields"].items()},
            tuple(shape["event_id"]),
            EventTime(None) if shape["event_time"] == "append" else EventTime(**shape["event_time"]),
        )
        for topic, shape in shapes.items()
    }


def samples() -> list[tuple[str, str, Path]]:
    data = ROOT / "data"
    return [
        ("nyc_taxi", "nyc-taxi-stream", data / "nyc_taxi"),
        ("taxi_trips", "taxi_trips", data / "taxi_trips"),
        ("traffic", "taxi-trips", data / "traffic"),
        ("traffic", "taxi-trips", data / "traffic" / "chicago"),
        ("reddit", "reddit.posts", data / "reddit" / "reddit.posts" / "posts.csv.gz"),
        ("reddit", "reddit.comments", data / "reddit" / "reddit.comments" / "comments.csv.gz"),
        ("reddit", "reddit.users", data / "reddit" / "reddit.users" / "users.csv.gz"),
    ]


def read(path: Path) -> Joined:
    return read_folder(path) if path.is_dir() else join([read_table(path)])


@pytest.mark.parametrize(("dataset", "topic", "path"), samples(), ids=lambda v: v.name if isinstance(v, Path) else v)
def test_no_row_of_a_sample_is_refused(dataset: str, topic: str, path: Path) -> None:
    data, refused = read(path), list[Refusal]()
    end = min(ROWS, len(data.rows))
    sent = list(events(topics_of(dataset)[topic], data, Timeline(NOW_US, 1), end=end, refused=refused.append))
    assert refused == []
    assert len(sent) == len({event.key for event in sent}) == end


def test_a_refund_and_a_trip_without_time_are_events() -> None:
    topic = topics_of("nyc_taxi")["nyc-taxi-stream"]
    record = {
        "trip_id": "x", "pickup_datetime": "2022-01-01 00:35:40", "dropoff_datetime": "2022-01-01 00:35:40",
        "vendor_id": 2, "trip_distance": 0.0, "fare_amount": -480.0, "total_amount": -480.3, "tip_amount": 0,
        "pickup_location_id": 264, "dropoff_location_id": 265,
    }  # fmt: skip
    found = parse(topic, json.dumps(record).encode(), NOW_US)
    assert isinstance(found, Event)
    assert found.event_us == instant_us("2022-01-01T05:35:40Z")  # New York is five hours behind in winter
    assert (found.values["fare_amount"], found.values["passenger_count"]) == (-48_000, None)


EARLIER = (
    '{"event_id": "trip_1735562400000_1234", "event_time": "2025-12-30T10:00:00", "pickup_lat": 40.758, '
    '"pickup_lon": -73.9855, "cell_id": "28_45", "speed_mph": 12.5, "is_rush_hour": 1, "is_manhattan": 1}'
)


def test_an_event_as_the_earlier_traffic_system_sent_it_counts_as_it_is() -> None:
    found = parse(topics_of("traffic")["taxi-trips"], EARLIER.encode(), NOW_US)
    assert isinstance(found, Event)
    assert found.event_us == instant_us("2025-12-30T15:00:00Z")
    assert (found.values["speed_mph"], found.values["pickup_lat"]) == (1250, 40_758_000)


def test_a_trip_typed_by_hand_happens_when_it_arrives() -> None:
    topic = topics_of("taxi_trips")["taxi_trips"]
    found = parse(topic, b'{"trip_id": 1001, "duration": 15, "passenger_count": 2}', NOW_US)
    assert isinstance(found, Event)
    assert found.event_us == NOW_US
    wrong = parse(topic, b'{"trip_id": "1001", "duration": 15, "passenger_count": 2}', NOW_US)
    assert wrong == DeadLetter("$.trip_id: expected an integer, got a string")


@pytest.mark.parametrize("name", NAMES)
def test_a_declaration_says_what_its_data_are(name: str) -> None:
    found = declared(name)
    assert found["dataset"] == name
    assert all(found[key] for key in ("title", "description", "attribution"))
    for shape in (found.get("topics") or {"": found}).values():
        for field, keys in {**shape["fields"], **shape.get("derived", {})}.items():
            assert keys.get("meaning"), f"{name}: {field} has no meaning"
    assert all(view["title"] for view in found["views"].values())


@pytest.mark.parametrize("name", NAMES)
def test_views_and_alerts_speak_of_columns_that_there_are(name: str) -> None:
    found = declared(name)
    shapes = found.get("topics") or {found["topic"]: found}
    columns = {t: {**shape["fields"], **shape.get("derived", {})} for t, shape in shapes.items()}
    for view in found["views"].values():
        for topic in view.get("topics", columns):
            for column in (*view["by"], *(m["of"] for m in view["measures"].values())):
                assert column in columns[topic]
            for key in view["by"]:
                assert columns[topic][key]["type"] in {"string", "integer"}
                assert not columns[topic][key].get("optional")
    for alert in found.get("alerts", {}).values():
        history = [
            view for view in found["views"].values()
            if view["window"] == "all" and view["by"] == alert["by"]
            and alert["of"] in {m["of"] for m in view["measures"].values()}
        ]  # fmt: skip
        assert history, "an alert needs its history"
        for known in columns.values():
            assert {alert["of"], *alert["by"], *alert.get("show", ())} <= set(known)
