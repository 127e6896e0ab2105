"""Spark's checkpoint, which is here a scratch file: every query begins in a directory of its own.

The query is stateless, so a checkpoint holds nothing but offsets, and the ledger knows those better: a new query starts
at the ledger's end. No directory is ever used by a second process, fitting or not, for a driver that was thought dead
may still write to it. Spark keeps the end of the micro-batch it runs in memory while we read it from `offsets/N`; were
the two of different drivers, rows would be counted under a range that is not theirs, and the rest of that range would
pass for offsets that hold no record.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from braid.ledger import Offsets, Range, offsets_of_spark

_KEPT = 2  # of earlier drivers: to look at after a crash


def fresh(root: Path, writer: str) -> Path:
    """Return a path under `root` that no other process has used or will use; old directories are removed.

    Parameters
    ----------
    root : Path, where the dataset's checkpoints are kept
    writer : str, unique to this process: numbers alone begin again when the directories are deleted
    """
    root.mkdir(parents=True, exist_ok=True)
    found = sorted((p for p in root.glob("checkpoint-*") if p.is_dir()), key=_age)
    for old in found[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    number = _age(found[-1]) + 1 if found else 1
    return root / f"checkpoint-{number:06d}-{hashlib.sha256(writer.encode()).hexdigest()[:12]}"


def range_of(path: Path, batch: int) -> Range:
    """Return the range of one micro-batch: its end, and the end of the one before it (or the query's first offsets).

    Parameters
    ----------
    path : Path, checkpoint directory
    batch : int, Spark's number; its `offsets` file is written before the micro-batch runs
    """
    end = _offsets(path / "offsets" / str(batch))
    before = path / "offsets" / str(batch - 1)
    start = _offsets(before) if batch > 0 else _offsets(path / "sources" / "0" / "0")
    return Range(start, end)


def _age(path: Path) -> int:
    number = path.name.split("-")[1]
    return int(number) if number.isdigit() else 0


def _offsets(path: Path) -> Offsets:
    """Return the offsets in one of Spark's files: a version line, then JSON lines of which the last is the source's."""
    # Spark writes a zero byte before the version in sources/, for readers older than 2.1
    lines = path.read_bytes().lstrip(b"\0").decode("utf-8").strip().splitlines()
    if len(lines) < 2 or not lines[0].startswith("v"):
        raise ValueError(f"{path}: expected a version line and offsets, got {lines[:1]}")
    parsed = json.loads(lines[-1])
    if not parsed or not isinstance(parsed, Mapping) or not all(isinstance(v, Mapping) for v in parsed.values()):
        raise ValueError(f"{path}: expected offsets by topic and partition, got {lines[-1][:80]}")
    return offsets_of_spark(lines[-1])
