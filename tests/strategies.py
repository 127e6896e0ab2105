"""Records, good and bad: Hypothesis strategies, and a seeded mutator for batches of many thousands.

`good_record(topic, rng)` writes a record that the topic accepts, in one of many spellings; `mutated(raw, rng)` breaks
or disguises one. Both draw from a `random.Random`, so that one seed tells a whole batch; `records(topic)` and
`events(topic)` are the same as Hypothesis strategies.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from braid.declaration import Declaration, Field, Topic, bounds
from braid.declaration_reader import parse

APPEND_US = 1_795_169_000_000_000  # 2026-11-20T10:03:20Z
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NUMBERS = [
    "0", "-0", "0.0", "-0.0", "1", "-1", "01", "-01", "+1", ".5", "1.", "-", "-.5", "1e0", "1E5", "1e-5", "1e40000000", "1e-40000000",
    "1e400", "NaN", "-NaN", "Infinity", "-Infinity", "+Infinity", "nan", "inf", "0x10", "1_000", "1,5", "٣", "0.5000000", "0.1234565",
    "0.1234575", "-0.1234565", "-0.1234575", "0.12345650000000000000000001", "0.12345749999999999999999", "0.0000005", "0.00000049999",
    "-0.0000005", "0.9999995", "1.0000005", "1.0000006", "-1.0000005", "-1.0000006", "2999.999999", "2999.9999995", "3000", "2999999999",
    "3000000000", "-2999999999", "-3000000000", "9999999999", "10000000000", "99999999999", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "0." + "1" * 28, "0." + "1" * 29, "0." + "0" * 28, "0." + "0" * 29, "0." + "0" * 40, "1." + "0" * 27, "1" * 38,
    "1" * 39, "1" * 1001, "0." + "3" * 1001, "9999999999.9999999999999999999999999999", "0.4999999999999999999999999999", "1 2", "1-2", "--1",
    "1.5.2", "12abc", "1e", "1e+", "1f", "1d", "1L", "0e0", "1.0", "5.0", "254.9999995", "255.0000005",
]  # fmt: skip
STRINGS = [
    "", " ", "\u00a0", "\u3000 \u2003", "\u200b", "a", " a", "a ", "null", "true", "1.5", "{}", "[1]", "a|b", "é", "e\u0301", "日本", "😀",
    "\u202eabc", "a" * 12, "a" * 13, "é" * 6, "é" * 7, "a" * 256, "a" * 257, "😀" * 64, "😀" * 65, "a\x00b", "a\nb", "a\tb", "a\x7fb",
    "a\x85b", "\x9f", '"', "\\", "/", "'", "' OR 1=1 --", "<script>", "${x}", "$1", "\\u0041", "red soil", "Red soil", "red soil ", "red  soil",
    "\ufeff", "\uffff", "\ufffd", "\u2028", "\u2029x", "\U0010ffff", "#1", '"a', "2026-11-20T10:00:00Z",
]  # fmt: skip
RAW_STRINGS = [
    r'"\ud800"', r'"\udc00"', r'"\ud83d\ude00"', r'"\ude00\ud83d"', r'"\ud83d\ud83d\ude00"', r'"\uD83D\uDE00"', r'"\ud83dx"', r'"\\ud800"',
    r'"\\\ud800"', r'"\u00e9"', r'"\u00E9"', r'"\u12"', r'"\u12g4"', r'"\x41"', r'"\q"', r'"\""', r'"\'"', r'"\/"', r'"\b\f\n\r\t"', '"a\tb"',
    '"a\nb"', '"a\x00b"', '"abc', "'abc'", '"a" "b"', '"a""b"', r'"\u0000"', r'"\u0022"', r'"\u005c"', r'"a\\"', r'"\\\\"', r'"\\\"', '"\x7f"',
    r'"\u007f"', r'"\u0085"', r'"\u0020"', r'"\u3000"', r'"a\u0020"', r'"red\u0020soil"', r'"\u0072ed soil"', r'"\ud83d"', r'"\ud83d\\ude00"',
    r'"\ud800\u0041"', r'"\U0041"', r'"\u 041"', r'"\u+041"', r'"\u0_41"',
]  # fmt: skip
VALUES = [
    "null", "true", "false", "{}", "[]", "[1,2]", '{"a":1}', '{"a":{"b":[{"c":null}]}}', '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', "[{}", "]", "}", "",
    "undefined", "None", "True", "nul", "nullx", "truefalse", "tru", "[1,]", "[,1]", "[1 2]", '{"a"}', '{"a":}', '{a:1}', '{1:1}', '{"a":1,}', '{,}',
    "/*c*/1", "//c\n1", "#c\n1", "[" * 15 + "]" * 15, "[" * 16 + "]" * 16, "[" * 200 + "]" * 200, '{"a":' * 15 + "1" + "}" * 15,
    '{"a":' * 16 + "1" + "}" * 16, "[" * 1100, '[{"a":' * 8 + "1" + "}]" * 8, "[[],[[]]]", "[}", "{]", "[[}]", '["a":1]', '["]"]', '["}",":"]',
]  # fmt: skip
KEYS = [
    "a",
    "",
    " ",
    "k" * 1000,
    "k" * 1001,
    "é" * 1000,
    "😀" * 1000,
    "😀" * 1001,
    r"\u0061" * 1000,
    r"\u0061" * 1001,
    r"\n" * 1001,
    "a.b",
    "'",
    "$",
    "`",
]
TIMES = [
    "", "10:00:00", "2026-11-20", "2026-11-20T10:00", "2026-11-20T10:00:00", "2026-11-20 10:00:00", "2026-11-20T10:00:00Z", "2026-11-20t10:00:00Z",
    "2026-11-20T10:00:00z", "2026-11-20T10:00:00 Z", " 2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z ", "2026-11-20T10:00:00.Z", "2026-11-20T10:00:00.1Z",
    "2026-11-20T10:00:00.123456Z", "2026-11-20T10:00:00.1234567Z", "2026-11-20T10:00:00,5Z", "2026-11-20T10:00:00+00:00", "2026-11-20T10:00:00-00:00",
    "2026-11-20T10:00:00+18:00", "2026-11-20T10:00:00-18:00", "2026-11-20T10:00:00+18:01", "2026-11-20T10:00:00+19:00", "2026-11-20T10:00:00+05:60",
    "2026-11-20T10:00:00+0530", "2026-11-20T10:00:00+05", "2026-11-20T10:00:00UTC", "2026-11-20T10:00:00[UTC]", "2026-11-20T24:00:00Z",
    "2026-11-20T23:60:00Z", "2026-11-20T23:59:60Z", "2016-12-31T23:59:60Z", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
    "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-1-1T00:00:00Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00+00:01", "1969-12-31T23:59:59-00:01", "1970-01-01T00:00:00", "1969-12-31T20:00:00", "1969-12-31T19:00:00", "1970-01-01T13:45:00",
    "2199-12-31T23:59:59.999999Z", "2200-01-01T00:00:00Z", "2199-12-31T23:59:59", "2200-01-01T00:00:00+01:00", "2200-01-01T05:00:00", "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59", "+2026-11-20T10:00:00Z", "-2026-11-20T10:00:00Z",
    "12026-11-20T10:00:00Z", "1795168800", "1795168800000", "now", "today", "epoch", "2026-324T10:00:00Z", "2026-W47-5T10:00:00Z", "20261120T100000Z",
    "2026-11-20T10:08:20Z", "2026-11-20T10:08:20.000001Z", "2026-11-20T10:08:19.999999Z", "2026-11-20T10:08:20", "٢٠٢٦-١١-٢٠T10:00:00Z",
    "2026-11-20T10:00:00Z\n", "2026-11-20T10:00:00Z\u0000", "2011-12-30T10:00:00", "2011-12-31T00:00:00",
]  # fmt: skip
BYTES = [b"\xff", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xc3", b"\x80", b"\xef\xbb\xbf",
         b"\x00", b"\xfe\xff", b"\xf0\x9f\x98", b"\xe2\x80\xa8", b"\x1f", b"\x0b", b"\x0c", b"\xc2\xa0", b"\x85", b"\xc2\x85"]  # fmt: skip
TAILS = [
    b" ",
    b"\n",
    b"\r\n\t ",
    b"x",
    b"{}",
    b" {}",
    b"}",
    b"]",
    b",",
    b"/* */",
    b"//",
    b"#",
    b"'",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\x0c",
    b" NaN",
    b"null",
    b'"',
    b"-",
    b"\xc2\xa0",
]


# ---- good records ------------------------------------------------------------------------------------------------


def shown_time(us: int, rng: random.Random, zone: str) -> str:
    """Return an instant in one of the spellings of the grammar; a local one is right but in an overlap."""
    spelling = rng.randrange(4)
    if spelling == 0:
        local, tail = _EPOCH + timedelta(microseconds=us), "Z"
    elif spelling == 1:
        minutes = rng.choice([0, 60, -300, 345, -1080, 1080])
        local = _EPOCH + timedelta(microseconds=us, minutes=minutes)
        tail = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    else:
        local, tail = (_EPOCH + timedelta(microseconds=us)).astimezone(ZoneInfo(zone)), ""
    fraction = (
        f".{local.microsecond:06d}".rstrip("0").rstrip(".") if rng.random() < 0.7 else f".{local.microsecond:06d}"
    )
    return f"{local:%Y-%m-%d}{rng.choice('T ')}{local:%H:%M:%S}{fraction}{tail}"


def shown_number(field: Field, rng: random.Random) -> str:
    """Return a number within the field's bounds as JSON text, often with more digits than its scale."""
    low, high = bounds(field)
    scaled = rng.choice([low, high, 0 if low <= 0 <= high else low, rng.randint(low, high)])
    sign, digits = ("-" if scaled < 0 else ""), f"{abs(scaled):0{field.scale + 1}d}"
    if not field.scale:
        return sign + digits
    text = f"{sign}{digits[: -field.scale]}.{digits[-field.scale :]}"
    kind = rng.randrange(4)
    if kind == 0:
        return text.rstrip("0").rstrip(".") if "." in text else text
    if kind == 1:
        return text + rng.choice(["5", "50", "49", "51", "4" * 20, "5" * 19])[: 28 - field.scale]
    return text


