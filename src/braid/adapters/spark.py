"""Spark: a session of ours, and Kafka records as frames, static or streaming, with every offset named.

A frame of records has the columns topic, partition, offset, timestamp (append time), value; `braid.sql` takes it from
there. Both kinds read committed records only and fail when records that they should hold are gone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from braid.ledger import Offsets, Range, spark_of
from braid.settings import CORES, Settings

RECORDS = "records"
FAILURES = (Py4JError, PySparkException, ConnectionError)  # of Spark itself; the last when its JVM is gone
_COLUMNS = ("topic", "partition", "offset", "timestamp", "value")


def session(settings: Settings, app: str, *, brief: bool = False) -> SparkSession:
    """Return the Spark session of this process, started with the settings' options.

    Parameters
    ----------
    app : str, `speed`, `batch`, or `archive` for the one whose classes are archived
    brief : bool, whether it will do little: then Java compiles quickly, and not to its best

    Notes
    -----
    Under `spark-submit` the JVM runs before any of our code; its `spark.driver.*` options then come from the
    environment's spark-defaults.conf, which `make setup` writes from the same settings.
    """
    for name, value in settings.spark_env().items():
        os.environ.setdefault(name, value)
    builder = SparkSession.builder.appName(f"braid-{app}")
    options = settings.spark_conf(app)
    if brief:
        options["spark.driver.extraJavaOptions"] += " -XX:TieredStopAtLevel=1"
    for name, value in options.items():
        builder = builder.config(name, value)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    if current_thread() is main_thread():  # another one hears no signals
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, _interrupting(spark, handler))
            elif handler is not None:
                signal.signal(number, handler)
    return spark


def _interrupting(spark: SparkSession, handler: Callable[[int, FrameType | None], Any]) -> Callable[..., Any]:
    """Return a signal's handler as it was, but after it this thread can ask the JVM something else.

    What a handler raises leaves a call behind that the JVM still works at. Each thread has one connection, and on that one
    every later call, also the one that stops Spark, would wait until the action ends, and take its answer for its own. So
    does PySpark's own handler of SIGINT, whose place this takes.
    """
    ways: Any = spark.sparkContext._gateway

    def heard(number: int, frame: FrameType | None) -> Any:
        ways._gateway_client.thread_connection.connection = None
        return handler(number, frame)

    return heard


def static(spark: SparkSession, settings: Settings, offered: Range, tasks: int = 4) -> DataFrame:
    """Return the records of exactly a range, as a frame that fails when any of them is gone.

    Parameters
    ----------
    offered : Range, not empty
    tasks : int, into how many reads it may be cut
    """
    reader = _common(spark.read.format("kafka"), settings, _topics(offered.end))
    reader = reader.option("startingOffsets", spark_of(offered.start)).option("endingOffsets", spark_of(offered.end))
    frame: DataFrame = reader.option("minPartitions", tasks).load()
    return frame.select(*_COLUMNS)


def streaming(
    spark: SparkSession, settings: Settings, topics: Sequence[str], starting: Offsets, max_offsets: int
) -> DataFrame:
    """Return the records of some topics from given offsets on, at most `max_offsets` of them a micro-batch."""
    reader = _common(spark.readStream.format("kafka"), settings, topics)
    reader = reader.option("startingOffsets", spark_of(starting)).option("maxOffsetsPerTrigger", max_offsets)
    frame: DataFrame = reader.load()
    # every task writes the query out as Java again: no more of them than there are cores
    return frame.select(*_COLUMNS).coalesce(CORES)


def send(frame: DataFrame, settings: Settings, topic: str) -> None:
    """Send rows with key, value and partition to a topic through Spark's Kafka sink: `acks=all`, idempotent."""
    options = {
        "kafka.bootstrap.servers": settings.kafka_bootstrap,
        "topic": topic,
        "kafka.acks": "all",
        "kafka.enable.idempotence": "true",
        "kafka.compression.type": "lz4",
        "kafka.linger.ms": "20",
        "kafka.batch.size": "262144",
    }
    frame.write.format("kafka").mode("append").options(**options).save()


def query(frame: DataFrame, text: str) -> DataFrame:
    """Return a SQL text (its table is `records`) over a frame of records, static or streaming."""
    frame.createOrReplaceTempView(RECORDS)
    return frame.sparkSession.sql(text)


def rows(frame: DataFrame, text: str) -> pa.Table:
    """Run a SQL text over a frame of records and return the rows: one Spark action."""
    return query(frame, text).toArrow()


def numbers(spark: SparkSession, columns: Mapping[str, Sequence[int]]) -> DataFrame:
    """Return whole numbers, by column, as a frame: by Arrow, for a list of rows would start a Python worker."""
    arrays = {name: pa.array(column, pa.int64()) for name, column in columns.items()}
    return spark.createDataFrame(pa.table(arrays))


def empty(spark: SparkSession, schema: str) -> DataFrame:
    """Return a frame without rows; `schema` is Spark's text, `name TYPE` separated by `, `."""
    columns = (column.rsplit(" ", 1) for column in schema.split(", "))
    return spark.range(0).selectExpr(*(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns))


def complaint(error: BaseException) -> str:
    """Return what Spark says went wrong in one line, without Java's traces."""
    said = ""
    with suppress(Py4JError, OSError):  # a JVM that is going away can no longer be asked for its words
        said = str(error.java_exception.toString()) if isinstance(error, Py4JJavaError) else str(error)
    return " ".join((said or type(error).__name__).split("\n\tat ")[0].split())[:500]


def end(stoppable: SparkSession | StreamingQuery) -> str | None:
    """Stop a session or a query; return why that failed, or None.

    A JVM that received the same signal as we did stops by itself, in its own order, and answers with errors meanwhile
    or no more. Nothing is lost with what did not stop in order: the ledger decides what was committed.
    """
    try:
        stoppable.stop()
    except FAILURES as error:
        return complaint(error)
    return None


def leave(spark: SparkSession, patience_s: float = 120.0) -> None:
    """Stop a session and wait until its JVM has ended, with whatever it does at its end."""
    gateway: Any = spark.sparkContext._gateway
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()  # which is what the JVM waits for
    gateway.proc.wait(patience_s)


def _common(reader: Any, settings: Settings, topics: Sequence[str]) -> Any:
    options = {
        "kafka.bootstrap.servers": settings.kafka_bootstrap,
        "subscribe": ",".join(topics),
        "failOnDataLoss": "true",
        "kafka.isolation.level": "read_committed",
        # a fetch ahead at the end of a partition keeps the connection this long, and Spark, which asks for the partition's bounds
        # at every read, waits behind it: half a second a partition by default
        "kafka.fetch.max.wait.ms": "1",
    }
    return reader.options(**options)


def _topics(offsets: Offsets) -> list[str]:
    return sorted({topic for topic, _ in offsets})
