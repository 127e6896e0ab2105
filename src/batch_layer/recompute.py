"""The recompute: every view out of the whole master, with each event id counted once.

A copy is told by the id itself and not by its hash, and the first in ledger order is the one that counts, as in the
speed layer. Spark folds once for all views of the same keys, by the finest of their windows, and coarser views are merged
from that: states merge exactly, so it does not matter where. The fold has the seq as one key more for what came after the served cut; the audit reads those
partials one by one, and merged they are the views.

The incremental mode does the same with the records of the cuts after a served generation's alone: copies are dropped
among them, then those whose id counted before (`Known`), and what comes out is to be added to that generation's states.
That is exact, because states merge exactly and because of two records of one id the earlier one counts.

Everything is 64-bit integers in Spark, sums of squares and fingerprints in two halves, joined here to Python integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from batch_layer.archive import columns
from batch_layer.audit import Counts, Own
from braid import sql, views
from braid.adapters import spark as frames
from braid.adapters.master import Cut, Master, Tally
from braid.aggregates import NOTHING, Distinct, Held, Latest, Moments, Quantiles, State
from braid.declaration import Declaration, Measure, Topic, ViewSpec
from braid.views import Key, View

Known: TypeAlias = Callable[[Iterable[Path]], Mapping[str, Any]]  # of some files the ids that counted before
Cells: TypeAlias = Mapping[tuple[int, tuple[int, Key]], Held]

_PARSED, _COUNTED, _RAW = "braid_batch_parsed", "braid_batch_counted", "braid_batch_raw"
_BROADCAST = 1_000_000  # ids that are handed to every task whole
_SEQ = "seq"  # the further key of partials; 0 for everything up to the served cut


@dataclass(frozen=True, slots=True)
class Recomputed:
    """The views of everything archived, and by seq what came after the served cut.

    Attributes
    ----------
    records : how many there are, counted or not
    whole : counts of them all, when that was asked for
    added : `states` are those of what came after the served cut alone, to be added to the served generation's
    """

    states: Mapping[str, View]
    own: Own
    records: int
    whole: Counts | None = None
    added: bool = False


def recompute(
    spark: SparkSession,
    declaration: Declaration,
    master: Master,
    cuts: Sequence[Cut],
    after: int,
    *,
    whole: bool = False,
) -> Recomputed:
    """Return every view of the dataset over some cuts of the master.

    Parameters
    ----------
    cuts : Cut, from the first on, their files checked by the caller
    after : ledger seq of the served cut: later rows are also kept apart, by seq
    whole : count everything once more as one: the declaration has changed, and the ledger counted by another
    """
    return _recompute(spark, declaration, master, cuts, cuts, after, None, whole=whole)


def incremental(
    spark: SparkSession, declaration: Declaration, master: Master, cuts: Sequence[Cut], after: int, known: Known | None
) -> Recomputed:
    """Return what is to be added to the states of the generation cut at `after`.

    Parameters
    ----------
    cuts : Cut, from the first on; the files of those after `after` are checked by the caller
    after : ledger seq of the served cut: the end of one of the cuts
    known : of the ids in some files those that counted before; None when every record counts
    """
    new = [cut for cut in cuts if cut.seq > after]
    return _recompute(spark, declaration, master, cuts, new, after, known, added=True)


def _recompute(
    spark: SparkSession,
    declaration: Declaration,
    master: Master,
    cuts: Sequence[Cut],
    read: Sequence[Cut],
    after: int,
    known: Known | None,
    *,
    whole: bool = False,
    added: bool = False,
) -> Recomputed:
    parsed(spark, declaration, master, read).createOrReplaceTempView(_PARSED)
    counted = spark.sql(sql.dedupe(declaration, declaration.topics, _PARSED))
    if known is not None:
        counted = _without(spark, counted, known(id_files(declaration, master, read)))
    counted = counted.selectExpr(*_needed(declaration), f"IF(seq > {after}, seq, 0L) AS f_{_SEQ}")
    folds = folds_of(declaration.fragment_views)
    if len(folds) > 1:  # keeping the rows costs as much as finding them once more
        counted = counted.persist(StorageLevel.MEMORY_AND_DISK)
    counted.createOrReplaceTempView(_COUNTED)
    try:
        own, states = {}, {}
        for fold, specs in folds:
            by_seq = _fold(spark, declaration, fold)
            for spec in specs:
                parts = {seq: views.coarsen(view, fold, _named_by_field(spec)) for seq, view in by_seq.items()}
                states[spec.name] = views.merge_views(parts.values())
                own[spec.name] = {seq: view for seq, view in parts.items() if seq > 0}
        good = _good(spark, declaration, own)
        all_ = _whole(spark) if whole else None
    finally:
        counted.unpersist()
    for spec in declaration.views:
        fine = declaration.finest(spec)
        if spec.name != fine.name:
            states[spec.name] = views.coarsen(states[fine.name], fine, spec)
    ordered = {spec.name: states[spec.name] for spec in declaration.views}
    tally = _tally(spark, declaration, master, [cut for cut in cuts if cut.seq > after])
    counts = {seq: Counts(n, *good.get(seq, (0, 0)), dead) for seq, (n, dead) in tally.items() if seq > after}
    return Recomputed(ordered, Own(counts, own), sum(cut.records for cut in cuts), all_, added)


def _without(spark: SparkSession, rows: DataFrame, ids: Mapping[str, Any]) -> DataFrame:
    """Return the rows whose id is none of some."""
    count = len(next(iter(ids.values())))
    if not count:
        return rows
    gone = frames.numbers(spark, ids)
    return rows.join(gone.hint("broadcast") if count <= _BROADCAST else gone, list(ids), "left_anti")


def id_files(declaration: Declaration, master: Master, cuts: Sequence[Cut]) -> list[Path]:
    """Return the files of some cuts that hold the ids of their good records, as the declaration in force reads them.

    Raises
    ------
    ValueError
        Another declaration parsed one of the cuts: its id columns are other ones.
    """
    strangers = [cut.folder for cut in cuts if cut.definition != declaration.hash]
    if strangers:
        raise ValueError(f"{', '.join(strangers)}: expected cuts that {declaration.hash} parsed")
    return [path for topic in declaration.topics for path in master.files(cuts, topic.name)]


def ids_read_again(spark: SparkSession, declaration: Declaration, master: Master, cut: Cut, folder: Path) -> list[Path]:
    """Write the ids of the good records of a cut that another declaration parsed into a folder; return its files."""
    again = together([_read_again(spark, master, [cut], topic) for topic in declaration.topics])
    again.where("reason IS NULL").select("id64", "salted64").write.parquet(str(folder))
    return sorted(folder.glob("*.parquet"))


def folds_of(specs: Sequence[ViewSpec]) -> list[tuple[ViewSpec, list[ViewSpec]]]:
    """Return the fewest folds that hold some views: one pass over history serves all views of the same keys.

    Such a fold has the finest of their windows and every field they measure, named by the field; each view is
    coarsened from it. Windows that no finer one divides are folded apart.
    """
    folds: list[tuple[ViewSpec, list[ViewSpec]]] = []
    for spec in sorted(specs, key=lambda v: (v.window_us == 0, v.window_us)):
        at = next((i for i, (fold, _) in enumerate(folds) if _holds(fold, spec)), None)
        if at is None:
            named = _named_by_field(spec)
            folds.append((replace(named, measures=_distinct(named.measures)), [spec]))
        else:
            fold, held = folds[at]
            measures = _distinct((*fold.measures, *_named_by_field(spec).measures))
            folds[at] = (replace(fold, measures=measures), [*held, spec])
    return folds


def _holds(fold: ViewSpec, spec: ViewSpec) -> bool:
    divides = spec.window_us == 0 or (fold.window_us > 0 and spec.window_us % fold.window_us == 0)
    return (fold.by, fold.topics, fold.where) == (spec.by, spec.topics, spec.where) and divides


def _named_by_field(spec: ViewSpec) -> ViewSpec:
    return replace(spec, measures=tuple(replace(m, name=m.of) for m in spec.measures))


def _distinct(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    return tuple({m.id: m for m in measures}.values())


def parsed(spark: SparkSession, declaration: Declaration, master: Master, cuts: Sequence[Cut]) -> DataFrame:
    """Return all records with the columns that the declaration in force reads from them.

    Cuts that another declaration parsed are read again from their raw bytes.
    """
    same = [cut for cut in cuts if cut.definition == declaration.hash]
    other = [cut for cut in cuts if cut.definition != declaration.hash]
    found = []
    for topic in declaration.topics:
        found.append(_files(spark, master, same, topic).drop("raw"))
        found += [_read_again(spark, master, other, topic)] if other else []
    return together(found)


def together(frames_: Sequence[DataFrame]) -> DataFrame:
    """Return the rows of several topics as one frame: a column that a topic does not have is null there."""
    return reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames_)


def _files(spark: SparkSession, master: Master, cuts: Sequence[Cut], topic: Topic) -> DataFrame:
    paths = [str(p) for p in master.files(cuts, topic.name)]
    if not paths:
        return frames.empty(spark, columns(topic))
    return spark.read.schema(columns(topic)).parquet(*paths)


def _read_again(spark: SparkSession, master: Master, cuts: Sequence[Cut], topic: Topic) -> DataFrame:
    view = f"{_RAW}_{topic.name}".replace("-", "_").replace(".", "_")
    paths = [str(p) for p in master.files(cuts, topic.name)]
    held = "seq BIGINT, topic STRING, `partition` INT, `offset` BIGINT, append_us BIGINT, raw BINARY"
    frame = spark.read.schema(held).parquet(*paths) if paths else frames.empty(spark, held)
    frame.createOrReplaceTempView(view)
    records = (
        f"(SELECT topic, `partition`, `offset`, timestamp_micros(append_us) AS `timestamp`, raw AS value FROM {view})"
    )
    parsed = spark.sql(sql.parsed(topic, records)).drop("raw")
    return parsed.join(frame.select("seq", "topic", "partition", "offset"), ["topic", "partition", "offset"])


def _needed(declaration: Declaration) -> list[str]:
    fields = {f"f_{name}" for topic in declaration.topics for name in sql.used(declaration, topic)}
    latest = any(m.kind == "latest" for view in declaration.views for m in view.measures)
    return ["topic", "event_us", "id64", *sorted(fields), *(("seq", "`partition`", "`offset`") if latest else ())]


def _tally(spark: SparkSession, declaration: Declaration, master: Master, cuts: Sequence[Cut]) -> Tally:
    """Return all records and the dead ones of every seq of some cuts: as archived, when it was by this declaration."""
    if all(cut.definition == declaration.hash for cut in cuts):
        return master.tally(cuts)
    after = min(cut.after for cut in cuts)
    found = spark.sql(f"SELECT seq, count(*), count(reason) FROM {_PARSED} WHERE seq > {after} GROUP BY seq").collect()
    return {seq: (records, dead) for seq, records, dead in found}


def _whole(spark: SparkSession) -> Counts:
    """Return the counts of everything that is there, under the declaration that the views are made of."""
    ((records, dead),) = spark.sql(f"SELECT count(*), count(reason) FROM {_PARSED}").collect()
    good, fp = tally(spark, _COUNTED)
    return Counts(records, good, fp, dead)


def tally(spark: SparkSession, rows: str) -> tuple[int, int]:
    """Return how many rows with an id64 there are, and the fingerprint of their ids.

    Parameters
    ----------
    rows : a view's name, and perhaps a condition after it, as SQL
    """
    ((n, hi, lo),) = spark.sql(f"SELECT {', '.join(sql.TALLY)} FROM {rows}").collect()
    return n, _fp(hi or 0, lo or 0)


def _good(
    spark: SparkSession, declaration: Declaration, own: Mapping[str, Mapping[int, View]]
) -> dict[int, tuple[int, int]]:
    """Return (n, fp) of the events that count in every seq: from a view of all topics when there is one."""
    topics = {topic.name for topic in declaration.topics}
    for spec in declaration.fragment_views:
        if topics <= set(spec.topics) and spec.where is None:
            return {seq: views.totals(view) for seq, view in own[spec.name].items()}
    found = spark.sql(
        f"SELECT f_{_SEQ}, {', '.join(sql.TALLY)} FROM {_COUNTED} WHERE f_{_SEQ} > 0 GROUP BY 1"
    ).collect()
    return {seq: (n, _fp(hi, lo)) for seq, n, hi, lo in found}


def _fold(spark: SparkSession, declaration: Declaration, spec: ViewSpec) -> dict[int, dict[tuple[int, Key], State]]:
    """Return a view's states by seq; under 0 those of everything up to the served cut."""
    found: dict[int, dict[tuple[int, Key], State]] = {}
    keyed = replace(spec, by=(_SEQ, *spec.by))  # the fold of a view that has the seq as its first key
    cells = _cells(spark, declaration, keyed, "quantiles") | _cells(spark, declaration, keyed, "distinct")
    table = spark.sql(sql.fold(declaration, keyed, _COUNTED)).toArrow()
    for seq, place, state in _states(spec, [column.to_pylist() for column in table.columns], cells):
        found.setdefault(seq, {})[place] = state
    return found


