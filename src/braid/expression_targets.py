"""Who computes an expression: Spark by SQL text, Python by closures; the same operations on integers, value by value alike.

A target can do no more than `expressions.Target` says; what may be asked of it is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

Value: TypeAlias = str | int | None
Row: TypeAlias = Mapping[str, Value]


class Sql:
    """Writes Spark SQL over columns `f_<name>`; the session's zone is UTC."""

    def column(self, name: str) -> str:
        return f"f_{name}"

    def integer(self, value: int) -> str:
        return f"{value}L" if value >= 0 else f"(-{-value}L)"

    def string(self, value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"

    def binary(self, mark: str, a: str, b: str) -> str:
        return f"({a} {mark} {b})"

    def absolute(self, a: str) -> str:
        return f"abs({a})"

    def sign(self, a: str) -> str:
        return f"CASE WHEN {a} < 0 THEN -1L WHEN {a} > 0 THEN 1L END"

    def not_zero(self, a: str) -> str:
        return f"nullif({a}, 0L)"

    def floor(self, n: str, d: str) -> str:
        return f"(({n} - pmod({n}, {d})) DIV {d})"

    def round(self, n: str, d: str) -> str:
        return self.nearest(self.floor(n, d), f"pmod({n}, {d})", d)

    def nearest(self, low: str, rest: str, d: str) -> str:
        """Return the nearer of `low` and `low + 1`, the even one of two as near, when `rest`/`d` is left over."""
        up = f"{rest} > {d} - {rest} OR ({rest} = {d} - {rest} AND pmod({low}, 2L) = 1L)"
        return f"({low} + CASE WHEN {up} THEN 1L WHEN {rest} IS NOT NULL THEN 0L END)"

    def compare(self, mark: str, a: str, b: str) -> str:
        return f"({a} {mark} {b})"

    def logic(self, mark: str, a: str, b: str) -> str:
        return f"({a} {mark.upper()} {b})"

    def negate(self, a: str) -> str:
        return f"(NOT {a})"

    def is_null(self, a: str) -> str:
        return f"({a} IS NULL)"

    def case(self, whens: Sequence[tuple[str, str]], otherwise: str | None) -> str:
        body = " ".join(f"WHEN {condition} THEN {value}" for condition, value in whens)
        return f"CASE {body} {f'ELSE {otherwise} ' if otherwise is not None else ''}END"

    def coalesce(self, of: Sequence[str]) -> str:
        return f"coalesce({', '.join(of)})"

    def text_of(self, n: str) -> str:
        return f"CAST({n} AS STRING)"

    def concat(self, of: Sequence[str]) -> str:
        return f"concat({', '.join(of)})"

    def part(self, name: str, micros: str, zone: str) -> str:
        local = f"from_utc_timestamp(timestamp_micros({micros}), {self.string(zone)})"
        return f"CAST({name}({local}) AS BIGINT)"

    def between(self, a: str, low: int, high: int) -> str:
        return f"CASE WHEN {a} BETWEEN {self.integer(low)} AND {self.integer(high)} THEN {a} END"

    def true(self, a: str) -> str:
        return f"coalesce({a}, false)"


# ---- Python --------------------------------------------------------------------------------------------------------

Run: TypeAlias = Callable[[Row], Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _strict(made: Callable[..., Any], *of: Run) -> Run:
    """Return a closure that is null when anything it needs is."""

    def run(row: Row) -> Any:
        values = [f(row) for f in of]
        return None if None in values else made(*values)

    return run


class Python:
    """Builds closures over a mapping of values; equal to `Sql` value by value."""

    def column(self, name: str) -> Run:
        return lambda row: row[name]

    def integer(self, value: int) -> Run:
        return lambda _: value

    def string(self, value: str) -> Run:
        return lambda _: value

    def binary(self, mark: str, a: Run, b: Run) -> Run:
        made = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y}[mark]
        return _strict(made, a, b)

    def absolute(self, a: Run) -> Run:
        return _strict(abs, a)

    def sign(self, a: Run) -> Run:
        return _strict(lambda x: None if x == 0 else 1 if x > 0 else -1, a)

    def not_zero(self, a: Run) -> Run:
        return _strict(lambda x: x or None, a)

    def floor(self, n: Run, d: Run) -> Run:
        return _strict(lambda x, y: x // y, n, d)

    def round(self, n: Run, d: Run) -> Run:
        return _strict(lambda x, y: round(Fraction(x, y)), n, d)

    def compare(self, mark: str, a: Run, b: Run) -> Run:
        made: Mapping[str, Callable[[Any, Any], bool]] = {
            "=": lambda x, y: x == y, "<>": lambda x, y: x != y, "<": lambda x, y: x < y,
            "<=": lambda x, y: x <= y, ">": lambda x, y: x > y, ">=": lambda x, y: x >= y,
        }  # fmt: skip
        return _strict(made[mark], a, b)

    def logic(self, mark: str, a: Run, b: Run) -> Run:
        decides = mark == "or"

        def run(row: Row) -> Any:
            x, y = a(row), b(row)
            if x is decides or y is decides:
                return decides
            return None if x is None or y is None else not decides

        return run

    def negate(self, a: Run) -> Run:
        return _strict(lambda x: not x, a)

    def is_null(self, a: Run) -> Run:
        return lambda row: a(row) is None

    def case(self, whens: Sequence[tuple[Run, Run]], otherwise: Run | None) -> Run:
        def run(row: Row) -> Any:
            for condition, value in whens:
                if condition(row) is True:
                    return value(row)
            return otherwise(row) if otherwise else None

        return run

    def coalesce(self, of: Sequence[Run]) -> Run:
        return lambda row: next((value for f in of if (value := f(row)) is not None), None)

    def text_of(self, n: Run) -> Run:
        return _strict(str, n)

    def concat(self, of: Sequence[Run]) -> Run:
        return _strict(lambda *texts: "".join(texts), *of)

    def part(self, name: str, micros: Run, zone: str) -> Run:
        place = ZoneInfo(zone)

        def part_of(us: int) -> int:
            local = (_EPOCH + timedelta(microseconds=us)).astimezone(place)
            return local.weekday() if name == "weekday" else int(getattr(local, name))

        return _strict(part_of, micros)

    def between(self, a: Run, low: int, high: int) -> Run:
        return _strict(lambda x: x if low <= x <= high else None, a)

    def true(self, a: Run) -> Run:
        return lambda row: a(row) is True
