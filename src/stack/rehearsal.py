"""What our jobs ask of Spark, in small and without a service, so that its classes are loaded and archived.

Run by `stack.archive` in a process of its own, under a BRAID_HOME of its own. The numbers are nobody's: what counts is
that Parquet, JSON, windows, a stream with its checkpoint and the Kafka source have been met once. (The real texts of a
declaration add half a minute to it and take nothing off a later start: tried.)
"""

import sys
from pathlib import Path
from typing import Any

from braid.adapters import spark as frames
from braid.adapters.environment import load

FOLD = """
SELECT `partition`, event.c AS class, count(*) AS n, sum(CAST(event.x * 100 AS bigint)) AS total, min(place) AS first
FROM (SELECT *, from_json(CAST(value AS string), 'c STRING, x DECIMAL(38,6)') AS event,
             row_number() OVER (PARTITION BY `partition` ORDER BY `offset`) AS place,
             xxhash64(topic, `offset`) AS id FROM records)
WHERE id != 0 GROUP BY `partition`, event.c
"""


def main() -> int:
    """Rehearse, and wait until the JVM has written its archive."""
    settings = load()
    spark = frames.session(settings, "archive")
    try:
        master = settings.home / "master"
        _batch(spark, str(master))
        _stream(spark, str(master), settings.home / "checkpoint")
        _kafka(spark)
    finally:
        frames.leave(spark)
    return 0


def _batch(spark: Any, master: str) -> None:
    """Write records as the archive does, and fold what was written."""
    records = frames.numbers(spark, {"offset": range(2000)}).selectExpr(
        "'none' AS topic", "CAST(`offset` % 3 AS int) AS `partition`", "`offset`",
        "timestamp_micros(`offset`) AS `timestamp`", """CAST('{"c": "a", "x": 0.5}' AS binary) AS value""",
    )  # fmt: skip
    sorted_ = records.sort("partition", "offset")
    sorted_.write.partitionBy("partition").option("compression", "zstd").parquet(master)
    frames.rows(spark.read.parquet(master), FOLD)


def _stream(spark: Any, master: str, checkpoint: Path) -> None:
    """Run one micro-batch over those files."""
    stream = spark.readStream.schema(spark.read.parquet(master).schema).parquet(master)
    writer = stream.writeStream.foreachBatch(lambda frame, _: frames.rows(frame, FOLD) and None)
    writer.option("checkpointLocation", str(checkpoint)).trigger(availableNow=True).start().awaitTermination()


def _kafka(spark: Any) -> None:
    """Meet the Kafka source and its clients; no broker is asked."""
    spark.read.format("kafka").option("kafka.bootstrap.servers", "127.0.0.1:1").option("subscribe", "none").load()
    for name in ("admin.KafkaAdminClient", "consumer.KafkaConsumer", "consumer.internals.ClassicKafkaConsumer"):
        spark._jvm.java.lang.Class.forName(f"org.apache.kafka.clients.{name}")


if __name__ == "__main__":
    sys.exit(main())
