"""Spark's checkpoint, read as what it is here: a cache of two offsets.

The query is stateless, so its checkpoint says only where the last micro-batch began and ended and whether Spark saw
it return. `usable` holds that against the ledger's head. A checkpoint that does not fit is left where it lies, for a
driver that was thought dead may still write to it, and a new directory begins at the ledger's end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from braid.ledger import LedgerRow, Offsets, Range, offsets_of_spark

_KEPT = 2  # the one in use and the one before it


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last micro-batch that a checkpoint knows.

    Attributes
    ----------
    batch : int, Spark's number of it
    range : Range, the offsets Spark gave it
    committed : bool, whether Spark recorded that it returned
    """

    batch: int
    range: Range
    committed: bool


def usable(found: Checkpoint | None, head: LedgerRow) -> bool:
    """Return whether a query can go on from a checkpoint: it ends at head, or one micro-batch after it.

    Examples
    --------
    >>> zero, one, two = {("t", 0): 0}, {("t", 0): 10}, {("t", 0): 25}
    >>> head = LedgerRow(1, "micro", 5, "w", Range(zero, one), good=10)
    >>> [usable(Checkpoint(3, Range(a, b), done), head) for a, b, done in
    ...     ((zero, one, True), (zero, one, False), (one, two, False), (one, two, True))]
    [True, True, True, False]
    """
    if found is None:
        return False
    at_head = dict(found.range.end) == dict(head.end)
    if found.committed:
        return at_head
    replays_head = at_head and dict(found.range.start) == dict(head.range.start)
    return replays_head or dict(found.range.start) == dict(head.end)


def read(path: Path) -> Checkpoint | None:
    """Return the last micro-batch of a checkpoint directory, None when it holds none or cannot be read whole."""
    numbers = _numbers(path / "offsets")
    if not numbers:
        return None
    last = max(numbers)
    try:
        offered = range_of(path, last)
    except (OSError, ValueError, KeyError, AttributeError):
        return None  # torn, or of another format: the ledger knows better
    return Checkpoint(last, offered, last in _numbers(path / "commits"))


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


def choose(root: Path, head: LedgerRow) -> tuple[Path, bool]:
    """Return (checkpoint directory, whether it is new): the newest if it fits the head, else a fresh one."""
    root.mkdir(parents=True, exist_ok=True)
    found = sorted((p for p in root.glob("checkpoint-*") if p.is_dir()), key=_age)
    if found and usable(read(found[-1]), head):
        return found[-1], False
    fresh = root / f"checkpoint-{_age(found[-1]) + 1 if found else 1:06d}"
    for old in found[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return fresh, True


def _age(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _numbers(folder: Path) -> set[int]:
    return {int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit()} if folder.is_dir() else set()


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
