"""Synthetic events obey whatever declaration they are made for, look like the samples, and come again by their seed."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections import Counter
from decimal import Decimal
from itertools import islice
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.declaration import Declaration, Field
from braid.declaration_reader import load, parse
from braid.errors import UsageError
from braid.records import Event
from braid.records import parse as read
from producer import synthetic
from producer.made import Made
from producer.options import Options
from producer.options import parse as flags
from producer.sources import Timeline
from producer.tables import DataError, Joined, Line, Table, join, read_folder
from tests.strategies import declarations

ROOT = Path(__file__).parents[2]
NOW = 1_795_169_000_000_000  # 2026-11-20T10:03:20Z
EVERY = 10_000
TIMES = Timeline(NOW, EVERY)


def made(
    declaration: Declaration, most: int, seed: int = 1, timeline: Timeline = TIMES, **samples: Joined
) -> list[Made]:
    topics = [(topic, topic.name) for topic in declaration.topics]
    found = {topic.name: data for topic, data in zip(declaration.topics, samples.values(), strict=False)}
    return list(islice(synthetic.events(declaration, topics, found, timeline, seed), most))


def records(declaration: Declaration, events: list[Made]) -> list[tuple[str, Event]]:
    """Return what the layers read, appended the moment each is due: none may be a dead letter."""
    found = []
    for event in events:
        parsed = read(declaration.topic(event.topic), event.value, append_us=event.due_us)
        assert isinstance(parsed, Event), (event, parsed)
        assert parsed.event_us == event.event_us
        found.append((event.topic, parsed))
    return found


def some_value_is_allowed(declaration: Declaration) -> bool:
    fields = [field for topic in declaration.topics for field in topic.fields.values() if not field.optional]
    return all(synthetic._values_of(field, key=False) is not None for field in fields)


# ---- any declaration ---------------------------------------------------------------------------------------------------


@given(declarations(), st.integers(0, 2**40), st.sampled_from([1, 3333, 10**6, 86_400 * 10**6]))
def test_no_synthetic_record_is_ever_a_dead_letter_and_no_id_comes_twice(declaration, seed, every):
    if not some_value_is_allowed(declaration):
        with pytest.raises(UsageError, match="expected a field with a value that its own rules allow, got none"):
            made(declaration, 1)
        return
    events = made(declaration, 40, seed, Timeline(NOW, every))
    found = records(declaration, events)
    ids = [(topic, event.id64, event.salted64) for topic, event in found]
    assert len(set(ids)) == len(ids)
    assert len({(event.topic, event.key) for event in events}) == len(events)
    assert events == made(declaration, 40, seed, Timeline(NOW, every))


@given(declarations(topics=1), st.integers(0, 2**20))
def test_nor_when_it_was_made_of_other_records(declaration, seed):
    """The samples of a declaration are made by itself, then read back as a file of text."""
    if not some_value_is_allowed(declaration):
        return
    (topic,) = declaration.topics
    rows = [json.loads(event.value, parse_float=str, parse_int=str) for event in made(declaration, 8)]
    columns = tuple(topic.fields)
    lines = tuple(
        Line(i + 2, tuple(row.get(topic.fields[c].member, "") for c in columns)) for i, row in enumerate(rows)
    )
    samples = join([Table("made.csv", columns, lines)])
    later = made(declaration, 20, seed, Timeline(NOW + 10**12, 7), samples=samples)
    ids = [(topic, event.id64, event.salted64) for topic, event in records(declaration, later)]
    assert len(set(ids)) == len(ids)


SMALL = """
dataset: small
topic: small
event_id: [id]
event_time: append
fields:
  id:   {type: integer, min: 3, max: 7}
  kind: {type: string}
  x:    {type: decimal, scale: 2, optional: true}
