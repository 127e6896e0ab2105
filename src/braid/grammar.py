r"""What a record may be: the words that `records.py` (Python) and `sql.py` (Java, inside Spark) share.

The rules, their order and their reasons are written in docs/records.md. The patterns here mean the same to Python's
`re` and to Java's `java.util.regex`: no `.`, no `$`, no `\d` or `\s`, possessive loops around alternatives (Java would
recurse and overflow its stack on a long text), and classes spelt out character by character, which Java looks up in a
bit set (a range costs it about 20 ns a character, a listed character 3).
"""

from __future__ import annotations

from decimal import Decimal

from braid.declaration import LIMIT, Field

MAX_BYTES = 999_999  # a record below 1 MB; Kafka's own limit is about there
MAX_DEPTH = 16  # levels of objects and arrays, the record itself being one
MAX_KEY = 1000  # characters of a key, an escape being one: Spark's parser fails beyond 50,000
MAX_FRACTION = 28  # digits after the point: Spark rounds twice beyond (decimal(38,28))
MAX_INTEGER = 10  # digits before the point that can still be below LIMIT
MINUTE_US = 60 * 10**6
DAY_US = 24 * 60 * MINUTE_US
LATE_US = 5 * MINUTE_US  # how far an event time may lie after the append time
FIRST_US = 0  # 1970-01-01T00:00:00Z, inclusive
END_US = 7_258_118_400_000_000  # 2200-01-01T00:00:00Z, exclusive
SALT = "braid"  # hashed before the topic for the second half of an id


def one_of(characters: str) -> str:
    """Return a class that matches one of `characters`, each listed."""
    return "[" + "".join(f"\\x{ord(c):02x}" for c in characters) + "]"


def none_of(characters: str) -> str:
    """Return a class that matches any character but `characters`, each listed."""
    return "[^" + one_of(characters)[1:]


# ---- JSON (RFC 8259) ---------------------------------------------------------------------------------------------

CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))  # Unicode's category Cc
_RAW = "".join(map(chr, range(0x20)))  # what RFC 8259 wants escaped
SPACE = one_of(" \t\n\r")
DIGIT = one_of("0123456789")
NONZERO = one_of("123456789")
_HEX = one_of("0123456789abcdefABCDEF")
_ESCAPE = rf"\\(?:{one_of(chr(34) + chr(92) + '/bfnrt')}|u{_HEX}{{4}})"
TEXT = f"(?:{none_of(chr(34) + chr(92) + _RAW)}++|{_ESCAPE})*+"
STRING = f'"{TEXT}"'
INTEGER = rf"-?+(?:0|{NONZERO}{DIGIT}*+)"
NUMBER = rf"{INTEGER}(?:\.{DIGIT}++)?+(?:[eE][-+]?+{DIGIT}++)?+"
TOKEN = rf"(?:{SPACE}++|{STRING}|{NUMBER}|true|false|null|[\[\]{{}}:,])"
NOT_A_NUMBER = "-?+(?:NaN|Infinity)"
_HIGH, _LOW = "[dD][89abAB]", "[dD][c-fC-F]"
_PAIR = rf"u{_HIGH}{_HEX}{{2}}\\u{_LOW}{_HEX}{{2}}"
NO_LONE_SURROGATE = rf"(?:{none_of(chr(92))}++|\\{_PAIR}|\\u(?!{_HIGH}|{_LOW}){_HEX}{{4}}|\\{none_of('u')})*+"
_CHARACTER = rf"(?:{none_of(chr(34) + chr(92))}|\\u{_HEX}{{4}}|\\{none_of('u')})"
NO_LONG_KEY = rf'(?:{none_of(chr(34))}++|"{_CHARACTER}{{0,{MAX_KEY}}}+"|{STRING}(?!{SPACE}*+:))*+'

# ---- the fields --------------------------------------------------------------------------------------------------

