"""Sample records -> what each of their columns holds: type, scale, length, values, and whether it is always there.

A guess claims only what every sample bears out, because a record that a declaration does not fit is set aside: one cell
of a thousand that is no number makes a column of strings, and says so. What the samples cannot show is not claimed:
the lowest number seen is no lower bound. A column is passed over when no type takes all its cells; it stays in the raw
records, and a later declaration may name it.

Cells come in two kinds. JSON says what is a number; in a CSV file everything is text, so a column is of numbers when
every one of its texts is one, and `007` or `1e5` is not (docs/records.md). There an empty cell is an absent one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import TypeAlias

from braid import grammar as g
from braid.declaration import LIMIT, Field
from braid.declaration_file import KEY
from braid.names import column_name, declarable, is_name

MOST_SCALE = 9
COARSE_SCALE = 6  # of numbers with more digits than any scale has: they are measured, not counted
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # bytes; the longest seen fits twice, but in the last
LISTED = 12  # values of a closed list, at most
LISTED_BYTES = 40
TIMES_EACH = 25  # how often each value was seen, on average, before a list is called closed; and the rarest
RAREST = 3
DEGREES = {"lat": 90, "latitude": 90, "lon": 180, "lng": 180, "long": 180, "longitude": 180}

Value: TypeAlias = str | int | None


class Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One record: its cells by name (str, Number, None when absent, or anything else), and when it was appended."""

    cells: Mapping[str, object]
    append_us: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column that can be declared.

    Attributes
    ----------
    field : as it would be declared
    values : one per sample, as the engine compares them: a time in microseconds, a number scaled to an integer
    naive : whether some of its times name no zone
    note : what a person should know of it; empty: nothing
    """

    field: Field
    values: tuple[Value, ...]
    naive: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.field.name

    @property
    def member(self) -> str:
        """The key under which the samples have it."""
        return self.field.member

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len({v for v in self.values if v is not None})

    @property
    def always(self) -> bool:
        """Whether every sample has it."""
        return not self.field.optional


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A column that no declaration takes as it is, and why."""

    name: str
    why: str


def document(raw: bytes | None) -> dict[str, object] | None:
    """Return the members of a record that is one JSON object, numbers as they are written; None of another.

    Examples
    --------
    >>> document(b'{"db": 41.250, "room": "lab", "note": null}'), document(b"[1]"), document(b'{"a": 1, "a": 2}')
    ({'db': '41.250', 'room': 'lab', 'note': None}, None, None)
    """
    if not raw or len(raw) > g.MAX_BYTES:
        return None
    try:
        found = json.loads(raw.decode(), parse_int=Number, parse_float=Number, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):  # not UTF-8 and not JSON are both ValueErrors
        return None
    return found if isinstance(found, dict) else None


def _pairs(items: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(items)) < len(items):
        raise ValueError("a key twice")
    return dict(items)


def json_of(cells: Mapping[str, object], bare: Callable[[str], bool] | None = None) -> bytes:
    """Return cells as a record; `bare` tells of a name whether its texts stand as numbers.

    Examples
    --------
    >>> json_of({"room": "lab", "db": Number("41.250"), "note": None})
    b'{"room":"lab","db":41.250}'
    """
    members = []
    for name, cell in cells.items():
        if cell is None:
            continue
        plain = isinstance(cell, Number) or (isinstance(cell, str) and bare is not None and bare(name))
        members.append(f"{json.dumps(name)}:{cell if plain else json.dumps(cell, ensure_ascii=False, default=str)}")
    return ("{" + ",".join(members) + "}").encode("utf-8", "surrogatepass")


def columns(samples: Sequence[Sample], *, typed: bool) -> list[Column | PassedOver]:
    """Return what each column holds, in the order in which they first appear.

    Parameters
    ----------
    samples : at least one
    typed : whether cells say themselves what is a number (JSON), or all are text (CSV)
    """
    keys = dict.fromkeys(name for sample in samples for name in sample.cells)
    names, found = set(keys), []
    for key in keys:
        own = _own_name(key, names, typed=typed)
        names.add(own)
        held = column(own, [sample.cells.get(key) for sample in samples], typed=typed)
        if own != key:  # whoever reads of it knows it by its key
            held = (
                replace(held, name=key)
                if isinstance(held, PassedOver)
                else replace(held, field=replace(held.field, key=key))
            )
        found.append(held)
    return found


def _own_name(key: str, taken: Collection[str], *, typed: bool) -> str:
    """Return the name of a column: its key, or for a JSON key that no field can be called one made of it that is free.

    The headers of tables are names already.
    """
    if not typed or declarable(key) or not re.fullmatch(KEY, key):
        return key
    name = column_name(key)
    return key if name in taken else name


