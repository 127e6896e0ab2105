"""Derived columns and conditions of the second path: the plain meaning of an expression, in exact fractions.

The tree of an expression is the declaration's; how it is computed here is not the engine's: no compiling to integers, no
bounds, one value at a time by `fractions.Fraction`, and rounded half to even at the very end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from braid.declaration import Derived, Field, Topic, ViewSpec
from braid.expression_tree import Column, Constant, Node
from braid.expression_tree import read as _read

read = cache(_read)
Values: TypeAlias = Mapping[str, Any]
_LIMIT = 3 * 10**9
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b, "<>": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def add(topic: Topic, values: dict[str, Any]) -> dict[str, Any]:
    """Return an event's values, scaled integers and texts, with those of the derived columns."""
    held: dict[str, Field] = dict(topic.fields)
    for derived in topic.derived:
        values[derived.name] = _final(derived, _evaluate(read(derived.value.text), values, held))
        held[derived.name] = derived.field
    return values


def chosen(view: ViewSpec, topic: Topic, values: Values) -> bool:
    """Whether a view counts an event of one of its topics."""
    return view.where is None or _evaluate(read(view.where.text), values, topic.columns) is True


def _final(derived: Derived, value: Any) -> Any:
    if value is None or derived.field.type == "string":
        return value
    scaled = round(value * 10**derived.field.scale)
    low, high = derived.field.min, derived.field.max
    one = Fraction(10**derived.field.scale)
    inside = (low is None or scaled >= Fraction(low) * one) and (high is None or scaled <= Fraction(high) * one)
    return scaled if inside and abs(scaled) < _LIMIT else None


def _evaluate(node: Node, values: Values, held: Mapping[str, Field]) -> Any:
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Column):
        found, of = values[node.name], held[node.name]
        if found is None or of.type == "string":
            return found
        return Fraction(found, 10**6 if of.type == "time" else 10**of.scale)
    if node.name == "case":
        pairs = node.of[: len(node.of) // 2 * 2]
        for condition, value in zip(pairs[::2], pairs[1::2], strict=True):
            if _evaluate(condition, values, held) is True:
                return _evaluate(value, values, held)
        return _evaluate(node.of[-1], values, held) if len(node.of) % 2 else None
    of_ = [_evaluate(child, values, held) for child in node.of]
    if node.name == "is null":
        return of_[0] is None
    if node.name == "coalesce":
        return next((value for value in of_ if value is not None), None)
    if node.name in {"and", "or"}:
        decides = node.name == "or"
        if decides in of_:
            return decides
        return None if None in of_ else not decides
    return None if None in of_ else _strict(node.name, of_)


def _strict(name: str, of: list[Any]) -> Any:
    """Return what an operator or function gives of values that are all there."""
    if name in _COMPARED:
        return _COMPARED[name](*of)
    match name:
        case "not":
            return not of[0]
        case "+":
            return of[0] + of[1]
        case "-":
            return of[0] - of[1]
        case "*":
            return of[0] * of[1]
        case "/":
            return of[0] / of[1] if of[1] else None
        case "floor":
            return Fraction(of[0].__floor__())
        case "abs":
            return abs(of[0])
        case "concat":
            return "".join(text if isinstance(text, str) else str(int(text)) for text in of)
    micros = int(of[0] * 10**6)
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).astimezone(ZoneInfo(of[1]))
    return Fraction(local.weekday() if name == "weekday" else getattr(local, name))
