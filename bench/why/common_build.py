"""The common build of a speed layer, as tutorials and most repositories have it: two queries in one Spark driver.

`counters` adds each micro-batch to Cassandra counters (`n = n + ?`). `windows` keeps windows with a watermark in
Spark's state and writes their totals over the old ones. Both have a checkpoint and start again from it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql
from pyspark.sql.streaming.query import StreamingQuery

from bench.why.load import WINDOW_S, Counts
from braid.adapters import environment
from braid.adapters import spark as frames
from braid.adapters.cassandra.session import Session, opened
from braid.settings import Settings

_REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
_PLACE = "shop text, start bigint, {columns}, PRIMARY KEY (shop, start)"
TABLES = (
    f"CREATE KEYSPACE IF NOT EXISTS common_build WITH replication = {_REPLICATION}",
    "CREATE TABLE IF NOT EXISTS common_build.counters (" + _PLACE.format(columns="n counter, cents counter") + ")",
    "CREATE TABLE IF NOT EXISTS common_build.windows (" + _PLACE.format(columns="n bigint, cents bigint") + ")",
)
ADD = "UPDATE common_build.counters SET n = n + ?, cents = cents + ? WHERE shop = ? AND start = ?"
OVERWRITE = "UPDATE common_build.windows SET n = ?, cents = ? WHERE shop = ? AND start = ?"
_SCHEMA = "id STRING, shop STRING, at TIMESTAMP, amount DECIMAL(10, 2)"


def counts(store: Session, table: str) -> Counts:
    """Return what an API over `counters` or `windows` would answer."""
    rows = store.run(f"SELECT start, shop, n, cents FROM common_build.{table}")
    return {(start, shop): (n, cents) for start, shop, n, cents in rows}


def main(topic: str, folder: str) -> None:
    """Run both queries until a signal; `folder` holds their checkpoints and the file that tells how far they are."""
    settings, home, stop = environment.load(), Path(folder), Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spark = frames.session(settings, "why")
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    store = opened(settings.cassandra_host, settings.cassandra_port)
    queries = list(_queries(_sales(spark, settings, topic), store, home))
    while not stop.is_set() and not queries[0].awaitTermination(0.3):  # type: ignore[arg-type]
        _tell(home / "progress.json", queries, topic)
    for query in queries:
        frames.end(query)
    frames.end(spark)


def _queries(sales: DataFrame, store: Session, home: Path) -> Iterator[StreamingQuery]:
    add = _writer(store, ADD, _totals)
    yield sales.writeStream.foreachBatch(add).option("checkpointLocation", str(home / "counters")).start()
    kept = _totals(sales.withWatermark("at", f"{WINDOW_S} seconds"))
    overwrite = _writer(store, OVERWRITE, lambda totals: totals)
    stream = kept.writeStream.outputMode("update").foreachBatch(overwrite)
    yield stream.option("checkpointLocation", str(home / "windows")).start()


def _sales(spark: SparkSession, settings: Settings, topic: str) -> DataFrame:
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka_bootstrap)
    records = reader.option("subscribe", topic).option("startingOffsets", "earliest").load()
    return records.select(sql.from_json(sql.col("value").cast("string"), _SCHEMA).alias("e")).select("e.*")


def _totals(sales: DataFrame) -> DataFrame:
    window = sql.window("at", f"{WINDOW_S} seconds")
    n, cents = sql.count("*").alias("n"), sql.sum(sql.col("amount") * 100).cast("bigint").alias("cents")
    return sales.groupBy("shop", window).agg(n, cents).selectExpr("n", "cents", "shop", "unix_seconds(window.start)")


def _writer(
    store: Session, statement: str, totals: Callable[[DataFrame], DataFrame]
) -> Callable[[DataFrame, int], None]:
    def write(frame: DataFrame, _batch: int) -> None:
        for row in totals(frame).collect():
            store.run(statement, tuple(row))

    return write


def _tell(path: Path, queries: list[StreamingQuery], topic: str) -> None:
    """Write up to which offsets every query has come, for who waits for the end; null before its first micro-batch."""
    told = [query.lastProgress for query in queries]
    ends = [
        json.loads(progress["sources"][0]["endOffset"] or "{}").get(topic) if progress else None for progress in told
    ]
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(ends), "utf-8")
    aside.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
