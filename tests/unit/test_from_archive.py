"""The archive sent once more: the bytes as they were, in ledger order, by keys that make each a copy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from braid.adapters import archived as reading
from braid.adapters.environment import load
from braid.errors import MasterRefused, UsageError
from braid.records import Event, parse
from producer import archived, feeds
from producer.made import Made
from producer.options import parse as flags
from producer.sources import Timeline, events
from producer.tables import Refusal, read_folder
from tests.unit.export_world import BOTH, START_US, Archive, bad, call, text

SECOND = 1_000_000
TOPICS = {topic.name: (topic, topic.name) for topic in BOTH.topics}


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Two cuts of two topics, two partitions and rows of several seqs, not in order within their files."""
    held = Archive(tmp_path / "home" / "warehouse")
    first = [call(n, 1 + n % 3, START_US + n * SECOND, partition=n % 2) for n in range(12)]
    first += [text(n, 2, START_US + 500_000 + n * SECOND, "é") for n in range(4)]
    first += [bad(12, 3, START_US + 20 * SECOND, b"{"), bad(13, 3, START_US + 20 * SECOND, None)]
    random.Random(3).shuffle(first)
    held.archive(first, 3)
    held.archive([call(20 + n, 4 + n, START_US + 3600 * SECOND + n * SECOND) for n in range(3)], 7)
    return held


def sent(archive: Archive, begins_us: int | None = None) -> tuple[list[Made], list[Refusal]]:
    refused: list[Refusal] = []
    return list(archived.events(archive.master, archive.master.cuts(), TOPICS, begins_us, refused.append)), refused


def in_order(archive: Archive) -> Iterator[tuple[str, bytes | None]]:
    for one in sorted(archive.sent, key=lambda s: (s.seq, s.topic, s.partition, s.offset)):
        if one.values is not None:
            yield one.topic, one.raw


@pytest.mark.parametrize("most", [100_000, 5, 1])
def test_every_good_record_comes_once_in_ledger_order_with_its_bytes(archive: Archive, most: int) -> None:
    paths = {seq: records for seq, (records, _) in archive.master.tally(archive.master.cuts()).items()}
    assert paths == {1: 4, 2: 8, 3: 6, 4: 1, 5: 1, 6: 1, 7: 0}
    for cut in archive.master.cuts():
        found = list(reading.records(archive.master, cut, list(TOPICS), most))
        places = [(r.seq, r.topic, r.partition, r.offset) for r in found]
        assert places == sorted(places)
    made, refused = sent(archive)
    assert [(event.topic, event.value) for event in made] == list(in_order(archive))
    assert [event.position for event in made] == list(range(len(made)))
    assert sorted(refusal.reason for refusal in refused) == [
        "expected well-formed JSON of at most 16 levels",
        "no value",
    ]


def test_each_is_a_copy_of_an_event_that_was_counted(archive: Archive) -> None:
    """Whoever counts the first record of each id, in ledger order, counts none of them."""
    counted: set[tuple[str, int, int]] = set()
    for topic, raw in in_order(archive):
        event = parse(BOTH.topic(topic), raw, START_US + 10**12)
        assert isinstance(event, Event)
        assert (topic, event.id64, event.salted64) not in counted
        counted.add((topic, event.id64, event.salted64))
    again = {(e.topic, p.id64, p.salted64) for e in sent(archive)[0] if isinstance(p := parse(BOTH.topic(e.topic), e.value, START_US + 10**12), Event)}  # fmt: skip
    assert again == counted


def test_the_key_is_the_one_the_producer_gave_the_row(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text('call,at,hour,cost\n"a ""é",2026-01-01T00:00:01Z,3,1.5\n', encoding="utf-8")
    topic = BOTH.topics[0]
    (row,) = events(topic, read_folder(tmp_path), Timeline(START_US, 0), end=1)
    held = Archive(tmp_path / "root")
    one = call(0, 1, START_US + 6 * SECOND)
    held.archive([replace(one, raw=row.value)], 1)
    assert [(event.key, event.value) for event in sent(held)[0]] == [(row.key, row.value)]


def test_records_are_due_as_far_apart_as_they_came_and_never_go_back(archive: Archive) -> None:
    begins = 7_000
    made, _ = sent(archive, begins)
    due = [event.due_us for event in made]
    assert due[0] == begins
    assert due == sorted(due)
    by_value = {one.raw: one.append_us for one in archive.sent}
    appended = [by_value[event.value] for event in made]
    assert due == [begins + max(appended[: i + 1]) - appended[0] for i in range(len(due))]
    assert {event.due_us for event in sent(archive)[0]} == {0}


def test_a_file_that_is_not_the_archived_one_is_sent_by_nobody(archive: Archive) -> None:
    path = next(archive.master.path.glob("cut=3/topic=texts/*.parquet"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(MasterRefused, match="restore cut=3 from a backup"):
        sent(archive)


def test_what_would_be_counted_again_or_is_not_there_is_refused_before_anything_is_sent(
    archive: Archive, tmp_path: Path
) -> None:
    twice = replace(BOTH, dedupe="none")
    with pytest.raises(UsageError, match="its answers would count every record twice; send to another topic"):
        archived.check(twice, archive.master, TOPICS)
    elsewhere = {"texts": (BOTH.topics[1], "other")}
    assert len(archived.check(twice, archive.master, elsewhere)) == 2
    with pytest.raises(UsageError, match=r"expected archived records, got none; `braid batch calls` first"):
        archived.check(BOTH, Archive(tmp_path / "empty").master, TOPICS)


def test_the_flags_choose_topic_number_and_pace(archive: Archive, tmp_path: Path) -> None:
    settings = load({"BRAID_HOME": str(tmp_path / "home")})
    root = tmp_path / "checkout"
    (root / "datasets").mkdir(parents=True)
    (root / "datasets" / "calls.yaml").write_text(BOTH.text, encoding="utf-8")
    settings = replace(settings, root=root)
    feed = feeds.live(flags(["calls", "--from-archive", "--topic", "calls.in", "--limit", "5"], ""), settings, 9)
    made = list(feed.events(lambda _: None))
    assert len(made) == 5
    assert made[0].due_us == 9
    assert {event.topic for event in made} == {"calls.in"}
    fast = feeds.live(flags(["calls", "--from-archive", "--rate", "10"], ""), settings, 9)
    assert {event.due_us for event in fast.events(lambda _: None)} == {0}
    assert fast.facts() == {"kind": "archive", "through_seq": 7, "ignored": 0}
