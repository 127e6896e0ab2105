"""Expressions: the integers of the engine are the fractions of the second path; what could overflow is refused when it is read."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.declaration_reader import parse
from braid.errors import DeclarationError
from braid.expression_tree import ExpressionError, read
from braid.expressions import TIME_BOUND, Known, condition, number, string
from verify import derived

KNOWN = {
    "a": Known("number", 100, 10**5, nullable=True),
    "b": Known("number", 1, 1000),
    "t": Known("time", 10**6, TIME_BOUND),
    "u": Known("time", 10**6, TIME_BOUND),
    "s": Known("text", 1, 10, nullable=True),
}
DECLARED = """
dataset: d
topic: t
event_id: [i]
event_time: append
fields:
  i: {type: integer}
  a: {type: decimal, scale: 2, min: -1000, max: 1000, optional: true}
  b: {type: integer, min: -1000, max: 1000}
  s: {type: string, max_length: 10, optional: true}
derived:
  x: {type: decimal, scale: 3, sql: "EXPRESSION", min: -100000, max: 100000}
views: {v: {by: [i], window: all, measures: {x: {of: b, stats: [n]}}}}
"""


def numbers(depth: int) -> st.SearchStrategy[str]:
    leaf = st.one_of(
        st.sampled_from(["a", "b", "b", "a"]), st.integers(0, 40).map(str), st.sampled_from(["0.5", "2.25", "0.001"])
    )
    if not depth:
        return leaf
    inner = numbers(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda x: f"abs({x})"),
        inner.map(lambda x: f"floor({x})"),
        inner.map(lambda x: f"(-{x})"),
        st.tuples(flags(depth - 1), leaf, leaf).map(lambda t: f"case when {t[0]} then {t[1]} else {t[2]} end"),
        st.tuples(flags(depth - 1), inner).map(lambda t: f"case when {t[0]} then {t[1]} end"),
        st.tuples(leaf, leaf).map(lambda t: f"coalesce({t[0]}, {t[1]})"),
    )


def flags(depth: int) -> st.SearchStrategy[str]:
    inner = numbers(max(depth - 1, 0))
    plain = st.one_of(
        st.tuples(inner, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), inner).map(" ".join),
        st.tuples(inner, inner, inner).map(lambda t: f"{t[0]} between {t[1]} and {t[2]}"),
        st.tuples(inner, inner, inner).map(lambda t: f"{t[0]} not in ({t[1]}, {t[2]})"),
        st.sampled_from(["s = 'x'", "s is null", "s is not null", "a is null", "s in ('x', 'it''s')"]),
    )
    if not depth:
        return plain
    more = flags(depth - 1)
    return st.one_of(
        plain,
        st.tuples(more, st.sampled_from(["and", "or"]), more).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        more.map(lambda x: f"not ({x})"),
    )


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.just(1),
            "a": st.one_of(st.none(), st.integers(-(10**5), 10**5)),
            "b": st.one_of(st.integers(-1000, 1000), st.sampled_from([0, 1, -1])),
            "s": st.sampled_from([None, "x", "it's"]),
        }
    ),
    min_size=1,
    max_size=8,
)


@given(numbers(3), ROWS)
@settings(max_examples=400, deadline=None)
def test_a_derived_number_is_its_exact_fraction_rounded_once(text: str, rows: list[dict[str, object]]) -> None:
    try:
        declared = parse(DECLARED.replace("EXPRESSION", text))
    except DeclarationError as error:
        assert "2^62" in str(error) or "quotient" in str(error) or "divisor" in str(error)
        return
    topic = declared.topics[0]
    for row in rows:
        expected = derived.add(topic, dict(row))["x"]
        got = topic.derived[0].value.compute(row)  # type: ignore[arg-type]
        assert got == expected
        assert got is not None or topic.derived[0].field.optional


@given(flags(2), ROWS)
@settings(max_examples=300, deadline=None)
def test_a_condition_is_true_only_where_it_is_known_to_be(text: str, rows: list[dict[str, object]]) -> None:
    where = f'views: {{v: {{where: "{text}", by: [i]'
    try:
        declared = parse(DECLARED.replace("EXPRESSION", "b").replace("views: {v: {by: [i]", where))
    except DeclarationError as error:
        assert "2^62" in str(error) or "quotient" in str(error) or "divisor" in str(error)
        return
    view = declared.views[0]
    assert view.where is not None
    for row in rows:
        values = derived.add(declared.topics[0], dict(row))
        assert view.where.compute(values) is derived.chosen(view, declared.topics[0], values)


@pytest.mark.parametrize(
    ("text", "row", "value"),
    [
        ("u - t", {"t": 0, "u": 2_500_000}, 2), ("u - t", {"t": 0, "u": 3_500_000}, 4), ("u - t", {"t": 1, "u": 0}, 0),
        ("a", {"a": 250}, 2), ("a", {"a": 350}, 4), ("-a", {"a": 350}, -4), ("a / 0.5", {"a": 25}, 0), ("1 + 2 * 3", {}, 7),
        ("b / b", {"b": 0}, None), ("weekday(t, 'America/New_York')", {"t": 0}, 2), ("hour(t, 'America/New_York')", {"t": 0}, 19),
        ("year(t, 'UTC')", {"t": 0}, 1970), ("case when b > 1 then 5 when b > 0 then 6 end", {"b": 1}, 6),
    ],
)  # fmt: skip
def test_numbers_by_hand(text: str, row: dict[str, int], value: int | None) -> None:
    assert number(text, KNOWN, 0, -(10**9), 10**9).compute(row) == value


def test_texts_by_hand() -> None:
    cell = string("concat('z-', floor(b / 7), '_', coalesce(s, 'none'))", KNOWN, 60)
    assert cell.compute({"b": -1, "s": None}) == "z--1_none"
    assert not cell.nullable
    assert cell.reads == ("b", "s")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("b +", "a column, a number, a text or '(' at the end of 'b +'"), ("b ? 2", "an expression, got '? 2' at character 2"),
        ("c + 1", "one of the columns a, b, t, u, s, got 'c'"), ("sqrt(b)", "one of the functions concat,"), ("s + 1", "a number for +, got a text"),
        ("b / 0", "a divisor that is not 0, got 0"), ("t * 1000000", "numbers that stay below 2^62 at every step"),
        ("case when b then 1 end", "a flag for when, got a number"), ("coalesce(b / a, 0)", "no quotient in coalesce"),
        ("hour(t)", "hour(a time, 'Zone/Name')"), ("hour(t, 'Mars/Base')", "a time zone such as"), ("hour(b, 'UTC')", "a time for hour, got a number"),
        ("coalesce(s, 1)", "values of one type in coalesce"), ("s", "a number for a number, got a text"), ("b b", "the end of the expression, got 'b'"),
        ("b in 1", "'(', got '1'"), ("'open", "an expression, got"), ("(" * 3000, "nested less deeply"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ExpressionError) as error:
        number(text, KNOWN, 0, -(10**9), 10**9)
    assert told in str(error.value)


def test_other_refusals() -> None:
    with pytest.raises(ExpressionError, match="a condition such as"):
        condition("b + 1", KNOWN)
    with pytest.raises(ExpressionError, match="raise max_length"):
        string("concat(s, s)", KNOWN, 19)
    with pytest.raises(ExpressionError, match="= or <> between texts"):
        condition("s < 'x'", KNOWN)
    with pytest.raises(ExpressionError, match="at most 4096 characters"):
        read("1" * 5000)


def test_long_division_is_exact() -> None:
    value = number("a * 36 / b", KNOWN, 6, -(10**12), 10**12).compute({"a": 12_345, "b": 7})
    assert value == round(Fraction(Decimal("123.45")) * 36 / 7 * 10**6)
