"""Dead letters: by reason, by place, and sent again so that each event counts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from braid import dead, records
from braid.adapters.memory import FixedClock, MemoryDeadLetters
from braid.dead import Place
from braid.declaration_reader import load, parse
from braid.errors import UsageError
from braid.gaps import RECREATED, Accepted, Loss
from braid.ports import DeadLetterRow
from producer.replay import Bytes, Journal, replay

LANDCOVER = load(Path(__file__).parents[2] / "datasets" / "landcover.yaml")
TOPIC = LANDCOVER.topics[0]
NOW_US = 1_780_000_000_000_000
EVENT = {
    "image_id": "img-1", "class_name": TOPIC.fields["class_name"].values[0], "timestamp": "2026-05-20T10:00:00Z",
    "ndvi_mean": 0.5, "ndvi_std": 0.1, "ndvi_min": 0.1, "ndvi_max": 0.9,
}  # fmt: skip


def letter(offset: int, reason: str = "not valid UTF-8", raw: bytes = b"\xff", at_us: int = NOW_US) -> DeadLetterRow:
    return DeadLetterRow(TOPIC.name, 0, offset, at_us + offset, reason, raw)


def good(**changed: Any) -> bytes:
    return json.dumps(EVENT | changed).encode()


class Log:
    """Takes what is sent, behind ten records that were there."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, bytes | None]] = []

    def delivered(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        assert topic == TOPIC.name
        self.sent.append((key, value))
        return 1, 9 + len(self.sent)


def test_a_place_is_read_and_written_alike() -> None:
    assert str(dead.place("a:b:2:1042")) == "a:b:2:1042"
    assert dead.place("a:b:2:1042") == Place("a:b", 2, 1042)
    for wrong in ("", "topic", "topic:1", "topic:x:1", "topic:1:-2", ":1:2"):
        with pytest.raises(UsageError, match="expected a place topic:partition:offset"):
            dead.place(wrong)


def test_reasons_are_counted_the_most_frequent_first() -> None:
    letters = [letter(3, "a"), letter(2, "b"), letter(1, "b")]
    assert [(r.reason, r.count, r.newest.offset) for r in dead.by_reason(letters)] == [("b", 2, 2), ("a", 1, 3)]


def test_what_the_ledger_does_not_cover_yet_is_not_shown() -> None:
    letters = [letter(1), letter(5), letter(7)]
    assert [d.offset for d in dead.visible(letters, {(TOPIC.name, 0): 6}, [])] == [5, 1]
    gap = Accepted(4, NOW_US + 7, (Loss(TOPIC.name, 0, 9, None, RECREATED),))
    assert [d.offset for d in dead.visible(letters, {(TOPIC.name, 0): 1}, [gap])] == [5, 1]


@pytest.mark.parametrize(
    ("changed", "field", "rule"),
    [
        ({"ndvi_mean": 1.5}, "ndvi_mean", "a decimal of scale 6, at least -1, at most 1"),
        ({"timestamp": "2099-01-01T00:00:00Z"}, "timestamp", "a time at most 5 minutes after the record's append time"),
        ({"class_name": 7}, "class_name", "a string, at most"),
    ],
)
def test_a_reason_leads_to_the_field_and_its_rule(changed: dict[str, Any], field: str, rule: str) -> None:
    found = records.parse(TOPIC, good(**changed), NOW_US)
    assert isinstance(found, records.DeadLetter)
    name, text = dead.rule(TOPIC, found.reason)
    assert name == field
    assert text.startswith(rule)


def test_a_document_that_is_none_leads_to_the_grammar() -> None:
    found = records.parse(TOPIC, b"{'a': 1}", NOW_US)
    assert isinstance(found, records.DeadLetter)
    assert dead.rule(TOPIC, found.reason) == (None, "a record is one JSON object by docs/records.md, section 1")


def test_a_reason_names_the_key_of_the_record_and_leads_to_the_field() -> None:
    (topic,) = parse(
        "dataset: trips\ntopic: trips\nevent_id: [trip_id]\nevent_time: {field: seen, zone: UTC}\n"
        "fields:\n  trip_id: {type: integer, key: tripId}\n  seen: {type: time, key: '@timestamp'}\n"
        "views: {ids: {by: [trip_id], window: all, measures: {ids: {of: trip_id, stats: [max]}}}}\n"
    ).topics
    for raw, reason, rule in (
        (b'{"trip_id": 7}', "$.tripId: missing", ("trip_id", "an integer")),
        (b'{"tripId": 7, "@timestamp": "2026-01-02T00:00:00Z"}', "$.@timestamp: later than 5 minutes after the append time",
         ("seen", "a time at most 5 minutes after the record's append time")),
    ):  # fmt: skip
        found = records.parse(topic, raw, 1_767_225_600_000_000)
        assert isinstance(found, records.DeadLetter)
        assert (found.reason, dead.rule(topic, found.reason)) == (reason, rule)


# ---- sent again ------------------------------------------------------------------------------------------------------

FUTURE = letter(4, "$.timestamp: later than 5 minutes after the append time", good())
BAD = letter(5, "$.ndvi_mean: missing", good(ndvi_mean=None))


def again(tmp_path: Path, log: Log | None, letters: list[DeadLetterRow], **more: bool) -> list[tuple[int, str, Any]]:
    found = replay(
        LANDCOVER, letters, lambda d: Bytes(b"key", d.raw), log, Journal(tmp_path / "dead"), FixedClock(NOW_US), **more
    )
    return [(one.place.offset, one.outcome, one.sent_to or one.now) for one in found]


def test_only_what_would_be_good_now_is_sent_with_its_bytes_as_they_were(tmp_path: Path) -> None:
    log = Log()
    assert again(tmp_path, log, [BAD, FUTURE]) == [
        (4, "sent", f"{TOPIC.name}:1:10"), (5, "still bad", "$.ndvi_mean: missing"),
    ]  # fmt: skip
    assert log.sent == [(b"key", FUTURE.raw)]


def test_a_dry_run_sends_nothing_and_notes_nothing(tmp_path: Path) -> None:
    assert again(tmp_path, None, [FUTURE, BAD]) == [
        (4, "would be sent", None), (5, "still bad", "$.ndvi_mean: missing"),
    ]  # fmt: skip
    assert not (tmp_path / "dead").exists()


def test_what_was_sent_before_is_not_sent_twice_unless_that_is_asked_for(tmp_path: Path) -> None:
    log = Log()
    again(tmp_path, log, [FUTURE])
    assert again(tmp_path, log, [FUTURE]) == [(4, "sent before", f"{TOPIC.name}:1:10")]
    assert len(log.sent) == 1
    assert again(tmp_path, log, [FUTURE], again=True) == [(4, "sent", f"{TOPIC.name}:1:11")]
    other_topic = DeadLetterRow(
        TOPIC.name, 0, 4, NOW_US - 1, "x", FUTURE.raw
    )  # the same place, before it was created again
    assert again(tmp_path, log, [other_topic])[0][1] == "sent"


def test_a_torn_line_of_the_journal_sends_once_more_at_worst(tmp_path: Path) -> None:
    log = Log()
    again(tmp_path, log, [FUTURE])
    path = tmp_path / "dead" / "replayed.jsonl"
    path.write_text(path.read_text("utf-8") + '{"place": "x', "utf-8")
    assert again(tmp_path, log, [FUTURE]) == [(4, "sent before", f"{TOPIC.name}:1:10")]


def test_bad_ones_are_sent_by_force_only(tmp_path: Path) -> None:
    log = Log()
    assert again(tmp_path, log, [BAD], force=True) == [(5, "sent", f"{TOPIC.name}:1:10")]


def test_a_replayed_event_counts_once_and_every_offset_is_accounted_for(tmp_path: Path) -> None:
    """The law of conservation over both records: the dead one stays dead, the new one is good, a further one a copy."""
    log, seen, counts = Log(), set(), {"good": 0, "copies": 0, "dead": 0}
    store = MemoryDeadLetters()
    written = [(FUTURE.raw, NOW_US - 10**15)]  # appended long before its own time
    store.write(1, 1, [FUTURE])
    for _ in range(3):
        again(tmp_path, log, list(store.since(0)), again=True)
    written += [(value, NOW_US) for _, value in log.sent if value is not None]
    for raw, append_us in written:
        event = records.parse(TOPIC, raw, append_us)
        if isinstance(event, records.DeadLetter):
            counts["dead"] += 1
        elif event.id64 in seen:
            counts["copies"] += 1
        else:
            seen.add(event.id64)
            counts["good"] += 1
    assert counts == {"good": 1, "copies": 2, "dead": 1}
    assert sum(counts.values()) == len(written)
