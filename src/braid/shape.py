"""Rows of text as records, in Spark SQL: what the producer does row by row, for gigabytes.

A row of a table has cells, by field; which of them a record holds, and how they are written there, is the producer's rule
(`producer.sources`), stated here once more as SQL text and held equal to it by differential tests. The verdict is not stated
again: the row becomes JSON with its cells as they stand, `braid.sql.parsed` reads that like any record, and of what is good the
record to send is made anew, its numbers rounded to their scale.
"""

from __future__ import annotations

from collections.abc import Mapping

from braid.declaration import Field, Topic

NUMBER = r"\A-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\z"  # of JSON, as Java's regular expressions have it
_SECOND_US = 1_000_000


def raw(topic: Topic, cells: Mapping[str, str], made: str | None = None, *, typed: bool = False) -> str:
    """Return the SQL of a row as JSON text, its cells as they stand in the file.

    Parameters
    ----------
    cells : by field, the SQL of its text; null or empty where the row has none
    made : SQL of the microseconds of the event time, where no file holds it
    typed : whether cells are JSON already, as those of a file whose columns have types

    Examples
    --------
    >>> from braid.declaration import EventTime
    >>> print(raw(Topic("t", {"k": Field("k", "string")}, ("k",), EventTime(None)), {"k": "c0"}, typed=True))
    concat('{', concat_ws(',', concat('"k":', c0)), '}')
    """
    members = []
    for name, field in topic.fields.items():
        if name == topic.event_time.field and made is not None:
            members.append(_member(field.member, _quoted(instant(made))))
        elif name in cells and typed:
            members.append(_member(field.member, cells[name]))
        elif name in cells:
            text = cells[name]
            token = (
                f"CASE WHEN rlike({text}, r'{NUMBER}') THEN {text} ELSE {string(text)} END"
                if field.numeric
                else string(text)
            )
            members.append(f"CASE WHEN {text} <> '' THEN {_member(field.member, token)} END")
    return f"concat('{{', concat_ws(',', {', '.join(members)}), '}}')"


def record(topic: Topic) -> str:
    """Return the SQL of the record that is sent of a good row: columns `f_<name>` of `braid.sql.parsed` to JSON text."""
    members = [_member(field.member, token(field)) for field in topic.fields.values()]
    return f"concat('{{', concat_ws(',', {', '.join(members)}), '}}')"


def key(topic: Topic) -> str:
    """Return the SQL of a record's key: the fields of its id, in their order."""
    return f"concat('[', concat_ws(',', {', '.join(token(topic.fields[name]) for name in topic.event_id)}), ']')"


def partition(key_text: str, partitions: int) -> str:
    """Return the SQL of the partition that the producer chooses for a key: by its CRC-32."""
    return f"CAST(crc32(CAST({key_text} AS BINARY)) % {partitions} AS INT)"


def token(field: Field) -> str:
    """Return the SQL of a field's value as it stands in a record; null when it is absent."""
    value = f"f_{field.name}"
    if field.type == "string":
        return string(value)
    if field.type == "time":
        return _quoted(instant(value))
    return number(value, field.scale)


def number(value: str, scale: int) -> str:
    """Return the SQL of a scaled integer with all its digits."""
    if scale == 0:
        return f"CAST({value} AS STRING)"
    one = 10**scale
    digits = f"lpad(CAST(abs({value}) % {one}L AS STRING), {scale}, '0')"
    return f"concat(CASE WHEN {value} < 0 THEN '-' ELSE '' END, CAST(abs({value}) DIV {one}L AS STRING), '.', {digits})"


def instant(value: str) -> str:
    """Return the SQL of microseconds as ISO 8601 in UTC, with a fraction only where there is one (`braid.instants.iso`)."""
    whole = f"date_format(timestamp_micros({value}), 'yyyy-MM-dd\\'T\\'HH:mm:ss"
    return f"CASE WHEN {value} % {_SECOND_US} = 0 THEN {whole}\\'Z\\'') ELSE {whole}.SSSSSS\\'Z\\'') END"


def string(value: str) -> str:
    """Return the SQL of a text as a JSON string."""
    # of an array, for a text alone is no JSON document to Spark
    whole = f"to_json(array({value}))"
    plain = rf"rlike({value}, r'[\x00-\x1f\x22\x5c\x7f]')"
    return f"CASE WHEN {plain} THEN substr({whole}, 2, length({whole}) - 2) ELSE concat('\"', {value}, '\"') END"


def _member(name: str, token_: str) -> str:
    return f"concat('\"{name}\":', {token_})"


def _quoted(text: str) -> str:
    return f"concat('\"', {text}, '\"')"
