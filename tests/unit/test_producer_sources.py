"""Rows to events: what is sent is a function of position, data and timeline, and only what the reference accepts."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.declaration import Topic
from braid.declaration_reader import load, parse
from braid.records import Event
from braid.records import parse as read
from producer.sources import Outgoing, Timeline, events, ids_repeat, made_field
from producer.tables import DataError, Joined, Refusal, Row, read_folder

ROOT = Path(__file__).resolve().parents[2]
LANDCOVER = load(ROOT / "datasets" / "landcover.yaml").topics[0]
DATA = read_folder(ROOT / "data" / "landcover")
JANUARY = Timeline(1_767_225_600_000_000, 10_000_000)

TRIPS = parse("""
dataset: trips
topic: trips
event_id: [trip_id]
event_time: {field: pickup, zone: America/New_York}
fields:
  trip_id: {type: string}
  pickup: {type: time}
  fare: {type: decimal, scale: 2, min: 0}
  riders: {type: integer, optional: true}
  note: {type: string, optional: true}
views:
  fares: {by: [trip_id], window: all, measures: {fare: {of: fare, stats: [mean]}}}
""").topics[0]


def data(*rows: dict[str, str]) -> Joined:
    made = tuple(Row(values, {"trips.csv": number}) for number, values in enumerate(rows, start=2))
    return Joined(made, {column: "trips.csv" for values in rows for column in values})


def taken(topic: Topic, found: Joined, **more: int) -> tuple[list[Outgoing], list[str]]:
    refused: list[Refusal] = []
    sent = list(events(topic, found, JANUARY, refused=refused.append, **more))
    return sent, [str(r) for r in refused]


def test_the_first_event_to_the_byte() -> None:
    event = next(events(LANDCOVER, DATA, JANUARY))
    assert event.key == b'["sat-00001","2026-01-01T00:00:00Z"]'
    assert event.value == (
        b'{"image_id":"sat-00001","class_name":"grey soil","timestamp":"2026-01-01T00:00:00Z","ndvi_mean":0.020512,'
        b'"ndvi_std":0.010280,"ndvi_min":0.000000,"ndvi_max":0.030769,"green_mean":90.111111,"red_mean":112.666667,'
        b'"nir1_mean":117.555556,"nir2_mean":90.666667}'
    )
    assert event.fields["ndvi_mean"] == Decimal("0.020512")
    assert event.fields["timestamp"] == event.event_us == JANUARY.start_us


def test_every_event_is_what_the_layers_will_read() -> None:
    for event in events(LANDCOVER, DATA, JANUARY, end=6435):
        read_back = read(LANDCOVER, event.value, append_us=event.event_us)
        assert isinstance(read_back, Event)
        assert read_back.event_us == event.event_us
        for name, value in read_back.values.items():
            sent = event.fields[name]
            assert value == (int(sent.scaleb(6)) if isinstance(sent, Decimal) else sent)


def test_all_ids_differ_over_passes_and_times_go_on() -> None:
    sent = list(events(LANDCOVER, DATA, Timeline(JANUARY.start_us, 1), first=6430, end=6440))
    assert [e.position for e in sent] == list(range(6430, 6440))
    assert [e.event_us - JANUARY.start_us for e in sent] == list(range(6430, 6440))
    assert json.loads(sent[5].value)["image_id"] == "sat-00001"
    assert len({e.key for e in events(LANDCOVER, DATA, Timeline(0, 1), end=20_000)}) == 20_000


@given(st.integers(0, 10**6), st.integers(0, 30))
def test_where_a_run_begins_makes_no_difference(first: int, length: int) -> None:
    whole = list(events(LANDCOVER, SMALL, JANUARY, first=first, end=first + length))
    for cut in range(first, first + length + 1):
        head = list(events(LANDCOVER, SMALL, JANUARY, first=first, end=cut))
        assert head + list(events(LANDCOVER, SMALL, JANUARY, first=cut, end=first + length)) == whole


SMALL = Joined(DATA.rows[:7], DATA.file_of)


def test_digits_beyond_the_scale_are_rounded_half_even_like_the_layers_do() -> None:
    rows = [
        ("0.0000005", "0.000000"),
        ("0.0000015", "0.000002"),
        ("-0.0000025", "-0.000002"),
        ("1.00000049", "1.000000"),
    ]
    found = Joined(tuple(_with(DATA.rows[0], ndvi_mean=text) for text, _ in rows), DATA.file_of)
    sent, refused = taken(LANDCOVER, found, end=4)
    assert refused == []
    assert [json.loads(e.value, parse_float=str)["ndvi_mean"] for e in sent] == [rounded for _, rounded in rows]


def _with(row: Row | Refusal, **changed: str) -> Row:
    assert isinstance(row, Row)
    return Row({**row.values, **changed}, row.lines)


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [
        ("ndvi_mean", "abc", "ndvi_stats.csv line 2, column ndvi_mean: expected a decimal, got a string; the file has 'abc'"),
        ("ndvi_mean", "1.1", "ndvi_stats.csv line 2, column ndvi_mean: expected a decimal in [-1, 1]; the file has '1.1'"),
        ("ndvi_mean", "NaN", "ndvi_stats.csv line 2, column ndvi_mean: expected a decimal, got a string; the file has 'NaN'"),
        ("ndvi_mean", "", "ndvi_stats.csv line 2, column ndvi_mean: missing"),
        ("ndvi_mean", "1e-3", "ndvi_stats.csv line 2, column ndvi_mean: expected a decimal without exponent, "
         "with at most 28 digits after the point; the file has '1e-3'"),
        ("ndvi_mean", "1e40000000", "ndvi_stats.csv line 2, column ndvi_mean: expected a decimal without exponent, "
         "with at most 28 digits after the point; the file has '1e40000000'"),
        ("image_id", "  ", "images.csv line 2, column image_id: expected a string that is not blank; the file has '  '"),
        ("image_id", "a\0b", "images.csv line 2, column image_id: expected no control character; the file has 'a\\x00b'"),
        ("image_id", "x" * 200, f"images.csv line 2, column image_id: expected at most 128 bytes; the file has {'x' * 60!r}…"),
        ("class_name", "sea", "classes.csv line 4, column class_name: expected one of red soil, cotton crop, grey soil, "
         "damp grey soil, soil with vegetation stubble, very damp grey soil; the file has 'sea'"),
        ("green_mean", "256", "spectral_data.csv line 2, column green_mean: expected a decimal in [0, 255]; the file has '256'"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_file_line_column_and_reason(column: str, text: str, said: str) -> None:
    found = Joined((_with(DATA.rows[0], **{column: text}), DATA.rows[1]), DATA.file_of)
    sent, refused = taken(LANDCOVER, found, end=4)
    assert refused == [said]  # once, though the row comes round twice
    assert [e.position for e in sent] == [1, 3]


def test_a_refused_line_keeps_its_position() -> None:
    broken = Refusal("images.csv", 3, "", "expected 2 values as in the header, got 1")
    found = Joined((DATA.rows[0], broken, DATA.rows[2]), DATA.file_of)
    sent, refused = taken(LANDCOVER, found, end=3)
    assert refused == [str(broken)]
    assert sent[1] == next(events(LANDCOVER, DATA, JANUARY, first=2))


def test_an_optional_empty_cell_is_left_out() -> None:
    found = Joined((_with(DATA.rows[0], green_mean=""),), DATA.file_of)
    sent, refused = taken(LANDCOVER, found, end=1)
    assert refused == []
    assert "green_mean" not in json.loads(sent[0].value)
    assert "green_mean" not in sent[0].fields


def test_rows_with_a_time_of_their_own_keep_it() -> None:
    found = data({"trip_id": 'a"b', "pickup": "2022-11-06 01:30:00", "fare": "7.5", "riders": "2", "note": ""})
    sent, refused = taken(TRIPS, found, end=1)
    assert refused == []
    assert sent[0].key == b'["a\\"b"]'
    # the hour that comes twice: the earlier offset, as in the layers; sent with its instant, not its zone
    assert sent[0].value == b'{"trip_id":"a\\"b","pickup":"2022-11-06T05:30:00Z","fare":7.50,"riders":2}'
    assert (made_field(TRIPS, found), ids_repeat(TRIPS, None)) == (None, True)
    assert (made_field(LANDCOVER, DATA), ids_repeat(LANDCOVER, "timestamp")) == ("timestamp", False)


def test_a_missing_column_is_named_before_anything_is_sent() -> None:
    found: Iterator[Outgoing] = events(TRIPS, data({"trip_id": "1", "pickup": "2022-01-01T00:00:00Z"}), JANUARY)
    with pytest.raises(DataError) as raised:
        next(found)
    assert str(raised.value) == (
        "trips.csv: expected a column 'fare', which every event of trips needs, got trip_id, pickup"
    )


def test_no_rows_no_events_even_without_end() -> None:
    assert list(events(LANDCOVER, Joined((), DATA.file_of), JANUARY)) == []


KEYED = parse("""
dataset: keyed
topic: keyed
event_id: [trip_id]
event_time: append
fields:
  trip_id: {type: integer, key: tripId}
  fare:    {type: decimal, scale: 2, min: 0, optional: true, key: fare.total}
views:
  fares: {by: [trip_id], window: all, measures: {fare: {of: fare, stats: [mean]}}}
""").topics[0]


def test_a_field_with_a_key_is_written_under_it_and_refused_by_its_column() -> None:
    sent, refused = taken(KEYED, data({"trip_id": "7", "fare": "1.5"}, {"trip_id": "8", "fare": "-1"}), end=2)
    assert [(event.key, event.value) for event in sent] == [(b"[7]", b'{"tripId":7,"fare.total":1.50}')]
    assert refused == ["trips.csv line 3, column fare: expected a decimal in [0, 30000000); the file has '-1'"]