def column(name: str, cells: Sequence[object], *, typed: bool) -> Column | PassedOver:
    """Return what one column holds.

    Examples
    --------
    >>> found = column("db", ["41.25", "38", None], typed=False)
    >>> found.field.type, found.field.scale, found.field.optional, found.values
    ('decimal', 2, True, (4125, 3800, None))
    >>> column("db", [Number("41.25"), "38"], typed=True)
    PassedOver(name='db', why="text in 1 of 2 records, numbers in the others, e.g. '38'")
    """
    if not declarable(name):
        own = (
            "Braid's own columns are called so"
            if is_name(name)
            else "a field's name is lower-case, with single underscores"
        )
        return PassedOver(name, own)
    held = [cell for cell in cells if cell is not None]
    if not held:
        return PassedOver(name, "empty in every record")
    odd = next((cell for cell in held if not isinstance(cell, str)), None)
    if odd is not None:
        return PassedOver(name, f"{_kind(odd)}; a field is a string, a number or a time")
    texts = [str(cell) for cell in held]
    if typed:
        numbers = sum(isinstance(cell, Number) for cell in held)
        if 0 < numbers < len(held):
            text = next(cell for cell in held if not isinstance(cell, Number))
            return PassedOver(
                name,
                f"text in {len(held) - numbers:,} of {len(held):,} records, numbers in the others, e.g. {shown(text)}",
            )
        if numbers:
            return _number(name, cells, texts) or PassedOver(name, _no_number(texts))
        return _time(name, cells, texts) or _string(name, cells, texts)
    return _number(name, cells, texts) or _time(name, cells, texts) or _string(name, cells, texts)


def _kind(cell: object) -> str:
    return {bool: "true or false", list: "a list", dict: "an object"}.get(type(cell), "not a string")


# ---- numbers -----------------------------------------------------------------------------------------------------

_DECIMAL = re.compile(g.form("decimal"))
_LONG_AGO_S = 10**9  # in 2001; a count that has `time` in its name is seldom so large
_EXACT = Context(prec=60)


def _scaled(number: Decimal, scale: int) -> int:
    return int(number.scaleb(scale, _EXACT).to_integral_value(ROUND_HALF_EVEN, _EXACT))


def _fits(number: Decimal, scale: int) -> bool:
    return abs(_scaled(number, scale)) < LIMIT


