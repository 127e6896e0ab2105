"""Where a record stands in ledger order, and what a local time is in UTC: for whole columns, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets [start, end) of one partition, counted by ledger row `seq`.

    `topic_id` is Kafka's: the offsets of a topic that was created again begin anew, and name other records.
    """

    seq: int
    topic: str
    partition: int
    start: int
    end: int
    topic_id: str = ""


class Ruler:
    """The spans of one partition of one topic id: where an offset stands in ledger order."""

    def __init__(self, key: tuple[str, str, int], spans: Sequence[Span]) -> None:
        base, found = 0, []
        for span in sorted(spans, key=lambda s: (s.seq, s.topic, s.partition)):
            if (span.topic, span.topic_id, span.partition) == key:
                found.append((span.start, span.end, span.seq, base))
            base += span.end - span.start
        self._starts, self._ends, self._seqs, self._bases = (
            np.array(c, np.int64) for c in zip(*sorted(found), strict=True)
        )

    def placed(self, offsets: Any) -> tuple[Any, Any]:
        i = np.searchsorted(self._starts, offsets, "right") - 1
        inside = (i >= 0) & (offsets < self._ends[i])
        return np.where(inside, self._bases[i] + offsets - self._starts[i], -1), np.where(inside, self._seqs[i], -1)


class Zone:
    """The UTC offset of every local time from 1970 to 2200: the earlier one where a clock is put back."""

    def __init__(self, zone: str) -> None:
        self._info, day = ZoneInfo(zone), timedelta(days=1)
        self._from, self._offsets = [np.iinfo(np.int64).min], [self._at(datetime(1970, 1, 1))]  # noqa: DTZ001 - local
        at = datetime(1970, 1, 1)  # noqa: DTZ001 - local
        while zone != "UTC" and at.year < 2200:
            if self._at(at + day) != self._offsets[-1]:
                self._from.append(self._change(at, at + day))
                self._offsets.append(self._at(at + day))
            at += day

    def _at(self, local: datetime) -> int:
        return (local.replace(tzinfo=self._info).utcoffset() or timedelta()) // timedelta(microseconds=1)

    def _change(self, low: datetime, high: datetime) -> int:
        """Return the first local microsecond that has the offset of `high`."""
        tick = timedelta(microseconds=1)
        while high - low > tick:
            middle = low + (high - low) // 2
            low, high = (low, middle) if self._at(middle) == self._at(high) else (middle, high)
        return (high.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // tick

    def instants(self, column: Any, local: Any) -> pa.Array:
        """Return microseconds UTC of times read as if they were UTC; `local` says which were of the zone."""
        micros = column.fill_null(0).to_numpy()
        offsets = np.array(self._offsets)[np.searchsorted(np.array(self._from), micros, "right") - 1]
        moved = micros - np.where(local.to_numpy(zero_copy_only=False), offsets, 0)
        return pa.array(moved, mask=column.is_null().to_numpy(zero_copy_only=False))
