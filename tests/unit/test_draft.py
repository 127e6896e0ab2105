"""A draft parses, none of its samples is a dead letter by it, and no two that differ are one event."""

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from braid import cql, records
from braid.declaration_file import Loader
from braid.declaration_reader import parse
from braid.draft import Draft, draft, scalar
from braid.dryrun import DryRun
from braid.errors import UsageError
from braid.records import Event
from braid.samples import Sample, document
from cli import check
from cli.samples import Found, Records, Rows, samples
from producer.tables import join, read_table

NOW_US = 1_795_169_000_000_000  # 2026-11-20T10:03:20Z


def table(folder: Path, rows: list[list[str]]) -> Rows:
    path = folder / "things.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return Rows(path.name, join([read_table(path)]))


def lines(documents: list[str]) -> Records:
    return Records("things.jsonl", (Found(f"things.jsonl:{i}", d.encode(), NOW_US) for i, d in enumerate(documents, 1)))


def drafted(source: Rows | Records) -> tuple[Draft, Rows | Records]:
    """Return a draft, and its source to be read again."""
    some, found, _ = samples(source, NOW_US)
    made = draft("things", "things-events", some, source.label, typed=source.typed)
    return made, Records(source.label, iter(found)) if found else source


def of_lines(*documents: dict[str, Any]) -> Draft:
    return drafted(lines([json.dumps(d) for d in documents]))[0]


def holds(made: Draft, source: Rows | Records, some: list[Sample]) -> None:
    """Check what is promised of every draft, by the commands' own way and by a plain one."""
    topic = made.declaration.topics[0]
    assert parse(made.text).hash == made.declaration.hash
    assert cql.text(made.declaration)
    done = DryRun(made.declaration)
    check.run(done, topic, source, NOW_US)
    assert done.dead == 0, done.reasons()
    assert done.records == len(some)
    if made.declaration.dedupe == "none":
        assert done.copies == 0
        return
    apart, members = set(), {field.member for field in topic.fields.values()}
    for sample in some:
        raw = {key: cell for key, cell in sample.cells.items() if key not in members and cell is not None}
        apart.add((json.dumps(raw, sort_keys=True), _values(made, sample)))
    assert done.good == len(apart)


def _values(made: Draft, sample: Sample) -> tuple[object, ...]:
    topic = made.declaration.topics[0]
    by_key = {field.member: field for field in topic.fields.values()}
    members = [
        f"{json.dumps(key)}:{cell if by_key[key].numeric else json.dumps(cell)}"
        for key, cell in sample.cells.items()
        if key in by_key and cell is not None
    ]
    event = records.parse(topic, ("{" + ",".join(members) + "}").encode(), NOW_US)
    assert isinstance(event, Event), event
    return tuple(event.values.items())


# ---- any table ---------------------------------------------------------------------------------------------------