def _readable(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None and len(text.partition(".")[0].lstrip("-")) <= g.MAX_INTEGER


def _number(name: str, cells: Sequence[object], texts: Sequence[str]) -> Column | None:
    if not all(map(_readable, texts)):
        return None
    numbers = [Decimal(text) for text in texts]
    digits = max(len(text.partition(".")[2]) for text in texts)
    largest = max(map(abs, numbers))
    scale = digits if digits <= MOST_SCALE else COARSE_SCALE
    while scale and not _fits(largest, scale):
        scale -= 1
    if not _fits(largest, scale):
        return None
    note = f"seen {min(numbers):f} to {max(numbers):f}"
    if scale < digits:
        note += f", of up to {digits} digits after the point: they are rounded half-even to {scale}"
    if digits and not _fits(largest * 10, scale):
        note += f"; at scale {scale}, {Decimal(LIMIT).scaleb(-scale):f} and beyond is a dead letter"
    if not digits and min(numbers) >= _LONG_AGO_S and _TIME_WORD.search(name):
        note += "; seconds since 1970 are a number here: a time is text (docs/records.md)"
    degrees = DEGREES.get(name.rpartition("_")[2])
    bound = Decimal(degrees) if degrees and largest <= degrees else None
    field = Field(
        name, "decimal" if digits else "integer", scale=scale, optional=None in cells,
        min=-bound if bound is not None else None, max=bound,
    )  # fmt: skip
    values = tuple(_scaled(Decimal(cell), scale) if isinstance(cell, str) else None for cell in cells)
    return Column(field, values, note=note)


def _no_number(texts: Sequence[str]) -> str:
    odd = [text for text in texts if not _readable(text)]
    if not odd:
        return f"beyond ±{LIMIT:,}, where exact sums end, e.g. {max(texts, key=lambda t: abs(Decimal(t)))[:40]}"
    return (
        f"{len(odd):,} of {len(texts):,} numbers have an exponent, or more digits than Braid adds up exactly "
        f"(docs/records.md), e.g. {odd[0][:40]}"
    )


# ---- times -------------------------------------------------------------------------------------------------------

_TIME = re.compile(g.TIME)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_ZONED = re.compile(r".*(?:Z|[-+]\d\d:\d\d)")


def instant_us(text: str) -> int | None:
    """Return the microseconds UTC of a time as records write it, of one without a zone as if it were UTC; else None.

    Examples
    --------
    >>> instant_us("2026-01-01 00:00:00"), instant_us("2026-01-01"), instant_us("2026-02-30T00:00:00Z")
    (1767225600000000, None, None)
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:  # no such day or hour
        return None
    micros = ((read if read.tzinfo else read.replace(tzinfo=UTC)) - _EPOCH) // _TICK
    return micros if g.FIRST_US <= micros < g.END_US else None


def _time(name: str, cells: Sequence[object], texts: Sequence[str]) -> Column | None:
    instants = {text: instant_us(text) for text in set(texts)}
    if None in instants.values():
        return None
    naive = not all(map(_ZONED.fullmatch, texts))
    first, last = (f(texts, key=lambda text: instants[text] or 0) for f in (min, max))
    values = tuple(instants[cell] if isinstance(cell, str) else None for cell in cells)
    return Column(Field(name, "time", optional=None in cells), values, naive, f"{first} to {last}")


# ---- strings -----------------------------------------------------------------------------------------------------

_BLANK = re.compile(g.BLANK)
_NO_CONTROL = re.compile(g.NO_CONTROL)
_TIME_WORD = re.compile(r"(?:^|_)(?:time|date|datetime|timestamp|at|ts|created|when)(?:$|_)")


def _string(name: str, cells: Sequence[object], texts: Sequence[str]) -> Column | PassedOver:
    blank = sum(map(bool, map(_BLANK.fullmatch, texts)))
    if blank:
        return PassedOver(name, f"blank in {blank:,} of {len(texts):,} records; a string has to show something")
    odd = next((text for text in texts if not _NO_CONTROL.fullmatch(text)), None)
    if odd is not None:
        return PassedOver(name, f"has line ends or other control characters, e.g. {shown(odd)}")
    if any("\ud800" <= letter <= "\udfff" for text in texts if not text.isascii() for letter in text):
        return PassedOver(name, "has half of a surrogate pair, which no UTF-8 text has")
    longest = max(len(text.encode()) for text in texts)
    if longest > LENGTHS[-1]:
        return PassedOver(name, f"up to {longest:,} bytes long; a string has at most {LENGTHS[-1]:,}")
    length = next(n for n in LENGTHS if 2 * longest <= n or n == LENGTHS[-1])
    values = _closed(texts)
    field = Field(name, "string", max_length=length, optional=None in cells, values=values)
    note = _hint(name, texts) or (
        "no other value seen; another would be a dead letter: leave `values` out unless the list is whole"
        if values
        else f"{len(set(texts)):,} different, e.g. {shown(texts[0])}"
    )
    return Column(field, tuple(cell if isinstance(cell, str) else None for cell in cells), note=note)


def _closed(texts: Sequence[str]) -> tuple[str, ...] | None:
    """Return the values of a column that seems to be a closed list: few, short, and each seen again and again."""
    counts = Counter(texts)
    few = 1 < len(counts) <= LISTED and len(texts) >= TIMES_EACH * len(counts) and min(counts.values()) >= RAREST
    return tuple(sorted(counts)) if few and all(len(value.encode()) <= LISTED_BYTES for value in counts) else None


def _hint(name: str, texts: Sequence[str]) -> str:
    """Return what keeps a column of text from being one of numbers or times; empty when it does not look like one."""
    odd = [text for text in texts if not _DECIMAL.fullmatch(text)]
    if len(odd) < len(texts) / 10:
        some = (
            f"{len(odd):,} of {len(texts):,} are no number, e.g. {shown(odd[0])}"
            if odd
            else "numbers beyond exact sums"
        )
        return f"text, because {some}"
    if _TIME_WORD.search(name) and any(letter.isdigit() for letter in texts[0]):
        return f"text, because a time is written YYYY-MM-DD HH:MM:SS (docs/records.md), got {shown(texts[0])}"
    return ""


def shown(cell: object) -> str:
    """Return a cell as a comment or a line of a terminal can show it."""
    text = repr(cell)
    return text if len(text) <= 44 else text[:40] + "…" + text[0]


def duplicates(rows: Iterable[tuple[object, ...]]) -> int:
    """Return how many rows are the same as an earlier one."""
    rows = list(rows)
    return len(rows) - len(set(rows))
