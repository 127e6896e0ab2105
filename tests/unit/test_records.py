"""What is a record and what is not, rule by rule, by the reference."""

from __future__ import annotations

from decimal import Decimal

import pytest

from braid.declaration import EventTime, Field, Topic
from braid.records import DeadLetter, Event, parse

APPEND_US = 1_795_169_000_000_000
FIELDS = {
    f.name: f
    for f in (
        Field("image_id", "string", max_length=12),
        Field("class_name", "string", values=("red soil", "grey soil")),
        Field("timestamp", "time"),
        Field("ndvi_mean", "decimal", scale=6, min=Decimal(-1), max=Decimal(1)),
        Field("count", "integer", min=Decimal(0), optional=True),
    )
}
TOPIC = Topic("image-events", FIELDS, ("image_id", "timestamp"), EventTime("timestamp", "America/New_York"))
GOOD = {
    "image_id": '"sat-1"',
    "class_name": '"red soil"',
    "timestamp": '"2026-11-20T10:00:00Z"',
    "ndvi_mean": "0.5",
}


def record(**changed: str | None) -> bytes:
    """Return a good record with some values changed (JSON text) or left out (None)."""
    values = {k: v for k, v in {**GOOD, **changed}.items() if v is not None}
    return ("{" + ",".join(f'"{k}":{v}' for k, v in values.items()) + "}").encode()


def good(raw: bytes) -> Event:
    found = parse(TOPIC, raw, APPEND_US)
    assert isinstance(found, Event), found
    return found


def reason(raw: bytes | None) -> str:
    found = parse(TOPIC, raw, APPEND_US)
    assert isinstance(found, DeadLetter), found
    return found.reason


def test_a_good_record_is_an_event():
    event = good(record())
    assert event.event_us == 1_795_168_800_000_000
    assert event.values == {
        "image_id": "sat-1",
        "class_name": "red soil",
        "timestamp": 1_795_168_800_000_000,
        "ndvi_mean": 500_000,
        "count": None,
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, "no value"),
        (b"", "no value"),
        (b" " * 1_000_000, "expected at most 999999 bytes"),
        (b'{"a":"\xc0\xaf"}', "not valid UTF-8"),
        (b"\xef\xbb\xbf{}", "expected one JSON object"),
        (b"[1]", "expected one JSON object"),
        (b"1", "expected one JSON object"),
        (b'{"a":1', "expected well-formed JSON of at most 16 levels"),
        (b'{"a":01}', "expected well-formed JSON of at most 16 levels"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "expected well-formed JSON of at most 16 levels"),
        (b"[" * 500_000, "expected one JSON object"),
        (b"{'a':1}", "single quotes are not JSON"),
        (b'{"a":1 /* no */}', "comments are not JSON"),
        (b'{"a":-Infinity}', "NaN and Infinity are not JSON"),
        (record() + b"{}", "bytes after the document"),
        (record() + b"\x00", "bytes after the document"),
        (b'{"a":"\\ud800"}', "a lone surrogate escape"),
        (b'{"' + b"k" * 1001 + b'":1}', "a key of more than 1000 characters"),
        (b'{"a":1,"\\u0061":1}', "duplicate keys"),
        (b'{"a":[{"b":1,"b":1}]}', "duplicate keys"),
    ],
)
def test_a_bad_document_has_its_reason(raw, expected):
    assert reason(raw) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"image_id": None}, "$.image_id: missing"),
        ({"image_id": "null"}, "$.image_id: missing"),
        ({"image_id": "7"}, "$.image_id: expected a string"),
        ({"image_id": '""'}, "$.image_id: expected a string that is not blank"),
        ({"image_id": '"\u3000 "'}, "$.image_id: expected a string that is not blank"),
        ({"image_id": '"ééééééé"'}, "$.image_id: expected at most 12 bytes"),
        ({"image_id": '"a\\u0000"'}, "$.image_id: expected no control character"),
        ({"class_name": '"sea"'}, "$.class_name: expected one of red soil, grey soil"),
        ({"ndvi_mean": '"0.5"'}, "$.ndvi_mean: expected a decimal, got a string"),
        ({"ndvi_mean": "1.0000005"}, None),
        ({"ndvi_mean": "1.0000006"}, "$.ndvi_mean: expected a decimal in [-1, 1]"),
        ({"ndvi_mean": "true"}, "$.ndvi_mean: expected a decimal in [-1, 1]"),
        ({"ndvi_mean": "1" * 5000}, "$.ndvi_mean: expected a decimal in [-1, 1]"),
        (
            {"ndvi_mean": "1e40000000"},
            "$.ndvi_mean: expected a decimal without exponent, with at most 28 digits after the point",
        ),
        (
            {"ndvi_mean": "0." + "1" * 29},
            "$.ndvi_mean: expected a decimal without exponent, with at most 28 digits after the point",
        ),
        ({"count": "1.0"}, "$.count: expected an integer written in digits alone"),
        ({"count": "-1"}, "$.count: expected an integer in [0, 3000000000)"),
        ({"count": "3000000000"}, "$.count: expected an integer in [0, 3000000000)"),
        ({"timestamp": '"2026-11-20T10:20:00Z"'}, "$.timestamp: later than 5 minutes after the append time"),
    ],
)
def test_a_bad_field_has_its_reason(changed, expected):
    if expected is None:
        good(record(**changed))
    else:
        assert reason(record(**changed)) == expected


