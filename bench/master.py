"""A master of any size, in the archive's layout: the records are made by Spark and read by the engine's own SQL.

So the columns are those that the archive writes, whatever they are. Ids come from their number; a thousandth are copies and
as many are dead. The values follow from the number, and the reference from the same arithmetic in numpy.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from batch_layer.archive import columns
from bench import events
from bench.events import CLASSES, START_US
from braid import sql
from braid.adapters import durable
from braid.adapters.master import MANIFEST, TALLY, Cut, Master, tally_text, topic_folder
from braid.declaration import Declaration

PARTITIONS, _SEQ = 3, 50_000
_MINUTES = 43_200  # a month of minutes
_STEP = 48_271  # a prime: values go up and down


def made(spark: SparkSession, root: Path, declaration: Declaration, first: int, count: int, per: int = _SEQ) -> Cut:
    """Write one more cut of `count` records from number `first` on, after those that are there; `per` of them a seq."""
    master, topic = Master(root, declaration.dataset), declaration.topics[0]
    master.path.mkdir(parents=True, exist_ok=True)
    cuts = master.cuts()
    after = cuts[-1].seq if cuts else 0
    last = after + -(-count // per)
    stage = durable.stage(master.path, f"cut={last}")
    names = [part.split()[0] for part in columns(topic).split(", ")]
    records = (
        f"(SELECT '{topic.name}' AS topic, CAST(i % {PARTITIONS} AS INT) AS `partition`, i DIV {PARTITIONS} AS `offset`, "
        f"timestamp_micros({START_US + 10**15 // 2}) AS `timestamp`, CAST({_raw()} AS BINARY) AS value "
        f"FROM (SELECT id AS i, IF(id % 1000 = 999, id - 1, id) AS s FROM range({first}, {first + count}, 1, {max(2, count // 500_000)})))"
    )
    seq = f"{after + 1} + (`offset` * {PARTITIONS} + `partition` - {first}) DIV {per} AS seq"
    selected = ", ".join(seq if name == "seq" else name for name in names)
    frame = spark.sql(f"SELECT {selected} FROM ({sql.parsed(topic, records)})")
    folder = stage / topic_folder(topic.name)
    frame.write.option("compression", "zstd").parquet(str(folder))
    for number, path in enumerate(sorted(folder.glob("*.parquet"))):
        path.rename(folder / f"records-{number:05}.parquet")
    for path in [p for p in folder.iterdir() if p.suffix != ".parquet"]:
        path.unlink()
    tally = {after + 1 + k: (min(per, count - k * per), min(per, count - k * per) // 1000) for k in range(last - after)}
    (stage / TALLY).write_text(tally_text(tally), encoding="utf-8")
    start, end = (offsets(topic.name, n) for n in (first, first + count))
    cut = Cut(
        declaration.dataset,
        after,
        last,
        start,
        end,
        declaration.hash,
        count,
        cuts[-1].digest if cuts else "",
        durable.sums(stage),
    )
    (stage / MANIFEST).write_text(cut.text(), encoding="utf-8")
    durable.rename_new(stage, master.path / cut.folder)
    return cut


def offsets(topic: str, count: int) -> dict[tuple[str, int], int]:
    """Return the end offsets of the first `count` records."""
    return {(topic, p): (count + PARTITIONS - 1 - p) // PARTITIONS for p in range(PARTITIONS)}


def _raw() -> str:
    """Return the SQL of a record's text; a dead one lacks its last byte."""
    names = "array(" + ", ".join(f"'{name}'" for name in CLASSES) + ")"
    x = f"(s * {_STEP} % 1800001 - 900000)"
    value = f"concat(IF({x} < 0, '-', ''), '0.', lpad(CAST(abs({x}) AS STRING), 6, '0'))"
    at = f"date_format(timestamp_seconds({START_US // 10**6} + s % {_MINUTES} * 60), \"yyyy-MM-dd'T'HH:mm:ss\")"
    text = (
        f'concat(\'{{"image_id": "P-\', lpad(CAST(s AS STRING), 10, \'0\'), \'", "class_name": "\', {names}[CAST(s % {len(CLASSES)} AS INT)], '
        f'\'", "timestamp": "\', {at}, \'", "ndvi_mean": \', {value}, \', "ndvi_std": 0.125, "ndvi_min": \', {value}, '
        '\', "ndvi_max": 1, "green_mean": 12.5, "red_mean": 1.25, "nir1_mean": null, "nir2_mean": 99}\')'
    )
    return f"IF(i % 1000 = 500, left({text}, length({text}) - 1), {text})"


def reference(count: int) -> events.Reference:
    """Return what a correct answer over the first `count` records holds."""
    found = events.Reference()
    for first in range(0, count, 2_000_000):
        at = np.arange(first, min(count, first + 2_000_000), dtype=np.int64)
        at = at[(at % 1000 != 999) & (at % 1000 != 500)]
        windows = (START_US + at % _MINUTES * 60_000_000) // events.WINDOW_US * events.WINDOW_US
        found.add(events.counted(windows, at % len(CLASSES), at * _STEP % 1_800_001 - 900_000))
    return found


def forget(root: Path, dataset: str) -> None:
    """Remove a master, and what was made of it."""
    for folder in (Master(root, dataset).path, root / "ids" / dataset, root / "views" / dataset):
        shutil.rmtree(folder, ignore_errors=True)


def waited(what: str, began: float) -> str:
    """Return how long something took, in words."""
    return f"{what} in {time.monotonic() - began:.0f} s"
