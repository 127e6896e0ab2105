"""Spark without Braid: `before`, the set-up of the earlier land-cover system, and `noop`, Braid's own query into nothing.

    python -m bench.arms.spark before '{…}'     windowed totals by class, upserted; trigger 2 s, 200 shuffle partitions; a watermark wide enough to drop nothing
    python -m bench.arms.spark noop '{…}'       the slim rows of Braid's SQL, counted nowhere

A line a second says which offsets were reached and how long the newest micro-batches took, phase by phase.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from threading import Event
from typing import Any

from cassandra.concurrent import execute_concurrent_with_args
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as fn
from pyspark.sql.streaming.query import StreamingQuery

from bench.arms import tables
from braid import sql
from braid.adapters import environment
from braid.adapters import spark as frames
from braid.adapters.cassandra.session import opened
from braid.declaration_reader import parse

_SCHEMA = "image_id STRING, class_name STRING, timestamp TIMESTAMP, ndvi_mean DOUBLE"
_DEFAULT_FILES = (
    "spark.hadoop.fs.file.impl",
    "spark.sql.streaming.checkpointFileManagerClass",
    "spark.sql.streaming.pollingDelay",
)


def main(arm: str, spec: dict[str, Any]) -> None:
    """Run one query until a signal."""
    settings, stop = environment.load(), Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if arm == "before":
        options = {k: v for k, v in settings.spark_conf("bench").items() if k not in _DEFAULT_FILES}
        options["spark.sql.shuffle.partitions"] = "200"
        builder = SparkSession.builder.appName("bench-before")
        for name, value in options.items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        spark.sparkContext.setLogLevel("WARN")
    else:
        spark = frames.session(settings, "bench")
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka_bootstrap)
    reader = reader.option("subscribe", spec["topic"]).option("startingOffsets", spec.get("starting", "latest"))
    if arm == "noop":
        reader = reader.option("maxOffsetsPerTrigger", spec["max_offsets"]).option(
            "kafka.isolation.level", "read_committed"
        )
        query = _noop(reader.load(), spec)
    else:
        query = _before(reader.load(), spec, opened(settings.cassandra_host, settings.cassandra_port))
    told = -1
    while not stop.is_set() and not query.awaitTermination(0.5):  # type: ignore[arg-type] # seconds, fractions too
        told = _tell(query, told)
    _tell(query, told)
    frames.end(query)
    frames.end(spark)


def _noop(records: DataFrame, spec: dict[str, Any]) -> StreamingQuery:
    declaration = parse(spec["declaration"], spec["dataset"])
    slim = frames.query(records.select(*frames._COLUMNS), sql.slim(declaration, frames.RECORDS, usual_only=True))
    return slim.writeStream.format("noop").option("checkpointLocation", spec["checkpoint"]).start()


def _before(records: DataFrame, spec: dict[str, Any], store: Any) -> StreamingQuery:
    table = spec["table"]
    tables.create(store, table)
    statement = store._session.prepare(tables.UPSERT.format(table=table))
    parsed = records.select(fn.from_json(fn.col("value").cast("string"), _SCHEMA).alias("e")).select("e.*")
    window = fn.window("timestamp", "10 minutes")
    totals = parsed.withWatermark("timestamp", "2 hours").groupBy("class_name", window)
    kept = totals.agg(
        fn.count("*").alias("n"), fn.avg("ndvi_mean").alias("mean"), fn.stddev("ndvi_mean").alias("stddev"),
        fn.min("ndvi_mean").alias("low"), fn.max("ndvi_mean").alias("high"),
    )  # fmt: skip
    write = _writer(store, statement)
    started = kept.writeStream.outputMode("update").foreachBatch(write).trigger(processingTime=spec["trigger"])
    return started.option("checkpointLocation", spec["checkpoint"]).start()


def _writer(store: Any, statement: Any) -> Callable[[DataFrame, int], None]:
    def write(frame: DataFrame, _batch: int) -> None:
        rows = [
            (
                r["class_name"],
                int(r["window"].start.timestamp() * 1e6),
                r["n"],
                0,
                0,
                round(r["low"] * 1e6),
                round(r["high"] * 1e6),
            )
            for r in frame.collect()
            if r["class_name"] is not None
        ]
        if rows:
            execute_concurrent_with_args(store._session, statement, rows, concurrency=64)

    return write


def _tell(query: StreamingQuery, told: int) -> int:
    """Say what is new since the micro-batch `told`; return the newest one's number.

    A query that finds nothing says so now and then under the number of its next micro-batch, which is not that one yet.
    """
    fresh = [p for p in query.recentProgress if p["batchId"] > told and p["numInputRows"]]
    batches = [{"rows": p["numInputRows"], "ms": dict(p["durationMs"]), "at": p["timestamp"]} for p in fresh]
    ends = fresh[-1]["sources"][0]["endOffset"] if fresh else None
    ends = json.loads(ends) if isinstance(ends, str) else ends
    line = {"batches": batches, "ends": ends and {p: e for topic in ends.values() for p, e in topic.items()}}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    return max((p["batchId"] for p in fresh), default=told)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
