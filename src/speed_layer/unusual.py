"""Records that are not usual, read in the driver.

What every micro-batch pays for is the size of the query that Spark plans, and two thirds of it were the thorough reading,
which hardly any record needs. So Spark reads the usual records, whose text is what `braid.usual` expects, and hands over
the others as they are; here the reference, `braid.records`, reads them into the same columns. Both are held equal record by
record. When there are many of them, or long ones, Spark reads the whole range once more, thoroughly: one more action, and
the only case of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from braid import records, sql
from braid.declaration import Declaration
from braid.hashing import xxhash64
from braid.records import DeadLetter

MOST = 1000  # read here; at about 0.1 ms each they take as long as another action takes to be planned


def read(declaration: Declaration, table: pa.Table, thorough: Callable[[], pa.Table]) -> pa.Table:
    """Return slim rows with every record read.

    Parameters
    ----------
    declaration : in force
    table : columns of `sql.slim` with `usual_only`, one row per record
    thorough : returns the same rows read by Spark, all of them

    Returns
    -------
    pa.Table with the columns of `table`; the rows that were unread come last
    """
    unread = pc.fill_null(pc.equal(table.column("reason"), sql.UNREAD), False)
    left = table.filter(unread)
    if not left.num_rows:
        return table
    if left.num_rows > MOST or (pc.max(pc.binary_length(left.column("raw"))).as_py() or 0) > sql.RAW_SENT:
        return thorough()
    columns = left.select(["topic", "partition", "offset", "append_us", "raw"]).to_pylist()
    made = pa.Table.from_pylist([_row(declaration, record) for record in columns], schema=table.schema)
    return pa.concat_tables([table.filter(pc.invert(unread)), made])


def _row(declaration: Declaration, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return one record as a slim row; columns that it does not have are left out."""
    topic, raw = declaration.topic(record["topic"]), record["raw"]
    verdict = records.parse(topic, raw, record["append_us"])
    if isinstance(verdict, DeadLetter):
        return {**record, "reason": verdict.reason, "raw": raw and raw[: sql.RAW_SHOWN]}
    values = verdict.values
    row: dict[str, Any] = {**record, "raw": None, "id64": verdict.id64, "salted64": verdict.salted64}
    row["event_us"] = verdict.event_us
    row |= {f"f_{name}": values[name] for name in sql.used(declaration, topic)}
    for name in sql.hashed(declaration):
        value = values.get(name)
        row[f"h_{name}"] = None if value is None else xxhash64([value])
    for view in declaration.fragment_views:
        if view.where is not None:
            row[f"w_{view.name}"] = topic.name in view.topics and bool(view.where.compute(values))
    return row
