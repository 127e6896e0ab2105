"""Rows of a Parquet file are what JSON lines of the same data would be."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from braid.adapters.parquet import rows
from braid.errors import UsageError
from braid.samples import Number, json_of

AT = datetime(2026, 3, 1, 10, 0, 0, 250_000)  # noqa: DTZ001 - a time without a zone is a case


def test_every_type_is_written_as_a_record_would(tmp_path: Path) -> None:
    columns = {
        "VendorID": pa.array([7, None], pa.int32()),
        "fare": pa.array([0.1, float("nan")]),
        "tiny": pa.array([1e-7, 1e22]),
        "exact": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "at": pa.array([AT, AT], pa.timestamp("ns")),
        "zoned": pa.array([AT, AT], pa.timestamp("ms", "UTC")),
        "begun": pa.array([date(2026, 3, 1), None]),
        "flag": pa.array([True, False]),
        "room": pa.array(["lab", None]).dictionary_encode(),
        "bits": pa.array([b"ab", b"\xff"]),
        "tags": pa.array([["a"], []]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    first, second = rows(tmp_path / "a.parquet")
    assert first == {
        "vendor_id": "7", "fare": "0.1", "tiny": "0.0000001", "exact": "1.50", "at": "2026-03-01T10:00:00.250000",
        "zoned": AT.replace(tzinfo=UTC).isoformat(), "begun": "2026-03-01", "flag": True, "room": "lab", "bits": "ab", "tags": ["a"],
    }  # fmt: skip
    assert {name for name, cell in first.items() if isinstance(cell, Number)} == {"vendor_id", "fare", "tiny", "exact"}
    assert (second["fare"], second["tiny"], second["bits"]) == (None, "1" + "0" * 22, "\\xff")
    assert b'"fare":0.1' in json_of(first)


def test_many_rows_come_in_order(tmp_path: Path) -> None:
    pq.write_table(pa.table({"i": list(range(25_000))}), tmp_path / "a.parquet", row_group_size=7_000)
    assert [int(str(row["i"])) for row in rows(tmp_path / "a.parquet")] == list(range(25_000))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"UserID": [1], "user_id": [2]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="expected columns of different names, got UserID, user_id"):
        list(rows(tmp_path / "a.parquet"))
