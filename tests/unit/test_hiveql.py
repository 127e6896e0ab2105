"""Hive text and rows: every name quoted, every state rebuilt from its row digit by digit."""

from __future__ import annotations

from pathlib import Path

import pytest

from braid import hiveql
from braid.aggregates import Moments, State
from braid.declaration import Declaration, ViewSpec
from braid.declaration_reader import load

LANDCOVER = load(Path(__file__).parents[2] / "datasets" / "landcover.yaml")
WINDOWED = LANDCOVER.view("realtime_ndvi_by_class")
ALL_TIME = LANDCOVER.view("landcover_aggregates")
LARGE = Moments(10**10, -29 * 10**18, 89 * 10**27 + 1, -2_999_999_999, 2_999_999_999)


@pytest.mark.parametrize("state", [
    State(1, 2**64 - 1, (LARGE,)),
    State(2, 0, (Moments(),)),
    State(3, 7, (Moments(2, -5, 13, -3, -2),)),
])  # fmt: skip
def test_a_state_comes_back_from_its_row(state: State) -> None:
    place = (1_709_251_200_000_000, ("soil with vegetation stubble",))
    row = dict(zip((c.name for c in hiveql.columns(WINDOWED)), hiveql.row_of(WINDOWED, place, state), strict=True))
    assert hiveql.place_of(WINDOWED, [row[c.name] for c in hiveql.exact_columns(WINDOWED)]) == (place, state)


def test_readable_numbers_stand_beside_the_state() -> None:
    state = State(2, 9, (Moments(2, 1_000_000, 580_000_000_000, 300_000, 700_000),))
    row = dict(
        zip((c.name for c in hiveql.columns(ALL_TIME)), hiveql.row_of(ALL_TIME, (0, ("x",)), state), strict=True)
    )
    assert (row["ndvi_avg"], row["ndvi_min"], row["ndvi_max"], row["n"]) == (0.5, 0.3, 0.7, 2)
    assert row["ndvi_stddev"] == 0.282842712474619  # √0.08, to the nearest double


def test_a_measure_without_events_has_no_readable_numbers() -> None:
    row = dict(
        zip(
            (c.name for c in hiveql.columns(ALL_TIME)),
            hiveql.row_of(ALL_TIME, (0, ("x",)), State(2, 9, (Moments(),))),
            strict=True,
        )
    )
    assert (row["ndvi_avg"], row["ndvi_min"], row["ndvi__min"], row["ndvi__n"], row["n"]) == (None, None, None, 0, 2)


def test_the_table_holds_every_column_and_two_partition_columns() -> None:
    text = hiveql.table("landcover", ALL_TIME, "file:///tmp/it's")
    assert text == (
        "CREATE EXTERNAL TABLE IF NOT EXISTS `landcover`.`landcover_aggregates__gen` (\n"
        "  `window_start_us` BIGINT COMMENT 'start of the window, microseconds since 1970 UTC; 0: all time',\n"
        "  `class_name` STRING COMMENT 'key',\n"
        "  `ndvi_avg` DOUBLE COMMENT 'mean of ndvi_mean',\n"
        "  `ndvi_stddev` DOUBLE COMMENT 'stddev of ndvi_mean',\n"
        "  `ndvi_min` DOUBLE COMMENT 'min of ndvi_mean',\n"
        "  `ndvi_max` DOUBLE COMMENT 'max of ndvi_mean',\n"
        "  `n` BIGINT COMMENT 'events',\n"
        "  `fp` DECIMAL(38,0) COMMENT 'sum of the ids\\' hashes modulo 2^64',\n"
        "  `ndvi__n` BIGINT COMMENT 'events that hold ndvi_mean',\n"
        "  `ndvi__sum` DECIMAL(38,0) COMMENT 'sum of ndvi_mean, at scale 6',\n"
        "  `ndvi__sumsq` DECIMAL(38,0) COMMENT 'sum of squares of ndvi_mean, at scale 6, twice that scale',\n"
        "  `ndvi__min` BIGINT COMMENT 'lowest ndvi_mean, at scale 6',\n"
        "  `ndvi__max` BIGINT COMMENT 'highest ndvi_mean, at scale 6'\n"
        ")\n"
        "COMMENT 'NDVI per class, all time: every generation kept'\n"
        "PARTITIONED BY (`gen` BIGINT, `part` STRING)\n"
        "STORED AS PARQUET LOCATION 'file:///tmp/it\\'s'"
    )


def test_the_view_shows_people_one_generation() -> None:
    assert hiveql.served_view("landcover", WINDOWED, 3, 41) == (
        "CREATE OR REPLACE VIEW `landcover`.`realtime_ndvi_by_class`\n"
        "COMMENT 'NDVI per class: generation 3, every event up to ledger seq 41'\n"
        "TBLPROPERTIES ('braid.generation' = '3')\n"
        "AS SELECT timestamp_micros(window_start_us) AS window_start, `class_name`, `n`, `ndvi_avg`, `ndvi_stddev`, "
        "`ndvi_min`, `ndvi_max` FROM `landcover`.`realtime_ndvi_by_class__gen` WHERE gen = 3"
    )


def test_partitions_are_registered_in_one_statement_and_dropped_by_generation() -> None:
    assert hiveql.add_partitions("d", _view("v", 0), 2, {"key-1": "file:///b", "key-0": "file:///a"}) == (
        "ALTER TABLE `d`.`v__gen` ADD IF NOT EXISTS\n"
        "  PARTITION (gen = 2, part = 'key-0') LOCATION 'file:///a'\n"
        "  PARTITION (gen = 2, part = 'key-1') LOCATION 'file:///b'"
    )
    dropped = hiveql.drop_partitions("d", _view("v", 0), [2, 1])
    assert dropped == "ALTER TABLE `d`.`v__gen` DROP IF EXISTS PARTITION (gen = 1), PARTITION (gen = 2)"


def test_parts_are_months_of_windows_or_buckets_of_keys() -> None:
    month_end = 1_711_929_599_999_999  # the last microsecond of March 2024, UTC
    assert hiveql.part_of(_view("v", 1), (month_end, ("x",))) == "2024-03"
    assert hiveql.part_of(_view("v", 1), (month_end + 1, ("x",))) == "2024-04"
    parts = {hiveql.part_of(_view("v", 0), (0, (f"key {i}",))) for i in range(200)}
    assert parts == {f"key-{i}" for i in range(hiveql.BUCKETS)}


def test_every_declared_view_has_columns_of_different_names() -> None:
    for spec in _declared():
        names = [c.name for c in hiveql.columns(spec)]
        assert len(names) == len(set(names)), spec.name


def _declared() -> tuple[ViewSpec, ...]:
    declaration: Declaration = LANDCOVER
    return declaration.views


def _view(name: str, window_us: int) -> ViewSpec:
    return ViewSpec(name, ("k",), window_us, (), ("t",))
