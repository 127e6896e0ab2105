"""Expressions of a declaration: read once, then the same value in Python and in Spark SQL, to the last bit.

A number is an exact fraction n/d of integers, d > 0: a decimal is its scaled integer over 10^scale, an integer stands over
1, a time is its microseconds over 10^6 (so the difference of two times is seconds). Adding, multiplying and dividing
fractions takes integers alone, and one rounding, half to even, ends in the declared scale. No double is met on the way.

Both engines run the very same integer operations in 64 bits, and none can overflow: the bounds of every intermediate
number follow from those of the fields, and an expression that could pass 2^62 is refused when the declaration is read.
A value that does not exist (an absent field, a division by zero) is null and makes everything null that needs it, with
SQL's three-valued logic.

`compiled` walks the tree once for any `Target`: `Sql` writes text, `Python` builds closures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar
from zoneinfo import ZoneInfo

from braid.expression_targets import Python, Run, Sql
from braid.expression_tree import COMPARE, PARTS, Column, Constant, ExpressionError, Node, columns, read

MOST = 1 << 62  # no intermediate number may reach it
TIME_BOUND = 230 * 366 * 86_400 * 10**6  # microseconds: every time from 1970 to 2200

Type = Literal["number", "text", "flag"]
T = TypeVar("T")


class Known(NamedTuple):
    """What is known of a column: `den` and `bound` of numbers (|n| <= bound), UTF-8 bytes of texts, whether it can be null."""

    type: Type | Literal["time"]
    den: int = 1
    bound: int = 0
    nullable: bool = False


class Target(Protocol[T]):
    """What one engine can do; every number is an integer of at most 62 bits, every operation is null-safe as in SQL."""

    def column(self, name: str) -> T: ...
    def integer(self, value: int) -> T: ...
    def string(self, value: str) -> T: ...
    def binary(self, mark: str, a: T, b: T) -> T: ...
    def absolute(self, a: T) -> T: ...
    def sign(self, a: T) -> T: ...
    def not_zero(self, a: T) -> T: ...
    def floor(self, n: T, d: T) -> T: ...
    def round(self, n: T, d: T) -> T: ...
    def compare(self, mark: str, a: T, b: T) -> T: ...
    def logic(self, mark: str, a: T, b: T) -> T: ...
    def negate(self, a: T) -> T: ...
    def is_null(self, a: T) -> T: ...
    def case(self, whens: Sequence[tuple[T, T]], otherwise: T | None) -> T: ...
    def coalesce(self, of: Sequence[T]) -> T: ...
    def text_of(self, n: T) -> T: ...
    def concat(self, of: Sequence[T]) -> T: ...
    def part(self, name: str, micros: T, zone: str) -> T: ...
    def between(self, a: T, low: int, high: int) -> T: ...
    def true(self, a: T) -> T: ...


@dataclass(frozen=True, slots=True)
class Compiled(Generic[T]):
    """One compiled expression.

    Attributes
    ----------
    value : numbers: the numerator; texts and flags: themselves
    den : the denominator when it is a constant, None when `den_value` computes it
    bound, den_bound : |numerator| and denominator are at most that; of a text, its UTF-8 bytes
    """

    type: Type | Literal["time"]
    value: T
    nullable: bool
    bound: int = 0
    den: int | None = 1
    den_value: T | None = None
    den_bound: int = 1


class Compiler(Generic[T]):
    """Walks trees for one target."""

    def __init__(self, target: Target[T], known: Mapping[str, Known]) -> None:
        self.t = target
        self.known = known

    def walk(self, node: Node) -> Compiled[T]:  # noqa: PLR0912 - one branch a kind of node
        """Return the compiled tree; ExpressionError when types do not fit or a number could pass 62 bits."""
        if isinstance(node, Constant):
            if isinstance(node.value, str):
                return Compiled("text", self.t.string(node.value), False, len(node.value.encode()))
            n, d = node.value.numerator, node.value.denominator
            return self._bounded(Compiled("number", self.t.integer(n), False, abs(n), d, None, d))
        if isinstance(node, Column):
            if node.name not in self.known:
                raise ExpressionError(f"one of the columns {', '.join(self.known)}, got {node.name!r}")
            k = self.known[node.name]
            den = 10**6 if k.type == "time" else k.den
            return Compiled(k.type, self.t.column(node.name), k.nullable, k.bound, den, None, den)
        name, of = node.name, node.of
        if name in PARTS:
            return self._part(name, of)
        if name == "case":
            return self._case(of)
        if name == "/" and isinstance(of[1], Constant) and isinstance(of[1].value, Fraction):
            if not of[1].value:
                raise ExpressionError("a divisor that is not 0, got 0")
            name, of = "*", (of[0], Constant(1 / of[1].value))
        found = [self.walk(child) for child in of]
        if name in {"+", "-", "*", "/"}:
            return self._bounded(self._arithmetic(name, *found))
        if name in COMPARE:
            return self._compare(name, *found)
        if name in {"and", "or", "not"}:
            for x in found:
                self._need(x, "flag", name)
            nullable = any(x.nullable for x in found)
            values = [x.value for x in found]
            made = self.t.negate(*values) if name == "not" else self.t.logic(name, *values)
            return Compiled("flag", made, nullable)
        if name == "is null":
            return Compiled("flag", self.t.is_null(found[0].value), False)
        if name == "concat":
            return self._concat(found)
        if name == "coalesce":
            alike = self._alike(found, "coalesce")
            made = self.t.coalesce([x.value for x in alike])
            return self._of(alike, made, all(x.nullable for x in found))
        if len(found) != 1:
            raise ExpressionError(f"{name} of one number, got {len(found)} values")
        x = self._number(found[0], name)
        if name == "abs":
            return Compiled("number", self.t.absolute(x.value), x.nullable, x.bound, x.den, x.den_value, x.den_bound)
        return Compiled("number", self._down(self.t.floor, x), x.nullable, x.bound + 1)

    def scaled(self, x: Compiled[T], scale: int) -> Compiled[T]:
        """Return a number times 10^scale, still a fraction."""
        return self._times(self._number(x, "a number"), 10**scale)

    def rounded(self, x: Compiled[T], scale: int) -> Compiled[T]:
        """Return a number as an integer at a scale, rounded half to even."""
        scaled = self.scaled(x, scale)
        bound = scaled.bound // (scaled.den or 1) + 1 if scaled.den != 1 else scaled.bound
        return Compiled("number", self._down(self.t.round, scaled), x.nullable, bound, 1)

    def denominator(self, x: Compiled[T]) -> T:
        """Return the denominator, more than 0, or null where there is none."""
        return x.den_value if x.den_value is not None else self.t.integer(x.den or 1)

    # -- helpers

    # -- helpers

    def _times(self, x: Compiled[T], factor: int) -> Compiled[T]:
        if x.den is not None:
            whole = Fraction(factor, x.den)
            n, d = whole.numerator, whole.denominator
            value = x.value if n == 1 else self.t.binary("*", x.value, self.t.integer(n))
            return self._bounded(Compiled("number", value, x.nullable, x.bound * n, d, None, d))
        value = self.t.binary("*", x.value, self.t.integer(factor)) if factor != 1 else x.value
        return self._bounded(Compiled("number", value, x.nullable, x.bound * factor, None, x.den_value, x.den_bound))

    def _down(self, how: Callable[[T, T], T], x: Compiled[T]) -> T:
        return x.value if x.den == 1 else how(x.value, self.denominator(x))

    def _bounded(self, x: Compiled[T]) -> Compiled[T]:
        worst = max(x.bound, 2 * x.den_bound)
        if x.type == "number" and worst >= MOST:
            raise ExpressionError(
                f"numbers that stay below 2^62 at every step, got one that can reach about 10^{len(str(worst)) - 1}; "
                "give its fields min and max, or fewer digits"
            )
        return x

    def _need(self, x: Compiled[T], type_: Type, who: str) -> None:
        if x.type != type_:
            raise ExpressionError(f"a {type_} for {who}, got a {x.type}")

    def _number(self, x: Compiled[T], who: str) -> Compiled[T]:
        if x.type not in {"number", "time"}:
            raise ExpressionError(f"a number for {who}, got a {x.type}")
        return x

    def _arithmetic(self, mark: str, a: Compiled[T], b: Compiled[T]) -> Compiled[T]:
        a, b = self._number(a, mark), self._number(b, mark)
        nullable = a.nullable or b.nullable
        if mark == "*":
            den = a.den * b.den if a.den is not None and b.den is not None else None
            den_value = None if den is not None else self._product(a, b)
            value = self.t.binary("*", a.value, b.value)
            return Compiled("number", value, nullable, a.bound * b.bound, den, den_value, a.den_bound * b.den_bound)
        if mark == "/":
            return self._divide(a, b)
        if a.den is not None and b.den is not None:
            common = lcm(a.den, b.den)
            x, y = self._over(a, common), self._over(b, common)
            value = self.t.binary(mark, x.value, y.value)
            return Compiled("number", value, nullable, x.bound + y.bound, common, None, common)
        x = self._bounded(Compiled("number", self._cross(a, b), nullable, a.bound * b.den_bound))
        y = self._bounded(Compiled("number", self._cross(b, a), nullable, b.bound * a.den_bound))
        value = self.t.binary(mark, x.value, y.value)
        den_value, den_bound = self._product(a, b), a.den_bound * b.den_bound
        return Compiled("number", value, nullable, x.bound + y.bound, None, den_value, den_bound)

    def _divide(self, a: Compiled[T], b: Compiled[T]) -> Compiled[T]:
        divisor = self.t.not_zero(b.value)
        value = self.t.binary("*", self._cross(a, b), self.t.sign(divisor))
        magnitude = self.t.absolute(divisor)
        den_value = magnitude if a.den == 1 else self.t.binary("*", magnitude, self.denominator(a))
        return Compiled("number", value, True, a.bound * b.den_bound, None, den_value, b.bound * a.den_bound)

    def _cross(self, a: Compiled[T], b: Compiled[T]) -> T:
        return a.value if b.den == 1 else self.t.binary("*", a.value, self.denominator(b))

    def _product(self, a: Compiled[T], b: Compiled[T]) -> T:
        return self.t.binary("*", self.denominator(a), self.denominator(b))

    def _over(self, x: Compiled[T], den: int) -> Compiled[T]:
        factor = den // (x.den or 1)
        value = x.value if factor == 1 else self.t.binary("*", x.value, self.t.integer(factor))
        return self._bounded(Compiled(x.type, value, x.nullable, x.bound * factor, den, None, den))

    def _compare(self, mark: str, a: Compiled[T], b: Compiled[T]) -> Compiled[T]:
        nullable = a.nullable or b.nullable
        if a.type == "text" or b.type == "text":
            self._need(a, "text", mark)
            self._need(b, "text", mark)
            if mark not in {"=", "<>"}:
                raise ExpressionError(f"= or <> between texts, got {mark}")
            return Compiled("flag", self.t.compare(mark, a.value, b.value), nullable)
        difference = self._bounded(self._arithmetic("-", a, b))
        # d > 0, so the sign of a − b is that of its numerator
        return Compiled("flag", self.t.compare(mark, difference.value, self.t.integer(0)), difference.nullable)

    def _alike(self, found: Sequence[Compiled[T]], who: str) -> list[Compiled[T]]:
        """Return values of one type; numbers over one constant denominator."""
        types = {"number" if x.type == "time" else x.type for x in found}
        if len(types) > 1:
            raise ExpressionError(f"values of one type in {who}, got {' and '.join(sorted(types))}")
        if types == {"number"}:
            if any(x.den is None for x in found):
                raise ExpressionError(f"no quotient in {who}; declare the quotient as a column of its own first")
            common = lcm(*(x.den or 1 for x in found))
            return [self._over(x, common) for x in found]
        return list(found)

    def _of(self, alike: Sequence[Compiled[T]], value: T, nullable: bool) -> Compiled[T]:
        kind: Type = "number" if alike[0].type in {"number", "time"} else alike[0].type  # type: ignore[assignment]
        den = alike[0].den or 1
        return Compiled(kind, value, nullable, max(x.bound for x in alike), den, None, den)

    def _case(self, of: Sequence[Node]) -> Compiled[T]:
        if len(of) % 2 == 0:
            pairs, otherwise = of, None
        else:
            pairs, otherwise = of[:-1], of[-1]
        conditions = [self.walk(node) for node in pairs[::2]]
        for condition in conditions:
            self._need(condition, "flag", "when")
        values = [self.walk(node) for node in [*pairs[1::2], *([otherwise] if otherwise is not None else [])]]
        # a quotient may stand alone in a case: its denominator goes through the same branches
        if len(values) == 1 and values[0].den is None:
            x, whens = values[0], [(conditions[0].value, values[0].value)]
            return Compiled(x.type, self.t.case(whens, None), True, x.bound, None, x.den_value, x.den_bound)
        alike = self._alike(values, "case")
        whens = [(c.value, v.value) for c, v in zip(conditions, alike, strict=False)]
        last = alike[-1].value if otherwise is not None else None
        return self._of(alike, self.t.case(whens, last), otherwise is None or any(x.nullable for x in values))

    def _concat(self, found: Sequence[Compiled[T]]) -> Compiled[T]:
        parts, size = [], 0
        for x in found:
            if x.type == "number" and x.den == 1:
                parts.append(self.t.text_of(x.value))
                size += len(str(x.bound)) + 1
            else:
                self._need(x, "text", "concat (a number must be an integer)")
                parts.append(x.value)
                size += x.bound
        return Compiled("text", self.t.concat(parts), any(x.nullable for x in found), size)

    def _part(self, name: str, of: Sequence[Node]) -> Compiled[T]:
        zone = of[1].value if len(of) == 2 and isinstance(of[1], Constant) else None
        if not isinstance(zone, str):
            raise ExpressionError(f"{name}(a time, 'Zone/Name'), such as {name}(t, 'America/New_York')")
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ExpressionError(f"a time zone such as 'Europe/Paris' for {name}, got {zone!r}") from error
        x = self.walk(of[0])
        if x.type != "time":
            raise ExpressionError(f"a time for {name}, got a {x.type}")
        return Compiled("number", self.t.part(name, x.value, zone), x.nullable, 9999 if name == "year" else 60)


# ---- what a declaration holds --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scalar:
    """An expression in its final type: `sql` over columns `f_<name>`, `compute` over values by name; both give the same.

    Attributes
    ----------
    nullable : whether a good event can be without a value
    reads : the columns it needs
    steps : names that `sql` uses, layer by layer, so that no long text stands in it twice
    """

    text: str
    sql: str
    compute: Run = field(compare=False, repr=False)
    nullable: bool = False
    reads: tuple[str, ...] = ()
    steps: tuple[tuple[tuple[str, str], ...], ...] = ()


def number(text: str, known: Mapping[str, Known], scale: int, low: int, high: int) -> Scalar:
    """Return a numeric expression as an integer at a scale, null outside low <= x <= high.

    Examples
    --------
    >>> known = {"a": Known("time", 10**6, TIME_BOUND), "b": Known("time", 10**6, TIME_BOUND)}
    >>> number("b - a", known, 0, -100, 100).compute({"a": 0, "b": 2_500_000})
    2
    """
    tree = read(text)
    steps: list[tuple[tuple[str, str], ...]] = []
    run, writer = Compiler(Python(), known), Compiler(Sql(), known)
    y = run.rounded(run.walk(tree), scale)
    x = writer.scaled(writer.walk(tree), scale)
    value = x.value
    if x.den != 1:
        steps.append((("x_n", x.value), ("x_d", writer.denominator(x))))
        steps.append((("x_low", Sql().floor("x_n", "x_d")), ("x_rest", "pmod(x_n, x_d)")))
        value = Sql().nearest("x_low", "x_rest", "x_d")
    inside = -y.bound >= low and y.bound <= high
    if not inside:
        steps.append((("x_value", value),))
        value = Sql().between("x_value", low, high)
    compute = y.value if inside else Python().between(y.value, low, high)
    return Scalar(text, value, compute, y.nullable or not inside, columns(tree), tuple(steps))


def string(text: str, known: Mapping[str, Known], max_length: int) -> Scalar:
    """Return an expression of text; ExpressionError when it could pass `max_length` UTF-8 bytes."""
    tree = read(text)
    x, y = Compiler(Sql(), known).walk(tree), Compiler(Python(), known).walk(tree)
    if x.type != "text":
        raise ExpressionError(f"an expression of text, got a {x.type}; concat(…) makes texts of integers")
    if x.bound > max_length:
        raise ExpressionError(
            f"a text of at most {max_length} bytes, got one that can have {x.bound}; raise max_length"
        )
    return Scalar(text, x.value, y.value, x.nullable, columns(tree))


def condition(text: str, known: Mapping[str, Known]) -> Scalar:
    """Return a condition that is true or false, false where SQL would say null."""
    tree = read(text)
    x, y = Compiler(Sql(), known).walk(tree), Compiler(Python(), known).walk(tree)
    if x.type != "flag":
        raise ExpressionError(f"a condition such as duration_s > 60, got a {x.type}")
    return Scalar(text, Sql().true(x.value), Python().true(y.value), False, columns(tree))
