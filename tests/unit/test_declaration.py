"""A declaration is refused whole, with file, line, key, expected and got; every text is asserted here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid import views
from braid.declaration import Declaration
from braid.declaration_file import duration_us
from braid.declaration_reader import load, load_all, parse
from braid.errors import DeclarationError
from tests import laws

BASE = """dataset: rides
topic: city-rides
event_id: [ride]
event_time: {field: at, zone: UTC}
fields:
  ride: {type: string}
  at:   {type: time}
  city: {type: string}
  fare: {type: decimal, scale: 2, min: 0, max: 500}
  note: {type: string, optional: true}
  left: {type: time, optional: true}
views:
  by_city:
    by: [city]
    window: all
    measures: {fare: {of: fare, stats: [mean]}}
alerts:
  odd: {of: fare, by: [city], rule: sigma, beyond: 2}
api:
  /api/fares: {view: by_city}
"""
FIELDS = "ride, at, city, fare, note, left"
NAME = "a name of lower-case letters, digits and single underscores, at most 48"
DURATION = "a duration such as '10 minutes'"
KNOWN = f"one of the fields {FIELDS}, got"
BASELINE = "a view with window: all, by: [city] and a measure of fare, got none; declare it under views: it is the alerts' baseline"
COLUMNS = "use rename, or name the measure differently"

# what stands in BASE, what stands there instead, line, key, expected and got
REFUSED = [
    ("dataset: rides", "dataset: Rides", 1, "$.dataset", f"{NAME}, got 'Rides'"),
    ("  by_city:", "  by__city:", 13, "$.views.by__city", f"{NAME}, got 'by__city'"),
    ("topic: city-rides\n", "", 1, "$.topic", "a value, got nothing; add the key 'topic'"),
    ("topic: city-rides", "topic: a b", 2, "$.topic", "text that matches '^[A-Za-z0-9._-]{1,200}$', got 'a b'"),
    ("api:\n", "dataset: again\napi:\n", 19, "$.dataset", "each key once, got the key a second time; remove one of the two"),
    ("api:\n", "tpoic: x\napi:\n", 19, "$.tpoic", "one of alerts, api, attribution, batch, dataset, dedupe, derived, description, event_id, "
     "event_time, fields, generator, start, title, topic, topics, views, got 'tpoic'"),
    ("api:\n", "dedupe: maybe\napi:\n", 19, "$.dedupe", "'by_id' or 'none', got 'maybe'"),
    ("api:\n", "batch: {every: 10}\napi:\n", 19, "$.batch.every", f"{DURATION}, got 10"),
    ("api:\n", "batch: {every: all}\napi:\n", 19, "$.batch.every", f"{DURATION}, got 'all'"),
    ("api:\n", "batch: {every: 0 minutes}\napi:\n", 19, "$.batch.every", f"{DURATION}, got '0 minutes'"),
    ("event_time: {field: at, zone: UTC}", "event_time: now", 4, "$.event_time", "'append' or {field: …, zone: …}, got 'now'"),
    ("field: at", "field: when", 4, "$.event_time.field", f"{KNOWN} 'when'; declare it under fields"),
    ("field: at", "field: city", 4, "$.event_time.field", "a time field that every event has, got 'city' of type string"),
    ("field: at", "field: left", 4, "$.event_time.field", "a time field that every event has, got 'left' of type time"),
    ("zone: UTC", "zone: Mars/Base", 4, "$.event_time.zone", "a time zone such as Europe/Paris, got 'Mars/Base'"),
    ("event_id: [ride]", "event_id: [rid]", 3, "$.event_id[0]", f"{KNOWN} 'rid'; declare it under fields"),
    ("event_id: [ride]", "event_id: []", 3, "$.event_id", "a value, got nothing; add the key 'event_id'"),
    ("event_id: [ride]", "event_id: [note]", 3, "$.event_id[0]", "a field that every event has, got the optional 'note'"),
    ("city: {type: string}", "city: {type: text}", 8, "$.fields.city.type", "'string', 'decimal', 'integer' or 'time', got 'text'"),
    ("city: {type: string}", "city: {}", 8, "$.fields.city.type", "a value, got nothing; add the key 'type'"),
    ("city: {type: string}", "city: {type: string, lenght: 3}", 8, "$.fields.city.lenght",
     "one of key, max, max_length, meaning, min, optional, scale, type, unit, values, got 'lenght'"),
    ("  note:", "  seq:", 10, "$.fields.seq", "a name that Braid does not use itself, got 'seq'; choose another name"),
    ("scale: 2, min: 0, max: 500", "unit: USD", 9, "$.fields.fare", "a scale (decimal digits) for a decimal, got none; add scale: 6"),
    ("city: {type: string}", "city: {type: string, scale: 2}", 8, "$.fields.city.scale", "no scale, or type: decimal, got type string"),
    ("scale: 2", "scale: 10", 9, "$.fields.fare.scale", "at most 9, got 10"),
    ("city: {type: string}", "city: {type: string, min: 2}", 8, "$.fields.city", "min and max only on numbers, got type string"),
    ("min: 0", "min: 501", 9, "$.fields.fare.min", "at most max (500), got 501"),
    ("min: 0", "min: low", 9, "$.fields.fare.min", "an instance of Decimal, got 'low'"),
    ("min: 0, max: 500", "values: [a]", 9, "$.fields.fare.values", "a list of values only on a string, got type decimal"),
    ("city: {type: string}", "city: {type: string, values: []}", 8, "$.fields.city.values", "at least one item, got []"),
    ("city: {type: string}", "city: {type: string, values: [1]}", 8, "$.fields.city.values[0]", "a valid string, got 1"),
    ("city: {type: string}", "city: {type: string, max_length: 0}", 8, "$.fields.city.max_length", "at least 1, got 0"),
    ("optional: true", "optional: yes", 10, "$.fields.note.optional", "a valid boolean, got 'yes'"),
    ("    by: [city]", "    by: [town]", 14, "$.views.by_city.by[0]", f"{KNOWN} 'town'; declare it under fields"),
    ("    by: [city]", "    by: [fare]", 14, "$.views.by_city.by[0]", "a string or integer field that every event has, got 'fare' of type decimal"),
    ("    by: [city]", "    by: [note]", 14, "$.views.by_city.by[0]", "a string or integer field that every event has, got 'note' of type string, which can be without a value; "
     "give it a value by a derived column with coalesce"),
    ("    by: [city]", "    by: []", 14, "$.views.by_city.by", "at least one item, got []"),
    ("    by: [city]", "    by: city", 14, "$.views.by_city.by", "a list, got 'city'"),
    ("window: all", "window: 0 minutes", 15, "$.views.by_city.window", f"{DURATION}, got '0 minutes'"),
    ("window: all", "window: 3 weeks", 15, "$.views.by_city.window", f"{DURATION}, got '3 weeks'"),
    ("window: all", "window: 600", 15, "$.views.by_city.window", f"{DURATION}, got 600"),
    ("{of: fare, stats", "{of: fair, stats", 16, "$.views.by_city.measures.fare.of",
     "a decimal field, got 'fair'; declare it under fields"),
    ("{of: fare, stats", "{of: city, stats", 16, "$.views.by_city.measures.fare.of",
     "a decimal field, got 'city'; declare it under fields"),
    ("stats: [mean]", "stats: [median]", 16, "$.views.by_city.measures.fare.stats[0]",
     "'n', 'sum', 'mean', 'stddev', 'min', 'max', 'p50', 'p90', 'p95', 'p99', 'distinct' or 'latest', got 'median'"),
    ("stats: [mean]", "stats: []", 16, "$.views.by_city.measures.fare.stats", "at least one item, got []"),
    ("stats: [mean]", "stat: [mean]", 16, "$.views.by_city.measures.fare.stats", "a value, got nothing; add the key 'stats'"),
    ("    window: all", "    window: all\n    rename: {fare_max: dearest}", 16, "$.views.by_city.rename.fare_max",
     "one of fare_mean, got 'fare_max'"),
    ("    window: all", "    window: all\n    rename: {fare_mean: city}", 13, "$.views.by_city",
     f"columns of different names, got 'city' twice; {COLUMNS}"),
    ("    window: all", "    window: all\n    rename: {fare_mean: seq}", 13, "$.views.by_city",
     f"columns that Braid does not use itself, got 'seq'; {COLUMNS}"),
    ("{of: fare, by", "{of: fair, by", 18, "$.alerts.odd.of", f"{KNOWN} 'fair'; declare it under fields"),
    ("{of: fare, by", "{of: note, by", 18, "$.alerts.odd.of", "a decimal field, got 'note'"),
    ("beyond: 2", "beyond: 2, show: [nope]", 18, "$.alerts.odd.show[0]", f"{KNOWN} 'nope'; declare it under fields"),
    ("rule: sigma", "rule: mad", 18, "$.alerts.odd.rule", "'sigma', got 'mad'"),
    ("beyond: 2", "beyond: 0", 18, "$.alerts.odd.beyond", "more than 0, got 0"),
    ("beyond: 2", "beyond: 101", 18, "$.alerts.odd.beyond", "at most 100, got 101"),
    ("beyond: 2", "beyond: 2, min_count: 1", 18, "$.alerts.odd.min_count", "at least 2, got 1"),
    ("    window: all", "    window: 1 minute", 18, "$.alerts.odd", BASELINE),
    ("  odd:", "  by_city:", 18, "$.alerts.by_city", "a table name not yet taken, got 'by_city'"),
    ("  odd:", "  dead_letters:", 18, "$.alerts.dead_letters", "a table name not yet taken, got 'dead_letters'"),
    ("{view: by_city}", "{layer: batch}", 20, "$.api./api/fares", "either view or alerts, got neither"),
    ("{view: by_city}", "{view: by_city, alerts: odd}", 20, "$.api./api/fares", "either view or alerts, got both"),
    ("{view: by_city}", "{view: by_town}", 20, "$.api./api/fares.view", "one of by_city, got 'by_town'"),
    ("{view: by_city}", "{alerts: even}", 20, "$.api./api/fares.alerts", "one of odd, got 'even'"),
    ("{view: by_city}", "{view: by_city, layer: fast}", 20, "$.api./api/fares.layer", "'merged', 'batch' or 'speed', got 'fast'"),
    ("  /api/fares", "  /fares", 20, "$.api./fares", "text that matches '^/api/[a-z0-9/_-]+$', got '/fares'"),
]  # fmt: skip


def test_a_field_may_be_read_from_another_json_key() -> None:
    with pytest.raises(DeclarationError, match=r"\$\.fields\..*\.key: expected text that matches"):
        parse(TWO_KEYS.replace("tripId", "a'b"))
    with pytest.raises(DeclarationError, match=r"expected a JSON key of its own, got 'at', which is that of at"):
        parse(TWO_KEYS.replace("tripId", "at"))
    found = parse(TWO_KEYS)
    assert (found.topics[0].fields["trip"].key, found.topics[0].fields["trip"].member) == ("tripId", "tripId")
    # it decides numbers, and a declaration without one has the hash it always had
    assert found.hash != parse(TWO_KEYS.replace(", key: tripId", "")).hash


TWO_KEYS = """
dataset: two
topic: two
event_id: [trip]
event_time: {field: at, zone: UTC}
fields:
  at:   {type: time}
  trip: {type: integer, key: tripId}
