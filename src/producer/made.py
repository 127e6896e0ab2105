"""Events that are not rows of a file: made, generated or read again, each with the topic it goes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson

from braid.declaration import Field, Topic
from producer.sources import Value, json_of, value_of


class Made(NamedTuple):
    """One event as it is sent, not before `due_us` (microseconds since 1970, UTC)."""

    position: int
    event_us: int
    due_us: int
    topic: str
    key: bytes | None
    value: bytes


def key_of(topic: Topic, values: Mapping[str, Value]) -> bytes:
    """Return the Kafka key of an event: the JSON array of its id, as the producer writes it for rows of files, too."""
    return _array([json_of(topic.fields[name], values[name]) for name in topic.event_id])


def key_of_parsed(topic: Topic, values: Mapping[str, str | int | None]) -> bytes:
    """Return the Kafka key of a record as `braid.records.parse` read it: its numbers are scaled integers."""
    return key_of(topic, {name: value_of(topic.fields[name], values[name]) for name in topic.event_id})


def record_of(topic: Topic, values: Mapping[str, Value]) -> bytes:
    """Return a record as JSON, its fields in declared order; what it does not have is left out."""
    members = ((field, values.get(name)) for name, field in topic.fields.items())
    return b"{" + b",".join(_member(field, value) for field, value in members if value is not None) + b"}"


def _member(field: Field, value: Value) -> bytes:
    return orjson.dumps(field.member) + b":" + json_of(field, value)


def _array(texts: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(texts) + b"]"