BLANKS = " \u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_BLANK = "[" + "".join(f"\\u{ord(c):04x}" for c in BLANKS) + "]"
BLANK = f"{_BLANK}*+"
NOT_BLANK = f"(?!{_BLANK})"
NO_CONTROL = f"{none_of(CONTROLS)}*+"
_DAY = rf"({DIGIT}{{4}})-({DIGIT}{{2}})-({DIGIT}{{2}})"
_CLOCK = rf"({DIGIT}{{2}}):({DIGIT}{{2}}):({DIGIT}{{2}})(?:\.({DIGIT}{{1,6}}))?"
_ZONE = r"(Z|[-+](?:0[0-9]|1[0-7]):[0-5][0-9]|[-+]18:00)?"  # Java knows no offset beyond 18:00
TIME_PARTS = f"{_DAY}[T ]{_CLOCK}{_ZONE}"
TIME = TIME_PARTS.replace("(?:", "(").replace("(", "(?:")  # the same, without groups


def form(kind: str) -> str:
    """Return the pattern of a number's text that a field of this type can take at all, whatever its size."""
    fraction = rf"(?:\.{DIGIT}{{1,{MAX_FRACTION}}})?+" if kind == "decimal" else ""
    return INTEGER + fraction


# ---- the reasons, in the order in which their rules are tried -----------------------------------------------------

NO_VALUE = "no value"
TOO_LONG = f"expected at most {MAX_BYTES} bytes"
NOT_UTF8 = "not valid UTF-8"
SINGLE_QUOTE = "single quotes are not JSON"
COMMENT = "comments are not JSON"
NAN = "NaN and Infinity are not JSON"
NOT_AN_OBJECT = "expected one JSON object"
NOT_WELL_FORMED = f"expected well-formed JSON of at most {MAX_DEPTH} levels"
TRAILING = "bytes after the document"
LONE_SURROGATE = "a lone surrogate escape"
LONG_KEY = f"a key of more than {MAX_KEY} characters"
DUPLICATE = "duplicate keys"


def missing(field: Field) -> str:
    """Return the reason for a required field that is absent or null."""
    return f"$.{field.member}: missing"


def wrong_type(field: Field) -> str:
    """Return the reason for a value of another JSON type."""
    got = ", got a string" if field.numeric else ""
    return f"$.{field.member}: expected {_kind(field)}{got}"


def wrong_form(field: Field) -> str:
    """Return the reason for a number written in a way that the field does not take."""
    if field.type == "integer":
        return f"$.{field.member}: expected an integer written in digits alone"
    return f"$.{field.member}: expected a decimal without exponent, with at most {MAX_FRACTION} digits after the point"


def out_of_range(field: Field) -> str:
    """Return the reason for a number beyond its bounds, or for a value that is no number at all.

    Examples
    --------
    >>> out_of_range(Field("ndvi_mean", "decimal", scale=6, min=Decimal(-1), max=Decimal(1)))
    '$.ndvi_mean: expected a decimal in [-1, 1]'
    >>> out_of_range(Field("fare", "decimal", scale=2, min=Decimal(0)))
    '$.fare: expected a decimal in [0, 30000000)'
    """
    limit = Decimal(LIMIT).scaleb(-field.scale)
    low = f"({-limit.normalize():f}" if field.min is None or field.min <= -limit else f"[{field.min:f}"
    high = f"{limit.normalize():f})" if field.max is None or field.max >= limit else f"{field.max:f}]"
    return f"$.{field.member}: expected {_kind(field)} in {low}, {high}"


def string_too_long(field: Field) -> str:
    """Return the reason for a string of too many UTF-8 bytes."""
    return f"$.{field.member}: expected at most {field.max_length} bytes"


def blank(field: Field) -> str:
    """Return the reason for a string without a visible character."""
    return f"$.{field.member}: expected a string that is not blank"


def control(field: Field) -> str:
    """Return the reason for a string with a control character."""
    return f"$.{field.member}: expected no control character"


def not_listed(field: Field) -> str:
    """Return the reason for a string that the field's closed list does not hold."""
    return f"$.{field.member}: expected one of {', '.join(field.values or ())}"


def future(field: Field) -> str:
    """Return the reason for an event time later than its append time allows."""
    return f"$.{field.member}: later than 5 minutes after the append time"


def _kind(field: Field) -> str:
    return {
        "string": "a string",
        "decimal": "a decimal",
        "integer": "an integer",
        "time": "a time YYYY-MM-DD[T ]HH:MM:SS[.1-6 digits][Z|+HH:MM|-HH:MM] from 1970 to 2199",
    }[field.type]
