"""Rows to events: the exact bytes that are sent, made of a declaration, rows of text and a timeline.

Every event has a *position*: row number + pass · number of rows, from 0. Everything about it is a function of its
position, the data and the timeline, so the same arguments make the same events, ids and bytes, on any machine and in
any run; what was sent can be made again afterwards with `events` and recomputed by other means.

The rules of the declaration are not stated here a second time: a row is written as JSON, read by `braid.records.parse`,
which is the reference for both layers, and only what that accepts is sent, with its numbers rounded to their scale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import NamedTuple, TypeAlias

import orjson

from braid.declaration import Field, Topic
from braid.grammar import MAX_BYTES, TOO_LONG
from braid.instants import iso
from braid.records import DeadLetter, parse
from producer.tables import DataError, Joined, Refusal, Row

Value: TypeAlias = str | int | Decimal | None

_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLACE = re.compile(r"\$\.([^:]+): (.*)", re.DOTALL)
SHOWN = 60  # characters of a refused cell
THE_FILE_HAS = "; the file has "  # what follows a reason, where a cell broke it
_TIME = b"\0"  # where the time goes in a template; JSON text never holds this byte


class Timeline(NamedTuple):
    """When events happen: position p at `start_us` + p · `every_us`, microseconds since 1970 UTC."""

    start_us: int
    every_us: int

    def at(self, position: int) -> int:
        """Return the time of a position in microseconds."""
        return self.start_us + position * self.every_us


class Outgoing(NamedTuple):
    """One event as it is sent."""

    position: int
    event_us: int
    key: bytes
    value: bytes
    template: Template

    @property
    def topic(self) -> str | None:
        """None: rows of files all go to the topic of the run."""
        return None

    @property
    def due_us(self) -> int:
        """Before when it is not sent: its own time."""
        return self.event_us

    @property
    def fields(self) -> dict[str, Value]:
        """The fields by name: decimals as Decimal at their scale, integers and times (microseconds) as int."""
        made = self.template.made
        return {**self.template.fields, made: self.event_us} if made else dict(self.template.fields)


@dataclass(frozen=True, slots=True)
class Template:
    """An accepted row: everything of its events but the time. `made` is the field that the timeline fills, if any."""

    key: tuple[bytes, ...]
    value: tuple[bytes, ...]
    fields: Mapping[str, Value]
    made: str | None

    def outgoing(self, position: int, event_us: int) -> Outgoing:
        """Return the event at a position and time."""
        text = iso(event_us).encode()
        return Outgoing(position, event_us, text.join(self.key), text.join(self.value), self)


def made_field(topic: Topic, data: Joined) -> str | None:
    """Return the field that the timeline fills: the event time, when no file has it.

    Raises
    ------
    DataError
        A field that every event needs stands in no file.
    """
    return made_of(topic, data.file_of)


def made_of(topic: Topic, file_of: Mapping[str, str]) -> str | None:
    """Return the field that the timeline fills, given the file of every column; raises as `made_field` does."""
    time = topic.event_time.field
    made = time if time is not None and time not in file_of else None
    needed = [f.name for f in topic.fields.values() if not f.optional and f.name != made]
    missing = [name for name in needed if name not in file_of]
    if missing:
        raise DataError(
            f"{', '.join(sorted(set(file_of.values())))}: expected a column {missing[0]!r}, which every event of "
            f"{topic.name} needs, got {', '.join(file_of)}"
        )
    return made


def events(
    topic: Topic,
    data: Joined,
    timeline: Timeline,
    *,
    first: int = 0,
    end: int | None = None,
    refused: Callable[[Refusal], None] = lambda _: None,
) -> Iterator[Outgoing]:
    """Yield the events of the positions first <= p < end, in order; the rows begin anew with every pass.

    Parameters
    ----------
    topic : Topic, whose fields are taken from the columns of the same name
    data : Joined, of `tables.read_folder`
    timeline : Timeline, the event time by position
    first, end : int, positions; no end: for ever
    refused : called once for each row that the declaration's rules refuse, with file, line, column and reason

    Raises
    ------
    DataError
        A field that every event needs stands in no file.
    """
    made = made_field(topic, data)
    templates: dict[int, Template | None] = {}
    rows = len(data.rows)
    again = end is None or end - first > rows
    for position in count(first) if end is None else range(first, end):
        if not rows:
            return
        number, event_us = position % rows, timeline.at(position)
        if number in templates:
            template = templates[number]
        else:
            found = template_of(topic, data, number, made, event_us)
            template = found if isinstance(found, Template) else None
            if isinstance(found, Refusal):
                refused(found)
            if again:  # only a row that comes round again is worth the memory
                templates[number] = template
        if template is not None:
            yield template.outgoing(position, event_us)


def template_of(topic: Topic, data: Joined, number: int, made: str | None, event_us: int) -> Template | Refusal:
    """Return row `number` as a template, or why it is not sent."""
    row = data.rows[number]
    if isinstance(row, Refusal):
        return row
    parsed = parse(topic, _raw(topic, row, made, event_us), append_us=event_us)
    if isinstance(parsed, DeadLetter):
        return refusal(topic, parsed.reason, row, data.file_of)
    fields = {n: value_of(f, parsed.values.get(n)) for n, f in topic.fields.items() if parsed.values.get(n) is not None}
    texts = {n: b'"' + _TIME + b'"' if n == made else json_of(topic.fields[n], value) for n, value in fields.items()}
    value = b"{" + b",".join(orjson.dumps(topic.fields[n].member) + b":" + text for n, text in texts.items()) + b"}"
    key = b"[" + b",".join(texts[name] for name in topic.event_id) + b"]"
    if len(value) > MAX_BYTES:  # a number written out to its scale can be longer than it stood in the file
        return refusal(topic, TOO_LONG, row, data.file_of)
    if made:
        fields[made] = None  # its place; every event fills in its own time
    return Template(tuple(key.split(_TIME)), tuple(value.split(_TIME)), fields, made)


def _raw(topic: Topic, row: Row, made: str | None, event_us: int) -> bytes:
    """Return the row as JSON, its text as it stands in the files: numbers bare, an empty cell left out."""
    members: dict[str, object] = {}
    for name, field in topic.fields.items():
        text = iso(event_us) if name == made else row.values.get(name, "")
        if text:
            bare = field.numeric and _JSON_NUMBER.fullmatch(text)
            members[field.member] = orjson.Fragment(text) if bare else text
    return orjson.dumps(members)


def refusal(topic: Topic, reason: str, row: Row, file_of: Mapping[str, str]) -> Refusal:
    """Return why a row is not sent, at the line and column that broke a rule, with what stands there.

    Parameters
    ----------
    topic : whose record it would be: the reason names a key, the file a column
    reason : of the dead letter that it would be
    file_of : the file of every column
    """
    place = _PLACE.fullmatch(reason)
    column = next((f.name for f in topic.fields.values() if place and f.member == place[1]), "")
    if place is None or column not in file_of:
        file, line = next(iter(row.lines.items()))
        return Refusal(file, line, "", reason)
    file = file_of[column]
    text = row.values[column]
    shown = f"{THE_FILE_HAS}{text[:SHOWN]!r}" + ("…" if len(text) > SHOWN else "") if text else ""
    return Refusal(file, row.lines[file], column, place[2] + shown)


def value_of(field: Field, parsed: str | int | None) -> Value:
    """Return a value as `braid.records.parse` read it as what it stands for: a scaled integer as its decimal."""
    if field.type == "decimal" and isinstance(parsed, int):
        return Decimal(parsed).scaleb(-field.scale)
    return parsed


def json_of(field: Field, value: Value) -> bytes:
    """Return a value as JSON: a decimal with all its digits, a time (microseconds) as text."""
    if field.type == "time" and isinstance(value, int):
        return orjson.dumps(iso(value))
    if isinstance(value, Decimal):
        return orjson.dumps(orjson.Fragment(f"{value:f}"))
    return orjson.dumps(value)


def ids_repeat(topic: Topic, made: str | None) -> bool:
    """Whether every pass over the rows would send the same ids: no field of the id is filled by the timeline."""
    return made is None or made not in topic.event_id
