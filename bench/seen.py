"""How `growth` and `bench.arms.speed` agree on which file of seen ids a micro-batch looks into.

One writes into a file which sizes are wanted, the other turns from one to the next every dozen micro-batches, by their seq.
So both know it of each, and a second in which the machine was slow is in all sizes alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

EVERY = 12  # micro-batches, about a second at 5,000 events/s
_SETTLING = 3  # that many wait for ids that the others had meanwhile, or find the file's pages far from the core


def which(sizes: Sequence[int], seq: int) -> int:
    """Return the size that a micro-batch looks into; who is first changes from round to round.

    Examples
    --------
    >>> [which((1, 10, 100), 1 + EVERY * block) for block in range(9)]
    [1, 10, 100, 10, 100, 1, 100, 1, 10]
    """
    block = (seq - 1) // EVERY
    return sizes[(block + block // len(sizes)) % len(sizes)]


def a_round(sizes: Sequence[int], seq: int) -> int:
    """Return the number of the round, in which each size has its turn."""
    return (seq - 1) // (EVERY * len(sizes))


def settled(seq: int) -> bool:
    """Return whether a micro-batch is far enough from the turn."""
    return (seq - 1) % EVERY >= _SETTLING


def ask(wanted: Path, sizes: Sequence[int]) -> None:
    """Ask for the files with so many further ids in turn; who reads it meanwhile sees these or those before."""
    new = wanted.with_suffix(".new")
    new.write_text(" ".join(map(str, sizes)), "ascii")
    new.replace(wanted)


def asked(wanted: Path) -> tuple[int, ...]:
    """Return how many further ids are asked for, none before the first time."""
    return tuple(map(int, wanted.read_text("ascii").split())) if wanted.exists() else (0,)


def turned(wanted: Path, ids: int) -> None:
    """Say that the stream looks into the file with so many further ids."""
    ask(_done(wanted), (ids,))


def looks_into(wanted: Path) -> int:
    """Return how many further ids the file has that the stream looks into."""
    return asked(_done(wanted))[0]


def folder(wanted: Path, ids: int) -> Path:
    """Return the folder of the seen ids with so many further ones."""
    return wanted.with_name(f"{wanted.name}-{ids}.lmdb")


def _done(wanted: Path) -> Path:
    return wanted.with_suffix(".done")