def good_record(topic: Topic, rng: random.Random, append_us: int = APPEND_US) -> bytes:
    """Return a record that `topic` accepts or (rounding over a bound, an overlap) nearly."""
    compact = rng.random() < 0.5
    separators = (",", ":") if compact else (", ", ": ")
    pairs = []
    for field in topic.fields.values():
        if field.optional and rng.random() < 0.3:
            if rng.random() < 0.5:
                pairs.append((field.member, "null"))
            continue
        pairs.append((field.member, _good_value(field, topic, rng, append_us)))
    if rng.random() < 0.2:
        rng.shuffle(pairs)
    if rng.random() < 0.2:
        pairs.insert(
            rng.randrange(len(pairs) + 1),
            (rng.choice(["extra", "x", "note"]), rng.choice(["1", '"s"', "null", '{"a":[1]}', "[1e5]"])),
        )
    return ("{" + separators[0].join(f'"{k}"{separators[1]}{v}' for k, v in pairs) + "}").encode()


def _good_value(field: Field, topic: Topic, rng: random.Random, append_us: int) -> str:
    if field.numeric:
        return shown_number(field, rng)
    if field.type == "time":
        us = rng.choice(
            [append_us - rng.randrange(10**12), rng.randrange(append_us), rng.randrange(append_us) // 10**6 * 10**6]
        )
        return f'"{shown_time(us, rng, topic.event_time.zone)}"'
    if field.values:
        return json.dumps(rng.choice(field.values), ensure_ascii=rng.random() < 0.3)
    text = rng.choice(["sat-", "é", "日本", "a b", '"q"', "x"]) + str(rng.randrange(1000))
    return json.dumps(text, ensure_ascii=rng.random() < 0.3)


# ---- broken and disguised records ----------------------------------------------------------------------------------


def any_value(rng: random.Random) -> str:
    """Return some JSON text, or text that is nearly JSON."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(RAW_STRINGS)
    if kind == 2:
        return json.dumps(rng.choice(STRINGS), ensure_ascii=rng.random() < 0.5)
    if kind == 3:
        return f'"{rng.choice(TIMES)}"'
    if kind == 4:
        return f'"{rng.choice(NUMBERS)}"'
    return rng.choice(VALUES)


def field_value(field: Field, topic: Topic, rng: random.Random) -> str:
    """Return a value for a field, right or wrong, mostly of its type."""
    if rng.random() < 0.2:
        return any_value(rng)
    if field.numeric:
        return rng.choice(NUMBERS) if rng.random() < 0.7 else random_number(rng)
    if field.type == "time":
        return f'"{rng.choice(TIMES) if rng.random() < 0.4 else random_time(rng, topic.event_time.zone)}"'
    return (
        json.dumps(rng.choice(STRINGS), ensure_ascii=rng.random() < 0.5)
        if rng.random() < 0.6
        else rng.choice(RAW_STRINGS)
    )


def random_number(rng: random.Random) -> str:
    """Return digits of any length around the limits, now and then with an exponent."""
    before = str(rng.randrange(10 ** rng.choice([1, 2, 4, 9, 10, 11])))
    after = "".join(rng.choice("0123459") for _ in range(rng.choice([0, 1, 3, 6, 7, 9, 10, 20, 27, 28, 29])))
    exponent = rng.choice(["", "", "", "e1", "E-2", "e+3"]) if rng.random() < 0.2 else ""
    return rng.choice(["", "", "-"]) + before + ("." + after if after else "") + exponent


def random_time(rng: random.Random, zone: str) -> str:
    """Return a time, often within a day of a change of the zone's clock."""
    year = rng.choice([1969, 1970, 1971, 1987, 2006, 2007, 2011, 2024, 2026, 2026, 2026, 2037, 2038, 2100, 2199, 2200])
    day = datetime(year, rng.choice([3, 4, 9, 10, 11, rng.randint(1, 12)]), 1, tzinfo=UTC) + timedelta(
        days=rng.randrange(31), minutes=rng.choice([0, 15, 30, 45, rng.randrange(60)])
    )
    local = day + timedelta(
        hours=rng.choice([0, 1, 2, 3, rng.randrange(24)]),
        seconds=rng.choice([0, 0, 59, rng.randrange(60)]),
        microseconds=rng.choice([0, 1, 500000, 999999]),
    )
    if rng.random() < 0.2:
        return shown_time((local - _EPOCH) // timedelta(microseconds=1), rng, zone)
    fraction = f".{local.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{local:%Y-%m-%d}{rng.choice('T ')}{local:%H:%M:%S}{fraction}{rng.choice(['', '', '', 'Z'])}".rjust(19, "0")


def odd_record(topic: Topic, rng: random.Random) -> bytes:
    """Return a record some of whose parts are wrong or unusual."""
    pairs = [(f'"{f.member}"', _good_value(f, topic, rng, APPEND_US)) for f in topic.fields.values()]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _bend(pairs, topic, rng)
    comma, colon = rng.choice([(",", ":"), (", ", ": "), (" ,\n", "\t:\r"), (",", ":"), (",", " :")])
    return ("{" + comma.join(k + colon + v for k, v in pairs) + "}").encode("utf-8", "surrogatepass")


def _bend(pairs: list[tuple[str, str]], topic: Topic, rng: random.Random) -> None:
    kind, at = rng.randrange(10), rng.randrange(len(pairs))
    key, value = pairs[at]
    field = next((f for f in topic.fields.values() if f.member == key.strip('"')), None)
    if kind < 5:
        pairs[at] = (key, field_value(field, topic, rng) if field else any_value(rng))
    elif kind == 5 and len(pairs) > 1:
        del pairs[at]
    elif kind == 6:
        pairs.insert(rng.randrange(len(pairs) + 1), (key, rng.choice([value, any_value(rng)])))  # the same key twice
    elif kind == 7:
        escaped = '"' + "".join(f"\\u{ord(c):04x}" if rng.random() < 0.3 else c for c in key.strip('"')) + '"'
        pairs[at] = (escaped, value)
    elif kind == 8:
        pairs.insert(rng.randrange(len(pairs) + 1), (f'"{rng.choice(KEYS)}"', any_value(rng)))
    else:
        rng.shuffle(pairs)


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """Return `raw` with one wound: bytes flipped, cut, doubled, put in or hung on."""
    kind, at = rng.randrange(9), rng.randrange(len(raw) + 1)
    if kind == 0:
        return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    if kind == 1:
        return raw[:at]
    if kind == 2:
        return raw[:at] + rng.choice(BYTES) + raw[at:]
    if kind == 3:
        return raw + rng.choice(TAILS)
    if kind == 4:
        return rng.choice([*TAILS, *BYTES]) + raw
    if kind == 5:
        return (
            raw[:at]
            + rng.choice(
                [b'"', b"'", b",", b":", b"{", b"}", b"[", b"]", b"\\", b" ", b"-", b"0", b".", b"e", b"/", b"\n"]
            )
            + raw[at:]
        )
    if kind == 6:
        return raw[:at] + raw[at + rng.choice([1, 1, 2, 5]) :]
    if kind == 7:
        end = min(len(raw), at + rng.randrange(1, 20))
        return raw[:end] + raw[at:end] + raw[end:]
    return raw.replace(
        rng.choice([b'"', b":", b",", b"0", b"}"]),
        rng.choice([b"'", b"", b" ", b'"', b"::", b"9"]),
        rng.choice([1, 2, -1]),
    )


SMALL = [None, b"", b" ", b"{}", b"{} ", b"[]", b"null", b"1", b'"a"', b"{", b"}", b"{}{}", b"{}]", b"]{}", b"\x00", b"'", b"/", b"#", b"NaN", b"-Infinity", b"-",
         b"{}\x00", b"[{}]", b"{{}}", b'{"":1}', b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"a" * 999_999, b"a" * 1_000_000, b"{}" + b" " * 999_997,
         b"{}" + b" " * 999_998, b"[" * 500_000, b'{"a":' * 150_000, b'"' * 99_999, b"\\" * 99_999, b'{"a":"' + b"\\n" * 400_000 + b'"}',
         b'{"a":"' + b"x" * 900_000, b"1" * 900_000, b"-" * 900_000, b'{"a":' + b"1" * 900_000 + b"}", b'{"' + b"k" * 60_000 + b'":1}', b"," * 900_000, b"{}," * 300_000,
         b"\xc3\xa9" * 400_000, b'{"a":[' + b"1," * 400_000 + b"1]}", b'{"a":[' + b"[]," * 200_000 + b"1]}", b'{"a":[' + b'"s",' * 200_000 + b"1]}"]  # fmt: skip


def record(topic: Topic, rng: random.Random) -> bytes:
    """Return one record of any kind."""
    kind = rng.random()
    if kind < 0.25:
        return good_record(topic, rng)
    raw = odd_record(topic, rng) if kind < 0.75 else good_record(topic, rng)
    if kind < 0.6:
        return raw
    for _ in range(rng.choice([1, 1, 1, 2])):
        raw = mutated(raw, rng)
    return raw


def batch(topic: Topic, seed: int, size: int) -> list[bytes | None]:
    """Return `size` records from one seed, the fixed small and huge ones first."""
    rng = random.Random(seed)
    return [*SMALL, *(record(topic, rng) for _ in range(size))]


def records(topic: Topic) -> st.SearchStrategy[bytes]:
    """Return a strategy of records of any kind for `topic`, and of plain bytes."""
    return st.one_of(
        st.integers(0, 2**32).map(lambda n: record(topic, random.Random(n))),
        st.binary(max_size=64),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(str.encode),
    )


def events(topic: Topic) -> st.SearchStrategy[bytes]:
    """Return a strategy of records that `topic` accepts (but for rounding over a bound and overlaps)."""
    return st.integers(0, 2**32).map(lambda n: good_record(topic, random.Random(n)))


# ---- declarations ----------------------------------------------------------------------------------------------------

_NAMES = [
    "room",
    "at",
    "later",
    "size",
    "kind",
    "note",
    "floor",
    "level",
    "x",
    "a_long_name_of_some_field_that_nearly_is_too_long",
]
_ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]


@st.composite
def _fields(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(st.sampled_from(["string", "string", "integer", "decimal", "time"]))
    found: dict[str, object] = {"type": kind, "optional": draw(st.booleans())}
    if kind == "string":
        found["max_length"] = draw(st.sampled_from([1, 2, 3, 7, 36, 64, 256, 4096]))
        if draw(st.booleans()):
            # some of them can never come: too long, blank, with a control character
            found["values"] = draw(
                st.lists(
                    st.sampled_from(["é", "a", "b c", "日本", " ", "x" * 300, "a\tb", '"']), min_size=1, unique=True
                )
            )
    if draw(st.booleans()):
        found["key"] = draw(st.text("abcABC019_.@ -", min_size=1, max_size=9).map(lambda text: f"k{text}"))
    if kind == "decimal":
        found["scale"] = draw(st.integers(0, 9))
    if kind in {"integer", "decimal"}:
        some = st.integers(-(10**10), 10**10) if kind == "integer" else st.integers(-500, 500)
        low, high = sorted((draw(some), draw(some)))
        found |= {name: n for name, n in (("min", low), ("max", high)) if draw(st.booleans())}
    return found


@st.composite
def declarations(draw: st.DrawFn, topics: int = 2) -> Declaration:
    """Return a strategy of declarations of up to `topics` topics: any fields, ids and times, a view over what all have."""
    held: dict[str, object] = {}
    for number in range(draw(st.integers(1, topics))):
        names = draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=6, unique=True))
        fields = {f"{name[:40]}_{number}": draw(_fields()) for name in names}
        # what every topic has: a column for the view, which no topic can have otherwise
        fields["who"] = {"type": "string", "max_length": 40}
        met: set[object] = set()
        for of in fields.values():  # each key once
            key = of.pop("key", None)
            if key is not None and key not in met:
                of["key"] = key
            met.add(key)
        times = [name for name, of in fields.items() if of["type"] == "time" and not of["optional"]]
        sure = [name for name, of in fields.items() if not of.get("optional")]
        when: object = "append"
        if times and draw(st.booleans()):
            when = {"field": draw(st.sampled_from(times)), "zone": draw(st.sampled_from(_ZONES))}
        held[f"topic-{number}"] = {
            "event_id": draw(st.lists(st.sampled_from(sure), min_size=1, max_size=3, unique=True)), "event_time": when, "fields": fields,
        }  # fmt: skip
    view = {"by": ["who"], "window": "all", "measures": {"who_else": {"of": "who", "stats": ["distinct"]}}}
    return parse(json.dumps({"dataset": "drawn", "topics": held, "views": {"everybody": view}}))
