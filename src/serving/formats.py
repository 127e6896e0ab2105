"""How rows are written: JSON, CSV or Arrow, by the `format` parameter or by Accept."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
from flask import request

from braid.instants import instant_us
from serving.columns import Column, Kind
from serving.problems import Problem

MEDIA: Mapping[str, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
}
_ARROW: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "instant": pa.timestamp("us", tz="UTC"),
    "number": pa.float64(),
    "count": pa.int64(),
    "exact": pa.decimal128(38, 0),
    "flag": pa.bool_(),
}


def chosen(asked: str | None, offered: Sequence[str] = tuple(MEDIA)) -> str:
    """Return the format of the answer to the request at hand: the one asked for by name, else the best of Accept.

    Raises
    ------
    Problem
        406: Accept names none of those offered.
    """
    if asked is not None:
        return asked
    accepted = request.accept_mimetypes
    if not accepted:
        return offered[0]
    best = accepted.best_match([MEDIA[name] for name in offered])
    if best is None:
        raise Problem(
            406, "not-acceptable",
            f"Accept: expected one of {', '.join(MEDIA[name] for name in offered)}, got {request.headers.get('Accept', '')[:200]!r}",
        )  # fmt: skip
    return next(name for name in offered if MEDIA[name] == best)


def written(name: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]) -> bytes:
    """Return rows as CSV or Arrow, nested values as columns such as `state.n`.

    Parameters
    ----------
    meta : what the rows cover; Arrow's schema carries it under `braid`, CSV leaves it to the headers
    """
    if name == "csv":
        return _csv(columns, rows)
    return _arrow(columns, rows, meta)


def _csv(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return RFC 4180 text in UTF-8; a double is written with the fewest digits that give it back, null as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([c.name for c in columns])
    writer.writerows([_at(row, c) for c in columns] for row in rows)
    return text.getvalue().encode()


def _arrow(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]) -> bytes:
    schema = pa.schema(
        [pa.field(c.name, _ARROW[c.kind], c.nullable, {"meaning": c.meaning, "unit": c.unit}) for c in columns],
        {"braid": orjson.dumps(meta)},
    )
    arrays = [pa.array([_typed(_at(row, c), c.kind) for row in rows], _ARROW[c.kind]) for c in columns]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return bytes(sink.getvalue())


def _at(row: Mapping[str, Any], column: Column) -> Any:
    value: Any = row
    for name in column.path:
        value = None if value is None else value.get(name)
    return value


def _typed(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "instant":
        return instant_us(value)
    return Decimal(value) if kind == "exact" else value
