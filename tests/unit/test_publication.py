"""The archive of a published topic holds each message once, by the hour it was appended, wherever a run was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_layer import publication
from braid import published
from braid.adapters.memory import MemoryLog, Record
from braid.adapters.publication import Publication
from braid.declaration_reader import parse
from braid.errors import Gap, MasterRefused
from braid.ledger import Range
from tests.unit.test_words import TEXT

DECLARED = parse(TEXT.replace("    window: 1 minute\n", "    window: 1 minute\n    publish: levels\n"))
TOPIC = "levels"
VIEW = next(view for view in DECLARED.views if view.publish == TOPIC)
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR_US = 3_600_000_000


def message(number: int) -> bytes:
    return json.dumps({
        "window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-01T00:01:00Z", "cell": f"c{number % 3}", "avg_speed": number / 10,
        "level": "High", "n": number, "seq": number, "version": DECLARED.hash[:12],
    }).encode()  # fmt: skip


class World:
    """A broker with one published topic, and the archive beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = MemoryLog()
        self.log.create(TOPIC, 3)
        self.archive = Publication(root, "roads", TOPIC)
        self.sent: list[Record] = []
        self.said: list[int] = []
        self._numbers = count()

    def send(self, messages: int, at_us: int, value: bytes | None = b"") -> None:
        for number in islice(self._numbers, messages):
            place, said = number % 3, message(number) if value == b"" else value
            key = f'["2026-01-01T00:00:00Z","c{number % 3}"]'.encode()
            offset = self.log.send(TOPIC, place, said, at_us + number, key)
            self.sent.append(Record(TOPIC, place, offset, at_us + number, said, key))

    def steps(self) -> Iterator[str]:
        sent = publication.topics(DECLARED)
        return publication.steps(
            self.root, "roads", sent, self.log, self.log.read, lambda _, run: self.said.append(run.records)
        )

    def rows(self) -> list[dict[str, Any]]:
        """Read every file as a tool does that knows nothing of Braid."""
        if not self.archive.folder.is_dir():
            return []
        files = f"read_parquet('{self.archive.folder}/**/*.parquet', hive_partitioning = true)"
        found = duckdb.sql(f'SELECT * FROM {files} ORDER BY partition, "offset"').to_arrow_table().to_pylist()
        return [dict(row) for row in found]

    def places(self) -> list[tuple[int, int, bytes | None]]:
        return [(row["partition"], row["offset"], row["raw"]) for row in self.rows()]

    def expected(self) -> list[tuple[int, int, bytes | None]]:
        return sorted(((r.partition, r.offset, r.value) for r in self.sent), key=lambda place: place[:2])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_message_is_archived_once_with_its_key_seq_version_and_numbers(world: World) -> None:
    world.send(7, START_US + HOUR_US - 3)  # over the turn of an hour
    world.send(1, START_US + 2 * HOUR_US, None)
    world.send(1, START_US + 2 * HOUR_US, b"\xffno message of ours")
    steps = list(world.steps())
    assert steps[:2] == ["messages_written", "messages_noted"] and steps[-2:] == ["messages_finished", "messages"]
    rows = world.rows()
    assert world.places() == world.expected()
    for row in rows:
        at = row["append_time"]
        assert tuple(int(row[word]) for word in ("year", "month", "day", "hour")) == (
            at.year,
            at.month,
            at.day,
            at.hour,
        )
    plain = {row["n"]: row for row in rows if row["n"] is not None}
    assert len(plain) == 7
    assert (plain[4]["seq"], plain[4]["version"], plain[4]["cell"], plain[4]["avg_speed"], plain[4]["level"]) == (
        4, DECLARED.hash[:12], "c1", 0.4, "High",
    )  # fmt: skip
    assert plain[4]["key"] == '["2026-01-01T00:00:00Z","c1"]'
    assert plain[4]["window_start"].isoformat() == "2026-01-01T00:00:00+00:00"
    others = [(row["removed"], row["raw"]) for row in rows if row["n"] is None]
    assert sorted(others) == [(False, b"\xffno message of ours"), (True, None)]
    assert len(pd.read_parquet(world.archive.folder)) == 9
    assert sorted({p.parent.name for p in world.archive.folder.rglob("*.parquet")}) == ["hour=00", "hour=01", "hour=02"]


def test_a_run_adds_what_came_since_and_nothing_without(world: World) -> None:
    assert list(world.steps()) == []
    for number in range(3):
        world.send(5, START_US + number * 1000)
        list(world.steps())
        before = sorted(world.archive.path.rglob("*"))
        assert list(world.steps()) == []
        assert sorted(world.archive.path.rglob("*")) == before
        assert world.places() == world.expected()
    assert world.said == [5, 5, 5]
    assert world.archive.damage() is None


