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

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

MOST = 1 << 62  # no intermediate number may reach it
MAX_TEXT = 4096  # characters of an expression
TIME_BOUND = 230 * 366 * 86_400 * 10**6  # microseconds: every time from 1970 to 2200

Type = Literal["number", "text", "flag"]
Value: TypeAlias = str | int | None
Row: TypeAlias = Mapping[str, Value]
T = TypeVar("T")


class ExpressionError(ValueError):
    """An expression cannot be used: what was expected, what stands there."""


# ---- the tree ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or a text as it is written."""

    value: Fraction | str


@dataclass(frozen=True, slots=True)
class Column:
    """A field, or a derived column, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator or function and what it is applied to; `case` holds condition, value, …, otherwise."""

    name: str
    of: tuple[Node, ...]


Node: TypeAlias = Constant | Column | Apply

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<mark><>|<=|>=|!=|[-+*/()=<>,]))"
)
_WORDS = frozenset(["and", "or", "not", "in", "between", "is", "null", "case", "when", "then", "else", "end"])
_COMPARE = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
PARTS = ("year", "month", "day", "hour", "minute", "weekday")  # of a time in a zone; weekday 0 is Monday
_FUNCTIONS = ("concat", "coalesce", "floor", "abs", *PARTS)


def read(text: str) -> Node:
    """Return the tree of an expression.

    Raises
    ------
    ExpressionError
        The text is no expression; the message has the place.

    Examples
    --------
    >>> read("a - 2 * b")
    Apply(name='-', of=(Column(name='a'), Apply(name='*', of=(Constant(value=Fraction(2, 1)), Column(name='b')))))
    """
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"an expression of at most {MAX_TEXT} characters, got {len(text)}")
    try:
        return _Parser(text).whole()
    except RecursionError:
        raise ExpressionError("an expression that is nested less deeply") from None


class _Parser:
    """Recursive descent, one method a level of precedence."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise ExpressionError(f"an expression, got {text[at:].strip()[:20]!r} at character {at + 1}")
            kind = str(found.lastgroup)
            word = found[kind]
            if kind == "word" and word.lower() in _WORDS:
                kind, word = "mark", word.lower()
            self.tokens.append((kind, word, found.start(kind)))
            at = found.end()
        self.at = 0

    def whole(self) -> Node:
        node = self.either()
        if self.at < len(self.tokens):
            raise self.error("the end of the expression")
        return node

    def error(self, expected: str) -> ExpressionError:
        if self.at >= len(self.tokens):
            return ExpressionError(f"{expected} at the end of {self.text!r}")
        _, word, start = self.tokens[self.at]
        return ExpressionError(f"{expected}, got {word!r} at character {start + 1}")

    def take(self, *marks: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "mark" and self.tokens[self.at][1] in marks:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def need(self, mark: str) -> None:
        if self.take(mark) is None:
            raise self.error(f"{mark!r}")

    def either(self) -> Node:
        node = self.both()
        while self.take("or"):
            node = Apply("or", (node, self.both()))
        return node

    def both(self) -> Node:
        node = self.negated()
        while self.take("and"):
            node = Apply("and", (node, self.negated()))
        return node

    def negated(self) -> Node:
        return Apply("not", (self.negated(),)) if self.take("not") else self.compared()

    def compared(self) -> Node:
        left = self.sum()
        if mark := self.take(*_COMPARE):
            return Apply(_COMPARE[mark], (left, self.sum()))
        if self.take("is"):
            turned = self.take("not")
            self.need("null")
            found = Apply("is null", (left,))
            return Apply("not", (found,)) if turned else found
        turned = self.take("not")
        if self.take("between"):
            low = self.sum()
            self.need("and")
            found = Apply("and", (Apply(">=", (left, low)), Apply("<=", (left, self.sum()))))
        elif self.take("in"):
            self.need("(")
            items = [self.sum()]
            while self.take(","):
                items.append(self.sum())
            self.need(")")
            found = Apply("=", (left, items[0]))
            for item in items[1:]:
                found = Apply("or", (found, Apply("=", (left, item))))
        elif turned:
            raise self.error("'in' or 'between'")
        else:
            return left
        return Apply("not", (found,)) if turned else found

    def sum(self) -> Node:
        node = self.product()
        while mark := self.take("+", "-"):
            node = Apply(mark, (node, self.product()))
        return node

    def product(self) -> Node:
        node = self.signed()
        while mark := self.take("*", "/"):
            node = Apply(mark, (node, self.signed()))
        return node

    def signed(self) -> Node:
        return Apply("-", (Constant(Fraction(0)), self.signed())) if self.take("-") else self.single()

    def single(self) -> Node:
        if self.take("("):
            node = self.either()
            self.need(")")
            return node
        if self.take("case"):
            return self.case()
        if self.at >= len(self.tokens) or self.tokens[self.at][0] == "mark":
            raise self.error("a column, a number, a text or '('")
        kind, word, _ = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return Constant(Fraction(Decimal(word)))
        if kind == "text":
            return Constant(word[1:-1].replace("''", "'"))
        if self.take("("):
            return self.called(word)
        return Column(word)

    def called(self, word: str) -> Node:
        if word.lower() not in _FUNCTIONS:
            self.at -= 2
            raise self.error(f"one of the functions {', '.join(_FUNCTIONS)}")
        of = [self.either()]
        while self.take(","):
            of.append(self.either())
        self.need(")")
        return Apply(word.lower(), tuple(of))

    def case(self) -> Node:
        of: list[Node] = []
        while self.take("when"):
            of.append(self.either())
            self.need("then")
            of.append(self.either())
        if not of:
            raise self.error("'when'")
        if self.take("else"):
            of.append(self.either())
        self.need("end")
        return Apply("case", tuple(of))


def columns(node: Node) -> tuple[str, ...]:
    """Return the names of the columns that an expression reads, each once, in order."""
    if isinstance(node, Column):
        return (node.name,)
    inner = node.of if isinstance(node, Apply) else ()
    return tuple(dict.fromkeys(name for child in inner for name in columns(child)))


# ---- compiling -----------------------------------------------------------------------------------------------------


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
        if name in _COMPARE:
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


# ---- Spark SQL -----------------------------------------------------------------------------------------------------


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