views: {trips: {by: [trip], window: all, measures: {trips: {of: trip, stats: [max]}}}}
"""


@pytest.mark.parametrize(
    ("stands", "instead", "line", "key", "text"), REFUSED, ids=[f"{key} {text[-24:]}" for *_, key, text in REFUSED]
)
def test_what_cannot_be_used_is_refused_by_file_line_key_expected_and_got(
    stands: str, instead: str, line: int, key: str, text: str
) -> None:
    assert stands in BASE
    with pytest.raises(DeclarationError) as error:
        parse(BASE.replace(stands, instead, 1), where="datasets/rides.yaml")
    assert str(error.value) == f"datasets/rides.yaml:{line}: {key}: expected {text}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: expected a mapping with the key 'dataset', got ''"),
        ("- a", "x.yaml: expected a mapping with the key 'dataset', got '- a'"),
        (BASE[: BASE.index("views:")] + "views: {}\n", "x.yaml:12: $.views: expected at least one key, got {}"),
    ],
)
def test_a_text_without_its_parts_is_refused(text: str, message: str) -> None:
    with pytest.raises(DeclarationError) as error:
        parse(text, where="x.yaml")
    assert str(error.value) == message


def test_what_is_no_yaml_is_refused_in_one_line() -> None:
    with pytest.raises(DeclarationError) as error:
        parse("a: [", where="x.yaml")
    assert str(error.value).startswith("x.yaml: expected YAML, got while parsing")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="expected a readable UTF-8 file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("title: é".encode("latin-1"))
    with pytest.raises(DeclarationError, match="expected a readable UTF-8 file"):
        load(tmp_path / "latin.yaml")


def test_a_file_is_named_like_its_dataset(tmp_path: Path) -> None:
    (tmp_path / "rides.yaml").write_text(BASE)
    assert list(load_all(tmp_path)) == ["rides"]
    (tmp_path / "other.yaml").write_text(BASE)
    with pytest.raises(
        DeclarationError, match=r"other\.yaml: \$\.dataset: expected 'other' like the file, got 'rides'"
    ):
        load_all(tmp_path)


def test_yaml_keeps_text_that_older_yaml_reads_as_something_else() -> None:
    declared = parse(
        BASE.replace("city: {type: string}", "city: {type: string, values: [off, 10:30, 2020-01-01, 1e3, Null]}")
    )
    assert declared.topics[0].fields["city"].values == ("off", "10:30", "2020-01-01", "1e3", "Null")


# ---- the hash ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stands", "instead"),
    [
        (
            "dataset: rides",
            "dataset: rides\ntitle: Rides\ndescription: all of them\nattribution: somebody\nbatch: {every: 1 hour}",
        ),
        ("max: 500}", "max: 500, unit: USD, meaning: what was paid}"),
        ("  by_city:", "  by_city:\n    title: by city"),
        ("/api/fares: {view: by_city}", "/api/other: {alerts: odd}"),
        ("    by: [city]\n    window: all", "    window: all\n    by: [city]  # another order, a remark"),
    ],
)
def test_what_decides_no_number_keeps_the_hash(stands: str, instead: str) -> None:
    assert stands in BASE
    assert parse(BASE.replace(stands, instead)).hash == parse(BASE).hash


@pytest.mark.parametrize(
    ("stands", "instead"),
    [
        ("scale: 2", "scale: 3"),
        ("max: 500", "max: 501"),
        ("event_id: [ride]", "event_id: [ride, at]"),
        ("zone: UTC", "zone: Europe/Paris"),
        ("stats: [mean]", "stats: [mean, max]"),
        ("beyond: 2", "beyond: 3"),
        ("dataset: rides", "dataset: rides\ndedupe: none"),
        ("city: {type: string}", "city: {type: string, max_length: 9}"),
        ("window: all", "window: all\n    rename: {fare_mean: fare_avg}"),
    ],
)
def test_what_decides_numbers_changes_the_hash(stands: str, instead: str) -> None:
    assert stands in BASE
    assert parse(BASE.replace(stands, instead)).hash != parse(BASE).hash


@given(st.integers(1, 999_999), st.sampled_from([("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)]))
def test_durations_are_whole_microseconds(count: int, unit: tuple[str, int]) -> None:
    assert duration_us(f"{count} {unit[0]}s") == duration_us(f"{count} {unit[0]}") == count * unit[1] * 10**6


# ---- finest views --------------------------------------------------------------------------------------------------

SHAPES = [("[kind, site]", "1 minute"), ("[kind, site]", "1 hour"), ("[kind]", "1 minute"), ("[kind]", "10 minutes"),
          ("[kind]", "all"), ("[site]", "90 seconds"), ("[site]", "all"), ("[kind, site]", "all")]  # fmt: skip
SETS = ["{x: {of: x, stats: [mean]}}", "{x: {of: x, stats: [max]}, y: {of: y, stats: [max]}}"]


def of_shapes(shapes: list[tuple[tuple[str, str], str]]) -> Declaration:
    head = "dataset: d\ntopic: t\nevent_id: [name]\nevent_time: append\nfields:\n"
    fields = "  name: {type: string}\n  kind: {type: string}\n  site: {type: string}\n"
    numbers = "  x: {type: decimal, scale: 3}\n  y: {type: integer, optional: true}\n"
    text = "".join(
        f"  v{i}: {{by: {by}, window: {window}, measures: {measures}}}\n"
        for i, ((by, window), measures) in enumerate(shapes)
    )
    return parse(head + fields + numbers + "views:\n" + text)


@given(
    st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from(SETS)), min_size=1, max_size=7),
    st.lists(laws.events, max_size=10),
)
def test_every_view_follows_from_one_that_has_fragments(
    shapes: list[tuple[tuple[str, str], str]], events: list[laws.Event]
) -> None:
    declared = of_shapes(shapes)
    for spec in declared.views:
        fine = declared.finest(spec)
        assert fine in declared.fragment_views
        folded = views.fold(fine, events)
        assert (folded if fine is spec else views.coarsen(folded, fine, spec)) == views.fold(spec, events)


def test_the_finest_of_three_has_the_fragments_whatever_their_order() -> None:
    declared = of_shapes([((by, window), SETS[0]) for by, window in SHAPES[3:5] + SHAPES[2:3]])
    assert [v.name for v in declared.fragment_views] == ["v2"]
    assert [declared.finest(v).name for v in declared.views] == ["v2", "v2", "v2"]


def test_the_declarations_of_this_repository_can_be_used() -> None:
    found = load_all(Path(__file__).parents[2] / "datasets")
    assert "landcover" in found
    assert [v.name for v in found["landcover"].fragment_views] == ["realtime_ndvi_by_class", "spectral_by_class"]
