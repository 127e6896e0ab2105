r"""The usual record: one regular expression that proves a record good and hands out its values.

A record that holds the declared fields in the declared order, with nothing unusual in it (no escape, no further field,
no digit beyond the scale, no offset), matches `pattern`; `handed_out` then turns its text into the values, each behind
a mark that no JSON string holds unescaped. That is one pass over the bytes instead of a parse, a check and a
conversion a field: Braid's own producer writes such records. What the pattern accepts is a subset of the grammar
(docs/records.md), but for an event time in the future; what it does not accept is no verdict.

Only Java's regular expressions run these patterns. Classes list their characters, because Java looks those up in a bit
set: a listed class costs 3 ns a character where a range costs 20. No group repeats, so no stack grows.
"""

from __future__ import annotations

from collections.abc import Iterable

from braid import grammar as g
from braid.declaration import Field, Topic, bounds

MARK = "\x1f"  # before each value
_D = g.DIGIT
_DATE = (
    f"(?:19(?:7[1-9]|[89]{_D})|20{_D}{{2}}|21(?:[0-8]{_D}|9[0-8]))-"  # 1971 to 2198: in range in every zone
    rf"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1{_D}|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_CLOCK = rf"(?:[01]{_D}|2[0-3]):[0-5]{_D}:[0-5]{_D}(?:\.{_D}{{1,6}})?"
_ASCII = g.one_of("".join(c for c in map(chr, range(0x20, 0x7F)) if c not in '"\\'))
_ANY = g.none_of(chr(34) + chr(92) + g.CONTROLS)


def pattern(topic: Topic) -> str:
    """Return the pattern of a whole usual record: one group a string or integer, two a decimal, three a time."""
    space = f"{g.SPACE}*"
    parts = []
    for i, field in enumerate(topic.fields.values()):
        value = f"(?:{_value(field)}|null)" if field.optional else _value(field)
        pair = f"{space},{space}" * (i > 0) + f'"{_key(field)}"{space}:{space}{value}'
        parts.append(f"(?:{pair})?" if field.optional and i else pair)
    return rf"\A\{{{space}{''.join(parts)}{space}\}}{space}\z"


def replacement(topic: Topic) -> str:
    r"""Return Java's replacement for `pattern`: the mark and the value, for every field.

    A decimal is written as its whole part, a mark of its scale, its fraction and `scale` zeros (`\0`, for Java would
    read `$20` as group 20): `pads` cuts the fraction to its scale. A time keeps its Z, and one without is given it
    where the topic's zone is UTC.
    """
    group, parts = 1, []
    for field in topic.fields.values():
        if field.type == "time":
            zone = "Z" if topic.event_time.zone == "UTC" else f"${group + 2}"
            parts.append(f"{MARK}${group}T${group + 1}{zone}")
            group += 3
        elif field.scale:
            parts.append(f"{MARK}${group}{_scale_mark(field.scale)}${group + 1}" + r"\0" * field.scale)
            group += 2
        else:
            parts.append(f"{MARK}${group}")
            group += 1
    return "".join(parts)


def pads(fields: Iterable[Field]) -> tuple[str, str] | None:
    """Return the pattern and replacement that leave each decimal as its scaled integer; None without decimals.

    An absent decimal, of which only the mark and the zeros were written, is left empty.
    """
    scales = sorted({f.scale for f in fields if f.scale})
    cuts = (rf"{_scale_mark(s)}(?:(?<={MARK}{_scale_mark(s)})0{{{s}}}|({_D}{{{s}}})0*)" for s in scales)
    return ("|".join(cuts), "".join(f"${i}" for i in range(1, len(scales) + 1))) if scales else None


def _key(field: Field) -> str:
    """Return a JSON key as a pattern; of all that a key may hold only the point means more than itself."""
    return field.member.replace(".", "[.]")


def _scale_mark(scale: int) -> str:
    return chr(0x10 + scale)


def _value(field: Field) -> str:
    if field.type == "time":
        return f'"({_DATE})[T ]({_CLOCK})(Z?)"'
    if field.numeric:
        return _number(field)
    if field.values is None:
        # not blank, for it does not begin so; a character takes at most four bytes
        bounded = f"{_ASCII}{{1,{field.max_length}}}" + (
            f"|{_ANY}{{1,{field.max_length // 4}}}" if field.max_length > 3 else ""
        )
        return f'"({g.NOT_BLANK}(?:{bounded}))"'
    return f'"({"|".join(map(_quoted, filter(_is_plain, field.values))) or "(?!)"})"'


def _is_plain(value: str) -> bool:
    return bool(value.strip(g.BLANKS)) and not set(value) & {'"', "\\", *g.CONTROLS}


def _quoted(value: str) -> str:
    return "".join(f"\\x{ord(c):02x}" if c.isascii() and not c.isalnum() else c for c in value)


# ---- numbers between bounds --------------------------------------------------------------------------------------


def _number(field: Field) -> str:
    """Return the pattern of numbers of at most `scale` fraction digits whose whole part keeps them within bounds."""
    low, high = bounds(field)
    signed = [("", max(low, 0), high), ("-", max(-high, 0), -low)]
    wholes = [sign + part for sign, least, most in signed if most >= 0 for part in _wholes(least, most, field.scale)]
    fraction = rf"(?:\.({_D}{{1,{field.scale}}}))?" if field.scale else ""
    return f"({'|'.join(wholes) or '(?!)'}){fraction}"


def _wholes(least: int, most: int, scale: int) -> list[str]:
    """Return patterns of the whole parts m of magnitudes between scaled bounds: any fraction, or none but zeros."""
    one = 10**scale
    parts = [f"(?:{digits})" for digits in integers(-(-least // one), (most - one + 1) // one)]
    if scale and most % one == 0 and least <= most:
        parts.append(rf"{most // one}(?!\.0*[1-9])")
    return parts


def integers(first: int, last: int) -> list[str]:
    """Return patterns that together match the integers from `first` to `last`, both 0 or more, the longest first.

    Examples
    --------
    >>> integers(7, 42)
    ['[123]\\\\d{1}', '[4][012]', '[789]']
    """
    patterns = []
    while last >= first:
        size = len(str(last))
        least = max(first, 10 ** (size - 1) if size > 1 else 0)
        patterns.append(_same_length(str(least), str(last)))
        last = least - 1
    return [p for block in patterns for p in block]


def _same_length(low: str, high: str) -> list[str]:
    """Return patterns of the digit strings between two of equal length."""
    rest = len(low) - 1
    if rest and low[0] == high[0]:
        return [f"[{low[0]}]{p}" for p in _same_length(low[1:], high[1:])]
    first, last, edges = int(low[0]), int(high[0]), []
    if low[1:].strip("0"):
        edges += [f"[{low[0]}]{p}" for p in _same_length(low[1:], "9" * rest)]
        first += 1
    if high[1:].strip("9"):
        edges += [f"[{high[0]}]{p}" for p in _same_length("0" * rest, high[1:])]
        last -= 1
    any_rest = rf"\d{{{rest}}}" if rest else ""
    return [f"[{'0123456789'[first : last + 1]}]{any_rest}"] * (first <= last) + edges
