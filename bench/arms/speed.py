"""Braid's stream with instruments: the same program, whose micro-batches are also timed inside, or whose seen ids are many.

The variables say what is wanted: BENCH_TIMINGS names a file for a line of JSON per micro-batch (the stages that the job
measures itself, the look-up of ids apart, and Spark's own phases), BENCH_IDS a file with numbers (`bench.seen`): micro-batches
look in turn into files of seen ids that hold so many further ones. They are random and no event has them: they cost what ids
ever seen cost.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from bench.seen import asked, folder, turned, which
from braid.adapters.heartbeat import Heartbeat
from braid.adapters.lmdb import MAP_BYTES, LmdbSeenIds, _environment
from speed_layer import spark_streaming

_AT_ONCE = 1_000_000


def main() -> int:
    """Run the stream until a signal."""
    if timings := os.environ.get("BENCH_TIMINGS"):
        _timed(Path(timings))
    if wanted := os.environ.get("BENCH_IDS"):
        _filled(Path(wanted))
    return spark_streaming.main(sys.argv[1:])


def _timed(path: Path) -> None:
    """Write what each micro-batch took."""
    out, guard = path.open("a", encoding="utf-8"), threading.Lock()
    inner: dict[str, float] = {}

    def write(line: Mapping[str, Any]) -> None:
        with guard:
            out.write(json.dumps(line) + "\n")
            out.flush()

    known, measured = LmdbSeenIds.known, Heartbeat.measured

    def timed_known(self: LmdbSeenIds, ids: Sequence[bytes]) -> set[bytes]:
        began = time.monotonic()
        try:
            return known(self, ids)
        finally:
            inner["known"] = time.monotonic() - began

    def timed_measured(self: Heartbeat, seq: int, seconds: Mapping[str, float]) -> None:
        measured(self, seq, seconds)
        write({"seq": seq, "at_s": time.time(), "stages": dict(seconds), "known": inner.pop("known", 0.0)})

    def follow() -> None:
        told = -1
        while True:
            time.sleep(1.0)
            spark = SparkSession.getActiveSession() or SparkSession._instantiatedSession
            if spark is None:
                continue
            for query in spark.streams.active:
                for p in query.recentProgress:
                    if p["batchId"] > told and p["numInputRows"]:
                        told = p["batchId"]
                        write({"batch": told, "rows": p["numInputRows"], "spark_ms": dict(p["durationMs"])})

    LmdbSeenIds.known = timed_known  # type: ignore[method-assign]
    Heartbeat.measured = timed_measured  # type: ignore[method-assign]
    threading.Thread(target=follow, daemon=True).start()


class Files:
    """The seen ids in files of several sizes, into which micro-batches look in turn.

    A larger file is a copy of the one before it, and further ids. Each, when it is turned to again, first gets the ids that
    were put into the others meanwhile: at every size the same events are known.

    Parameters
    ----------
    wanted : the file that says which sizes are asked for
    """

    def __init__(self, wanted: Path) -> None:
        self._wanted = wanted
        self._now = 0
        # by further ids: what makes a store look into that file
        self._held: dict[int, dict[str, Any]] = {}
        self._puts: list[tuple[int, Sequence[bytes]]] = []
        self._put = LmdbSeenIds.put  # the stream's is replaced

    def turn(self, seen: LmdbSeenIds, seq: int) -> None:
        """Look into the file in which micro-batch `seq` looks; make it when there is none."""
        further = which(asked(self._wanted), seq)
        if further == self._now:
            return
        self._held[self._now] = {name: vars(seen)[name] for name in ("path", "_env", "_ids", "_meta")}
        if further in self._held:
            vars(seen).update(self._held[further])
            through = seen.through_seq
            for missed, ids in self._puts:
                if missed > through:
                    self._put(seen, missed, ids)
        else:
            self._made(seen, further)
        seen._measured = None
        self._now = further
        turned(self._wanted, further)

    def put(self, seen: LmdbSeenIds, seq: int, ids: Sequence[bytes]) -> bool:
        """Put as the store does, into the file in which the next micro-batch looks, and keep the ids for the other files."""
        self.turn(seen, seq + 1)
        done = self._put(seen, seq, ids)
        if done and self._held:
            self._puts.append((seq, ids))
        return done

    def _made(self, seen: LmdbSeenIds, further: int) -> None:
        began, path = time.monotonic(), folder(self._wanted, further)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        seen._env.copy(str(path))
        env = _environment(path, MAP_BYTES)
        vars(seen).update(path=path, _env=env, _ids=env.open_db(b"ids"), _meta=env.open_db(b"meta"))
        for _ in fill(seen, further - self._now):
            pass
        os.sync()  # gigabytes on their way to the disk would be what the next micro-batches are measured by
        sys.stderr.write(f"{further - self._now} further ids in {time.monotonic() - began:.1f} s\n")


def _filled(wanted: Path) -> None:
    """Let a put turn to the file into which the next micro-batch looks, which waits for it."""
    files = Files(wanted)

    def turning_put(self: LmdbSeenIds, seq: int, ids: Sequence[bytes]) -> bool:
        return files.put(self, seq, ids)

    LmdbSeenIds.put = turning_put  # type: ignore[method-assign]


def fill(seen: LmdbSeenIds, ids: int) -> Iterator[int]:
    """Put random ids in order, a million at a time, each a little beyond the one before; yield how many there are."""
    rng = np.random.default_rng(1)
    step = 2**64 // (ids + 1)
    for first in range(0, ids, _AT_ONCE):
        count = min(_AT_ONCE, ids - first)
        high = (np.arange(first, first + count, dtype=np.uint64) * np.uint64(step)) + rng.integers(
            0, step, count, dtype=np.uint64
        )
        both = np.empty((count, 2), ">u8")
        both[:, 0], both[:, 1] = high, rng.integers(0, 2**63, count, dtype=np.uint64)
        raw = both.tobytes()
        while seen._used() + count * 64 / seen._env.info()["map_size"] > 0.8:
            seen._grow()
        with seen._transaction(write=True) as txn:
            txn.cursor(seen._ids).putmulti((raw[i : i + 16], b"") for i in range(0, len(raw), 16))
        yield first + count


if __name__ == "__main__":
    sys.exit(main())
