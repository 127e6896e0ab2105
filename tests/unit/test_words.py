"""Words for finished numbers: what a declaration says of them, and where they stand."""

from __future__ import annotations

import pytest

from braid import cql, hiveql, views
from braid.aggregates import finished_of
from braid.declaration_reader import parse
from braid.errors import DeclarationError
from braid.records import Event
from serving import columns

TEXT = """
dataset: roads
topic: roads
event_id: [i]
event_time: append
fields: {i: {type: integer}, cell: {type: string}, speed: {type: decimal, scale: 1, optional: true}}
views:
  per_cell:
    by: [cell]
    window: 1 minute
    measures: {speed: {of: speed, stats: [mean, max]}}
    rename: {speed_mean: avg_speed}
    classify: {level: {of: avg_speed, below: {High: 10, Medium: 16.5}, otherwise: Low}}
"""
ROADS = parse(TEXT)
VIEW = ROADS.views[0]


def folded(*speeds: int | None) -> dict:
    return views.fold(VIEW, (Event(i, i, 0, {"i": i, "cell": "a", "speed": x}) for i, x in enumerate(speeds)))


@pytest.mark.parametrize(
    ("speeds", "word"),
    [((99, 100), "High"), ((100, 100), "Medium"), ((164,), "Medium"), ((165,), "Low"), ((900,), "Low"), ((None,), None), ((-5,), "High")],
)  # fmt: skip
def test_a_word_is_the_first_bound_that_the_number_lies_below(speeds: tuple[int | None, ...], word: str | None) -> None:
    (state,) = folded(*speeds).values()
    assert finished_of(VIEW, state)["level"] == word


def test_it_stands_beside_its_number_everywhere() -> None:
    ((place, state),) = folded(120).items()
    row = dict(zip((c.name for c in hiveql.columns(VIEW)), hiveql.row_of(VIEW, place, state), strict=True))
    assert (row["avg_speed"], row["level"]) == (12.0, "Medium")
    assert hiveql.place_of(VIEW, [row[c.name] for c in hiveql.exact_columns(VIEW)]) == (place, state)
    assert ("level", "text") in cql.projection(ROADS, VIEW).columns
    column = next(c for c in columns.of_view(ROADS, VIEW) if c.name == "level")
    assert (column.values, column.nullable) == (("High", "Medium", "Low"), True)
    assert "`level`" in hiveql.served_view("roads", VIEW, 1, 2)


def test_another_bound_is_another_definition_and_none_at_all_is_the_old_one() -> None:
    without = parse("\n".join(line for line in TEXT.splitlines() if "classify" not in line))
    assert len({ROADS.hash, without.hash, parse(TEXT.replace("16.5", "16")).hash}) == 3


@pytest.mark.parametrize(
    ("stands", "instead", "told"),
    [
        ("of: avg_speed, below", "of: speed_mean, below", "$.views.per_cell.classify.level.of: expected one of avg_speed, speed_max, got 'speed_mean'"),
        ("{High: 10, Medium: 16.5}", "{High: 10, Medium: 9}", "$.views.per_cell.classify.level.below: expected bounds that rise, got 10, 9"),
        (", otherwise: Low", "", "$.views.per_cell.classify.level.otherwise: expected a value, got nothing"),
        ("otherwise: Low", "else: Low", "$.views.per_cell.classify.level.otherwise: expected a value"),
        ("classify: {level:", "classify: {avg_speed:", "$.views.per_cell: expected columns of different names, got 'avg_speed' twice"),
        ("classify: {level:", "classify: {seq:", "expected columns that Braid does not use itself, got 'seq'"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_rule_is_refused(stands: str, instead: str, told: str) -> None:
    with pytest.raises(DeclarationError) as error:
        parse(TEXT.replace(stands, instead))
    assert told in str(error.value)
