"""One micro-batch in the driver: slim rows in, copies masked, states by view out, in vectorised integer code.

The rows arrive as Arrow (columns of `braid.sql.slim`), are put into ledger order, and stay columns: a Python object is
made for an id, a dead letter or an alert, never for a row. All arithmetic is in 64-bit integers that cannot wrap in
silence: |x| < 3·10^9, so a sum is safe below 3·10^9 rows, and Σx² is summed as two halves of x² (x² >> 32 and
x² & 0xFFFFFFFF), joined to one Python integer per group. Only fp wraps, on purpose, modulo 2^64. The batch layer folds
the same events in Spark SQL; laws and every audit hold the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from braid.aggregates import (
    BIN_BITS,
    DISTINCT_K,
    NO_MOMENTS,
    NOTHING,
    Distinct,
    Held,
    Latest,
    Moments,
    Quantiles,
    State,
)
from braid.alerts import Alert, baseline_numbers, beyond, z_score
from braid.declaration import AlertRule, Declaration, Measure, ViewSpec
from braid.errors import RangeRefused
from braid.ledger import Range
from braid.ports import DeadLetterRow
from braid.views import Key, View

Ints: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


class Batch:
    """The rows of one micro-batch in ledger order: which are good, which are dead, and their columns.

    Parameters
    ----------
    declaration : Declaration in force
    table : pyarrow.Table, columns of `braid.sql.slim`, one row per record, any order
    offered : Range, the offsets that the rows must come from

    Raises
    ------
    RangeRefused
        A row lies outside the range or came twice: Spark read something else than it said.
    """

    def __init__(self, declaration: Declaration, table: pa.Table, offered: Range) -> None:
        self.declaration = declaration
        self._table = _in_ledger_order(table)
        self.rows = self._table.num_rows
        _check_positions(self._table, offered)
        self.absent = offered.size - self.rows
        self.good: Mask = np.asarray(pc.is_null(self._column("reason")))
        self.dead = int(self.rows - self.good.sum())
        self._codes: dict[str, tuple[Ints, list[str]]] = {}

    def _column(self, name: str) -> pa.Array:
        return self._table.column(name).combine_chunks()

    def _ints(self, name: str) -> tuple[Ints, Mask]:
        """Return a bigint column as (values, present); values of absent ones are 0."""
        column = self._column(name)
        present = np.asarray(pc.is_valid(column))
        return pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False), present

    def ids(self) -> list[bytes]:
        """Return the 16-byte id of every row in ledger order (meaningless where the row is not good)."""
        return _as_bytes(self._pairs)

    def distinct_ids(self) -> list[bytes]:
        """Return the ids of the good rows, each once, sorted as the store of seen ids likes them."""
        pairs = self._sorted(self.good)
        first = np.ones(len(pairs), dtype=bool)
        first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        return _as_bytes(pairs[first])

    def counted(self, known: set[bytes]) -> Mask:
        """Return which rows count: good, not known from before, and the first of their id in ledger order."""
        mask = self.good.copy()
        if self.declaration.dedupe == "none":
            return mask
        met = set(known)
        ids = self.ids()
        for i in np.flatnonzero(mask).tolist():
            if ids[i] in met:
                mask[i] = False
            else:
                met.add(ids[i])
        return mask

    def ids_of(self, mask: Mask) -> list[bytes]:
        """Return the ids of the masked rows, sorted."""
        return _as_bytes(self._sorted(mask))

    @cached_property
    def _pairs(self) -> npt.NDArray[np.uint64]:
        """Return the two halves of every row's id, as they are ordered as bytes."""
        halves = [self._ints(name)[0].view(np.uint64) for name in ("id64", "salted64")]
        return np.stack(halves, axis=1)

    def _sorted(self, mask: Mask) -> npt.NDArray[np.uint64]:
        pairs = self._pairs[mask]
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def fp(self, mask: Mask) -> int:
        """Return Σ hash64 of the masked rows' ids mod 2^64."""
        hashes = self._ints("id64")[0][mask].view(np.uint64)
        return int(np.add.reduce(hashes, dtype=np.uint64)) if len(hashes) else 0

    def dead_letters(self) -> list[DeadLetterRow]:
        """Return the rows set aside, with their reasons and first bytes."""
        columns = ["topic", "partition", "offset", "append_us", "reason", "raw"]
        rows = self._table.select(columns).take(pa.array(np.flatnonzero(~self.good))).to_pylist()
        return [
            DeadLetterRow(r["topic"], r["partition"], r["offset"], r["append_us"], r["reason"], r["raw"] or b"")
            for r in rows
        ]

    # ---- folding -------------------------------------------------------------------------------------------------

    def chosen(self, spec: ViewSpec, mask: Mask) -> Mask:
        """Return which of the masked rows a view counts: those of its topics that meet its condition."""
        if len(spec.topics) < len(self.declaration.topics):
            mask = mask & np.asarray(pc.is_in(self._column("topic"), pa.array(spec.topics)))
        if spec.where is not None:
            met = pc.fill_null(self._column(f"w_{self.declaration.finest(spec).name}"), False)
            mask = mask & met.to_numpy(zero_copy_only=False).astype(bool)
        return mask

    def _code(self, field: str) -> tuple[Ints, list[str]]:
        """Return a string or integer column as (codes per row, the texts), computed once."""
        if field not in self._codes:
            coded = self._column(f"f_{field}").dictionary_encode()
            codes = pc.fill_null(coded.indices, 0).to_numpy(zero_copy_only=False).astype(np.int64)
            self._codes[field] = codes, [str(v) for v in coded.dictionary.to_pylist()]
        return self._codes[field]

    def _keys(self, by: Sequence[str], mask: Mask) -> tuple[Ints, list[Key]]:
        """Return (code per masked row, key of each code)."""
        combined = np.zeros(int(mask.sum()), dtype=np.int64)
        sizes = []
        for field in by:
            codes, words = self._code(field)
            sizes.append(max(len(words), 1))
            combined = combined * sizes[-1] + codes[mask]
        distinct, codes = np.unique(combined, return_inverse=True)
        keys = []
        for code in distinct.tolist():
            parts: list[str] = []
            for field, size in zip(reversed(by), reversed(sizes), strict=True):
                code, part = divmod(code, size)  # noqa: PLW2901 - digits of a mixed-radix number, last first
                parts.append(self._code(field)[1][part])
            keys.append(tuple(reversed(parts)))
        return codes.astype(np.int64), keys

    def view(self, spec: ViewSpec, mask: Mask, seq: int) -> dict[tuple[int, Key], State]:
        """Return the states of one view over the masked rows, equal to `braid.views.fold` with `==`.

        Parameters
        ----------
        seq : of the micro-batch: the first part of a row's place in ledger order
        """
        mask = self.chosen(spec, mask)
        if not mask.any():
            return {}
        codes, keys = self._keys(spec.by, mask)
        times = self._ints("event_us")[0][mask]
        starts = times - times % spec.window_us if spec.window_us else np.zeros_like(times)
        windows, window_codes = np.unique(starts, return_inverse=True)
        groups, inverse = np.unique(window_codes * len(keys) + codes, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        placed = inverse[order].astype(np.int64)
        hashes = self._ints("id64")[0][mask].view(np.uint64)[order]
        first = _starts(placed)
        counts = np.diff(np.append(first, len(placed))).tolist()
        fps = np.add.reduceat(hashes, first, dtype=np.uint64).tolist()
        rows = np.flatnonzero(mask)[order]
        measures = [self._held(m, rows, placed, len(groups), seq) for m in spec.measures]
        result = {}
        for g, group in enumerate(groups.tolist()):
            window, key = divmod(group, len(keys))
            result[int(windows[window]), keys[key]] = State(counts[g], fps[g], tuple(m[g] for m in measures))
        return result

    def _held(self, measure: Measure, rows: Ints, placed: Ints, groups: int, seq: int) -> Sequence[Held]:
        """Return what is held of a measure by group; `rows` are sorted by their groups, `placed`, then by place."""
        if measure.kind == "moments":
            return self._moments(measure.of, rows, placed, groups)
        if measure.kind == "latest":
            return self._latest(measure, rows, placed, groups, seq)
        values, present = self._ints(f"{'h' if measure.kind == 'distinct' else 'f'}_{measure.of}")
        held = present[rows]
        x, where = values[rows][held], placed[held]
        result = [NOTHING[measure.kind]] * groups
        if not len(x):
            return result
        cells = x if measure.kind == "distinct" else _bins(x)
        sort = np.lexsort((cells, where))
        cells, where = cells[sort], where[sort]
        first = np.flatnonzero(np.append(True, (cells[1:] != cells[:-1]) | (where[1:] != where[:-1])))
        counts = np.diff(np.append(first, len(cells))).tolist()
        cells, where = cells[first], where[first]
        starts = _starts(where)
        for g, low, high in zip(
            where[starts].tolist(), starts.tolist(), [*starts[1:].tolist(), len(where)], strict=True
        ):
            if measure.kind == "distinct":
                result[g] = Distinct(tuple(cells[low : min(high, low + DISTINCT_K)].tolist()))
            else:
                result[g] = Quantiles(tuple(zip(cells[low:high].tolist(), counts[low:high], strict=True)))
        return result

    def _latest(self, measure: Measure, rows: Ints, placed: Ints, groups: int, seq: int) -> list[Held]:
        column = self._column(f"f_{measure.of}")
        held = np.asarray(pc.is_valid(column))[rows]
        rows, placed = rows[held], placed[held]
        result: list[Held] = [Latest()] * groups
        if not len(rows):
            return result
        # rows stand in ledger order, so that of equal times the last row is the last event
        sort = np.lexsort((rows, self._ints("event_us")[0][rows], placed))
        rows, placed = rows[sort], placed[sort]
        last = np.append(np.flatnonzero(placed[1:] != placed[:-1]), len(placed) - 1)
        names = ["event_us", "topic", "partition", "offset", f"f_{measure.of}"]
        found = self._table.select(names).take(pa.array(rows[last]))
        columns = (found.column(name).to_pylist() for name in names)
        for g, event_us, topic, partition, offset, value in zip(placed[last].tolist(), *columns, strict=True):
            result[g] = Latest((event_us, (seq, topic, partition, offset)), value)
        return result

    def _moments(self, field: str, rows: Ints, placed: Ints, groups: int) -> list[Moments]:
        values, present = self._ints(f"f_{field}")
        x, held = values[rows], present[rows]
        result = [NO_MOMENTS] * groups
        if not held.any():
            return result
        x, where = x[held], placed[held]
        first = _starts(where)
        square = x * x
        columns = (
            where[first], np.diff(np.append(first, len(x))), np.add.reduceat(x, first),
            np.add.reduceat(square >> 32, first), np.add.reduceat(square & 0xFFFFFFFF, first),
            np.minimum.reduceat(x, first), np.maximum.reduceat(x, first),
        )  # fmt: skip
        for g, n, total, high, low, least, most in zip(*(c.tolist() for c in columns), strict=True):
            result[g] = Moments(n, total, (high << 32) + low, least, most)
        return result

    # ---- alerts --------------------------------------------------------------------------------------------------

    def alerts(self, rule: AlertRule, seq: int, history: Mapping[Key, Moments], mask: Mask) -> list[Alert]:
        """Judge every masked row against its key's history as of seq − 1, in ledger order.

        Parameters
        ----------
        rule : AlertRule
        seq : int, of this micro-batch
        history : Moments by key, at the scale of the tested field; a key not there has none
        mask : which rows count
        """
        if len(self.declaration.topics) > 1:
            mask = mask & np.asarray(pc.equal(self._column("topic"), self.declaration.view(rule.baseline).topics[0]))
        values, present = self._ints(f"f_{rule.of}")
        codes, keys = self._keys(rule.by, mask)
        at = np.flatnonzero(mask)
        suspects = _suspects(values[at], present[at], codes, [history.get(k, NO_MOMENTS) for k in keys], rule)
        found = [
            (int(at[i]), keys[codes[i]])
            for i in suspects.tolist()
            if beyond(int(values[at[i]]), history[keys[codes[i]]], rule)
        ]
        return self._described(rule, seq, found, history)

    def _described(
        self, rule: AlertRule, seq: int, found: list[tuple[int, Key]], history: Mapping[Key, Moments]
    ) -> list[Alert]:
        fields = [rule.of, *rule.show]
        names = ["topic", "partition", "offset", "event_us", *(f"f_{f}" for f in fields)]
        rows = (
            self._table.select(list(dict.fromkeys(names))).take(pa.array([i for i, _ in found], pa.int64())).to_pylist()
        )
        topic = self.declaration.topic(self.declaration.view(rule.baseline).topics[0])
        scale = topic.columns[rule.of].scale
        baselines = {key: baseline_numbers(history[key], scale) for key in {key for _, key in found}}
        alerts = []
        for row, (_, key) in zip(rows, found, strict=True):
            n, mean, stddev = baselines[key]
            values = {f: row[f"f_{f}"] for f in fields}
            place: dict[str, Any] = {name: row[name] for name in ("topic", "partition", "offset", "event_us")}
            z = z_score(row[f"f_{rule.of}"], history[key])
            alerts.append(
                Alert(
                    rule.name,
                    seq,
                    **place,
                    key=key,
                    values=values,
                    z=z,
                    baseline_n=n,
                    baseline_mean=mean,
                    baseline_stddev=stddev,
                )
            )
        return alerts


def _as_bytes(pairs: npt.NDArray[np.uint64]) -> list[bytes]:
    """Return ids of two halves each as 16 bytes, the more significant one first."""
    raw = pairs.astype(">u8").tobytes()
    return [raw[i : i + 16] for i in range(0, len(raw), 16)]


@dataclass(frozen=True, slots=True)
class _Bound:
    """A key's history as doubles, to pass over the plainly usual rows; the verdict itself is exact."""

    mean: float
    reach: float


def _bound(m: Moments, rule: AlertRule) -> _Bound:
    if m.n < max(rule.min_count, 2):
        return _Bound(0.0, float("inf"))
    spread = (m.n * m.sumsq - m.sum * m.sum) / (m.n * (m.n - 1))
    # a little nearer than the true bound: doubles may be off in the last digits, the exact test decides
    return _Bound(m.sum / m.n, float(rule.beyond) * spread**0.5 * (1 - 1e-9) - 1e-3)


def _suspects(x: Ints, present: Mask, codes: Ints, histories: list[Moments], rule: AlertRule) -> Ints:
    bounds = [_bound(m, rule) for m in histories]
    if not bounds:
        return np.empty(0, dtype=np.int64)
    means = np.array([b.mean for b in bounds])[codes]
    reach = np.array([b.reach for b in bounds])[codes]
    return np.flatnonzero(present & (np.abs(x - means) > reach))


def _bins(x: Ints) -> Ints:
    """Return `aggregates.bin_of` of every value; |x| < 2^53, so a double holds its bit length."""
    m = np.abs(x)
    e = np.maximum(np.frexp(m.astype(np.float64))[1].astype(np.int64) - BIN_BITS - 1, 0)
    found: Ints = np.sign(x) * ((e << BIN_BITS) + (m >> e))
    return found


def _starts(sorted_groups: Ints) -> Ints:
    """Return the index of the first row of every group of a sorted column."""
    return np.flatnonzero(np.append(True, sorted_groups[1:] != sorted_groups[:-1]))


def _in_ledger_order(table: pa.Table) -> pa.Table:
    places = [table.column(name).combine_chunks() for name in ("topic", "partition", "offset")]
    if table.num_rows < 2:
        return table
    coded = places[0].dictionary_encode()
    rank = np.argsort(np.argsort(np.array(coded.dictionary.to_pylist())))
    topics = rank[coded.indices.to_numpy(zero_copy_only=False)]
    order = np.lexsort((places[2].to_numpy(), places[1].to_numpy(), topics))
    if (order[1:] > order[:-1]).all():
        return table
    return table.take(pa.array(order))


def _check_positions(table: pa.Table, offered: Range) -> None:
    """Every row once, and inside the range: then good + copies + dead + absent adds up to the range's size."""
    topics, partitions = table.column("topic").combine_chunks(), table.column("partition").to_numpy()
    offsets = table.column("offset").to_numpy()
    inside = 0
    for topic, partition, start, end in offered.partitions():
        here = offsets[np.asarray(pc.equal(topics, topic)) & (partitions == partition)]
        inside += int(((here >= start) & (here < end)).sum())
        if len(here) > 1 and not (here[1:] > here[:-1]).all():
            raise RangeRefused(
                f"{topic} partition {partition}: expected every offset of [{start}, {end}) once, got one twice"
            )
    if inside != table.num_rows:
        raise RangeRefused(
            f"micro-batch: expected rows of its range only, got {table.num_rows - inside} rows of other offsets"
        )


def histories(view: View, measure: int) -> dict[Key, Moments]:
    """Return the moments of one measure by key, out of a view of window `all`."""
    held = {key: state.measures[measure] for (_, key), state in view.items()}
    return {key: found for key, found in held.items() if isinstance(found, Moments)}
