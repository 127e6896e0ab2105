"""Every query parameter, defined once: how its text is read, what a fault says of it, what /openapi.json says of it.

A parameter is a value; a path has a tuple of them. `params` reads a query string through such a tuple and `openapi`
documents the same tuple, so neither can say what the other does not do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from braid import windows
from braid.declaration import AlertRule, Declaration, Field, ViewSpec
from braid.declaration_file import duration_us
from braid.instants import instant_us

MOST_ROWS = 100_000
MOST_ALERTS = 10_000
ALERTS = 100  # when no limit is given
MOST_WINDOWS = 100_000  # between `from` and `to`
ALERTS_SPAN_US = 31 * 86_400_000_000  # alerts are kept for 30 days
LAYERS = ("merged", "batch", "speed")
FORMATS = ("json", "csv", "arrow")
NO_KEY = ""  # group_by without a column: one row a window

_DURATION = r"[1-9][0-9]{0,5}[smhd]"
_RELATIVE = rf"now([+-]{_DURATION})?"
_ABSOLUTE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
_LONGEST_WINDOW_US = 366 * 86_400_000_000
# what ISO 8601 can still write after a window was added
_FIRST_US, _END_US = -62_135_596_800_000_000, 253_370_764_800_000_000
_AS_OF = r"(0|[1-9][0-9]{0,11}):(0|[1-9][0-9]{0,11})"
_CURSOR = r"[A-Za-z0-9_-]{8,600}"

INSTANT = "an instant such as 2026-01-31T12:00:00Z (a + is sent as %2B), or now-1h"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query.

    Attributes
    ----------
    meaning : for people, in /openapi.json
    expected : what a fault says was expected
    schema : JSON Schema of one value
    read : (text, now in microseconds UTC) → value; ValueError when the text cannot be used
    default : the value when the parameter is not given
    repeatable : whether it may be given more than once; its value is then a sorted tuple
    column : the key column that it chooses by, None for any other
    """

    name: str
    meaning: str
    expected: str
    schema: Mapping[str, Any]
    read: Callable[[str, int], Any] = lambda text, _now: text
    default: Any = None
    repeatable: bool = False
    column: str | None = None


@dataclass(frozen=True, slots=True)
class AsOfAsked:
    """An earlier answer that is asked for again: of a generation and of the ledger up to a seq."""

    generation: int
    seq: int

    @property
    def text(self) -> str:
        """The form of the parameter."""
        return f"{self.generation}:{self.seq}"


# ---- kinds ---------------------------------------------------------------------------------------------------------


def words(name: str, meaning: str, known: Sequence[str], default: str | None = None, **more: Any) -> Parameter:
    """Return a parameter that is one of some words."""

    def read(text: str, _now: int) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    schema = {"type": "string", "enum": list(known)} | ({} if default is None else {"default": default})
    return Parameter(name, meaning, f"one of {', '.join(known)}", schema, read, default, **more)


def flag(name: str, meaning: str) -> Parameter:
    """Return a parameter that is 1 or 0, and 0 when it is not given."""

    def read(text: str, _now: int) -> bool:
        if text not in {"0", "1"}:
            raise ValueError(text)
        return text == "1"

    return Parameter(name, meaning, "one of 0, 1", {"type": "integer", "enum": [0, 1], "default": 0}, read, False)


def whole(name: str, meaning: str, most: int, default: int) -> Parameter:
    """Return a parameter that is a whole number from 1 to `most`."""

    def read(text: str, _now: int) -> int:
        if not re.fullmatch(r"[1-9][0-9]{0,8}", text) or int(text) > most:
            raise ValueError(text)
        return int(text)

    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter(name, meaning, f"a whole number from 1 to {most}", schema, read, default)


def instant(name: str, meaning: str) -> Parameter:
    """Return a parameter that is an instant, absolute or relative to now, as microseconds UTC."""
    schema = {
        "type": "string",
        "pattern": f"^({_ABSOLUTE}|{_RELATIVE})$",
        "examples": ["2026-01-31T12:00:00Z", "now-1h"],
    }
    return Parameter(name, meaning, INSTANT, schema, _instant)


def _instant(text: str, now_us: int) -> int:
    if re.fullmatch(_RELATIVE, text):
        shift = text.removeprefix("now")
        found = now_us + (_duration(shift[1:]) * (1 if shift[0] == "+" else -1) if shift else 0)
    else:
        found = instant_us(text)
    if not _FIRST_US <= found < _END_US:
        raise ValueError(text)
    return found


def _duration(text: str) -> int:
    return duration_us(f"{text[:-1]} {_UNITS[text[-1]]}")


def _window(spec: ViewSpec) -> Parameter:
    own = short(spec.window_us)
    schema = {"type": "string", "pattern": f"^(all|{_DURATION})$", "default": own, "examples": [own, "all"]}

    def read(text: str, _now: int) -> int:
        if text == "all":
            return windows.ALL_US
        found = _duration(text) if re.fullmatch(_DURATION, text) else 0
        if not 0 < found <= _LONGEST_WINDOW_US or not windows.nest(spec.window_us, found):
            raise ValueError(text)
        return found

    expected = f"a whole multiple of {own} up to 366d, such as 1h or 1d, or all"
    meaning = (
        "roll-up to a coarser grid of windows from 1970 on, exact because states merge; with `all`, `from` and `to` choose "
        "the view's own windows that are merged into one"
    )
    return Parameter("window", meaning, expected, schema, read)


