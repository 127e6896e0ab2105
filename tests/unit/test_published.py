"""A published view's topic: the rows as they are at head, told apart by key, seq and version."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from braid import published, views
from braid.adapters.memory import MemoryProjections
from braid.adapters.published import PublishedProjections
from braid.declaration_reader import load, parse
from braid.errors import DeclarationError
from braid.records import Event
from tests.unit.test_words import TEXT, VIEW

TRAFFIC = load(Path(__file__).parents[2] / "datasets" / "traffic.yaml")
PUBLISHED = replace(VIEW, publish="levels")


class Topic:
    """Keeps what was sent, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes | None]] = []

    def send_all(self, topic: str, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        self.sent += [(topic, key, value) for key, value in records]


def states(*speeds: int | None, cell: str = "a") -> dict:
    return views.fold(VIEW, (Event(i, i, 90_000_000, {"i": i, "cell": cell, "speed": x}) for i, x in enumerate(speeds)))


def test_a_changed_row_is_written_and_sent_with_its_seq_and_version() -> None:
    declared = parse(TEXT)
    topic, tables = Topic(), MemoryProjections()
    both = PublishedProjections(tables, declared, {"per_cell": "levels"}, topic)
    both.upsert(PUBLISHED, 7, states(99, 100))
    ((name, key, value),) = topic.sent
    assert (name, key) == ("levels", b'["1970-01-01T00:01:00Z","a"]')
    assert json.loads(value or b"") == {
        "window_start": "1970-01-01T00:01:00Z", "window_end": "1970-01-01T00:02:00Z", "cell": "a", "avg_speed": 9.95, "speed_max": 10.0,
        "level": "High", "n": 2, "seq": 7, "version": declared.hash[:12],
    }  # fmt: skip
    other = replace(VIEW, name="other")
    both.upsert(other, 8, states(5))
    both.remove(PUBLISHED, 9, states(5))
    assert topic.sent[1:] == [("levels", key, None)]


def test_what_a_row_does_not_have_is_left_out() -> None:
    ((place, state),) = states(None).items()
    found = json.loads(published.message_of(PUBLISHED, place, state, 3, "abc"))
    assert "avg_speed" not in found and "level" not in found and found["n"] == 1


def test_the_prediction_of_a_cell_has_the_fields_that_its_readers_know() -> None:
    view = TRAFFIC.view("cell_traffic")
    assert view.publish == "traffic-predictions"
    event = {"cell_id": "28_45", "speed_mph": 1250, "pickup_lat": 40_758_000, "pickup_lon": -73_985_500}
    ((place, state),) = views.fold(view, [Event(1, 1, 1_767_106_812_000_000, event)]).items()
    found = json.loads(published.message_of(view, place, state, 1, TRAFFIC.hash))
    assert {name: found[name] for name in ("cell_id", "trip_count", "avg_speed", "congestion_level", "cell_lat", "cell_lon")} == {
        "cell_id": "28_45", "trip_count": 1, "avg_speed": 12.5, "congestion_level": "Medium", "cell_lat": 40.758, "cell_lon": -73.9855,
    }  # fmt: skip
    assert (found["window_start"], found["window_end"]) == ("2025-12-30T15:00:00Z", "2025-12-30T15:01:00Z")


def test_publishing_decides_no_number_and_wants_a_topic_of_its_own() -> None:
    sent = TEXT.replace("    window: 1 minute\n", "    window: 1 minute\n    publish: levels\n")
    assert parse(sent).hash == parse(TEXT).hash
    with pytest.raises(
        DeclarationError, match=r"views\.per_cell\.publish: expected a topic that is no other's, got 'roads'"
    ):
        parse(sent.replace("publish: levels", "publish: roads"))
