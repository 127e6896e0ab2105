"""One value in the master is one value in every format: decimals to the last digit, times to the microsecond, any bytes."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.declaration import LIMIT
from braid.errors import MasterRefused
from export.avro import AvroSink
from export.columns import Column, check_names, columns, text, typed
from tests.unit.export_world import CALLS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TO_2200_US = 7_258_118_400_000_000


def batch(column: Column, values: list[object], type_: pa.DataType) -> pa.RecordBatch:
    return pa.record_batch({column.source: pa.array(values, type_)})


def in_avro(column: Column, rows: pa.RecordBatch) -> list[object]:
    with TemporaryDirectory() as folder:
        sink = AvroSink(Path(folder) / "x", [column])
        sink.write(rows)
        sink.close()
        return [row[column.name] for row in fastavro.reader(BytesIO((Path(folder) / "x").read_bytes()))]


@given(st.lists(st.none() | st.integers(1 - LIMIT, LIMIT - 1), min_size=1), st.integers(0, 9))
def test_a_decimal_keeps_every_digit(values: list[int | None], scale: int) -> None:
    column = Column("x", "f_x", "decimal", scale)
    rows = batch(column, list(values), pa.int64())
    wanted = [None if x is None else Decimal(x).scaleb(-scale) for x in values]
    assert typed([column], rows).column(0).to_pylist() == wanted
    assert in_avro(column, rows) == wanted
    written = text([column], rows).column(0).to_pylist()
    assert [None if w is None else Decimal(w) for w in written] == wanted
    assert not any(w is not None and "E" in w for w in written)


@given(st.lists(st.none() | st.integers(0, TO_2200_US), min_size=1))
def test_a_time_keeps_its_microsecond_and_says_that_it_is_utc(values: list[int | None]) -> None:
    column = Column("t", "event_us", "time")
    rows = batch(column, list(values), pa.int64())
    wanted = [None if x is None else EPOCH + timedelta(microseconds=x) for x in values]
    assert typed([column], rows).column(0).to_pylist() == wanted
    assert in_avro(column, rows) == wanted
    written = text([column], rows).column(0).to_pylist()
    assert [None if w is None else datetime.fromisoformat(w) for w in written] == wanted
    assert all(w is None or w.endswith("Z") for w in written)


@given(st.lists(st.none() | st.binary() | st.text().map(lambda t: t.encode("utf-8", "surrogatepass")), min_size=1))
def test_bytes_are_text_where_they_are_utf_8_and_base64_elsewhere(values: list[bytes | None]) -> None:
    column = Column("raw", "raw", "bytes")
    rows = batch(column, list(values), pa.binary())
    assert typed([column], rows).column(0).to_pylist() == values
    assert in_avro(column, rows) == values
    both = text([column], rows)
    pairs = list(zip(both.column("raw").to_pylist(), both.column("raw_base64").to_pylist(), strict=True))
    assert [None if a is b is None else b64decode(b) if a is None else a.encode() for a, b in pairs] == values


def test_a_field_that_is_called_like_a_column_or_a_folder_of_the_export_gets_an_underscore() -> None:
    names = [c.name for c in columns(CALLS.topics[0])]
    assert names == [
        "topic", "partition", "offset", "seq", "append_time", "reason", "event_time", "call", "at", "hour_", "cost", "tiny", "raw",
    ]  # fmt: skip


def test_a_missing_and_an_unknown_column_are_named() -> None:
    wanted = columns(CALLS.topics[0])
    sources = [c.source for c in wanted]
    check_names([*sources, "id64", "salted64"], wanted, "x.parquet")
    with pytest.raises(
        MasterRefused, match=r"x.parquet: expected the columns of its declaration, got no column 'f_at'; "
    ):
        check_names([s for s in sources if s != "f_at"], wanted, "x.parquet")
    with pytest.raises(MasterRefused, match="got the column 'f_more'; restore the file"):
        check_names([*sources, "f_more"], wanted, "x.parquet")
