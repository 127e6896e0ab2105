"""What a column of samples is taken for: only what every one of them bears out."""

import pytest

from braid.declaration import LIMIT
from braid.names import column_name, declarable
from braid.samples import Column, Number, PassedOver, column, document, duplicates, json_of


def of(texts: list[str | None], name: str = "x") -> Column | PassedOver:
    return column(name, texts, typed=False)


def declared(texts: list[str | None], name: str = "x") -> Column:
    found = of(texts, name)
    assert isinstance(found, Column), found
    return found


@pytest.mark.parametrize(
    ("texts", "kind", "scale"),
    [
        (["1", "-2", "0"], "integer", 0),
        (["1", "2.50"], "decimal", 2),
        (["0.1", "0.30000000000000004"], "decimal", 6),
        (["2999999999"], "integer", 0),
        (["3000000000"], "string", 0),
        (["299.123456789"], "decimal", 7),
        (["2.9999999999"], "decimal", 6),
        (["1e5"], "string", 0),
        (["007"], "string", 0),
        (["1.", "2"], "string", 0),
        (["+5"], "string", 0),
        (["1", "N/A"], "string", 0),
        (["2026-03-01T10:00:00Z", "2026-03-01 10:00:00.5+02:00"], "time", 0),
        (["2026-03-01"], "string", 0),
        (["2026-02-30T10:00:00Z"], "string", 0),
        (["1969-12-31T23:59:59Z"], "string", 0),
        (["10:00:00"], "string", 0),
    ],
)
def test_a_text_is_what_the_grammar_reads(texts: list[str | None], kind: str, scale: int) -> None:
    found = declared(texts).field
    assert (found.type, found.scale) == (kind, scale)


def test_a_scale_leaves_room_for_the_largest_value_and_no_more_digits_than_there_are() -> None:
    assert declared([f"{LIMIT - 1}"]).field.type == "integer"
    found = declared(["2999999.999", "0.0001"])
    assert found.field.scale == 3
    assert "rounded half-even to 3" in found.note
    # rounded up, the largest would reach the limit at scale 3
    assert declared(["2999999.9996", "0.0001"]).field.scale == 2


def test_numbers_are_compared_as_the_engine_compares_them() -> None:
    assert declared(["1.50", "1.5", "-0.0", None]).values == (150, 150, 0, None)
    assert declared(["2026-01-01T01:00:00+01:00", "2026-01-01 00:00:00"]).distinct == 1


def test_no_bounds_are_claimed_but_those_of_places() -> None:
    assert (declared(["1.5", "2.5"]).field.min, declared(["1.5"]).field.max) == (None, None)
    assert (declared(["41.5"], "stop_lat").field.min, declared(["41.5"], "stop_lat").field.max) == (-90, 90)
    assert declared(["91.5"], "lat").field.max is None


def test_seconds_since_1970_are_said_to_be_no_time() -> None:
    assert "a time is text" in declared(["1772359200", "1772359260"], "created_utc").note
    assert "a time is text" not in declared(["1772359200"], "votes").note


def test_a_hole_makes_a_field_optional() -> None:
    assert declared(["1", None]).field.optional
    assert not declared(["1", "2"]).field.optional
    assert of([None, None]) == PassedOver("x", "empty in every record")


def test_strings_have_room_for_twice_the_longest() -> None:
    assert declared(["ab c"]).field.max_length == 32
    assert declared(["é" * 17]).field.max_length == 128
    assert declared(["x" * 4096]).field.max_length == 4096
    assert isinstance(of(["x" * 4097]), PassedOver)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["a", " "], "blank in 1 of 2 records; a string has to show something"),
        (["a\nb"], "has line ends or other control characters, e.g. 'a\\nb'"),
        (["x" * 5000], "up to 5,000 bytes long; a string has at most 4,096"),
    ],
)
def test_what_would_be_a_dead_letter_is_passed_over(texts: list[str | None], why: str) -> None:
    assert of(texts) == PassedOver("x", why)


def test_a_name_that_no_declaration_takes_is_passed_over() -> None:
    found = column("userId", ["1"], typed=True)
    assert found == PassedOver("userId", "a field's name is lower-case, with single underscores")
    assert column("offset", ["1"], typed=True) == PassedOver("offset", "Braid's own columns are called so")


def test_a_list_is_closed_when_every_value_comes_again_and_again() -> None:
    assert declared(["red", "blue"] * 25).field.values == ("blue", "red")
    assert declared(["red", "blue"] * 24).field.values is None
    assert declared(["red", "blue"] * 40 + ["green"]).field.values is None
    assert declared(["red"] * 100).field.values is None


def test_text_that_is_almost_a_number_or_a_time_says_what_keeps_it() -> None:
    assert declared(["1.5"] * 30 + ["N/A"]).note == "text, because 1 of 31 are no number, e.g. 'N/A'"
    assert "YYYY-MM-DD HH:MM:SS" in declared(["03/01/2026 10:00"], "start_time").note
    assert declared(["9" * 12]).note == "text, because numbers beyond exact sums"


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ([True], "true or false; a field is a string, a number or a time"),
        ([["a"]], "a list; a field is a string, a number or a time"),
        ([{"a": 1}], "an object; a field is a string, a number or a time"),
        ([Number("1"), "2"], "text in 1 of 2 records, numbers in the others, e.g. '2'"),
        ([Number("1e5")], "1 of 1 numbers have an exponent, or more digits than Braid adds up exactly (docs/records.md), e.g. 1e5"),
        ([Number("3000000000")], "beyond ±3,000,000,000, where exact sums end, e.g. 3000000000"),
    ],
)  # fmt: skip
def test_json_says_what_is_a_number(cells: list[object], why: str) -> None:
    assert column("x", cells, typed=True) == PassedOver("x", why)


def test_digits_in_a_json_string_are_a_string() -> None:
    found = column("x", ["41", "42"], typed=True)
    assert isinstance(found, Column)
    assert found.field.type == "string"


def test_only_one_json_object_is_a_document() -> None:
    assert document(b'{"a": 1.50, "b": null}') == {"a": "1.50", "b": None}
    for raw in (None, b"", b"[1]", b"{", b'{"a":1,"a":2}', b"\xff", b'{"a":{"b":1,"b":2}}', b"{}{}", b"[" * 100_000):
        assert document(raw) is None


def test_cells_are_written_as_they_were() -> None:
    cells = {"room": 'é"', "db": Number("41.250"), "none": None, "text": "7", "tags": ["a"]}
    assert json_of(cells) == '{"room":"é\\"","db":41.250,"text":"7","tags":["a"]}'.encode()
    assert json_of({"text": "7"}, lambda name: name == "text") == b'{"text":7}'


def test_duplicates_are_counted_after_the_first() -> None:
    assert duplicates([(1, 2), (1, 2), (2, 1), (1, 2)]) == 2


@pytest.mark.parametrize(
    "header", ["room", "Trip Distance (mi)", "PULocationID", "a__b", "_x", "2019", "x" * 90, "Ä b", "no", "day", "Part"]
)
def test_a_header_becomes_a_name_and_a_name_stays(header: str) -> None:
    name = column_name(header)
    assert declarable(name)
    assert column_name(name) == name
    assert (name == header) == declarable(header)


def test_a_header_without_latin_letters_stays_as_it_is() -> None:
    assert column_name("日本") == "日本"