NAMES = [
    *("sensor_id", "at", "day", "n", "seq", "offset", "null", "no", "order", "things_mean", "db_mean", "x" * 48),
    *("Trip ID", "userId", "日本", "lat", "baseline", "z", "topic", "created_at"),
]
TIMES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2027, 1, 1))  # noqa: DTZ001 - Hypothesis wants no zone
WORDS = st.sampled_from(
    ["red", "blue", "grey soil", "no", "1", "null", "#", "a: b", "- x", "é", "[", '"', "{}", "true"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.one_of(
    st.integers(-(10**11), 10**11).map(str),
    st.integers(-50, 50).map(str),
    st.decimals(-(10**7), 10**7, places=3, allow_nan=False, allow_infinity=False).map("{:f}".format),
    st.decimals(0, 10, places=12, allow_nan=False, allow_infinity=False).map("{:f}".format),
)
KINDS = {
    "few words": WORDS,
    "any text": TEXTS,
    "numbers": NUMBERS,
    "small integers": st.integers(0, 3).map(str),
    "times": TIMES.map(lambda t: t.isoformat(timespec="seconds") + "Z"),
    "local times": TIMES.map(lambda t: t.isoformat(" ")),
    "numbers and words": st.one_of(NUMBERS, WORDS),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], dict[str, str], list[dict[str, str]]]:
    """Return names, the kind of each, and rows: always with a word to group by and a number to measure."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    kinds = {name: draw(st.sampled_from(sorted(KINDS))) for name in names} | {"room": "few words", "db": "numbers"}
    small = st.decimals(-99, 99, places=2, allow_nan=False, allow_infinity=False).map("{:f}".format)
    cells = {
        name: st.one_of(KINDS[kind], st.just("")) if draw(st.booleans()) else KINDS[kind]
        for name, kind in kinds.items()
    }
    cells |= {"room": st.sampled_from(["lab", "hall", "no"]), "db": small}
    rows = draw(st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=25))
    copies = draw(st.lists(st.sampled_from(rows), max_size=3))
    return list(cells), kinds, rows + copies


@settings(max_examples=120)
@given(tables())
def test_any_csv_file_is_drafted_and_none_of_it_is_a_dead_letter(
    tmp_path_factory: pytest.TempPathFactory, drawn: Any
) -> None:
    names, _, rows = drawn
    source = table(tmp_path_factory.mktemp("csv"), [names, *([row[name] for name in names] for row in rows)])
    some, _, unreadable = samples(source, NOW_US)
    made, again = drafted(source)
    assert (len(some), unreadable) == (len(rows), 0)
    holds(made, again, some)


# two ways to write one number, below a key that cannot be the field's name
ZEROS = [{"baseline": zero, "room": "lab", "db": "0.00"} for zero in ("0", "0.000")]


@settings(max_examples=120)
@given(tables())
@example((list(ZEROS[0]), {"baseline": "numbers", "room": "few words", "db": "numbers"}, ZEROS))
def test_any_json_lines_are_drafted_and_none_is_a_dead_letter(drawn: Any) -> None:
    names, kinds, rows = drawn
    documents = []
    for row in rows:
        members = []
        for name in names:
            bare = kinds[name] in {"numbers", "small integers"}
            if row[name]:
                members.append(f"{json.dumps(name)}: {row[name] if bare else json.dumps(row[name])}")
        documents.append("{" + ", ".join(members) + "}")
    made, again = drafted(lines(documents))
    some = [Sample(document(d.encode()) or {}, NOW_US) for d in documents]
    holds(made, again, some)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_scalar_is_read_as_the_text_it_was(text: str) -> None:
    node = yaml.compose(f"a: [{scalar(text)}]  # x", Loader=Loader)
    assert node.value[0][1].value[0].value == text
    assert node.value[0][1].value[0].tag == "tag:yaml.org,2002:str"


def test_json_keys_that_are_no_names_are_read_by_a_key() -> None:
    documents = [
        f'{{"tripId": {n}, "Pick-up zone": "z{n % 3}", "day": "mon", "offset": {n}, "日本": 1, "trip_id": "t", "a\'b": 2, "": 3}}'
        for n in range(60)
    ]
    made, _ = drafted(lines(documents))
    fields = made.declaration.topics[0].fields
    assert {name: field.key for name, field in fields.items()} == {
        "pick_up_zone": "Pick-up zone", "own_day": "day", "own_offset": "offset", "trip_id": "",
    }  # fmt: skip
    # its own name is taken by another key, and those that a declaration cannot write stay out
    left_out = [line for line in made.told if line.startswith("left out")]
    assert [line.split()[2].rstrip(":") for line in left_out][:2] == ["tripId", "日本"]
    assert "pick_up_zone: {type: string, key: Pick-up zone, max_length: 32" in made.text
    event = records.parse(made.declaration.topics[0], documents[7].encode(), NOW_US)
    assert isinstance(event, Event)
    assert (event.values["own_offset"], event.values["pick_up_zone"]) == (7, "z1")


# ---- what is chosen ----------------------------------------------------------------------------------------------


def noise(n: int = 60) -> Iterator[dict[str, Any]]:
    for i in range(n):
        yield {
            "sensor": f"a-{i % 6}", "room": ("lab", "hall", "attic")[i % 3], "at": f"2026-03-01T10:{i // 6:02d}:00Z",
            "db": 30 + i / 4, "count": i % 7,
        }  # fmt: skip


def test_sensors_readings_are_told_apart_by_sensor_and_time() -> None:
    made = of_lines(*noise())
    declared = made.declaration
    topic = declared.topics[0]
    assert topic.event_id == ("sensor", "at")
    assert (topic.event_time.field, topic.event_time.zone) == ("at", "UTC")
    assert [(v.name, v.by, v.window_us) for v in declared.views] == [
        ("things_by_room", ("room",), 10 * 60 * 10**6), ("things_all_time", ("room",), 0),
    ]  # fmt: skip
    assert [(m.name, m.scale) for m in declared.views[0].measures] == [("db", 2), ("count", 0)]
    (alert,) = declared.alerts
    assert (alert.of, alert.by, alert.baseline, alert.show) == ("db", ("room",), "things_all_time", ("sensor",))
    assert [path.path for path in declared.api] == ["/api/things"]
    assert "a guess: no two of 60 samples share both" in made.text


def test_a_column_called_id_that_never_repeats_is_the_id() -> None:
    made = of_lines(*({"reading_id": 7 * i, **one} for i, one in enumerate(noise())))
    assert made.declaration.topics[0].event_id == ("reading_id",)
    assert "quite sure: no two of 60 samples share it" in made.text
    assert "reading_id" not in {m.name for m in made.declaration.views[0].measures}


def test_records_sent_twice_do_not_hide_the_id() -> None:
    once = list(noise())
    made = of_lines(*once, *once[:5])
    assert made.declaration.topics[0].event_id == ("sensor", "at")
    assert "5 are the same as an earlier one in every column" in made.text


def test_without_an_id_every_record_counts() -> None:
    made = of_lines(*({"room": "lab", "db": 1, "tags": [i]} for i in range(9)))
    assert made.declaration.dedupe == "none"
    assert "tags" in "".join(made.told)


def test_without_a_time_it_is_the_append_time() -> None:
    made = of_lines(*({"trip_id": 1000 + i, "vendor": "ab"[i % 2], "duration": i} for i in range(40)))
    topic = made.declaration.topics[0]
    assert (topic.event_time.field, topic.event_id) == (None, ("trip_id",))
    assert made.declaration.views[0].window_us == 60 * 10**6


def test_a_time_in_the_future_or_not_always_there_is_no_event_time() -> None:
    late = of_lines(*({"room": "lab", "db": i, "due": f"2027-01-01T00:00:{i:02d}Z"} for i in range(40)))
    assert late.declaration.topics[0].event_time.field is None
    assert "due lies in the future" in late.text
    holey = of_lines({"room": "lab", "db": 1, "at": None}, {"room": "lab", "db": 2, "at": "2026-01-01T00:00:00Z"})
    assert "at is not in every record" in holey.text


def test_times_without_a_zone_ask_for_one() -> None:
    made = of_lines(*({**one, "at": one["at"].rstrip("Z")} for one in noise()))
    assert "put in the one they were written in" in made.text


def test_codes_group_when_no_text_does(tmp_path: Path) -> None:
    source = table(tmp_path, [["vendor", "fare"], *([str(i % 4 + 1), f"{i}.50"] for i in range(40))])
    made, _ = drafted(source)
    assert made.declaration.topics[0].fields["vendor"].type == "integer"
    assert made.declaration.views[0].by == ("vendor",)
    assert [m.name for m in made.declaration.views[0].measures] == ["fare"]


def test_without_numbers_different_texts_are_counted() -> None:
    made = of_lines(
        *({"user_id": f"u{i % 9}", "room": "abc"[i % 3], "at": f"2026-03-01T10:00:{i:02d}Z"} for i in range(50))
    )
    (measure,) = made.declaration.views[0].measures
    assert (measure.name, measure.stats, made.declaration.alerts) == ("user_id", ("distinct",), ())


@pytest.mark.parametrize(
    ("documents", "name", "says"),
    [
        ([{"tags": []}], "things", "expected a column of text or whole numbers that every record has"),
        ([], "things", "expected at least one record"),
        ([{"room": "lab", "db": 1}], "Things", "expected a name of lower-case letters"),
    ],
)
def test_what_cannot_be_drafted_says_why(documents: list[dict[str, Any]], name: str, says: str) -> None:
    some = [Sample(document(json.dumps(d).encode()) or {}, NOW_US) for d in documents]
    with pytest.raises(UsageError, match=says):
        draft(name, "t", some, "x.jsonl", typed=True)


def test_the_text_is_what_a_person_would_have_written() -> None:
    assert of_lines(*noise()).text.splitlines()[3:9] == [
        "dataset: things",
        "title: Things",
        "topic: things-events",
        "event_id: [sensor, at]  # a guess: no two of 60 samples share both",
        "event_time: {field: at, zone: UTC}  # every time names its own zone",
        "dedupe: by_id  # a second record of an id is a copy, and counts never, however late",
    ]


def test_a_long_list_of_values_has_lines_of_its_own() -> None:
    kinds = [f"a rather long name of kind number {i}" for i in range(5)]
    made = of_lines(*({"kind": kinds[i % 5], "db": i} for i in range(200)))
    assert made.declaration.topics[0].fields["kind"].values == tuple(kinds)
    assert "  kind:\n    type: string\n    values: [a rather" in made.text


def test_groups_of_one_are_said_to_be_no_groups_and_have_no_alerts() -> None:
    made = of_lines(*({"name": f"x{i}", "db": i / 2} for i in range(40)))
    assert made.declaration.views[0].by == ("name",)
    assert made.declaration.alerts == ()
    assert "by: [name]  # no column names kinds that come again" in made.text


def test_kinds_are_liked_better_than_flags_and_flags_than_names() -> None:
    def by(**more: list[Any]) -> str:
        rows = [{name: values[i % len(values)] for name, values in more.items()} | {"db": i} for i in range(90)]
        return of_lines(*rows).declaration.views[0].by[0]

    names = [f"x{i}" for i in range(90)]
    assert by(name=names, flag=["Y", "N"], room=["a", "b", "c"]) == "room"
    assert by(name=names, flag=["Y", "N"]) == "flag"
    assert by(name=names, board=[*names[:40], "x0"]) == "board"
    assert by(name=names, riders=[1, 2, 3]) == "riders"
    assert by(board=names[:40], riders=[1, 2, 3]) == "board"


def test_one_time_far_from_all_others_makes_no_longer_windows() -> None:
    rows = list(noise())
    assert of_lines(*rows, {**rows[0], "at": "2009-01-01T00:00:00Z"}).declaration.views[0].window_us == 10 * 60 * 10**6


def test_what_says_how_much_is_measured_before_what_says_yes_or_no_or_is_not_always_there() -> None:
    rows = [
        {"room": "ab"[i % 2], "on": i % 2, "votes": i % 7, "tip": i / 4 if i % 3 else None, "fare": i / 2}
        for i in range(60)
    ]
    made = of_lines(*rows)
    assert [m.name for m in made.declaration.views[0].measures] == ["fare", "tip", "votes"]
    (switches,) = of_lines(*({"room": row["room"], "on": row["on"]} for row in rows)).declaration.views[0].measures
    assert switches.name == "on"
