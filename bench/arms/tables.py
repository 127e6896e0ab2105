"""The totals of the arms that are not Braid: one upserted row per class and window."""

from __future__ import annotations

from braid.adapters.cassandra.session import Session

KEYSPACE = "bench_arms"
UPSERT = f"INSERT INTO {KEYSPACE}.{{table}} (class_name, window_start, n, total, squares, low, high) VALUES (?, ?, ?, ?, ?, ?, ?)"
SELECT = f"SELECT window_start, n FROM {KEYSPACE}.{{table}} WHERE class_name = ?"


def create(store: Session, table: str) -> None:
    """Create an arm's table where it is missing."""
    store.define(
        f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    store.define(
        f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.{table} (class_name text, window_start bigint, n bigint, total varint, "
        "squares varint, low bigint, high bigint, PRIMARY KEY (class_name, window_start))"
    )
