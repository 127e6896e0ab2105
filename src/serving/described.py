"""JSON Schemas of the status and of the catalogue: every field with its meaning and unit. Open, for both may grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.schemas import COUNT, INSTANT, TEXT, Schema

_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": TEXT}


def _of(schema: Schema, meaning: str = "", unit: str = "", *, null: bool = False) -> Schema:
    found = dict(schema)
    if null:
        found["type"] = [found["type"], "null"]
    return found | ({"description": meaning} if meaning else {}) | ({"x-unit": unit} if unit else {})


def _object(properties: Mapping[str, Schema], meaning: str = "", *, null: bool = False) -> Schema:
    return _of({"type": "object", "properties": dict(properties)}, meaning, null=null)


def _list(properties: Mapping[str, Schema], meaning: str = "") -> Schema:
    return _of({"type": "array", "items": _object(properties)}, meaning)


def _named(schema: Schema, meaning: str) -> Schema:
    return {"type": "object", "additionalProperties": schema, "description": meaning}


_JOB = _object({
    "running": _of(_FLAG, "whether it shows that it lives"),
    "stage": _of(TEXT, "what it says it is doing", null=True),
    "at": _of(INSTANT, "when it said so", null=True),
})  # fmt: skip

STATUS = _object({
    "dataset": TEXT,
    "title": TEXT,
    "partitions": _list({
        "topic": TEXT,
        "partition": COUNT,
        "end": _of(COUNT, "where the topic ends", "offset", null=True),
        "head": _of(COUNT, "where the ledger ends", "offset", null=True),
        "lag": _of(COUNT, "records between the two", "records", null=True),
    }),
    "lag": _object({
        "events": _of(COUNT, "records that no ledger row covers yet", "records", null=True),
        "seconds": _of(_NUMBER, "how long the oldest of them has waited, at most", "s", null=True),
    }),
    "head": _object({
        "seq": _of(COUNT, "the newest ledger row"), "kind": TEXT, "committed_at": INSTANT,
    }, "the ledger's end; null before the dataset is created", null=True),
    "generation": _object({
        "generation": _of(COUNT, "the published batch result; 0: none yet"),
        "cut_seq": _of(COUNT, "it holds the ledger rows up to this one"),
        "seqs_behind_head": _of(COUNT, "ledger rows after its cut", "rows", null=True),
        "published_at": _of(INSTANT, null=True),
        "every_s": _of(_NUMBER, "how often one is due", "s", null=True),
        "next_due": _of(INSTANT, null=True),
    }, null=True),
    "generation_age_s": _of(_NUMBER, "since it was published", "s", null=True),
    "counts": _object({
        "good": _of(COUNT, "events counted", "events"),
        "copies": _of(COUNT, "records of an id that was counted before", "records"),
        "dead": _of(COUNT, "records set aside with a reason", "records"),
        "absent": _of(COUNT, "offsets that hold no record", "offsets"),
        "alerts": _of(COUNT, "alerts raised", "alerts"),
    }, "since the beginning", null=True),
    "throughput": _object({
        "over_s": _of(_NUMBER, "the time that the rates are of", "s"),
        "events_per_s": _of(_NUMBER, "records counted", "records/s", null=True),
        "good_per_s": _of(_NUMBER, "of them events", "events/s", null=True),
        "dead_letter_rate": _of(_NUMBER, "dead letters of the records counted", "1", null=True),
    }),
    "micro_batch": _object({
        "seq": COUNT,
        "seconds": _of(_NUMBER, "how long the newest one took", "s"),
        "phases": _named(_of(_NUMBER, "seconds", "s"), "the same by phase"),
    }, "null while no stream has counted anything", null=True),
    "audit": _object({
        "generation": COUNT,
        "checked": _of(COUNT, "ledger rows compared on every state field", "rows"),
        "unaudited": _of({"type": "array", "items": {"type": "object"}}, "ledger rows checked by counts alone, and why"),
    }, "of the published generation", null=True),
    "conservation": _object({
        "offsets": _of(COUNT, "offsets before head", "offsets"),
        "good": COUNT, "copies": COUNT, "dead": COUNT, "absent": COUNT,
        "holds": _of(_FLAG, "whether the offsets are good + copies + dead + absent"),
    }, null=True),
    "dead_letters": _object({
        "of": _of(COUNT, "how many of the newest were looked at", "records"),
        "reasons": _list({
            "topic": TEXT, "reason": TEXT, "count": _of(COUNT, "of those", "records"),
            "place": _of(TEXT, "where the newest stands"), "sample": _of(TEXT, "its first bytes"),
        }),
    }, null=True),
    "generations": _of(_list({
        "generation": COUNT,
        "state": TEXT,
        "cut_seq": COUNT,
        "published_at": INSTANT,
        "records": _of({}, "records in the master"),
        "audit": _of({"type": "object"}, "ledger rows that were compared, and those that could not be"),
    }, "the newest, the served one first"), null=True),
    "jobs": _named(_JOB, "by `speed` and `batch`"),
    "freshness_s": _of(_NUMBER, "since when something newer may have been committed", "s", null=True),
    "problems": _of(_TEXTS, "what does not answer, or stands still"),
    "serving": _of({"type": "object"}, "what answers cover now, as in their meta", null=True),
    "reason": _of(TEXT, "why there is no answer yet"),
    "next": _of(TEXT, "the command that mends it"),
})  # fmt: skip

_VIEW: Mapping[str, Schema] = {
    "view": TEXT,
    "title": TEXT,
    "url": TEXT,
    "by": _of(_TEXTS, "key columns"),
    "filters": _named(TEXT, "the parameter that chooses by each key column"),
    "window_s": _of(_NUMBER, "length of a window; null: all time", "s", null=True),
    "measures": _list({"measure": TEXT, "of": TEXT, "scale": COUNT, "unit": TEXT, "meaning": TEXT}),
    "columns": _list({"column": TEXT, "measure": TEXT, "stat": TEXT}, "finished columns of a row that are numbers"),
    "texts": _list({"column": TEXT}, "finished columns of a row that are texts"),
    "top": _object(
        {
            "k": _of(COUNT, "rows of a list at most", "rows"),
            "of": _of(TEXT, "the column of the number, the greatest first"),
            "per": _of(_TEXTS, "the key columns that each have a list of their own; none: one list a window"),
        },
        "the rows are lists; null: every row is answered",
        null=True,
    ),
    "publish": _of(TEXT, "the topic to which changed rows are sent; null: none", null=True),
    "map": _object(
        {
            "lat": _of(TEXT, "the column of the latitude, degrees north"),
            "lon": _of(TEXT, "the column of the longitude, degrees east"),
            "colour": _of(TEXT, "the column of the word that a place is coloured by"),
            "value": _of(TEXT, "the column of the number that is told of a place"),
            "size": _of(TEXT, "the column of the number that a place is as large as"),
        },
        "of the rows of one window; null: none is declared",
        null=True,
    ),
    "words": _list({"column": TEXT, "of": TEXT, "words": _TEXTS}, "columns with a word for a finished number"),
    "values": _named(_TEXTS, "the values that a key column can have, where they are declared"),
}
_ALERT: Mapping[str, Schema] = {
    "alert": TEXT,
    "title": TEXT,
    "url": TEXT,
    "by": _of(_TEXTS, "key columns"),
    "filters": _named(TEXT, "the parameter that chooses by each key column"),
    "of": _of(TEXT, "the field that is judged"),
    "unit": TEXT,
    "time": _of(TEXT, "the column of the event's time"),
    "show": _of(_TEXTS, "further fields of the event"),
    "fields": _named({"type": "object"}, "whether each is numeric, and its scale"),
    "beyond": _of(TEXT, "how far from the mean an event must lie", "standard deviations"),
    "min_count": _of(COUNT, "how many events of its key must have been counted", "events"),
}
DATASET = _object({
    "dataset": TEXT,
    "title": TEXT,
    "description": TEXT,
    "attribution": _of({}, "whom the data are owed to"),
    "definition": _of(TEXT, "hash of what decides its numbers"),
    "url": TEXT,
    "topics": _TEXTS,
    "views": _list(_VIEW),
    "alerts": _list(_ALERT),
    "paths": _of(_TEXTS, "paths that earlier users know"),
    "commands": _named(TEXT, "what to type when something is not there yet"),
})  # fmt: skip

READY = _object({
    "ready": _of(_FLAG, "whether every part that answers need has answered lately"),
    "parts": _named(_object({
        "ok": _FLAG,
        "needed": _of(_FLAG, "whether answers need it"),
        "latency_ms": _of(_NUMBER, "of its newest answer", "ms"),
        "error": _of(TEXT, null=True),
    }), "by name"),
    "datasets": _named({"type": "object"}, "whether each answers, and why not"),
}) | {"required": ["ready", "parts", "datasets"]}  # fmt: skip

COMPONENTS: Mapping[str, Any] = {"Status": STATUS, "Dataset": DATASET, "Ready": READY}
