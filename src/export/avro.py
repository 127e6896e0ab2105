"""Avro object container files, by fastavro: one record schema a topic, deflate, which every reader has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastavro import parse_schema
from fastavro.write import Writer

from export.columns import DIGITS, Column

_BYTES = 8  # of a decimal: DIGITS digits


def schema(wanted: Sequence[Column]) -> dict[str, Any]:
    """Return the Avro schema: decimals and times as logical types, what a record may lack as a union with null."""
    return {"type": "record", "name": "record", "namespace": "braid", "fields": [_field(c) for c in wanted]}


def _field(column: Column) -> dict[str, Any]:
    kind = _type(column)
    doc = " ".join(word for word in (column.meaning, column.unit and f"[{column.unit}]") if word)
    return {
        "name": column.name,
        "type": ["null", kind] if column.nullable else kind,
        **({"default": None} if column.nullable else {}),
        **({"doc": doc} if doc else {}),
    }


def _type(column: Column) -> str | Mapping[str, Any]:
    match column.kind:
        case "integer":
            return "int" if column.bits == 32 else "long"
        case "decimal":
            return {"type": "bytes", "logicalType": "decimal", "precision": DIGITS, "scale": column.scale}
        case "time":
            return {"type": "long", "logicalType": "timestamp-micros"}
    return column.kind


class AvroSink:
    """An Avro file; blocks of about a megabyte before compression."""

    def __init__(self, path: Path, wanted: Sequence[Column]) -> None:
        self._columns = wanted
        self._file = path.open("wb")
        self._writer = Writer(self._file, parse_schema(schema(wanted)), codec="deflate", sync_interval=2**20)

    def write(self, batch: Any) -> None:
        """Write rows."""
        names = [c.name for c in self._columns]
        values = [_values(c, batch.column(c.source)) for c in self._columns]
        for row in zip(*values, strict=True):
            self._writer.write(dict(zip(names, row, strict=True)))

    def close(self) -> None:
        """Write the last block and end the file."""
        self._writer.flush()
        self._file.close()


def _values(column: Column, array: Any) -> list[Any]:
    """Return the values as Avro holds them: the scaled integer of a decimal as its bytes, a time as its microseconds."""
    found: list[Any] = array.to_pylist()
    if column.kind != "decimal":
        return found
    return [None if x is None else x.to_bytes(_BYTES, "big", signed=True) for x in found]
