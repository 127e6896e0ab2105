"""Spark as far as the protocol meets it: a checkpoint of two small logs, and the loop that runs micro-batches.

`offsets/N` is written before micro-batch N, `commits/N` after it returned, each only if it is not there yet; the end
of N is in `offsets/N` and its start in `offsets/N-1`, or, for N = 0, in what the query began with. A restarted query
runs its last micro-batch again, with the same range, unless that was recorded as returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from braid.ledger import Offsets, Range
from braid.ports import Source


class ConcurrentUpdate(Exception):
    """Another query writes to this checkpoint."""


@dataclass
class Folder:
    """One checkpoint directory; `None` in `offsets` is a torn file."""

    initial: Offsets | None = None
    offsets: dict[int, Offsets | None] = field(default_factory=dict)
    commits: set[int] = field(default_factory=set)

    def add_offsets(self, batch: int, end: Offsets) -> None:
        """Write `offsets/N` if nobody has."""
        if batch in self.offsets:
            raise ConcurrentUpdate(f"offsets/{batch}")
        self.offsets[batch] = dict(end)

    def add_commit(self, batch: int) -> None:
        """Write `commits/N` if nobody has."""
        if batch in self.commits:
            raise ConcurrentUpdate(f"commits/{batch}")
        self.commits.add(batch)

    def range_of(self, batch: int) -> Range | None:
        """Return the range of a micro-batch, None when a file is missing or torn."""
        end = self.offsets.get(batch)
        start = self.offsets.get(batch - 1) if batch else self.initial
        return None if start is None or end is None else Range(start, end)

    def last(self) -> tuple[int, Range, bool] | None:
        """Return (number, range, whether it returned) of the newest micro-batch; None when there is none to be read."""
        batch = max(self.offsets, default=-1)
        offered = None if batch < 0 else self.range_of(batch)
        return None if offered is None else (batch, offered, batch in self.commits)


class Checkpoints:
    """The directories of a dataset by age."""

    def __init__(self) -> None:
        self.named = 0
        self.folders: dict[int, Folder] = {}

    def fresh(self, begin: Offsets) -> int:
        """Return the number of a directory that nobody has used, as `checkpoint.fresh` gives; it begins at `begin`."""
        self.named += 1
        self.folders[self.named] = Folder(begin)
        return self.named

    def at(self, number: int) -> Folder:
        """Return a directory by its path: whoever still writes to one that is gone makes it again."""
        return self.folders.setdefault(number, Folder())


@dataclass
class Query:
    """A streaming query. It reads its checkpoint when it starts and keeps its offsets in memory from then on.

    Attributes
    ----------
    next_end : callable, a start to the end of the next micro-batch (the start itself when there is nothing new)
    source : callable, (range by the checkpoint's files, range as Spark runs it) to the Source
    """

    checkpoints: Checkpoints
    number: int
    next_end: Callable[[Offsets], Offsets]
    source: Callable[[Range, Range], Source]
    body: Callable[[Source], Iterator[str]]
    committed: Callable[[Range], None]

    def steps(self) -> Iterator[str]:
        """Run micro-batches for ever, yielding after every step; `idle` when there is nothing new."""
        folder = self.checkpoints.at(self.number)
        found = folder.last()
        batch, at = (found[0] + 1, found[1].end) if found else (0, folder.initial or {})
        if found and not found[2]:  # only when a directory is used again
            yield from self._run(*found[:2])
        while True:
            end = self.next_end(at)
            if batch and dict(end) == dict(at):
                yield "idle"
                continue
            self.checkpoints.at(self.number).add_offsets(batch, end)
            yield "offsets"
            yield from self._run(batch, Range(at, end))
            batch, at = batch + 1, end

    def _run(self, batch: int, running: Range) -> Iterator[str]:
        written = self.checkpoints.at(self.number).range_of(batch)
        if written is None:
            raise ConcurrentUpdate(f"offsets/{batch} or the one before it is gone")
        yield from self.body(self.source(written, running))
        self.committed(running)
        self.checkpoints.at(self.number).add_commit(batch)
        yield "commits"
