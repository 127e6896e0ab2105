"""What a record is outside Braid: the columns of an export, and the master's rows in them.

The master holds scaled integers and microseconds, because they are exact and merge. Other programs want the numbers they
stand for, so each column becomes the exact value of its declared type: a decimal of the declared scale, a UTC timestamp of
microseconds, a 64-bit integer, text, bytes. Nothing passes through a double.

In Parquet the topic is a folder and no column: a reader of partitioned folders would find it twice, of two types.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from braid.declaration import Field, Topic
from braid.errors import MasterRefused

Kind = Literal["string", "bytes", "integer", "decimal", "time"]

PREFIX = "f_"  # of the declared fields in the master's files
DIGITS = 18  # of a decimal: what 64 bits hold; a measure has at most ten (design: state)
# the folders of an export; a column of such a name would be read twice
FOLDERS = ("year", "month", "day", "hour")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an export.

    Attributes
    ----------
    name, source : what it is called in the export, and in the master's files
    scale : decimal digits of a decimal
    bits : of an integer
    nullable : whether a record may have none: a dead letter has no fields
    """

    name: str
    source: str
    kind: Kind
    scale: int = 0
    bits: int = 64
    nullable: bool = True
    unit: str = ""
    meaning: str = ""

    @property
    def type(self) -> Any:
        """The column's Arrow type."""
        match self.kind:
            case "integer":
                return pa.int32() if self.bits == 32 else pa.int64()
            case "decimal":
                return pa.decimal128(DIGITS, self.scale)
            case "time":
                return pa.timestamp("us", tz="UTC")
            case "bytes":
                return pa.binary()
        return pa.string()


def columns(topic: Topic) -> tuple[Column, ...]:
    """Return the columns of a topic's records: where each stood, what was judged of it, its fields, its bytes.

    A field called like a column of the export's own gets an underscore behind its name (`hour_`).
    """
    before = (
        Column("topic", "topic", "string", nullable=False, meaning="where the record stood"),
        Column("partition", "partition", "integer", bits=32, nullable=False),
        Column("offset", "offset", "integer", nullable=False),
        Column("seq", "seq", "integer", nullable=False, meaning="the ledger row that counted it"),
        Column("append_time", "append_us", "time", nullable=False, meaning="when the broker appended it"),
        Column("reason", "reason", "string", meaning="why it was set aside; none when it is good"),
        Column("event_time", "event_us", "time", meaning="when it happened"),
    )
    raw = Column("raw", "raw", "bytes", meaning="its bytes as they were sent")
    taken = {*(c.name for c in before), raw.name, "raw_base64", *FOLDERS}
    fields = []
    for field in topic.columns.values():
        name = field.name
        while name in taken:
            name += "_"
        taken.add(name)
        fields.append(_of(field, name))
    return (*before, *fields, raw)


def _of(field: Field, name: str) -> Column:
    source = PREFIX + field.name
    if field.type == "decimal":
        return Column(name, source, "decimal", field.scale, unit=field.unit, meaning=field.meaning)
    return Column(name, source, field.type, unit=field.unit, meaning=field.meaning)


def check_names(found: Sequence[str], wanted: Sequence[Column], where: str) -> None:
    """Check that a file of the master has every column, and no field that the declaration does not know.

    Raises
    ------
    MasterRefused
        Names the column: an export without it would not be everything.
    """
    sources = {c.source for c in wanted}
    missing = sorted(sources - set(found))
    unknown = sorted(name for name in set(found) - sources if name.startswith(PREFIX))
    if missing or unknown:
        got = f"no column {missing[0]!r}" if missing else f"the column {unknown[0]!r}"
        raise MasterRefused(
            f"{where}: expected the columns of its declaration, got {got}; restore the file from a backup"
        )


def schema(wanted: Sequence[Column]) -> Any:
    """Return the Arrow schema; a field's unit and meaning are in its metadata."""
    return pa.schema([pa.field(c.name, c.type, c.nullable, metadata=_words(c)) for c in wanted])


def _words(column: Column) -> dict[str, str]:
    return {name: text for name, text in (("unit", column.unit), ("meaning", column.meaning)) if text}


def typed(wanted: Sequence[Column], batch: Any) -> Any:
    """Return rows of the master as rows of the export.

    Parameters
    ----------
    batch : pyarrow.RecordBatch with every `source`

    Returns
    -------
    pyarrow.RecordBatch of `schema(wanted)`
    """
    arrays = [_exact(c, batch.column(c.source)) for c in wanted]
    return pa.RecordBatch.from_arrays(arrays, schema=schema(wanted))


def _exact(column: Column, array: Any) -> Any:
    if column.kind != "decimal":
        return array.cast(column.type)
    # an integer and a decimal of scale 0 have the same digits; the view only moves the point
    return array.cast(pa.decimal128(19, 0)).cast(pa.decimal128(DIGITS, 0)).view(column.type)


# ---- text, for CSV -------------------------------------------------------------------------------------------------


def text_schema(wanted: Sequence[Column]) -> Any:
    """Return the Arrow schema of rows as text: integers stay integers, `raw_base64` stands beside every `raw`."""
    fields = []
    for c in wanted:
        fields.append(pa.field(c.name, c.type if c.kind == "integer" else pa.string(), c.nullable))
        if c.kind == "bytes":
            fields.append(pa.field(f"{c.name}_base64", pa.string()))
    return pa.schema(fields)


def text(wanted: Sequence[Column], batch: Any) -> Any:
    """Return rows of the master as text: decimals with all their digits, times as ISO 8601, bytes as text where they are UTF-8."""
    arrays = [array for c in wanted for array in _texts(c, batch.column(c.source))]
    return pa.RecordBatch.from_arrays(arrays, schema=text_schema(wanted))


def _texts(column: Column, array: Any) -> Iterator[Any]:
    match column.kind:
        case "integer":
            yield array.cast(column.type)
        case "decimal":
            yield _digits(array, column.scale)
        case "time":
            yield pc.replace_substring(array.cast(column.type).cast(pa.string()), " ", "T")
        case "bytes":
            yield from _readable(array)
        case _:
            yield array.cast(pa.string())


def _digits(array: Any, scale: int) -> Any:
    """Return scaled integers as decimals with `scale` digits behind the point; Arrow's own text of a small one has an exponent."""
    if not scale:
        return array.cast(pa.string())
    size = pa.scalar(10**scale, pa.int64())
    positive = pc.abs(array)
    whole = pc.divide(positive, size)
    rest = pc.utf8_lpad(pc.subtract(positive, pc.multiply(whole, size)).cast(pa.string()), scale, "0")
    sign = pc.if_else(pc.less(array, 0), "-", "")
    return pc.binary_join_element_wise(sign, whole.cast(pa.string()), ".", rest, "").cast(pa.string())


def _readable(array: Any) -> tuple[Any, Any]:
    """Return bytes as text, and in base64 those that are not UTF-8."""
    try:
        return array.cast(pa.string()), pa.nulls(len(array), pa.string())
    except pa.ArrowInvalid:
        pairs = [_read(value) for value in array.to_pylist()]
    texts, others = zip(*pairs, strict=True)
    return pa.array(texts, pa.string()), pa.array(others, pa.string())


def _read(value: bytes | None) -> tuple[str | None, str | None]:
    if value is None:
        return None, None
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(value).decode()