views: {kinds: {by: [kind], window: all, measures: {x: {of: x, stats: [mean]}}}}
"""


def test_the_events_end_when_there_are_no_more_ids():
    declaration = parse(SMALL)
    values = [event.values["id"] for _, event in records(declaration, made(declaration, 100))]
    assert sorted(values) == [3, 4, 5, 6, 7]


def test_numbers_begin_behind_those_of_the_samples():
    declaration = parse(SMALL.replace("max: 7", "max: 3000"))
    samples = join([Table("s.csv", ("id", "kind"), (Line(2, ("2998", "a")), Line(3, ("nothing", "a"))))])
    values = [event.values["id"] for _, event in records(declaration, made(declaration, 100, samples=samples))]
    assert sorted(values) == [2999, 3000]


def test_samples_that_the_rules_refuse_are_named():
    samples = join([Table("s.csv", ("id", "kind"), (Line(2, ("3000", "a")),))])
    with pytest.raises(DataError, match=r"s\.csv: expected rows that small accepts, to resample, got none"):
        made(parse(SMALL), 1, samples=samples)


@pytest.mark.parametrize(
    ("length", "shown"), [(64, "syn-hoc194pk3k-2a-0"), (39, None), (3, None), (1, None)]
)  # fmt: skip
def test_an_id_says_which_run_made_it_where_there_is_room(length: int, shown: str | None):
    topic = parse(SMALL.replace("id:   {type: integer, min: 3, max: 7}", f"id: {{type: string, max_length: {length}}}"))
    (_, room, id_), (_, _, other) = (synthetic.fresh_of(topic.topics[0], {}, NOW, seed) for seed in (82, 83))
    first = [id_(n) for n in range(30)]
    assert len(set(first)) == 30 <= room
    assert all(isinstance(text, str) and len(text) <= length for text in first)
    if shown:
        assert first[0] == shown
    if length > 12:
        assert not {other(n) for n in range(30)} & set(first)


# ---- of samples --------------------------------------------------------------------------------------------------------


def sampled(name: str, most: int, **more: object) -> tuple[Declaration, list[tuple[str, Event]]]:
    declaration = load(ROOT / "datasets" / f"{name}.yaml")
    folder = ROOT / "data" / name
    samples = {
        f"s{i}": read_folder(p if (p := folder / t.name).is_dir() else folder) for i, t in enumerate(declaration.topics)
    }
    return declaration, records(declaration, made(declaration, most, **samples, **more))


def test_columns_hang_together_and_keys_are_as_skewed_as_in_the_samples():
    _, found = sampled("nyc_taxi", 4000)
    with gzip.open(ROOT / "data/nyc_taxi/trips.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    real, new = Counter(row["pickup_location_id"] for row in rows), Counter()
    whole = {(r["pickup_location_id"], r["trip_distance"], r["fare_amount"], r["tip_amount"]) for r in rows}
    ids = {row["trip_id"] for row in rows}
    for _, event in found:
        v = event.values
        new[str(v["pickup_location_id"])] += 1
        money = [f"{Decimal(v[name]).scaleb(-2):f}" for name in ("trip_distance", "fare_amount", "tip_amount")]
        assert any((str(v["pickup_location_id"]), *texts) in whole for texts in _spellings(money))
        assert v["trip_id"] not in ids
    for zone, n in real.most_common(5):
        assert new[zone] / len(found) == pytest.approx(n / len(rows), rel=0.35)
    assert fmean(e.values["duration_s"] for _, e in found) == pytest.approx(21_531_262 / 30_000, rel=0.15)


def _spellings(texts: list[str]) -> list[tuple[str, ...]]:
    plain = [str(float(text)) for text in texts]
    return [tuple(texts), tuple(plain), tuple(t.removesuffix(".0") for t in plain)]


def test_an_event_is_sent_when_the_newest_of_its_times_has_come():
    _, found = sampled("nyc_taxi", 500)
    for position, (_, event) in enumerate(found):
        times = [event.values["pickup_datetime"], event.values["dropoff_datetime"]]
        assert max(times) == TIMES.at(position)
        assert event.event_us == times[0]


def test_a_time_that_is_part_of_the_id_is_the_time_of_sending():
    declaration, found = sampled("landcover", 300)
    assert [event.event_us for _, event in found] == [TIMES.at(p) for p in range(300)]
    real = {row.values["image_id"] for row in read_folder(ROOT / "data/landcover").rows}
    assert {event.values["image_id"] for _, event in found} <= real
    assert declaration.topics[0].event_id == ("image_id", "timestamp")


def test_topics_come_in_the_proportion_of_their_samples():
    _, found = sampled("reddit", 3000)
    counts = Counter(topic for topic, _ in found)
    for name, rows in (("posts", 9094), ("comments", 17452), ("users", 7761)):
        assert counts[f"reddit.{name}"] / 3000 == pytest.approx(rows / 34307, abs=0.03)


def test_every_declared_dataset_can_be_made_without_samples():
    for path in (ROOT / "datasets").glob("*.yaml"):
        declaration = load(path)
        assert len(records(declaration, made(declaration, 300))) == 300


def test_numbers_without_samples_lie_around_the_middle_of_their_bounds():
    field = Field("x", "decimal", scale=2, min=Decimal(0), max=Decimal(100))
    draw, rng = synthetic.draw_of(field, key=False), random.Random(7)
    values = [draw(rng) for _ in range(2000)]
    assert 45 < fmean(values) < 55
    assert sum(25 < x < 75 for x in values) > 1200
    keys = Counter(synthetic.draw_of(Field("k", "string"), key=True)(rng) for _ in range(3000))
    assert len(keys) == synthetic.KEYS and keys["k-1"] > 3 * keys["k-6"]


# ---- flags -------------------------------------------------------------------------------------------------------------


def options(*words: str) -> Options:
    return flags(list(words), "small")


def test_synthetic_events_are_of_now_and_have_no_end_of_their_own():
    found = options("--synthetic", "--rate", "100")
    assert (found.limit, found.timeline(NOW)) == (None, Timeline(NOW, 10_000))
    assert options("--synthetic", "--delay", "0").timeline(NOW) == Timeline(NOW, 1)
    assert options("--synthetic", "--limit", "7").limit == 7
    again = options("--synthetic", "--start", "2026-01-01T00:00:00Z", "--every", "10s", "--seed", "4")
    assert (again.timeline(NOW).every_us, again.seed) == (10_000_000, 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--synthetic", "--loop"), "--loop: not with --synthetic"),
        (("--synthetic", "--resume"), "--resume: not with --synthetic"),
        (("--from-archive", "--resume"), "--resume: not with --from-archive"),
        (("--from-archive", "--start", "now"), "--start: not with --from-archive"),
        (("--from-archive", "--every", "1s"), "--every: not with --from-archive"),
        (("--from-archive", "--data", "x"), "--data: not with --from-archive"),
        (("--seed", "3"), "--seed: expected --synthetic beside it"),
        (("--from-archive", "--synthetic"), "not allowed with argument"),
        (("--synthetic", "--seed", "-1"), "expected a whole number from 0 on, got '-1'"),
    ],
)
def test_flags_that_speak_of_different_things_end_with_status_2(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options(*words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