@pytest.mark.parametrize(
    ("text", "scaled"),
    [
        ("0.1234565", 123456),
        ("0.1234575", 123458),
        ("-0.1234565", -123456),
        ("0.12345650000000000000000001", 123457),
        ("-0", 0),
        ("-0.0000005", 0),
        ("1", 1_000_000),
    ],
)
def test_a_decimal_is_rounded_half_even_from_its_text(text, scaled):
    assert good(record(ndvi_mean=text)).values["ndvi_mean"] == scaled


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-01T01:30:00", "2026-11-01T05:30:00Z"),  # twice on that day: the earlier
        ("2026-03-08 02:30:00", "2026-03-08T07:30:00Z"),  # never on that day: 03:30 summer time
        ("2026-01-01T00:00:00.5", "2026-01-01T05:00:00.500000Z"),
        ("2026-01-01T00:00:00+05:45", "2025-12-31T18:15:00Z"),
    ],
)
def test_a_time_without_offset_is_of_the_declared_zone(text, utc):
    assert good(record(timestamp=f'"{text}"')).event_us == good(record(timestamp=f'"{utc}"')).event_us


@pytest.mark.parametrize(
    "text",
    ["10:00:00", "2026-11-20", "2026-11-20T10:00", "2026-02-30T00:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T10:00:60Z",
     "2026-11-20T10:00:00.1234567Z", "2026-11-20T10:00:00z", "2026-11-20T10:00:00+1900", "2026-11-20T10:00:00+19:00",
     "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "1795168800", "٢٠٢٦-11-20T10:00:00Z", "2026-11-20T10:00:00Z\\n"],
)  # fmt: skip
def test_nothing_else_is_a_time(text):
    assert reason(record(timestamp=f'"{text}"')).startswith("$.timestamp: expected a time YYYY-MM-DD")


def test_one_instant_written_two_ways_is_one_id():
    first, second = good(record()), good(record(timestamp='"2026-11-20 11:00:00.000+01:00"'))
    assert (first.id64, first.salted64) == (second.id64, second.salted64)
    assert first.id64 != first.salted64


def test_an_event_time_of_append_needs_no_field():
    topic = Topic("image-events", {"image_id": FIELDS["image_id"]}, ("image_id",), EventTime(None))
    found = parse(topic, b'{"image_id":"a"}', APPEND_US)
    assert isinstance(found, Event)
    assert found.event_us == APPEND_US