def test_wherever_a_run_is_killed_the_next_leaves_each_message_once(tmp_path: Path) -> None:
    for stop in count(1):
        world = World(tmp_path / str(stop))
        world.send(6, START_US + HOUR_US - 3)
        list(world.steps())
        world.send(9, START_US + 3 * HOUR_US - 9)  # two files: one may be moved and the other not
        killed = len(list(islice(world.steps(), stop))) == stop
        world.send(2, START_US + 5 * HOUR_US)
        # a reader in between finds no message twice
        held = [place[:2] for place in world.places()]
        assert len(held) == len(set(held))
        list(world.steps())
        assert world.places() == world.expected()
        assert not (world.archive.kept / "stage").exists()
        assert list(world.steps()) == []
        assert world.archive.damage() is None
        if not killed:
            assert stop > 5
            return


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=8))
def test_any_sequence_of_messages_and_kills_ends_with_each_once(tmp_path_factory, moves) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    for number, (messages, steps) in enumerate(moves):
        world.send(messages, START_US + number * HOUR_US // 2)
        list(islice(world.steps(), steps))
    list(world.steps())
    assert world.places() == world.expected()


def test_what_was_noted_before_a_kill_is_kept_though_the_topic_has_forgotten_it(tmp_path: Path) -> None:
    for stop in count(1):
        world = World(tmp_path / str(stop))
        world.send(6, START_US + HOUR_US - 3)
        list(world.steps())
        world.send(9, START_US + 3 * HOUR_US - 18)  # two files
        before = list(islice(world.steps(), stop))
        noted = "messages_noted" in before
        for place, end in world.log.latest([TOPIC]).items():
            world.log.trim(place, end)
        world.send(3, START_US + 5 * HOUR_US)
        list(world.steps())
        # every file that a reader finds is vouched for, and the other way round
        files = {p.relative_to(world.archive.path).as_posix() for p in world.archive.folder.rglob("*.parquet")}
        assert files == {name for run in world.archive.runs() for name in run.files}
        assert world.archive.damage() is None
        missing = [run.missing for run in world.archive.runs() if run.missing]
        assert missing == ([] if noted else [{0: (2, 5), 1: (2, 5), 2: (2, 5)}])
        lost = set() if noted else {(p, o) for p in range(3) for o in range(2, 5)}
        assert world.places() == [place for place in world.expected() if place[:2] not in lost]
        if len(before) < stop:
            assert stop > 5
            return


def test_a_kill_while_files_are_written_leaves_nothing_to_read(world: World) -> None:
    world.send(4, START_US)

    def failing(wanted: Range) -> Iterator[Record]:
        yield from islice(world.log.read(wanted), 2)
        raise Gap("the broker went away")

    with pytest.raises(Gap):
        list(publication.steps(world.root, "roads", publication.topics(DECLARED), world.log, failing, lambda *_: None))
    assert world.rows() == []
    list(world.steps())
    assert world.places() == world.expected()


def test_what_retention_took_is_in_the_note_and_a_hole_is_no_message(world: World) -> None:
    world.send(6, START_US)
    list(world.steps())
    world.send(6, START_US)
    world.log.skip(TOPIC, 1, 2)
    world.log.trim((TOPIC, 0), 3)
    world.send(3, START_US)
    list(world.steps())
    first, second = world.archive.runs()
    assert (first.missing, second.missing) == ({}, {0: (2, 3)})
    assert second.records == 8
    lost = {(0, 2)}
    assert world.places() == [place for place in world.expected() if place[:2] not in lost]


def test_a_topic_created_again_is_archived_from_its_beginning(world: World) -> None:
    world.send(6, START_US)
    list(world.steps())
    world.log.delete(TOPIC)
    world.log.create(TOPIC, 3)
    world.send(3, START_US + HOUR_US)
    list(world.steps())
    first, second = world.archive.runs()
    assert first.topic_id != second.topic_id
    assert (second.start, second.end) == ({0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1})
    assert len(world.rows()) == 9


def test_a_changed_note_or_file_is_named(world: World) -> None:
    for _ in range(2):
        world.send(3, START_US)
        list(world.steps())
    first, second = sorted(world.archive.kept.glob("run-*.json"))
    text = first.read_text("utf-8")
    first.write_text(text.replace('"records": 3', '"records": 4'), "utf-8")
    with pytest.raises(MasterRefused, match=r"run-0000000002\.json: expected note 2 after .*, got note 2 after"):
        list(world.steps())
    first.write_text(text, "utf-8")
    path = next(world.archive.folder.rglob("*.parquet"))
    path.write_bytes(path.read_bytes() + b"x")
    assert str(path) in (world.archive.damage() or "")
    second.rename(second.with_name("run-0000000007.json"))
    with pytest.raises(MasterRefused, match="restore the notes and files of levels from one backup"):
        world.archive.runs()


def test_the_columns_are_those_of_the_messages() -> None:
    names = [(column.name, column.kind) for column in published.columns(VIEW)]
    assert names == [
        ("window_start", "time"), ("window_end", "time"), ("cell", "text"), ("avg_speed", "number"), ("speed_max", "number"),
        ("level", "text"), ("n", "integer"), ("seq", "integer"), ("version", "text"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (None, None)), (b"", (None, None)), (b"[1]", (None, None)), (b"{", (None, None)), (b"[" * 100_000, (None, None)),
        (b'{"n": true, "cell": 3}', (None, "3")), (b'{"n": 1.5, "cell": ["a", 1]}', (None, '["a", 1]')),
        (b'{"n": 9223372036854775808}', (None, None)), (b'{"n": -4, "cell": "\\ud800"}', (-4, "\\ud800")),
    ],
)  # fmt: skip
def test_a_message_that_says_something_else_loses_nothing_but_its_columns(
    value: bytes, expected: Sequence[Any]
) -> None:
    held = [c for c in published.columns(VIEW) if c.name in {"n", "cell"}]
    cell, n = published.values_of(held, value)
    assert (n, cell) == tuple(expected)


def test_the_topic_that_only_the_text_in_force_names_is_not_forgotten() -> None:
    other = parse(DECLARED.text.replace("publish: levels", "publish: grades"))
    assert list(publication.topics(DECLARED, other)) == ["levels", "grades"]
    assert publication.topics(parse(TEXT)) == {}
