"""The tables of a dataset: the checked-in text is fresh, and the statements keep the rules of storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from braid import cql
from braid.declaration import Declaration
from braid.declaration_reader import load_all, parse
from tests import contracts

ROOT = Path(__file__).parents[2]
DECLARED = load_all(ROOT / "datasets")
DECLARATIONS = [*DECLARED.values(), contracts.DECLARATION]
each = pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda d: d.dataset)


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_the_checked_in_text_is_that_of_the_declaration(name: str) -> None:
    held = (ROOT / "cql" / f"{name}.cql").read_text(encoding="utf-8")
    assert held == cql.text(DECLARED[name]), f"stale: run python -m braid.cql datasets/{name}.yaml"


def test_no_text_is_checked_in_without_a_declaration() -> None:
    assert {p.stem for p in (ROOT / "cql").glob("*.cql")} == set(DECLARED)


def test_the_file_is_written_beside_the_declarations(tmp_path: Path) -> None:
    for folder in ("datasets", "cql"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "datasets" / "contract.yaml"
    path.write_text(contracts.DECLARATION.text, encoding="utf-8")
    cql.main([str(path)])
    assert (tmp_path / "cql" / "contract.cql").read_text(encoding="utf-8") == cql.text(contracts.DECLARATION)


@each
def test_only_the_finest_views_have_fragments_and_every_view_a_readable_table(declaration: Declaration) -> None:
    names = [t.name for t in cql.tables(declaration)]
    assert len(names) == len(set(names))
    assert {n for n in names if n.endswith("__fragments")} == {
        f"{v.name}__fragments" for v in declaration.fragment_views
    }
    assert {v.name for v in declaration.views} | {r.name for r in declaration.alerts} <= set(names)


@each
def test_every_insert_into_a_table_with_a_time_to_live_carries_it(declaration: Declaration) -> None:
    for table in cql.tables(declaration):
        assert (f"TTL {table.ttl_s}" in table.insert("TIMESTAMP ?")) == bool(table.ttl_s)
        assert (f"default_time_to_live = {table.ttl_s}" in table.create()) == bool(table.ttl_s)


@each
def test_windows_of_compaction_are_a_24th_to_a_30th_of_the_time_to_live(declaration: Declaration) -> None:
    hours = {"HOURS": 1, "DAYS": 24}
    for table in cql.tables(declaration):
        if table.windows:
            unit, size = table.windows
            assert 24 <= table.ttl_s / (hours[unit] * size * 3600) <= 30


@each
def test_projections_are_never_compacted_by_time_windows(declaration: Declaration) -> None:
    # their timestamps are seqs and not times
    assert [t.name for t in cql.projections(declaration) if t.windows] == []


@each
def test_every_collection_is_frozen(declaration: Declaration) -> None:
    # an insert into one that is not writes a tombstone
    kinds = [kind for t in cql.tables(declaration) for _, kind in t.columns]
    assert [k for k in kinds if "map<" in k and not k.startswith("frozen<")] == []


@each
def test_columns_are_named_once_and_keys_are_columns(declaration: Declaration) -> None:
    for table in cql.tables(declaration):
        assert len(table.names) == len(set(table.names)), table.name
        assert {*table.partition, *table.clustering} <= set(table.names), table.name
        assert table.newest_first <= set(table.clustering), table.name


def test_words_that_the_language_keeps_are_quoted() -> None:
    assert [cql.quoted(word) for word in ("order", "class_name", "timestamp")] == ['"order"', "class_name", "timestamp"]


TWO_KEYS = """
dataset: stations
topic: readings
event_id: [station, taken_at]
event_time: {field: taken_at}
fields:
  station:  {type: string}
  order:    {type: string}
  taken_at: {type: time}
  level:    {type: integer}
  seen_at:  {type: time, optional: true}
views:
  by_station: {by: [station, order], window: all, measures: {level: {of: level, stats: [n, mean]}}}
alerts:
  odd: {of: level, by: [station, order], rule: sigma, beyond: 3, show: [seen_at, taken_at, station]}
"""


def test_an_alert_table_follows_the_declared_fields() -> None:
    declaration = parse(TWO_KEYS)
    table = cql.alert_table(declaration, declaration.alerts[0])
    assert (table.partition, table.clustering) == (
        ("station", "order", "day"),
        ("taken_at", "topic", "partition", "offset"),  # the id's string field is a key already
    )
    kinds = dict(table.columns)
    assert (kinds["level"], kinds["seen_at"], kinds["taken_at"]) == ("bigint", "timestamp", "timestamp")
    assert 'PRIMARY KEY ((station, "order", day), taken_at, topic, partition, offset)' in table.create()


def test_events_without_a_time_of_their_own_get_a_column_that_no_field_has() -> None:
    text = TWO_KEYS.replace("event_time: {field: taken_at}", "event_time: append").replace("seen_at", "event_time")
    declaration = parse(text)
    table = cql.alert_table(declaration, declaration.alerts[0])
    assert table.clustering[0] == "event_time__append"
    assert "event_time" in table.names


def test_a_cluster_asks_for_its_replicas() -> None:
    assert "'replication_factor': 3}" in cql.keyspace(contracts.DECLARATION, replicas=3)