def short(window_us: int) -> str:
    """Return a window as the parameter writes it.

    Examples
    --------
    >>> short(600_000_000), short(86_400_000_000), short(0)
    ('10m', '1d', 'all')
    """
    if window_us == windows.ALL_US:
        return "all"
    for letter, unit in (("d", 86400), ("h", 3600), ("m", 60)):
        if window_us % (unit * 1_000_000) == 0:
            return f"{window_us // (unit * 1_000_000)}{letter}"
    return f"{window_us // 1_000_000}s"


def _decimal(text: str, _now: int) -> Decimal:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise ValueError(text)
    return Decimal(text)


def _as_of(text: str) -> AsOfAsked:
    if not (found := re.fullmatch(_AS_OF, text)):
        raise ValueError(text)
    return AsOfAsked(int(found[1]), int(found[2]))


def name_of_key(column: str) -> str:
    """Return the parameter that chooses by a key column."""
    return f"key.{column}" if column in TAKEN else column


def _key(column: str, declared: Field | None) -> Parameter:
    known = declared.values if declared else None
    meaning = f"only rows of these values{f': {declared.meaning}' if declared and declared.meaning else ''}"
    name = name_of_key(column)
    if known:
        return words(name, meaning, known, repeatable=True, column=column)
    return Parameter(name, meaning, "a text", {"type": "string"}, repeatable=True, column=column)


def _keys(columns: Sequence[str], fields: Mapping[str, Field]) -> tuple[Parameter, ...]:
    return tuple(_key(column, fields.get(column)) for column in columns)


# ---- those that are always alike -----------------------------------------------------------------------------------

LAYER = words("layer", "`merged`: batch ⊕ tail; `batch`: the generation alone, from Hive; `speed`: the tail alone", LAYERS, "merged")  # fmt: skip
FROM = instant(
    "from", "the first instant, inclusive: of a window's start, or of an alert's event; `now` is resolved first"
)
TO = instant("to", "the end, exclusive, likewise")
ORDER = words("order", "by window, then key: `asc`, or `desc` for the newest first", ("asc", "desc"), "asc")
STATE = flag("state", "1: with the exact integers that each row was computed from")
STRICT = flag("strict", "1: an answer that would not be complete is a 503")
FORMAT = words("format", "how the rows are written; without it, as Accept asks: application/json, text/csv or application/vnd.apache.arrow.stream", FORMATS)  # fmt: skip
AS_OF = Parameter(
    "as_of", "what was answered as of an earlier `generation:seq`, for as long as both are kept (then 410)",
    "generation:seq as in meta.as_of, such as 3:431",
    {"type": "string", "pattern": f"^{_AS_OF}$", "examples": ["3:431"]}, lambda text, _now: _as_of(text),
)  # fmt: skip
EXPLAIN = words(
    "explain", "`merge`: with each row, what the generation holds of it and which seqs added to it", ("merge",)
)
CURSOR = Parameter(
    "cursor", "goes on where a listing was cut: taken from its `next`, whose other parameters stay as they were",
    "a cursor out of `next`", {"type": "string", "pattern": f"^{_CURSOR}$"},
)  # fmt: skip
MIN_Z = Parameter(
    "min_z", "only alerts of at least so many standard deviations, of either sign", "a number such as 3 or 2.5",
    {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,6})?$", "examples": ["3"]}, _decimal,
)  # fmt: skip


ACKNOWLEDGED = words("acknowledged", "`1`: only alerts that somebody acknowledged; `0`: only the others", ("0", "1"))


def of_view(declaration: Declaration, spec: ViewSpec, *, fixed_layer: bool = False) -> tuple[Parameter, ...]:
    """Return the parameters of a view; a path that fixes the layer has no `layer`."""
    fields = declaration.topic(spec.topics[0]).columns
    stats = tuple(dict.fromkeys(stat for m in spec.measures for stat in m.stats))
    return (
        *(() if fixed_layer else (LAYER,)),
        *((FROM, TO, _window(spec)) if spec.window_us else ()),
        *_keys(spec.by, fields),
        words("group_by", "keep only these keys and merge the others; empty for one row a window", (*spec.by, NO_KEY), repeatable=True),
        words("stats", "only these statistics; `n` is always there", stats, repeatable=True),
        whole("limit", "at most so many rows; `next` leads on", MOST_ROWS, MOST_ROWS),
        ORDER, STATE, STRICT, FORMAT, CURSOR, AS_OF, EXPLAIN,
    )  # fmt: skip


def of_alerts(declaration: Declaration, rules: Sequence[AlertRule], *, one: bool = False) -> tuple[Parameter, ...]:
    """Return the parameters of alerts; a path that names its rule has no `alert`."""
    columns = tuple(dict.fromkeys(column for rule in rules for column in rule.by))
    fields = {name: f for topic in declaration.topics for name, f in topic.columns.items()}
    return (
        *(() if one else (words("alert", "one alert rule", tuple(rule.name for rule in rules)),)),
        FROM, TO, *_keys(columns, fields), MIN_Z, *(() if one else (ACKNOWLEDGED,)),
        whole("limit", "at most so many alerts; `next` leads on", MOST_ALERTS, ALERTS), STRICT, FORMAT, CURSOR,
    )  # fmt: skip


# a key column of such a name is asked for as `key.order=…`
TAKEN = frozenset(
    {"layer", "from", "to", "window", "group_by", "stats", "limit", "order", "state", "strict", "format", "cursor", "alert", "min_z", "acknowledged", "as_of", "explain"}
)  # fmt: skip
