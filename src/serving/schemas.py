"""JSON Schemas of what the API answers: of rows out of their columns, and of what every answer has around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from serving.columns import Column, Kind

Schema: TypeAlias = dict[str, Any]

_KINDS: Mapping[Kind, Schema] = {
    "text": {"type": "string"},
    "instant": {"type": "string", "format": "date-time"},
    "number": {"type": "number"},
    "count": {"type": "integer"},
    "exact": {"type": "string", "pattern": "^-?[0-9]+$"},
    "flag": {"type": "boolean"},
}


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def of_rows(columns: Sequence[Column], required: Sequence[str] = ()) -> Schema:
    """Return the schema of a row: no field beyond its columns; `required` names those that no query leaves out."""
    row: Schema = object_of({})
    for column in columns:
        _put(row, column.path, _of(column))
    return row | {"required": list(required)}


def of_view_rows(columns: Sequence[Column]) -> Schema:
    """Return the schema of a view's rows; every column but `n` can be left out by a query."""
    row = of_rows(columns, ["n"])
    row["properties"]["explain"] = EXPLAIN
    return row


def _put(within: Schema, path: Sequence[str], schema: Schema) -> None:
    if len(path) == 1:
        within["properties"][path[0]] = schema
        return
    _put(within["properties"].setdefault(path[0], object_of({})), path[1:], schema)


def _of(column: Column) -> Schema:
    schema = dict(_KINDS[column.kind])
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
    if column.values:
        schema["enum"] = list(column.values)
    if column.meaning:
        schema["description"] = column.meaning
    if column.unit:
        schema["x-unit"] = column.unit
    return schema


def object_of(properties: Mapping[str, Schema], required: Sequence[str] | None = None, **more: Any) -> Schema:
    """Return the schema of an object with no field beyond `properties`."""
    closed: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return closed | ({} if required is None else {"required": list(required)}) | more


def _said(schema: Schema, meaning: str) -> Schema:
    return schema | {"description": meaning}


def listing(row: Schema, meta: Schema) -> Schema:
    """Return the schema of an answer with rows: `data`, `meta`, `next`."""
    following = {"type": ["string", "null"], "description": "the address of the next page, null when this is the last"}
    return object_of(
        {"data": {"type": "array", "items": row}, "meta": meta, "next": following}, ["data", "meta", "next"]
    )


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
INSTANT: Schema = {"type": "string", "format": "date-time"}
_MAYBE_INSTANT: Schema = {"type": ["string", "null"], "format": "date-time"}
_PART = {"seq": COUNT, "n": _said(COUNT, "events that it added")}
_BASE = {"generation": COUNT, "cut_seq": COUNT, "n": _said(COUNT, "events that the generation holds")}
EXPLAIN = object_of(
    {
        "generation": object_of(_BASE, [*_BASE], type=["object", "null"]),
        "fragments": {"type": "array", "items": object_of(_PART, [*_PART])},
    },
    ["generation", "fragments"],
    description="with explain=merge: how the row was merged",
)
_OFFSETS: Schema = {"type": "object", "additionalProperties": COUNT}

AS_OF = object_of(
    {
        "generation": _said(COUNT, "the batch result that was merged; 0: none yet"),
        "cut_seq": _said(COUNT, "batch holds the ledger rows up to this one"),
        "seq": _said(COUNT, "the answer holds the ledger rows up to this one"),
        "offsets": _said(_OFFSETS, "the end of that row: everything before these offsets is counted, `topic:partition` → offset"),
    },
    ["generation", "cut_seq", "seq", "offsets"],
)  # fmt: skip
MISSING = {
    "type": "object",
    "description": "a part of the log, or a store, that the answer lacks",
    "properties": {
        "what": TEXT,
        "reason": TEXT,
        "from_seq": COUNT,
        "through_seq": COUNT,
        "offsets": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": ["integer", "null"]}},
        },
    },
    "required": ["what", "reason"],
}
META = {
    "type": "object",
    "description": "what the rows cover",
    "properties": {
        "as_of": ref("AsOf"),
        "complete": _said({"type": "boolean"}, "whether nothing is missing"),
        "missing": {"type": "array", "items": ref("Missing")},
        "layers": object_of(
            {
                "batch_until": _said(_MAYBE_INSTANT, "when the cut was committed"),
                "speed_until": _said(_MAYBE_INSTANT, "when the last ledger row of the answer was committed"),
            },
            ["batch_until", "speed_until"],
        ),
        "definition": _said(TEXT, "hash of the declaration that decided the numbers"),
        "view": TEXT,
        "layer": {"type": "string", "enum": ["merged", "batch", "speed"]},
        "digest": _said(TEXT, "sha256 of the rows' states in canonical order"),
        "receipt": _said(TEXT, "all that the answer claims, in one line that can be checked"),
        "from": _MAYBE_INSTANT,
        "to": _MAYBE_INSTANT,
        "alerts": {"type": "array", "items": TEXT},
        "from_seq": _said(COUNT, "alerts of later ledger rows than this one are held"),
        "bounds": {
            "type": "object",
            "description": "of columns that are not exact: how far they can be from the exact number, as a part of it",
            "additionalProperties": {"type": "number"},
        },
        "rows": _said(COUNT, "rows in this answer"),
        "of_rows": _said(COUNT, "rows of the whole listing"),
    },
    "required": ["as_of", "complete", "missing", "layers", "definition", "rows", "of_rows"],
}
PROBLEM = {
    "type": "object",
    "description": "an error (RFC 9457)",
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "instance": TEXT,
        "request_id": TEXT,
        "errors": {
            "type": "array",
            "items": object_of({"parameter": TEXT, "expected": TEXT, "got": TEXT}, ["parameter", "expected", "got"]),
        },
        "known": _said({"type": "array", "items": TEXT}, "the names there are"),
        "missing": {"type": "array", "items": ref("Missing")},
        "next": _said(TEXT, "the command that mends it"),
    },
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
}

COMPONENTS: Mapping[str, Schema] = {"AsOf": AS_OF, "Missing": MISSING, "Meta": META, "Problem": PROBLEM}