def _cells(
    spark: SparkSession, declaration: Declaration, keyed: ViewSpec, kind: Literal["quantiles", "distinct"]
) -> dict[str, Cells]:
    """Return what is held of the measures of a kind, by the measure's id, seq and place."""
    measures = [m for m in keyed.measures if m.kind == kind]
    if not measures:
        return {}
    gathered: dict[tuple[int, int, tuple[int, Key]], list[tuple[int, int]]] = {}
    table = spark.sql(sql.fold_cells(declaration, keyed, measures, _COUNTED)).toArrow()
    for start, seq, *key, measure, cell, count in zip(*(column.to_pylist() for column in table.columns), strict=True):
        gathered.setdefault((measure, seq, (start, tuple(key))), []).append((cell, count))
    found: dict[str, dict[tuple[int, tuple[int, Key]], Held]] = {m.id: {} for m in measures}
    for (measure, seq, place), cells in gathered.items():
        cells.sort()
        held = Quantiles(tuple(cells)) if kind == "quantiles" else Distinct(tuple(cell for cell, _ in cells))
        found[measures[measure].id][seq, place] = held
    return dict(found)


def _states(
    spec: ViewSpec, columns_: Sequence[list[Any]], cells: Mapping[str, Cells]
) -> Iterator[tuple[int, tuple[int, Key], State]]:
    folded = [(m, 6 if m.kind == "moments" else 1) for m in spec.measures if m.id not in cells]
    assert len(columns_) == 2 + len(spec.by) + 3 + sum(size for _, size in folded)  # noqa: S101 - the columns of `sql.fold`
    for window_start_us, seq, *rest in zip(*columns_, strict=True):
        key = tuple(rest[: len(spec.by)])
        n, fp_hi, fp_lo, *values = rest[len(spec.by) :]
        place, left = (window_start_us, key), iter(values)
        held = {
            m.id: _moments(tuple(islice(left, size))) if m.kind == "moments" else _latest(next(left))
            for m, size in folded
        }
        measures = tuple(
            held[m.id] if m.id in held else cells[m.id].get((seq, place), NOTHING[m.kind]) for m in spec.measures
        )
        yield seq, place, State(n, _fp(fp_hi, fp_lo), measures)


def _latest(event: Mapping[str, Any] | None) -> Latest:
    if event is None:
        return Latest()
    place = (event["seq"], event["topic"], event["partition"], event["offset"])
    return Latest((event["event_us"], place), event["value"])


def _moments(columns_: Sequence[Any]) -> Moments:
    n, total, hi, lo, low, high = columns_
    return Moments(n, total, (hi << 32) + lo, low, high)


def _fp(hi: int, lo: int) -> int:
    return ((hi << 32) + lo) % (1 << 64)
