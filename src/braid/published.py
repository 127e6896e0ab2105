"""What a view's changed rows are as messages of a topic: derived, for other programs, never read back by Braid.

After each commit the merged rows that the micro-batch changed are sent, as they are at head. A crash between the commit
and the sending is made up for by the next start, which sends the rows of the newest micro-batch again: so a message may
come twice, and never goes missing. `seq` grows with every change of a row; a reader keeps, per key, the message of the
greatest (`version`, then `seq`) it has met: the newest in the topic, for a key always has the same partition. A `null` takes
a row away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from braid.aggregates import State, finished_of
from braid.declaration import ViewSpec
from braid.instants import instant_us, iso
from braid.views import Key

VERSION = 12  # characters of the definition's hash
Kind = Literal["text", "integer", "number", "time"]
_WHOLE = frozenset({"n", "distinct"})  # statistics that count
_NUMBERS = frozenset({"sum", "mean", "stddev", "min", "max", "p50", "p90", "p95", "p99"})
# columns of the archive that are no member of a message, and its folders: a member of such a name would be read twice
OWN = frozenset(
    {"partition", "offset", "append_time", "key", "removed", "raw", "topic", "year", "month", "day", "hour"}
)


def key_of(spec: ViewSpec, place: tuple[int, Key]) -> bytes:
    """Return a row's key: a JSON array of its window's start, where it has one, and its key columns.

    Examples
    --------
    >>> key_of(ViewSpec("v", ("cell",), 60_000_000, (), ("t",)), (0, ("a",)))
    b'["1970-01-01T00:00:00Z","a"]'
    """
    window_start_us, key = place
    return _json([*([iso(window_start_us)] if spec.window_us else []), *key])


def message_of(spec: ViewSpec, place: tuple[int, Key], state: State, seq: int, definition: str) -> bytes:
    """Return a row as a JSON object: its window, keys, finished numbers and words, n, the seq as of which, the version.

    A number that the row does not have is left out.
    """
    window_start_us, key = place
    row: dict[str, Any] = {}
    if spec.window_us:
        row = {"window_start": iso(window_start_us), "window_end": iso(window_start_us + spec.window_us)}
    row |= zip(spec.by, key, strict=True)
    row |= {name: value for name, value in finished_of(spec, state).items() if value is not None}
    return _json(row | {"n": state.n, "seq": seq, "version": definition[:VERSION]})


# ---- read again, for the archive of the topic -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """One member of a view's messages as a column: what it is called there, in the message, and what it holds."""

    name: str
    member: str
    kind: Kind


def columns(spec: ViewSpec) -> tuple[Column, ...]:
    """Return the members of a view's messages as columns, in the order in which they are sent.

    One called like a column of the archive's own gets an underscore behind its name.

    Examples
    --------
    >>> [c.name for c in columns(ViewSpec("v", ("cell", "key"), 60_000_000, (), ("t",)))]
    ['window_start', 'window_end', 'cell', 'key_', 'n', 'seq', 'version']
    """
    held: list[tuple[str, Kind]] = [("window_start", "time"), ("window_end", "time")] if spec.window_us else []
    held += [(name, "text") for name in spec.by]
    held += [(name, _kind(stat)) for name, _, stat in spec.finished]
    held += [(rule.name, "text") for rule in spec.rules]
    held += [("n", "integer"), ("seq", "integer"), ("version", "text")]
    # a key called like one of the last three is not in the message: theirs is
    return tuple(Column(f"{name}_" if name in OWN else name, name, kind) for name, kind in dict(held).items())


def _kind(stat: str) -> Kind:
    return "integer" if stat in _WHOLE else "number" if stat in _NUMBERS else "text"


def values_of(held: Sequence[Column], message: bytes | None) -> tuple[str | int | float | None, ...]:
    """Return what a message says, by column: times in microseconds; None for what it does not say, or says otherwise.

    Nothing of a message is lost by that: its bytes are kept beside them.

    Examples
    --------
    >>> values_of((Column("a", "a", "integer"), Column("b", "b", "time")), b'{"a":1,"b":"1970-01-01T00:00:01Z"}')
    (1, 1000000)
    >>> values_of((Column("a", "a", "integer"),), b"[1]"), values_of((Column("a", "a", "text"),), b'{"a":["x",1]}')
    ((None,), ('["x", 1]',))
    """
    try:
        said = json.loads(message or b"null")
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return (None,) * len(held)
    return tuple(_value(column.kind, said.get(column.member)) for column in held)


def _value(kind: Kind, value: object) -> str | int | float | None:
    if value is None:
        return None
    if kind == "text":
        # half of a pair of surrogates is no character, and no text of a file
        return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "backslashreplace").decode()
    if kind == "time":
        try:
            return instant_us(str(value))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind == "integer":
        return value if isinstance(value, int) and abs(value) < 2**63 else None
    return float(value) if abs(value) < 2**1023 else None


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
